"""What shuffling in blocks costs in AUC: rows in the order of the file, and sorted by label, which is the worst case.

    python benchmarks/shuffle_blocks.py dataset=criteo raw=train.txt [any override of eulernet.train] [--seeds 1 2 3]

Trains with train.shuffle=full, with windows of 20, 5 and 1 % of the training rows, and on the stored order. Rows are
split by their order (split=chronological); sorting changes the training rows alone. One line a run: the order, the
shuffle, the seed, the best epoch by validation AUC, and its validation and test AUC. Then the means.
"""

import argparse
import json
import statistics
from dataclasses import replace
from pathlib import Path

import torch

from eulernet.cli import compose
from eulernet.training.job import set_up
from eulernet.training.loop import fit

SHUFFLES = {
    "full": ["train.shuffle=full"],
    **{f"{share:.0%}": ["train.shuffle=blocks", f"train.shuffle_window={share}"] for share in (0.2, 0.05, 0.01)},
    "none": ["train.reshuffle=false"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--json", type=Path, help="also append each run's line there")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for seed in args.seeds:
        for order in ("file", "label"):
            for name, shuffle in SHUFFLES.items():
                valid, test, epoch = run([*args.overrides, *shuffle, f"seed={seed}"], order)
                found.setdefault((order, name), []).append((valid, test))
                line = {"order": order, "shuffle": name, "seed": seed, "epoch": epoch, "valid": valid, "test": test}
                print(json.dumps(line), flush=True)
                if args.json:
                    with args.json.open("a") as file:
                        file.write(json.dumps(line) + "\n")
    for (order, name), aucs in found.items():
        valid, test = (statistics.mean(values) for values in zip(*aucs, strict=True))
        print(f"{order:6} {name:5} valid {valid:.5f} test {test:.5f}")


def run(overrides: list[str], order: str) -> tuple[float, float, int]:
    """Validation and test AUC of the best epoch, and its number."""
    job = set_up(compose("train", ["dataset.split=chronological", *overrides]))
    data = job.data
    if order == "label":
        rows = torch.argsort(data.train.labels.int(), stable=True)
        train = replace(data.train, order=rows, mapped=False)
        splits = {**data.splits, "train": train}
        data = replace(data, splits=splits)
    history, test = fit(job.model, data, job.config, job.device, None, identity={})
    best = max(history, key=lambda epoch: epoch.valid_auc)
    assert test is not None
    return best.valid_auc, test.auc, best.epoch


if __name__ == "__main__":
    main()
