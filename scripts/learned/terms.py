"""The explicit part of a one-layer EulerNet as what it is: a sum of products, one factor a field.

An order vector m adds to the logit, in each dimension d,

    Re( a_md prod_f z_fmd ),   z_fmd = exp(i alpha_fm arg z_fd),

with a complex number a_md that no row changes: the modulus of a field is mu_f for all of its values, so the moduli are
in a_md and the rows act through phases alone. A product splits exactly into what sets of fields do together: with the
means c_fmd of the factors, prod_f z_f = prod_f (c_f + (z_f - c_f)), and

    the part of a set S  =  Re( a prod_{f in S} (z_f - c_f) prod_{f not in S} c_f ).

This is the functional ANOVA (Hoeffding, 1948) of the explicit part under fields that are drawn independently, each as
often as in the rows: the part of S has mean 0 over any of its fields, so what smaller sets explain is no longer in it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from eulernet.errors import require
from eulernet.layers.euler import EPS, EulerInteractionLayer
from eulernet.models.base import CTRModel
from eulernet.models.eulernet import EulerNet

Fields = tuple[int, ...]


@dataclass(frozen=True)
class Explicit:
    """The explicit part on some rows. M order vectors over F fields, in D dimensions."""

    phases: Float[Tensor, "rows F D"]
    orders: Float[Tensor, "F M"]
    amplitudes: Complex[Tensor, "M D"]

    @classmethod
    @torch.no_grad()
    def of(cls, model: CTRModel, x: Int[Tensor, "rows C"]) -> "Explicit":
        """UserError unless the model is an EulerNet whose logit is this sum: one layer, no norm, all of explicit."""
        require(
            isinstance(model, EulerNet), f"{type(model).__name__} has no order vectors; give a run of model=eulernet"
        )
        assert isinstance(model, EulerNet)
        layer, *more = model.layers
        assert isinstance(layer, EulerInteractionLayer)
        require(not more, f"the run has {1 + len(more)} Euler layers; only of one layer is the logit a sum of products")
        require(layer.without in ("nothing", "implicit"), f"the run is without {layer.without}: give one that has it")
        require(not layer.norm_r.state_dict(), "the run has model.norm=true: its logit is no sum of order vectors")
        phase = model.embedding(x)
        phases = torch.atan2(model.modulus * phase.sin(), model.modulus * phase.cos())
        log_modulus = layer.orders.T @ (0.5 * torch.log(model.modulus**2 + EPS)) + layer.log_modulus_bias  # [M, D]
        weight = model.head.weight.view(layer.shape) * log_modulus.exp()
        # Real and imaginary part have one weight: w (cos t + sin t) = Re(w (1 - i) exp(it)).
        return cls(phases, layer.orders.detach(), weight * (1 - 1j) * torch.polar(torch.ones(()), layer.phase_bias))

    def factors(self, vector: int) -> Complex[Tensor, "rows F D"]:
        """z_f of one order vector."""
        return torch.exp(1j * self.orders[:, vector, None] * self.phases)

    def vectors(self) -> Iterator[tuple[Complex[Tensor, "rows F D"], Complex[Tensor, " D"]]]:
        """Factors and amplitudes of one order vector after the other."""
        for m, amplitude in enumerate(self.amplitudes):
            yield self.factors(m), amplitude

    def terms(self) -> Float[Tensor, "rows M"]:
        """What each order vector adds to the logit."""
        return torch.stack([together(z.prod(1), a) for z, a in self.vectors()], dim=1)

    def interactions(self) -> Float[Tensor, "M D"]:
        """The variance of what each vector adds in each dimension beyond the parts of single fields."""
        found = []
        for z, amplitude in self.vectors():
            alone = sum(part(z, (f,)) for f in range(z.shape[1]))
            found.append((amplitude * (z.prod(1) - alone)).real.var(0))
        return torch.stack(found)

    def parts(self, sets: Sequence[Fields]) -> Float[Tensor, "rows S"]:
        """What each set of fields adds to the logit, over all order vectors."""
        found = torch.zeros(len(self.phases), len(sets), dtype=torch.float64)
        for z, amplitude in self.vectors():
            for s, fields in enumerate(sets):
                found[:, s] += together(part(z, fields), amplitude)
        return found

    def strengths(self) -> Float[Tensor, "F M"]:
        """The share of each field in how far the rows move a vector's phase: its variance, over the sum of theirs."""
        moved = self.orders**2 * self.phases.var(0).sum(1, keepdim=True)
        return moved / moved.sum(0)


def part(factors: Complex[Tensor, "rows F D"], fields: Fields) -> Complex[Tensor, "rows D"]:
    """prod_{f in S} (z_f - c_f) prod_{f not in S} c_f, the means c over the rows."""
    means, chosen = factors.mean(0), list(fields)
    others = [f for f in range(factors.shape[1]) if f not in fields]
    return (factors[:, chosen] - means[chosen]).prod(1) * means[others].prod(0)


def together(products: Complex[Tensor, "rows D"], amplitude: Complex[Tensor, " D"]) -> Float[Tensor, " rows"]:
    """The real part, summed over the dimensions."""
    return (products * amplitude).real.double().sum(1)
