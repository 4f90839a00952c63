"""TabM of its authors' package (github.com/yandex-research/tabm) on our embeddings: an ensemble of plain MLPs."""

from typing import Any

import torch
from torch import Tensor, nn

from models.weights import DIM, FIELDS, Case, put

WIDTH, MEMBERS = 8, 3


class Logits(nn.Module):
    """Their members' mean probability on our embeddings of ids [B, F], as a logit."""

    def __init__(self, model: nn.Module, mine: Any) -> None:
        super().__init__()
        self.model, self.embedding = model, mine.model.embedding

    def forward(self, x: Tensor) -> Tensor:
        vectors = self.embedding.vectors(x).flatten(1)
        return torch.logit(torch.sigmoid(self.model(vectors)).mean(1)).squeeze(1)


class Peer:
    """Builds the model of the package that is installed."""

    def cases(self) -> list[Case]:
        return [CASE]

    def build(self, case: Case, mine: Any) -> nn.Module:
        import tabm

        backbone = tabm.MLPBackboneBatchEnsemble(
            d_in=FIELDS * DIM["embedding_dim"], k=MEMBERS, tabm_init=True, scaling_init="random-signs",
            start_scaling_init_chunks=None, **case.their_settings,
        )  # fmt: skip
        model = nn.Sequential(tabm.EnsembleView(k=MEMBERS), backbone, tabm.LinearEnsemble(WIDTH, 1, k=MEMBERS))
        for block, own in zip(backbone.blocks, mine.model.deep.hidden.layers[::4], strict=True):
            linear = block[0]
            for theirs, ours in ((linear.weight, own.weight), (linear.r, own.scale_in), (linear.s, own.scale_out)):
                put(theirs, ours)
            put(linear.bias, own.bias)
        heads = mine.model.deep.head.heads
        put(model[2].weight, torch.stack([head.weight for head in heads]))
        put(model[2].bias, torch.stack([head.bias for head in heads]))
        return Logits(model, mine)


CASE = Case(
    "TabM", "dnn",
    DIM | dict(hidden_units=[WIDTH, WIDTH], activation="relu", norm="none", dropout=0.0, members=MEMBERS),
    "TabM", dict(n_blocks=2, d_block=WIDTH, dropout=0.0), [],
)  # fmt: skip
