"""The GPU kit: does everything work on this card and equal the CPU, and how fast is it? One command, a few minutes.

    python benchmarks/gpu.py [--json gpu.json] [--device cuda:0] [--only checks|speed]
    python benchmarks/gpu.py --device cpu --only checks     # what needs no card; the suite runs it

The checks train the same small model on the CPU and on the device, through the commands that users type, and compare:
evaluation, resume, number formats, compiled code, data on the device, DistributedDataParallel with one rank, the
predictor and the server. Each prints the largest difference and what is allowed. Then training and evaluation are timed
in the paper's Criteo and MovieLens settings, batch 1,024 to 65,536, in several formats, in turn with the plain layers
(no fused planes, autograd's own dense gradients, torch's fused Adam); and beside both what this card's products and
memory allow, and the kernels that take the time. Exit code 1 if a check fails.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

ROOT = Path(__file__).parents[1]
DATA = ("dataset=synthetic", "dataset.rows=12000", "dataset.field_sizes=[30,20,9]", "reference=false",
        "dataset.interactions=[{f0:1,f1:1},{f2:-1}]", "~tuned")  # fmt: skip
# Without dropout, whose masks every device draws its own way.
MODEL = ("model.embedding_dim=8", "model.orders=[5,3]", "model.drop_explicit=0", "model.drop_implicit=0", "seed=1",
         "train.batch_size=256", "train.max_epochs=3", "train.patience=9", "train.lr=.01")  # fmt: skip
SETTINGS = {"criteo": (64, 1024, 4096, 16384, 65536), "movielens": (1024, 8192, 65536)}
FORMATS = {
    "fp32": (),
    "tf32": ("train.precision=tf32",),
    "bf16": ("train.precision=bf16",),
    "bf16, compiled": ("train.precision=bf16", "train.compile=true"),
}


@dataclass(frozen=True)
class Found:
    """The outcome of a check: the largest difference, what is allowed, or how it failed."""

    name: str
    difference: float | None
    allowed: float
    error: str = ""

    @property
    def good(self) -> bool:
        return self.difference is not None and self.difference <= self.allowed

    def line(self) -> str:
        figure = "-" if self.difference is None else f"{self.difference:.2e}"
        end = f"  {self.error}" if self.error else ""
        return f"{'ok  ' if self.good else 'FAIL'} {self.name:34} {figure:>9} (allowed {self.allowed:.0e}){end}"


class Kit:
    """The commands, on the CPU and on ``device``, in a folder of its own."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder, self.device = folder, device

    def python(self, *args: str) -> str:
        """The output of a command; RuntimeError with its last line if it fails."""
        env = os.environ | {"PYTHONPATH": str(ROOT), "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
        done = subprocess.run([sys.executable, *args], cwd=self.folder, env=env, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
        return done.stdout

    def train(self, name: str, device: str, *more: str) -> Path:
        run = self.folder / name
        if not run.exists():
            self.python("-m", "eulernet.train", *DATA, *MODEL, f"device={device}", f"hydra.run.dir={run}", *more)
        return run

    def reference(self) -> Path:
        return self.train("reference", "cpu")

    def curve(self, run: Path) -> np.ndarray:
        """Training loss, validation AUC and logloss of each epoch."""
        return np.loadtxt(run / "metrics.csv", delimiter=",", skiprows=1, usecols=(1, 2, 3), ndmin=2)

    def apart(self, run: Path, other: Path | None = None) -> float:
        """The largest difference of the curves of two runs."""
        return float(np.abs(self.curve(run) - self.curve(other or self.reference())).max())

    def trained(self, *more: str) -> float:
        """How far training on the device with these overrides is from float32 on the CPU."""
        return self.apart(self.train("_".join(["device", *more]).replace("=", "_"), self.device, *more))

    def resumed(self) -> float:
        run = self.train("stopped", self.device, "train.max_epochs=2")
        if len(self.curve(run)) == 2:
            self.python("-m", "eulernet.train", f"resume={run}", "train.max_epochs=3")
        return self.apart(run, self.train("device", self.device))

    def one_rank(self) -> float:
        run = self.folder / "ddp"
        args = ["--standalone", "--nproc_per_node=1", "-m", "eulernet.train", *DATA, *MODEL, f"hydra.run.dir={run}"]
        self.python("-m", "torch.distributed.run", *args, f"device={self.device.split(':')[0]}")
        return self.apart(run, self.train("device", self.device))

    def scored(self) -> float:
        """Predictor on the device beside the CPU: probabilities of 500 rows."""
        from eulernet import Predictor

        rows, run = self.rows(500), self.reference()
        one, two = (Predictor.load(str(run), device=device).predict(rows) for device in ("cpu", self.device))
        return float(np.abs(np.asarray(one) - np.asarray(two)).max())

    def served(self) -> float:
        """What the server on the device answers, beside the predictor on the CPU."""
        from eulernet import Predictor

        rows, run, port = self.rows(50), self.reference(), free_port()
        command = [sys.executable, "-m", "eulernet.serve", f"run={run}", f"port={port}", f"device={self.device}"]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        server = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            answer = ask(f"http://127.0.0.1:{port}", rows, server)
        finally:
            server.terminate()
            server.wait()
        return float(np.abs(answer - np.asarray(Predictor.load(str(run), device="cpu").predict(rows))).max())

    def on_the_device(self) -> float:
        """A small data set moves to the device whole: 0 if it did."""
        from bench import Loop

        os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())
        loop = Loop([*DATA, *MODEL, f"device={self.device}", f"data_dir={self.folder / 'data'}"])
        return float(loop.data.train.x.device.type != torch.device(self.device).type)

    def rows(self, count: int) -> list[dict[str, int]]:
        draw = np.random.default_rng(0)
        return [{f"f{f}": int(draw.integers(size)) for f, size in enumerate((30, 20, 9))} for _ in range(count)]

    def checks(self) -> Iterator[Found]:
        todo: dict[str, tuple[Callable[[], float], float]] = {
            "training": (self.trained, 1e-4),
            "training, touched rows": (lambda: self.trained("train.optimizer=touched_adam"), 0.02),
            "data on the device": (self.on_the_device, 0),
            "resume": (self.resumed, 1e-4),
            "tf32": (lambda: self.trained("train.precision=tf32"), 0.01),
            "bf16": (lambda: self.trained("train.precision=bf16"), 0.02),
            "fp16": (lambda: self.trained("train.precision=fp16"), 0.02),
            "compiled (CUDA graphs on a GPU)": (lambda: self.trained("train.compile=true"), 1e-3),
            "one rank of DistributedDataParallel": (self.one_rank, 1e-4),
            "predictor": (self.scored, 1e-5),
            "server": (self.served, 1e-5),
        }
        for name, (check, allowed) in todo.items():
            try:
                yield Found(name, check(), allowed)
            except Exception as error:
                yield Found(name, None, allowed, f"{type(error).__name__}: {error}".splitlines()[0])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def ask(address: str, rows: list[dict[str, int]], server: "subprocess.Popen[bytes]") -> np.ndarray:
    asked = urllib.request.Request(
        f"{address}/predict", json.dumps(rows).encode(), {"Content-Type": "application/json"}
    )
    while True:
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return np.asarray(json.load(answer)["probabilities"])
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"the server answered {error.code}: {error.read().decode()}") from None
        except OSError:  # it does not listen yet
            if server.poll() is not None:
                assert server.stderr is not None
                raise RuntimeError(server.stderr.read().decode().strip()) from None
            time.sleep(0.2)


# Speed


def speed(device: str, runs: int) -> dict[str, Any]:
    """Rows per second of each setting, batch size and format, beside the plain layers in the same minute."""
    from alternating import make_store
    from bench import Loop
    from bench_training import ours

    figures: dict[str, Any] = {"limits": limits(torch.device(device)), "cells": []}
    for setting, sizes in SETTINGS.items():
        with tempfile.TemporaryDirectory(prefix="eulernet-gpu-") as folder:
            _, overrides = make_store(setting, 800_000, Path(folder) / "data")
            for size in sizes:
                jobs = {
                    name: [*ours(setting, size, overrides), f"device={device}", *more] for name, more in FORMATS.items()
                }
                loops = {name: Loop(job) for name, job in jobs.items()}
                loops["plain layers"] = plain(Loop(jobs["fp32"]))
                steps = max(3, min(200, 400_000 // size))
                cell = {"setting": setting, "batch_size": size, **in_turn(loops, steps, runs)}
                figures["cells"].append(cell)
                print(described(cell), flush=True)
            figures[f"kernels_{setting}"] = kernels(loops["fp32"], 10)
    return figures


def plain(loop: Any) -> Any:
    """EulerNet as its formulas read: no planes, dense gradients, torch's fused Adam; as other frameworks train it."""
    for model in {loop.state.model, loop.state.scored}:
        model.fused = False
        model.embedding.read = None
    adam = torch.optim.Adam(loop.model.parameters(), lr=1e-4, weight_decay=1e-5, fused=True)
    train = loop.data.train

    def steps(count: int) -> int:
        rows = 0
        for x, y in train.batches(loop.config.batch_size):
            x, y = x.to(loop.device), y.to(loop.device)
            loss = F.binary_cross_entropy_with_logits(loop.model.train()(x), y.float())
            adam.zero_grad()
            loss.backward()
            adam.step()
            rows, count = rows + len(y), count - 1
            if count == 0:
                break
        loss.item()
        return rows

    loop.train = steps
    return loop


def in_turn(loops: dict[str, Any], steps: int, runs: int) -> dict[str, Any]:
    """Medians over ``runs`` turns of each; a format that fails has its error."""
    found: dict[str, dict[str, list[float]]] = {name: {"train": [], "evaluate": []} for name in loops}
    errors: dict[str, str] = {}
    for turn in range(runs + 1):  # the first warms up
        for name, loop in loops.items():
            for work in ("train", "evaluate"):
                try:
                    start = time.perf_counter()
                    rows = loop.train(steps) if work == "train" else loop.evaluate()
                    if turn:
                        found[name][work].append(rows / (time.perf_counter() - start))
                except Exception as error:
                    errors[name] = f"{type(error).__name__}: {error}".splitlines()[0]
    rates = {name: {work: statistics.median(of[work]) for work in of if of[work]} for name, of in found.items()}
    return {"rows_per_second": rates, "errors": errors}


def described(cell: dict[str, Any]) -> str:
    base = cell["rows_per_second"]["plain layers"]
    lines = [f"{cell['setting']}, batch {cell['batch_size']:,}"]
    for name, of in cell["rows_per_second"].items():
        figures = (f"{work} {of[work]:>12,.0f} rows/s ({of[work] / base[work]:.2f} x plain)" for work in of)
        lines.append(f"  {name:16} {'   '.join(figures)} {cell['errors'].get(name, '')}")
    return "\n".join(lines)


def limits(device: torch.device) -> dict[str, float]:
    """TFLOP/s of large square products and GB/s of a copy, measured here."""
    found = {}
    n = 8192 if device.type == "cuda" else 1024
    for name, dtype, tf32 in (
        ("fp32", torch.float32, False),
        ("tf32", torch.float32, True),
        ("bf16", torch.bfloat16, False),
    ):
        torch.backends.cuda.matmul.allow_tf32 = tf32
        a = torch.randn(n, n, device=device, dtype=dtype)
        found[f"{name}_tflops"] = 2 * n**3 / seconds_of(lambda a=a: a @ a, device) / 1e12
    torch.backends.cuda.matmul.allow_tf32 = False
    x = torch.empty(1 << (30 if device.type == "cuda" else 26), dtype=torch.uint8, device=device)
    found["copy_gb_per_second"] = 2 * x.numel() / seconds_of(x.clone, device) / 1e9
    one = torch.ones(1, device=device)
    found["launch_microseconds"] = 1e6 * seconds_of(lambda: one.add_(1), device)
    return found


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    for _ in range(3):
        work()
    times = []
    for _ in range(5):
        with synchronised(device):
            start = time.perf_counter()
            with synchronised(device):
                for _ in range(10):
                    work()
            times.append((time.perf_counter() - start) / 10)
    return min(times)


@contextmanager
def synchronised(device: torch.device) -> Iterator[None]:
    yield
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def kernels(loop: Any, steps: int) -> dict[str, float]:
    """Milliseconds a step of the fifteen kernels that take most."""
    from torch.profiler import ProfilerActivity, profile

    on_cuda = loop.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU]) as recorded:
        loop.train(steps)
    total = "self_device_time_total" if on_cuda else "self_cpu_time_total"
    events = sorted(recorded.key_averages(), key=lambda event: -getattr(event, total))[:15]
    return {event.key: round(getattr(event, total) / steps / 1e3, 4) for event in events}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (default: cuda)")
    parser.add_argument("--only", choices=["checks", "speed"], help="leave out the other part")
    parser.add_argument("--runs", type=int, default=3, help="timed turns; medians are reported (default: 3)")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    args = parser.parse_args()
    device = torch.device(args.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("error: there is no CUDA device here; --device cpu runs what needs none")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}")
    figures: dict[str, Any] = {"device": name, "torch": torch.__version__}
    good = True
    if args.only != "speed":
        with tempfile.TemporaryDirectory(prefix="eulernet-gpu-") as folder:
            figures["checks"] = []
            for found in Kit(Path(folder), args.device).checks():
                print(found.line(), flush=True)
                figures["checks"].append(vars(found))
                good = good and found.good
    if args.only != "checks":
        figures["speed"] = speed(args.device, args.runs)
        print(json.dumps(figures["speed"]["limits"], indent=2))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    sys.exit(not good)


if __name__ == "__main__":
    main()
