"""The Euler interaction layer (Tian et al., "EulerNet", SIGIR 2023, arXiv 2304.10711).

A feature is a complex vector z = r + ip in C^D, in polar form z = exp(log|z| + i arg z). Raising features
to real powers and multiplying them is therefore linear in (log|z|, arg z):

    prod_n z_n^orders[n, m]  =  exp( sum_n orders[n, m] log|z_n|  +  i sum_n orders[n, m] arg z_n )
"""

from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eulernet.errors import choose, require_option
from eulernet.layers.dropout import Dropout

EPS = 1e-8  # the published code's: keeps log|z|^2 finite at z = 0

Init = Literal["sigir", "fuxictr", "recbole"]
Without = Literal["nothing", "explicit", "implicit", "modulus", "phase"]
# The weights that a layer without the part does not have.
UNUSED: dict[str, tuple[str, ...]] = {
    "nothing": (),
    "explicit": ("orders", "log_modulus_bias", "phase_bias"),
    "implicit": ("mix",),
    "modulus": ("log_modulus_bias",),
    "phase": ("phase_bias",),
}


class EulerInteractionLayer(nn.Module):
    """Map N complex features to M: learned-order products of the N, plus a ReLU mix of them.

    Shapes: B batch, N features in, M neurons out (one order vector each), D embedding dimension.
    A representation is a pair (r, p) of real and imaginary parts, each [B, N, D].

    * explicit: exp(orders' log|z| + b) (cos, sin)(orders' arg z + b'), the product above times exp(b + ib');
    * implicit: relu(W r + c), relu(W p + c), one linear map shared by both parts;
    * output: explicit + implicit, with ``norm`` followed by LayerNorm over D, one for r and one for p.

    ``init`` names the published variant whose starting weights are drawn (see ``initialise``). ``without`` takes a part
    away with its weights: the explicit or the implicit one, or from the explicit part the moduli (each is 1, and the
    phases alone are learned) or the phases (each is 0).
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        embedding_dim: int,
        *,
        drop_explicit: float,
        drop_implicit: float,
        norm: bool,
        init: Init,
        without: Without,
    ) -> None:
        super().__init__()
        unused = choose(UNUSED, without, "model.without")
        self.without = without
        self.shape = (n_out, embedding_dim)
        self.orders = nn.Parameter(torch.empty(n_in, n_out))  # alpha [N, M]
        self.log_modulus_bias = nn.Parameter(torch.empty(self.shape))  # b [M, D]
        self.phase_bias = nn.Parameter(torch.empty(self.shape))  # b' [M, D]
        self.mix = nn.Linear(n_in * embedding_dim, n_out * embedding_dim)  # W, c
        self.drop_explicit = Dropout(drop_explicit)
        self.drop_implicit = Dropout(drop_implicit)
        self.norm_r = nn.LayerNorm(embedding_dim) if norm else nn.Identity()
        self.norm_p = nn.LayerNorm(embedding_dim) if norm else nn.Identity()
        self.initialise(init)
        for name in unused:
            setattr(self, name, None)

    def initialise(self, init: Init) -> None:
        """Draw the starting weights of a published variant.

        ========  ==================================  =================  =============
        init      orders                              W                  c
        ========  ==================================  =================  =============
        sigir     identity if N = M, else one-hot     N(0, .01^2)        nn.Linear's
        fuxictr   identity if N = M, else one-hot     xavier uniform     nn.Linear's
        recbole   one-hot                             N(0, .1^2)         0
        ========  ==================================  =================  =============

        One-hot is softmax(randn / .01) over the features: nearly one-hot columns, a random feature each.
        """
        n_in, n_out = self.orders.shape
        require_option(init, get_args(Init), "init")
        with torch.no_grad():
            if n_in == n_out and init != "recbole":
                self.orders.copy_(torch.eye(n_in))
            else:
                self.orders.copy_(torch.softmax(torch.randn(n_in, n_out) / 0.01, dim=0))
        nn.init.normal_(self.log_modulus_bias, std=0.01)
        nn.init.normal_(self.phase_bias, std=0.01)
        if init == "sigir":
            nn.init.normal_(self.mix.weight, std=0.01)
        elif init == "fuxictr":
            nn.init.xavier_uniform_(self.mix.weight)
        else:
            nn.init.normal_(self.mix.weight, std=0.1)
            nn.init.zeros_(self.mix.bias)

    def forward(
        self, r: Float[Tensor, "B N D"], p: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B M D"], Float[Tensor, "B M D"]]:
        if self.without == "explicit":
            return self.norm_r(self.implicit(r)), self.norm_p(self.implicit(p))
        explicit_r, explicit_p = self.explicit(r, p)
        if self.without == "implicit":
            return self.norm_r(explicit_r), self.norm_p(explicit_p)
        return self.norm_r(explicit_r + self.implicit(r)), self.norm_p(explicit_p + self.implicit(p))

    def explicit(
        self, r: Float[Tensor, "B N D"], p: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B M D"], Float[Tensor, "B M D"]]:
        """exp(orders' log|z| + b) (cos, sin)(orders' arg z + b')."""
        log_modulus, phase = Polar.apply(r, p)  # type: ignore[no-untyped-call]
        if self.without == "modulus":
            phase = self.powers(phase) + self.phase_bias
            return torch.cos(phase), torch.sin(phase)
        modulus = torch.exp(self.powers(log_modulus) + self.log_modulus_bias)
        if self.without == "phase":
            return modulus, torch.zeros_like(modulus)
        phase = self.powers(phase) + self.phase_bias
        return modulus * torch.cos(phase), modulus * torch.sin(phase)

    def powers(self, exponent: Float[Tensor, "B N D"]) -> Float[Tensor, "B M D"]:
        """orders' exponent: products of powers, in the exponents."""
        return torch.einsum("nm,bnd->bmd", self.orders, self.drop_explicit(exponent))

    def implicit(self, part: Float[Tensor, "B N D"]) -> Float[Tensor, "B M D"]:
        """relu(W part + c), the N features of a sample flattened into one vector."""
        mixed = self.mix(self.drop_implicit(part.flatten(1)))
        return torch.relu(mixed).unflatten(1, self.shape)


class Polar(torch.autograd.Function):
    """(r, p) -> (1/2 log(r^2 + p^2 + EPS), atan2(p, r)), with gradients that stay finite near z = 0.

    d(log|z|, arg z) / d(r, p) = (r, p; -p, r) / |z|^2. The EPS of the forward belongs to the first row only. In
    the second, autograd's own formula overflows to infinity where |z|^2 underflows (float32 at |z| = 1e-20);
    here |z|^2 is kept above 1e-30, which leaves every |z| > 1e-15 exact and gives 0 at z = 0, as atan2 does.
    """

    @staticmethod
    def forward(ctx: Any, r: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(r, p)
        return 0.5 * torch.log(r * r + p * p + EPS), torch.atan2(p, r)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        r, p = ctx.saved_tensors
        square = r * r + p * p
        to_log, to_phase = grads[0] / (square + EPS), grads[1] / square.clamp_min(1e-30)
        return to_log * r - to_phase * p, to_log * p + to_phase * r
