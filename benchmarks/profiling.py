"""Where a training step goes, beside what this machine's matrix products and memory allow: ``bench.py --profile``.

Times are those of the calling thread, by torch's profiler: with two threads an operator's time is until both are done.
What is called inside the optimizer's step, a dropout mask, a compiled chain or an embedding's lookup and gradient
counts for that, every other operator for its own kind. What no operator accounts for is Python, and numpy's random
numbers where they are not in a mask.

The limits are measured here: the products of the step one by one, at their own shapes, in fp32 and in bf16; a large
square one; and a sum of two arrays, of the size of one plane [B, F, D] of activations and of one beyond any cache.
"""

import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent

if TYPE_CHECKING:
    from bench import Loop

GROUPS = {  # group: beginnings of the names of its operators
    "products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::mkldnn_linear", "mkldnn::"),
    "optimizer": ("Optimizer.",),
    "dropout, random": (
        "dropout", "eulernet::draw_masks", "aten::native_dropout", "aten::bernoulli", "aten::rand", "aten::dropout",
    ),
    "compiled chains": ("Torch-Compiled Region", "CompiledFunction", "## Call CompiledFx", "graph_"),
    "embedding": (
        "aten::embedding", "aten::index", "aten::_index", "aten::gather", "aten::scatter", "aten::take",
    ),
    "copies, zeros": ("aten::copy_", "aten::fill_", "aten::zero_", "aten::cat", "aten::clone", "aten::_to_copy"),
    "elementwise, sums": ("aten::",),
}  # fmt: skip
# Whatever is called inside these counts for them.
OUTER = ("optimizer", "dropout, random", "compiled chains", "embedding")
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
LARGE = 1 << 26  # bytes


def profile(loop: "Loop", steps: int) -> tuple[dict[str, Any], str]:
    """Figures, and the same as text, of ``steps`` steps under the profiler."""
    name_parts()
    loop.train(max(3, steps // 10))
    start = time.perf_counter()
    rows = loop.train(steps)
    seconds = time.perf_counter() - start  # without the profiler, which costs some
    steps = math.ceil(rows / loop.config.batch_size)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as recorded:
        start = time.perf_counter()
        loop.train(steps)
        watched = time.perf_counter() - start
    events = recorded.profiler.function_events
    times: Counter[str] = Counter(dict.fromkeys(GROUPS, 0.0))
    shapes: Counter[tuple[tuple[int, ...], ...]] = Counter()
    for event in events:
        times[group_of(event)] += event.self_cpu_time_total / 1e6
        if event.name in PRODUCTS:
            factors = event.input_shapes[1:3] if "add" in event.name else event.input_shapes[:2]
            shapes[tuple(map(tuple, factors))] += 1
    times["Python, other"] += max(0.0, watched - sum(times.values()))
    products = {shape: count / steps for shape, count in shapes.items()}
    figures = {
        **loop.settings(),
        "steps": steps,
        "milliseconds_a_step": 1e3 * seconds / steps,
        "samples_per_second": rows / seconds,
        "profiler_overhead": watched / seconds - 1,
        "milliseconds": {name: 1e3 * value / steps for name, value in times.items()},
        "limits": limits(products, loop),
    }
    return figures, describe(figures)


def name_parts() -> None:
    """Name the drawing of dropout masks, and the optimizer's step, for the profiler."""
    from eulernet.layers import dropout
    from eulernet.training.optimizers import TableOptimizer

    draw, step = dropout._draw_now, TableOptimizer.step

    def marked(like: Tensor, rates: list[float]) -> Tensor:
        with torch.profiler.record_function("dropout masks"):
            return draw(like, rates)

    def stepped(self: TableOptimizer) -> None:
        with torch.profiler.record_function("Optimizer.step"):
            step(self)

    dropout._draw_now, TableOptimizer.step = marked, stepped  # type: ignore[method-assign]


def group_of(event: FunctionEvent) -> str:
    found = own_group(event)
    parent = event.cpu_parent
    while parent is not None:
        if (outer := own_group(parent)) in OUTER:
            found = outer
        parent = parent.cpu_parent
    return found


def own_group(event: FunctionEvent) -> str:
    return next((name for name, starts in GROUPS.items() if event.name.startswith(starts)), "Python, other")


def limits(products: dict[tuple[tuple[int, ...], ...], float], loop: "Loop") -> dict[str, Any]:
    """Of a step: its products' FLOPs, the rates at which they run alone, and bandwidth."""
    flops = sum(count * flop(shape) for shape, count in products.items())
    found: dict[str, Any] = {"products_a_step": sum(products.values()), "gflop_a_step": flops / 1e9}
    square = ((1024, 1024), (1024, 1024))
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        alone = {shape: seconds(lambda a, b: a @ b, *operands(shape, dtype)) for shape in [*products, square]}
        together = sum(count * alone[shape] for shape, count in products.items())
        found[name] = {
            "best_gflops": max(flop(shape) / took for shape, took in alone.items() if flop(shape) > 1e6) / 1e9,
            "own_shapes_gflops": flops / together / 1e9 if together else math.nan,
            "own_shapes_milliseconds": 1e3 * together,
        }
    plane = 4 * loop.config.batch_size * len(loop.data.fields) * loop.cfg["model"].get("embedding_dim", 1)
    for name, size in (("plane", plane), ("large", LARGE)):
        a, b = torch.rand(size // 4), torch.rand(size // 4)
        out = torch.empty_like(a)
        found[f"{name}_mb"] = size / 1e6
        found[f"{name}_gb_per_second"] = 3 * size / seconds(lambda a, b, out=out: torch.add(a, b, out=out), a, b) / 1e9
    return found


def flop(shape: tuple[tuple[int, ...], ...]) -> int:
    """Multiplications and additions of a [..., m, k] by b [k, n]."""
    return 2 * math.prod(shape[0]) * shape[1][-1]


def operands(shape: tuple[tuple[int, ...], ...], dtype: torch.dtype) -> list[Tensor]:
    return [torch.rand(size).to(dtype) for size in shape]


def seconds(work: Any, a: Tensor, b: Tensor) -> float:
    """The least of a few batches of calls, each of some milliseconds; a call that takes long is made once."""
    for _ in range(2):
        start = time.perf_counter()
        work(a, b)
        once = time.perf_counter() - start
        if once > 0.5:  # bf16 on a CPU that has no instructions for it
            return once
    calls = max(1, math.ceil(0.005 / once))
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(calls):
            work(a, b)
        best = min(best, (time.perf_counter() - start) / calls)
    return best


def describe(figures: dict[str, Any]) -> str:
    step, limit = figures["milliseconds_a_step"], figures["limits"]
    profiled = sum(figures["milliseconds"].values())
    lines = [
        f"{figures['model']}, batch {figures['batch_size']:,}, {figures['threads']} threads: {step:.1f} ms a step, "
        f"{figures['samples_per_second']:,.0f} samples/s ({figures['profiler_overhead']:.0%} more under the profiler)",
        "",
        f"{'':20} {'ms a step':>10} {'share':>7}",
    ]
    for name, value in sorted(figures["milliseconds"].items(), key=lambda item: -item[1]):
        lines.append(f"{name:20} {value:10.2f} {value / profiled:7.1%}")
    lines += ["", f"{limit['gflop_a_step']:.3g} GFLOP a step in {limit['products_a_step']:.0f} products, which allow:"]
    for name in ("fp32", "bf16"):
        rates = limit[name]
        bound = limit["gflop_a_step"] / rates["best_gflops"] * 1e3 if limit["gflop_a_step"] else 0.0
        lines.append(
            f"  {name}: {rates['best_gflops']:,.0f} GFLOP/s at best, {bound:.1f} ms a step: {bound / step:.0%} of the "
            f"limit reached; alone at their own shapes {rates['own_shapes_milliseconds']:.1f} ms "
            f"({rates['own_shapes_gflops']:,.0f} GFLOP/s)"
        )
    lines.append(
        f"memory: {limit['plane_gb_per_second']:.0f} GB/s on arrays of {limit['plane_mb']:.1f} MB, "
        f"{limit['large_gb_per_second']:.0f} GB/s on {limit['large_mb']:.0f} MB"
    )
    if figures["optimizer"] == "adam":
        bound = 28 * figures["parameters"] / limit["large_gb_per_second"] / 1e6
        lines.append(f"  Adam reads and writes 28 bytes a weight: {bound:.1f} ms a step for all of them")
    return "\n".join(lines)
