"""Several models in one: settings that any model of ``conf/model`` takes beside its own."""

from collections.abc import Callable, Iterator
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from eulernet.errors import require, require_count
from eulernet.features import FieldEmbedding
from eulernet.layers.head import Head
from eulernet.layers.mlp import MLP, LogitMLP
from eulernet.models.base import CTRModel

WRAPS = ("embeddings", "members")  # settings in the section ``model`` of a configuration, each with a file in conf/wrap
MOST = 256  # models or members: a file from elsewhere may ask for any number


def wrap(new: Callable[[], CTRModel], *, embeddings: int = 1, members: int = 1) -> CTRModel:
    """``new()``, or with ``embeddings`` above 1 a MultiEmbedding of such models, and an Ensemble if ``members`` is.

    UserError if one is below 1 or above 256, or if the model has no layers that members could share.
    """
    for key, count in {"embeddings": embeddings, "members": members}.items():
        require_count(count, key)
        require(count <= MOST, f"model.{key}={count}: the limit is {MOST}")
    model = new() if embeddings == 1 else MultiEmbedding([new() for _ in range(embeddings)])
    return model if members == 1 else Ensemble(model, members)


class MultiEmbedding(CTRModel):
    """logit = mean_k z_k, the logits of K models of one kind, each with embedding tables and layers of its own.

    Multi-embedding (Guo et al., "On the Embedding Collapse When Scaling Up Recommendation Models", ICML 2024,
    arXiv 2310.04400): the numbers of wide tables collapse into few dimensions, several narrow ones learn different
    things. The paper averages the outputs of the K interaction layers and puts one network on the mean. Here each model
    has that network as well, so that any model can be wrapped, and the logits are averaged. The paper wants something
    that is not linear after the interactions: K FMs are no more than one FM of K times the dimension. The loss is
    that of the mean; what FCN, FinalNet and QNN-alpha add to theirs is left out.
    """

    def __init__(self, models: list[CTRModel]) -> None:
        super().__init__()
        self.models, self.piece = nn.ModuleList(models), models[0].piece

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return torch.stack([model(x) for model in self.models]).mean(0)

    def regularisation(self) -> Float[Tensor, ""] | float:
        """The sum of the models'."""
        return sum(cast("CTRModel", model).regularisation() for model in self.models)


class Ensemble(CTRModel):
    """k members that share all weights but vectors and heads; the logit of the mean of their probabilities.

    TabM (Gorishniy et al., "TabM: Advancing Tabular Deep Learning with Parameter-Efficient Ensembling", ICLR 2025,
    arXiv 2410.24210). The members share embeddings, interactions, norms and the matrices of the MLP; vectors that scale
    the inputs and outputs of its layers, the biases and the heads are each member's own. The loss is the mean of
    the members' losses. Where the paper has an MLP alone, this is any model with an MLP of hidden layers; the batch
    norms of a model see the rows of all members.
    """

    def __init__(self, model: CTRModel, members: int) -> None:
        super().__init__()
        shared = [part for part in shared_parts(model) if isinstance(part, MLP) and len(part.layers)]
        name = type(model.models[0] if isinstance(model, MultiEmbedding) else model).__name__
        require(bool(shared), f"model.members={members}: {name} has no MLP for members to share; try model.embeddings")
        self.members = members
        self.model, self.piece = model, max(1, model.piece // members)
        for part in model.modules():
            if isinstance(part, FieldEmbedding):
                part.copies = members
        for part in [*shared_parts(model)]:
            for name, layer in [*(part.layers if isinstance(part, MLP) else part).named_children()]:
                if isinstance(layer, Head):
                    part.add_module(name, MemberHead(layer, members))
                elif isinstance(part, MLP) and isinstance(layer, nn.Linear):
                    part.layers.add_module(name, SharedLinear(layer, members, first=name == "0"))

    def logits(self, x: Int[Tensor, "B C"]) -> Float[Tensor, "k B"]:
        """Those of the members."""
        return self.model(x.repeat(self.members, 1)).unflatten(0, (self.members, -1))

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        z = self.logits(x)
        return torch.logsumexp(F.logsigmoid(z), 0) - torch.logsumexp(F.logsigmoid(-z), 0)

    def calculate_loss(
        self, x: Int[Tensor, "B C"], y: Float[Tensor, " B"], weight: Float[Tensor, " B"] | None = None
    ) -> Float[Tensor, ""]:
        weight = None if weight is None else weight.repeat(self.members)
        return self.model.calculate_loss(x.repeat(self.members, 1), y.repeat(self.members), weight)


def shared_parts(model: nn.Module) -> Iterator[nn.Module]:
    """``model``, the models and MLPs that it is made of: not the small networks inside gates and blocks."""
    yield model
    for part in model.children():
        if isinstance(part, CTRModel | MLP | LogitMLP):
            yield from shared_parts(part)
        elif isinstance(part, nn.ModuleList):
            for one in part:
                if isinstance(one, CTRModel):
                    yield from shared_parts(one)


class SharedLinear(nn.Module):
    """Member m maps x to s_m * W (r_m * x) + b_m: [k B, N] to [k B, M], the rows of one member beside each other.

    Members start alike, with r, s of 1 and one b, but for r in the ``first`` layer of an MLP: signs at random.
    """

    def __init__(self, linear: nn.Linear, members: int, *, first: bool) -> None:
        super().__init__()
        n_in, n_out = linear.in_features, linear.out_features
        self.members = members
        self.weight = linear.weight  # W
        signs = 2.0 * torch.randint(2, (members, 1, n_in)) - 1
        self.scale_in = nn.Parameter(signs if first else torch.ones(members, 1, n_in))  # r
        self.scale_out = nn.Parameter(torch.ones(members, 1, n_out))  # s
        self.bias = nn.Parameter(linear.bias.detach().repeat(members, 1, 1))  # b

    def forward(self, x: Float[Tensor, "R N"]) -> Float[Tensor, "R M"]:
        x = x.unflatten(0, (self.members, -1)) * self.scale_in
        return torch.addcmul(self.bias, F.linear(x, self.weight), self.scale_out).flatten(0, 1)


class MemberHead(nn.Module):
    """A Head of its own for each member, [k B, N] to [k B, M]."""

    def __init__(self, head: Head, members: int) -> None:
        super().__init__()
        bias = head.bias is not None
        self.heads = nn.ModuleList(Head(head.in_features, head.out_features, bias=bias) for _ in range(members))

    def forward(self, x: Float[Tensor, "R N"]) -> Float[Tensor, "R M"]:
        parts = x.unflatten(0, (len(self.heads), -1))
        return torch.cat([head(part) for head, part in zip(self.heads, parts, strict=True)])
