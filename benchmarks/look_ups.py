"""The bytes that each rank sends for the look-ups of a sharded table in a step, counted, beside the formula.

    python benchmarks/look_ups.py dataset=criteo raw=train.txt [any override of eulernet.train] [--ranks 2 4 8]

Ranks are processes of this machine (gloo), each with --rows training rows, drawn at random. One step: look up, the
backward pass, the gradients to the owners. Counted is what goes to other ranks. Of u different rows in a rank's batch
the formula has (R - 1) / R, and for each an id (4 bytes), a vector and a gradient (4 D each), an id and a count (8):
u (8 D + 12) (R - 1) / R. The largest rank is what all wait for. The last column is computed: what torch's
RowwiseParallel and a gathering of all gradients send, (R - 1) (b F (8 + 4 D) + u (4 D + 8)) for b rows of F fields.
"""

import argparse
import os
import socket
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from eulernet.cli import compose
from eulernet.data.dataset import Dataset
from eulernet.distributed import ranks
from eulernet.features import FieldEmbedding
from eulernet.training.job import set_up
from eulernet.training.tables import Table, all_reduce_gradients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--rows", type=int, default=1024, help="rows of a batch on each rank")
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_args()
    data = set_up(compose("train", args.overrides)).data
    look_ups = args.rows * len(data.fields)
    print(f"{data.name}: {args.rows} rows a rank, {len(data.fields)} fields, D = {args.dim}")
    print(f"{'ranks':>5} {'different rows':>14} {'MB sent':>8} {'largest':>8} {'formula':>8} {'summed to all':>14}")
    for world in args.ranks:
        with TemporaryDirectory() as folder, socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
            free.close()
            mp.spawn(step, (world, args.rows, args.dim, data.folder, Path(folder)), nprocs=world)
            found = torch.stack([torch.load(Path(folder) / f"{rank}.pt") for rank in range(world)]).double()
        rows, sent = found.mean(0).tolist()
        show(world, rows, sent, found[:, 1].max().item(), look_ups, args.dim)
    show(64, rows, None, None, look_ups, args.dim)


def show(world: int, rows: float, sent: float | None, most: float | None, look_ups: int, dim: int) -> None:
    """A line of the table, in MB."""
    formula = rows * (8 * dim + 12) * (world - 1) / world
    summed = (world - 1) * (look_ups * (8 + 4 * dim) + rows * (4 * dim + 8))
    measured = [f"{value / 1e6:8.2f}" if value is not None else f"{'-':>8}" for value in (sent, most)]
    print(f"{world:5} {rows:14,.0f} {' '.join(measured)} {formula / 1e6:8.2f} {summed / 1e6:14.2f}", flush=True)


def step(rank: int, world: int, rows: int, dim: int, store: Path, folder: Path) -> None:
    """In one rank: a step, counted."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    sent, exchange = [0], dist.all_to_all_single

    def counting(out, given, *sizes):  # type: ignore[no-untyped-def]
        to = sizes[1] if sizes else [1] * world
        sent[0] += (sum(to) - to[rank]) * given[:1].numel() * given.itemsize
        return exchange(out, given, *sizes)

    ranks.dist.all_to_all_single = counting
    data = Dataset.open(store)
    table = Table(FieldEmbedding(data.field_sizes, dim))
    table.shard(torch.device("cpu"))
    table.keep_gradient()
    x, *_ = next(data.train.batches(rows, torch.Generator().manual_seed(rank)))
    first = torch.tensor([0, *data.field_sizes[:-1]]).cumsum(0)
    ids = x + first
    table(ids).square().sum().backward()
    all_reduce_gradients([table], idle=False)
    torch.save(torch.tensor([len(ids.unique()), sent[0]]), folder / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
