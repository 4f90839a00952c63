"""What a training step computes and moves, and what several processes would send each other for it.

    python scripts/traffic.py dataset=criteo raw=PATH [any override of eulernet.train]

Counted on this machine, a step of ``--rows`` rows: products (torch's FlopCounterMode) and the bytes that the operations
of the forward and backward pass read and write, as if none were fused. Ids are those of real batches: different rows of
the tables in batches of several sizes, which is what processes exchange (``eulernet/training/parallel.py``).
"""

import argparse

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from eulernet.cli import conf_dir
from eulernet.train import set_up
from eulernet.training.parallel import tables_of
from eulernet.training.state import State

VIEWS = (
    "view",
    "transpose",
    "permute",
    "expand",
    "slice",
    "split",
    "select",
    "unsqueeze",
    "squeeze",
    "detach",
    "t.",
    "as_strided",
)


class Bytes(TorchDispatchMode):
    """Adds up the bytes of all tensors that operations take and give; a view takes none."""

    total = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if not any(f"aten.{view}" in str(operation) for view in VIEWS):
            leaves = tree_leaves((args, kwargs, result))
            self.total += sum(leaf.nbytes for leaf in leaves if isinstance(leaf, torch.Tensor))
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1024, help="of the step that is counted")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = OmegaConf.to_container(compose("train", args.overrides), resolve=True)
    job = set_up(cfg)
    tables = [table.table.weight for table in tables_of(job.model)]
    whole, width = sum(table.numel() for table in tables), sum(table.shape[1] for table in tables)
    net = sum(weight.numel() for weight in job.model.parameters()) - whole
    print(f"weights: tables {whole:,} ({sum(map(len, tables)):,} rows), net {net:,}")

    state = State(job.model.train(), job.config, job.device)
    x, y = next(job.data.train.batches(args.rows, torch.Generator().manual_seed(1)))
    with FlopCounterMode(display=False) as flops:
        state.parallel.loss(x, y, len(y)).backward()
    state.optimizer.zero_grad()
    with Bytes() as moved:
        state.parallel.loss(x, y, len(y)).backward()
    # The kept gradient counts as a whole in the operation that adds to some of its rows: left out.
    print(f"a sample: {flops.get_total_flops() / len(y):,.0f} FLOP", end=", ")
    print(f"{(moved.total - 2 * 4 * whole) / len(y):,.0f} bytes read and written")
    print(f"an Adam step over all weights: {7 * 4 * (whole + net):,} bytes")

    first_rows = next(tables_of(job.model)).first_row
    print(
        f"\n{'batch':>7} {'look-ups':>9} {'rows':>8} {'replicated':>11} {'sharded, for 8':>15} {'for 64 processes':>17}"
    )
    for rows in (128, 1024, 8192, 65536):
        found = [
            len((x + first_rows).unique())
            for (x, _), _ in zip(job.data.train.batches(rows, torch.Generator().manual_seed(1)), range(5), strict=False)
            if len(x) == rows
        ]
        if not found:
            continue
        different = sum(found) / len(found)
        # Rows with their counts and gradients; sharded, ids there and vectors back for all processes' look-ups on top.
        gradients = different * 4 * (width + 2 * len(tables))
        look_ups = rows * len(first_rows)
        vectors = look_ups * (8 + 4 * width)
        print(
            f"{rows:>7,} {look_ups:>9,} {different:>8,.0f} {gradients:>11,.0f} "
            f"{gradients + 8 * vectors:>15,.0f} {gradients + 64 * vectors:>17,.0f}"
        )


if __name__ == "__main__":
    main()
