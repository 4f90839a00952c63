"""RankMixer of a checkout of github.com/lswhim/rankmixer, by a reader of the paper; its authors published no code."""

import importlib.util
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from models.weights import DIM, FIELDS, SIZES, Case, each, layers, put, weight


class Logits(nn.Module):
    """Their model on ids [B, F]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(list(x.T))[0].squeeze(1)


class Peer:
    """Builds the one model of a checkout."""

    def __init__(self, rankmixer: Path) -> None:
        spec = importlib.util.spec_from_file_location("peers_rankmixer", rankmixer / "models" / "rankmixer.py")
        assert spec is not None
        assert spec.loader is not None
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)

    def cases(self) -> list[Case]:
        return [CASE]

    def build(self, case: Case, mine: Any) -> nn.Module:
        model = self.module.RankMixer(SIZES, [DIM["embedding_dim"]] * FIELDS, **case.their_settings)
        for copy in case.copies:
            copy(model, mine)
        return Logits(model)


def tables(b: Any, a: Any) -> None:
    for table, rows in zip(b.tokenizer.embeddings, a.embedding.rows_by_field(), strict=True):
        put(table.weight, rows)


def one_projection(b: Any, a: Any) -> None:
    for values in (a.project.weight, a.project.bias):
        values.data = values.data[:1].expand_as(values).clone()
    put(b.tokenizer.proj.weight, a.project.weight[0].T.contiguous())
    put(b.tokenizer.proj.bias, a.project.bias[0])


def no_last_norm(b: Any, a: Any) -> None:
    b.output[0] = nn.Identity()


CASE = Case(
    "RankMixer", "rankmixer", DIM | dict(tokens=5, token_dim=10, layers=2, expansion=2, dropout=0.0), "RankMixer",
    dict(chunk_size=5, hidden_dim=10, mode="dense", num_layers=2, ffn_expansion=2),
    [tables, one_projection, no_last_norm, layers("output", "head"),
     each("blocks", "layers", layers("norm1", "norm_mixed"), layers("norm2", "norm"), weight("pffn.W1", "widen.weight"),
          weight("pffn.b1", "widen.bias"), weight("pffn.W2", "narrow.weight"), weight("pffn.b2", "narrow.bias"))],
    "with our tokens' projections alike, as theirs, and without their LayerNorm of the mean, which the paper lacks",
)  # fmt: skip
