"""Attention of the target to a history: what ``model=din`` and ``history: attention`` pool lists by."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from eulernet.errors import choose
from eulernet.features import FieldEmbedding, FieldSize, History
from eulernet.layers.mlp import ACTIVATIONS, LogitMLP


class ActivationUnit(nn.Module):
    """The weight of each member e_j of a history for the target t: MLP([t, e_j, t - e_j, t * e_j]), a number of any
    sign.

    The local activation unit of DIN (Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018,
    arXiv 1706.06978, section 4.3 and figure 2): the weights are not normalised, so that their sum says how strong the
    interest is. The figure draws the outer product of t and e_j; the authors' code multiplies and subtracts them
    elementwise, as here.
    """

    def __init__(self, embedding_dim: int, hidden_units: Sequence[int], activation: str) -> None:
        super().__init__()
        self.mlp = LogitMLP(4 * embedding_dim, hidden_units, activation=activation, norm="none", dropout=0.0, bias=True)

    def forward(
        self, target: Float[Tensor, "B D"], members: Float[Tensor, "B L D"], there: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B L"]:
        t = target.unsqueeze(1).expand_as(members)
        if not self.training:
            pairs = torch.cat([t, members, t - members, t * members], dim=2)
            return self.mlp(pairs.flatten(0, 1)).view(there.shape) * there
        return self.of_members(t, members, there)

    def hide_from_compiler(self) -> None:
        """In training the number of members is another in every batch: torch.compile calls it as it is."""
        self.of_members = torch.compiler.disable(self.of_members)  # type: ignore[method-assign]

    def of_members(
        self, t: Float[Tensor, "B L D"], members: Float[Tensor, "B L D"], there: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "B L"]:
        """The same; Dice learns its mean and variance from members, not from empty places."""
        t, e = t[there], members[there]
        weights = self.mlp(torch.cat([t, e, t - e, t * e], dim=1))
        return weights.new_zeros(there.shape).masked_scatter(there, weights)


class AttentiveEmbedding(FieldEmbedding):
    """A FieldEmbedding whose histories are sums of their members weighted by what the target makes of each.

    The target of a history is the field that it is the same as; each has an activation unit of its own.
    """

    def __init__(
        self, field_sizes: Sequence[FieldSize], embedding_dim: int, hidden_units: Sequence[int], activation: str
    ) -> None:
        super().__init__(field_sizes, embedding_dim)
        starts = [0]
        for size in field_sizes:
            starts.append(starts[-1] + getattr(size, "length", 1))
        # Of each history: the first of its columns, the first after them, the column of its target.
        self.attended = [
            (starts[f], starts[f + 1], starts[size.same_as])
            for f, size in enumerate(field_sizes)
            if isinstance(size, History) and size.same_as is not None
        ]
        self.units = nn.ModuleList(ActivationUnit(embedding_dim, hidden_units, activation) for _ in self.attended)

    def pooling_weights(self, x: Int[Tensor, "B C"], vectors: Float[Tensor, "B C D"]) -> Float[Tensor, "B C"]:
        weight = super().pooling_weights(x, vectors)
        for unit, (start, stop, target) in zip(self.units, self.attended, strict=True):
            found = unit(vectors[:, target], vectors[:, start:stop], x[:, start:stop] >= 0)
            weight = torch.cat([weight[:, :start], found.to(weight.dtype), weight[:, stop:]], dim=1)
        return weight


def attentive(
    field_sizes: Sequence[FieldSize], embedding_dim: int, attention_units: Sequence[int], attention_activation: str
) -> FieldEmbedding:
    """An AttentiveEmbedding, or a plain one where no history has a target. ValueError for impossible settings."""
    choose(ACTIVATIONS, attention_activation, "model.attention_activation")
    made = AttentiveEmbedding(field_sizes, embedding_dim, attention_units, attention_activation)
    return made if made.attended else FieldEmbedding(field_sizes, embedding_dim)
