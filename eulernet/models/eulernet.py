"""EulerNet (Tian et al., "EulerNet: Adaptive Feature Interaction Learning via Euler's Formula", SIGIR 2023)."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from math import sqrt

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import choose, require, require_count, require_counts, require_rate
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.layers.euler import EulerInteractionLayer, Init, Without
from eulernet.layers.head import Head
from eulernet.layers.mlp import ACTIVATIONS
from eulernet.layers.planes import euler_stack
from eulernet.layers.pooling import attentive
from eulernet.layers.scoring import euler_logits
from eulernet.models.base import CTRModel


class EulerNet(CTRModel):
    """Fields as complex features mu exp(i e), a stack of Euler layers, one linear head for real and imaginary parts.

    * ``orders``: order vectors (neurons) of each Euler layer; None is one layer with as many as there are fields.
    * ``init``: starting weights of the published variant ``sigir``, ``fuxictr`` or ``recbole``.
    * ``without``: the part that an ablation takes away from every layer: ``explicit``, ``implicit``, ``modulus``
      (phases alone) or ``phase`` (moduli alone); ``nothing`` is the model.
    * ``history``: how a history (``features.History``) becomes one vector: ``mean``, as its field says, or
      ``attention``, by an activation unit with layers of ``attention_units`` (layers/pooling.py).
    * ``norm_penalty``: weight of RecBole's penalty, the sum of unsquared L2 norms of all weights but the
      embeddings. The other variants decay their weights in the optimizer (``train.weight_decay``,
      ``train.embedding_l2``, ``train.net_l2``).

    Raises ValueError for impossible hyperparameters.
    """

    def __init__(
        self,
        field_sizes: Sequence[FieldSize],
        *,
        embedding_dim: int,
        orders: Sequence[int] | None,
        drop_explicit: float,
        drop_implicit: float,
        norm: bool,
        init: Init,
        without: Without,
        norm_penalty: float,
        history: str = "mean",  # configurations of older runs do not say
        attention_units: Sequence[int] = (),
        attention_activation: str = "dice",
    ) -> None:
        super().__init__()
        require_count(embedding_dim, "embedding_dim")
        require(
            orders is None or (len(orders) > 0 and min(orders) >= 1),
            f"model.orders must be at least 1 each, got {orders}",
        )
        require_rate(drop_explicit, "drop_explicit")
        require_rate(drop_implicit, "drop_implicit")
        require_counts(attention_units, "attention_units")
        require(norm_penalty >= 0, f"model.norm_penalty must not be negative, got {norm_penalty}")
        fields = len(field_sizes)
        widths = [fields, *([fields] if orders is None else orders)]
        self.norm_penalty = norm_penalty
        self.fused = without == "nothing"  # if false, layer by layer as the formulas read: the same, more slowly
        makers: dict[str, Callable[[Sequence[FieldSize], int], FieldEmbedding]] = {
            "mean": FieldEmbedding,
            "attention": partial(attentive, attention_units=attention_units, attention_activation=attention_activation),
        }
        make = choose(makers, history, "model.history")
        choose(ACTIVATIONS, attention_activation, "model.attention_activation")
        self.embedding = make(field_sizes, embedding_dim)  # e: the phase of each feature
        self.modulus = nn.Parameter(torch.ones(fields, 1))  # mu, one per field
        self.layers = nn.ModuleList(
            EulerInteractionLayer(
                n_in,
                n_out,
                embedding_dim,
                drop_explicit=drop_explicit,
                drop_implicit=drop_implicit,
                norm=norm,
                init=init,
                without=without,
            )
            for n_in, n_out in pairwise(widths)
        )
        self.head = Head(widths[-1] * embedding_dim, 1)
        self.initialise(init)

    def initialise(self, init: Init) -> None:
        """Draw embeddings and head as the published variant does; the layers drew theirs.

        sigir: xavier uniform per field, head xavier normal; fuxictr: N(0, 1e-4^2), head xavier normal;
        recbole: xavier normal over the whole table, head N(0, .01^2) with bias 0.
        """
        nn.init.xavier_normal_(self.head.weight)
        if init == "fuxictr":
            self.embedding.draw(partial(nn.init.normal_, std=1e-4))
        elif init == "recbole":
            table = self.embedding.table
            std = sqrt(2 / (table.num_embeddings + table.embedding_dim))  # xavier
            self.embedding.draw(partial(nn.init.normal_, std=std))
            nn.init.normal_(self.head.weight, std=0.01)
            nn.init.zeros_(self.head.bias)

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        if self.fused and not (torch.is_grad_enabled() or self.training or torch.compiler.is_exporting()):
            return euler_logits(list(self.layers), self.head, self.embedding.planes(x), self.modulus)
        if self.fused:
            r, p = euler_stack(self.layers, self.embedding.planes(x), self.modulus)  # [M, D, B]
            return self.head((r + p).flatten(0, 1).T).squeeze(1) + self.head.bias  # the bias counts twice
        phase = self.embedding(x)
        r, p = self.modulus * torch.cos(phase), self.modulus * torch.sin(phase)
        for layer in self.layers:
            r, p = layer(r, p)  # [B, N, D] -> [B, M, D]
        return (self.head(r.flatten(1)) + self.head(p.flatten(1))).squeeze(1)

    def regularisation(self) -> Float[Tensor, ""] | float:
        """RecBole's: norm_penalty times the sum of the L2 norms of mu and of each layer and head weight."""
        if self.norm_penalty == 0:
            return 0.0
        weights = [w for name, w in self.named_parameters() if not name.startswith("embedding.table.")]
        return self.norm_penalty * torch.stack([torch.linalg.vector_norm(w) for w in weights]).sum()
