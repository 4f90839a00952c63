"""Do our models compute what FuxiCTR and RecBole compute? python benchmarks/cross_check.py fuxictr=CHECKOUT | recbole

Builds each model that both have (the tables in models/), copies our random weights over, and compares logits in
float64, in evaluation mode. A row says ``agrees`` below 1e-5, or what differs and which of the two follows the paper; a
row that is not as noted ends the script with 1. Each peer wants an environment of its own, and this repository on the
path:

    python -m venv peer && peer/bin/pip install torch==2.13.0 jaxtyping scikit-learn h5py tqdm pyarrow polars==1.40.1 \\
        Keras-Preprocessing==1.1.2 pyyaml pandas            # for a checkout of github.com/reczoo/FuxiCTR
    python -m venv peer && peer/bin/pip install torch==2.13.0 jaxtyping numpy==1.26.4 pandas==2.2.3 recbole==1.2.1
    PYTHONPATH=. peer/bin/python benchmarks/cross_check.py ...
"""

import sys
from pathlib import Path
from typing import Any

import torch
from models import fuxictr, recbole
from models.weights import SIZES, Case
from torch import Tensor, nn

from eulernet.models import MODELS
from eulernet.models.base import CTRModel

CLOSE = 1e-5


def main() -> None:
    peer, _, path = sys.argv[1].partition("=") if len(sys.argv) == 2 else ("", "", "")
    if (peer, bool(path)) not in (("fuxictr", True), ("recbole", False)):
        sys.exit(__doc__)
    surprises = compare_all(fuxictr.Peer(Path(path).resolve()) if peer == "fuxictr" else recbole.Peer())
    sys.exit(f"{surprises} rows are not as noted" if surprises else 0)


def compare_all(peer: Any) -> int:
    """Print a row for each case of ``peer``; how many are not as noted."""
    torch.manual_seed(0)
    x = torch.stack([torch.randint(size, (64,)) for size in SIZES], dim=1)
    surprises = 0
    for case in peer.cases():
        gap = compare(peer, case, x)
        surprise = is_surprise(gap, case.note)
        surprises += surprise
        verdict = "agrees" if gap < CLOSE else "differs"
        print(f"{case.name:20} {verdict:8} {gap:9.1e}  {case.note}{'  <-- not as noted' * surprise}", flush=True)
    return surprises


def compare(peer: Any, case: Case, x: Tensor) -> float:
    """The largest difference between the logits of the two models with the same weights."""
    mine = ours(case.ours, case.settings)
    theirs = peer.build(case, mine).double().eval()
    with torch.no_grad():
        logits = mine(x)
        assert logits.std() > 1e-3, case.name  # else nothing is compared
        return (logits - theirs(x)).abs().max().item()


def is_surprise(gap: float, note: str) -> bool:
    return (gap < CLOSE) == bool(note and not note.startswith("with"))


def ours(name: str, settings: dict[str, Any]) -> CTRModel:
    """With all weights and running statistics random."""
    torch.manual_seed(1)
    model = MODELS[name](SIZES, **settings).double().eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


if __name__ == "__main__":
    main()
