"""Do our models compute what FuxiCTR's, RecBole's and others' do?

    python benchmarks/cross_check.py fuxictr=CHECKOUT [fcn=CHECKOUT] | rankmixer=CHECKOUT | recbole | tabm

Builds each model that both have (the tables in models/), copies our random weights over, and compares logits in
float64, in evaluation mode; of FinalNet, QNN-alpha and FCN, which have a loss of their own, also that loss in training.
A row says ``agrees`` below 1e-5, or what differs and which of the two follows the paper; a row that is not as noted
ends the script with 1. Checkouts are of github.com/reczoo/FuxiCTR, salmon1802/FCN and lswhim/rankmixer. Each peer wants
an environment of its own (rankmixer any with torch), and this repository on the path:

    python -m venv peer && peer/bin/pip install torch==2.13.0 jaxtyping scikit-learn h5py tqdm pyarrow polars==1.40.1 \\
        Keras-Preprocessing==1.1.2 pyyaml pandas            # for a checkout of github.com/reczoo/FuxiCTR
    python -m venv peer && peer/bin/pip install torch==2.13.0 jaxtyping numpy==1.26.4 pandas==2.2.3 recbole==1.2.1
    python -m venv peer && peer/bin/pip install torch==2.13.0 jaxtyping tabm==0.0.3
    PYTHONPATH=. peer/bin/python benchmarks/cross_check.py ...
"""

import sys
from pathlib import Path
from typing import Any

import torch
from models import fuxictr, rankmixer, recbole, tabm
from models.weights import SIZES, Case
from torch import Tensor, nn

from eulernet.models import make_model
from eulernet.models.base import CTRModel

CLOSE = 1e-5


def main() -> None:
    peers = {
        "fuxictr": fuxictr.Peer, "fuxictr fcn": fuxictr.Peer, "rankmixer": rankmixer.Peer, "recbole": recbole.Peer,
        "tabm": tabm.Peer,
    }  # fmt: skip
    asked = dict(word.partition("=")[::2] for word in sys.argv[1:])
    name, checkouts = " ".join(asked), {peer: Path(path).resolve() for peer, path in asked.items() if path}
    if name not in peers or bool(checkouts) == (name in ("recbole", "tabm")):
        sys.exit(__doc__)
    surprises = compare_all(peers[name](**checkouts))
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
    if hasattr(peer, "attention_gap"):
        gap = peer.attention_gap()
        surprises += gap >= CLOSE
        print(f"{'din, its attention':20} {'agrees' if gap < CLOSE else 'differs':8} {gap:9.1e}", flush=True)
    return surprises


def compare(peer: Any, case: Case, x: Tensor) -> float:
    """The largest difference between the logits of the two models with the same weights, and between their losses."""
    mine = ours(case.ours, case.settings)
    theirs = peer.build(case, mine).double().eval()
    with torch.no_grad():
        logits = mine(x)
        assert logits.std() > 1e-3, case.name  # else nothing is compared
        gap = (logits - theirs(x)).abs().max().item()
        if case.loss:
            y = (torch.arange(len(x)) % 3 == 0).double()
            gap = max(gap, abs(mine.train().calculate_loss(x, y) - theirs.train().calculate_loss(x, y)).item())
        return gap


def is_surprise(gap: float, note: str) -> bool:
    return (gap < CLOSE) == bool(note and not note.startswith("with"))


def ours(name: str, settings: dict[str, Any]) -> CTRModel:
    """With all weights and running statistics random."""
    torch.manual_seed(1)
    model = make_model({"name": name, **settings}, SIZES).double().eval()
    for key, weight in model.named_parameters():
        nn.init.normal_(weight, std=1.0 if "scale" in key else 0.3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


if __name__ == "__main__":
    main()
