"""onnxruntime beside eager torch: EulerNet in the settings of MovieLens-1M and Criteo, one row and 4096 at a time.

    python benchmarks/bench_inference.py --threads 1 --seconds 20

The two take turns, so that noise of the machine meets both. Weights and ids are drawn at random; sizes
are the published ones, Criteo's vocabularies cut to 100,000 ids a field (the lookup is a small share of the time).
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from eulernet.exporting.bundle import draw_ids
from eulernet.exporting.graph import Ids, Logits, load_onnx, save_onnx, trace
from eulernet.memory import keep_freed_memory
from eulernet.models import EulerNet

COMMON = dict(embedding_dim=16, drop_explicit=0.1, drop_implicit=0.1, init="sigir", without="nothing", norm_penalty=0.0)
SETTINGS = {
    "movielens_1m": ([6041, 8, 3, 22, 3440, 3669, 82], dict(orders=[7], norm=False)),
    "criteo": ([50] * 13 + [min(10**i, 10**5) for i in range(2, 28)], dict(orders=[39, 39], norm=True)),
}


def measure(runs: dict[str, Callable[[Ids], Logits]], x: Ids, seconds: float) -> dict[str, np.ndarray]:
    """Milliseconds of a call, the runs taking turns for ``seconds``: a turn is six calls, of which five count.

    During the first the threads of the other are still awake, waiting for more.
    """
    took = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(took["eager"]) < 20:
        for name, run in runs.items():
            run(x)
            for _ in range(5):
                began = time.perf_counter()
                run(x)
                took[name].append((time.perf_counter() - began) * 1e3)
    return {name: np.array(times) for name, times in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="of torch and of onnxruntime")
    parser.add_argument("--seconds", type=float, default=20, help="for each setting and batch size")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as every command does that scores: torch is faster with it
    for setting, (sizes, hyperparameters) in SETTINGS.items():
        torch.manual_seed(1)
        model = EulerNet(sizes, **COMMON, **hyperparameters).eval().requires_grad_(False)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "model.onnx"
            save_onnx(trace(model, len(sizes)), file)
            onnx = load_onnx(file, options.threads)

        @torch.inference_mode()
        def eager(x: Ids, model: EulerNet = model) -> Logits:
            return model(torch.from_numpy(x)).numpy()

        for rows in (1, 4096):
            x = draw_ids(sizes, rows, np.random.default_rng(1))
            took = measure({"eager": eager, "onnxruntime": onnx}, x, options.seconds)
            for name, ms in took.items():
                low, p50, p99 = ms.min(), *np.percentile(ms, [50, 99])
                rate = f"{rows / p50 * 1e3:,.0f} rows/s" if rows > 1 else ""
                print(f"{setting:13} {rows:5} rows  {name:12} min {low:.3f}  p50 {p50:.3f}  p99 {p99:.3f} ms  {rate}")
            difference = np.abs(eager(x) - onnx(x)).max()
            ratio = np.median(took["eager"]) / np.median(took["onnxruntime"])
            print(f"{'':27} onnxruntime {ratio:.2f} times as fast; logits differ by {difference:.1e}", flush=True)


if __name__ == "__main__":
    main()
