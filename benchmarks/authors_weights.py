"""EulerNet in the paper's setting, from the starting weights that its authors' code draws.

    OMP_NUM_THREADS=1 python benchmarks/authors_weights.py CHECKOUT raw=ml-1m seed=2022 [any override of eulernet.train]

CHECKOUT is of github.com/RUCAIBox/EulerNet, ``raw`` the folder of MovieLens-1M. Their model is built with the seed, as
their train.py does, and every value, layer and the head begin with its weights; the largest difference of the two
logits is printed, and the run goes on as any other.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import polars as pl
import torch
import yaml
from models.weights import put

from eulernet.data.dataset import Dataset
from eulernet.runs import train as runs
from eulernet.train import main as train
from eulernet.training.job import Job

FIELDS = ["user_id", "item_id", "age", "gender", "occupation", "zip_code", "release_year"]  # in the order of their rows
SETTING = dict(embedding_size=16, order_list=[7], drop_ex=0.3, drop_im=0.3, apply_norm=False)  # RunTimeConf/movie.yaml


def main() -> None:
    if len(sys.argv) < 2 or not Path(sys.argv[1], "Model", "EulerNet.py").is_file():
        sys.exit(__doc__)
    checkout, *overrides = sys.argv[1:]
    asked = dict(override.partition("=")[::2] for override in overrides)
    raw, seed = Path(asked.get("raw", "")), asked.get("seed", "")
    if not ((raw / "users.dat").is_file() and seed.isdecimal()):
        sys.exit("error: give raw=, the folder of MovieLens-1M with users.dat in it, and seed=, a whole number")
    theirs, ids = their_model(Path(checkout), int(seed)), their_ids(raw)

    def set_up(*args: Any, **more: Any) -> Job:
        made = plain(*args, **more)
        start_with(made.model, made.data, theirs, ids)
        return made

    plain, runs.set_up = runs.set_up, set_up
    sys.argv[1:] = ["dataset=movielens_1m", "device=cpu", *overrides]
    train()


def their_model(checkout: Path, seed: int) -> Any:
    """Their EulerNet for MovieLens-1M, with the weights that it draws after ``seed``."""
    for name in ("turtle", "Utils"):  # imported there, for names that are not used
        sys.modules[name] = ModuleType(name)
        sys.modules[name].__dict__.update(forward=None, Config=None)
    sys.path.insert(0, str(checkout))
    sizes = yaml.safe_load((checkout / "MetaData" / "Movie.yaml").read_text())["feature_stastic"]
    sys.modules["Model"] = ModuleType("Model")  # without its baselines
    sys.modules["Model"].__path__ = [str(checkout / "Model")]
    from Model.EulerNet import EulerNet

    torch.manual_seed(seed)
    return EulerNet(SimpleNamespace(feature_stastic=sizes, **SETTING))


def their_ids(raw: Path) -> dict[str, dict[str, int]]:
    """The values of each field and their ids: from 1, in the order of users.dat and movies.dat."""

    def columns(name: str) -> list[Sequence[str]]:
        lines = (raw / name).read_text(encoding="latin-1").splitlines()
        return list(zip(*(line.split("::") for line in lines), strict=True))

    movie, title, _ = columns("movies.dat")
    years = [name.rpartition("(")[2].rstrip(")") for name in title]
    names = ["user_id", "gender", "age", "occupation", "zip_code", "item_id", "release_year"]
    found = zip(names, [*columns("users.dat"), movie, years], strict=True)
    return {name: {value: i for i, value in enumerate(dict.fromkeys(values), 1)} for name, values in found}


@torch.no_grad()
def start_with(ours: Any, data: Dataset, theirs: Any, ids: Mapping[str, Mapping[str, int]]) -> None:
    """Give ``ours`` the weights of ``theirs``, value by value, and print how far apart their logits are."""
    names = [field["name"] for field in data.meta["fields"]]
    rows = {}  # of their tables, in the order of our ids; 0, of no value, is theirs too
    for name in names:
        values = pl.read_parquet(data.folder / "vocab" / f"{name}.parquet")["value"].cast(pl.String)
        rows[name] = torch.tensor([0, *(ids[name][value] for value in values)])
    tables = {name: theirs.embedding_layer.embedding[name].weight for name in names}
    ours.embedding.table.weight.copy_(torch.cat([tables[name][rows[name]] for name in names]))
    order = torch.tensor([FIELDS.index(name) for name in names])
    layer, their_layer = ours.layers[0], theirs.Euler_interaction_layers[0]
    layer.orders.copy_(their_layer.inter_orders[order])
    layer.mix.weight.copy_(their_layer.im.weight.unflatten(1, (len(names), -1))[:, order].flatten(1))
    put(layer.mix.bias, their_layer.im.bias)
    put(layer.log_modulus_bias, their_layer.bias_lam[0].T)
    put(layer.phase_bias, their_layer.bias_theta[0].T)
    put(ours.modulus, theirs.mu)
    put(ours.head.weight, theirs.reg.weight)
    put(ours.head.bias, theirs.reg.bias)

    draw = torch.Generator().manual_seed(0)  # of its own: dropout goes on from the seed's
    x = torch.stack([torch.randint(len(rows[name]), (4096,), generator=draw) for name in names], dim=1)
    vectors = [tables[name][rows[name][x[:, names.index(name)]]] for name in FIELDS]
    ours.eval(), theirs.eval()
    theirs.FeatureInteraction(torch.stack(vectors, dim=1), None)
    gap = (ours(x) - theirs.logits.squeeze(1)).abs().max().item()
    print(f"the logits of 4,096 drawn rows differ by {gap:.1e} at most", flush=True)
    if not gap < 1e-5:
        sys.exit("the two models are not the same")


if __name__ == "__main__":
    main()
