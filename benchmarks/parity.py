"""The exported graphs of a run beside the run itself: the largest difference of a logit, for each format.

    python benchmarks/parity.py outputs/... [--data-dir DIR]

First over the whole test split, by the ids of the run's store. Then over the same rows with EulerNet's angles and
moduli drawn anew from values that put features on the branch cut of atan2 (im = +0 or -0, re < 0) or near zero.
"""

import argparse
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from eulernet import Predictor
from eulernet.data.dataset import Dataset
from eulernet.exporting.bundle import FORMATS
from eulernet.exporting.graph import Ids, trace
from eulernet.models.base import CTRModel
from eulernet.runs.run import Run

ANGLES = [0.0, -0.0, 1e-30, -1e-30, math.pi, -math.pi, 1e-8, 0.3, -2.0]
MODULI = [-1.0, 1.0, -0.7, -1e-20, 0.0, -0.0, -1e-5, 1.3]


def ids_of(data: Dataset) -> Ids:
    return np.concatenate([x.numpy() for x, _ in data.test.batches(8192)])


def put_on_the_cut(model: CTRModel) -> None:
    draw = torch.Generator().manual_seed(1)
    for weight, values in ((model.embedding.table.weight, ANGLES), (model.modulus, MODULI)):
        weight.copy_(torch.tensor(values)[torch.randint(len(values), weight.shape, generator=draw)])


def differences(model: CTRModel, ids: Ids) -> Iterator[tuple[str, float]]:
    """Of logits up to which size, then by the name of each format the largest difference."""
    batches = np.array_split(ids, len(ids) // 4096 + 1)
    with torch.inference_mode():
        want = np.concatenate([model(torch.from_numpy(x)).numpy() for x in batches])
    yield "largest logit", float(np.abs(want).max())
    graph = trace(model, ids.shape[1])
    for name, form in FORMATS.items():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / form.file
            form.save(graph, file)
            run = form.load(file)
            yield name, float(np.abs(np.concatenate([run(x) for x in batches]) - want).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a finished run")
    parser.add_argument("--data-dir", help="where its store is, if that has moved")
    options = parser.parse_args()
    predictor = Predictor.load(options.run)
    ids, model = ids_of(Run.open(options.run).open_store(options.data_dir)), predictor.model
    for name, worst in differences(model, ids):
        print(f"test split, {len(ids):,} rows   {name:14} {worst:.3g}", flush=True)
    if predictor.config["model"]["name"] == "eulernet":
        put_on_the_cut(model)
        for name, worst in differences(model, ids):
            print(f"branch cut, {len(ids):,} rows   {name:14} {worst:.3g}", flush=True)


if __name__ == "__main__":
    main()
