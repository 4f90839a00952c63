"""The logits of an Euler stack for scoring, without gradients: as ``planes.py``, with the constant parts computed once.

* The first layer: log|mu| is the same in all rows, so its product with the orders, the bias and the exponential are
  numbers of the layer, [M, D]. mu multiplies the weights W instead of the planes.
* The last norms and the head together are linear in the normed planes. They need a mean, a mean square and a weighted
  sum of each plane over D; the normed planes themselves are not computed.
* Sums and products are written in place.

The logits equal those of the plain layers up to rounding (tests/models/test_eulernet.py). Planes are [N, D, B].
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eulernet.layers.euler import EPS, EulerInteractionLayer
from eulernet.layers.head import Head


@torch.no_grad()
def euler_logits(
    layers: Sequence[Any], head: Head, e: Float[Tensor, "N D B"], mu: Float[Tensor, "N 1"]
) -> Float[Tensor, " B"]:
    """``head`` of the real and of the imaginary parts after all ``layers``, added. Each layer is without=nothing."""
    device, dtype = e.device.type, e.dtype
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        first, n = layers[0], len(mu)
        modulus = torch.exp(first.orders.T @ (0.5 * torch.log(mu * mu + EPS)) + first.log_modulus_bias).unsqueeze(2)
        phase = principal(e - (mu < 0).to(e.dtype).unsqueeze(2) * math.pi)
        mix = (first.mix.weight.view(-1, n, e.shape[1]) * mu).flatten(1)
        r, p = interact(first, modulus, phase, torch.cos(e), torch.sin(e), mix, dtype)
        for before, layer in pairwise(layers):
            r, p = normed(before.norm_r, r), normed(before.norm_p, p)
            square = torch.addcmul(r.new_tensor(EPS), r, r).addcmul_(p, p)
            log_modulus = product(0.5 * layer.orders.T, square.log_(), dtype).add_(layer.log_modulus_bias.unsqueeze(2))
            r, p = interact(layer, log_modulus.exp_(), torch.atan2(p, r), r, p, layer.mix.weight, dtype)
        last = layers[-1]
        return headed(head, last.norm_r, r) + headed(head, last.norm_p, p)


def interact(
    layer: EulerInteractionLayer, modulus: Tensor, phase: Tensor, r: Tensor, p: Tensor, mix: Tensor, dtype: torch.dtype
) -> tuple[Float[Tensor, "M D B"], Float[Tensor, "M D B"]]:
    """modulus (cos, sin)(orders' phase + b') + relu(W (r, p) + c)."""
    angle = product(layer.orders.T, phase, dtype).add_(layer.phase_bias.unsqueeze(2))
    c = layer.mix.bias.view(*angle.shape[:2], 1)
    mixed_r, mixed_p = (product(mix, plane.flatten(0, 1), dtype).view_as(angle).add_(c).relu_() for plane in (r, p))
    return mixed_r.addcmul_(torch.cos(angle), modulus), mixed_p.addcmul_(angle.sin_(), modulus)


def product(weight: Tensor, plane: Tensor, dtype: torch.dtype) -> Tensor:
    """``weight`` [K, N] times ``plane`` [N, ...], computed in ``dtype``."""
    made = weight.to(dtype) @ plane.flatten(1).to(dtype)
    return made.to(plane.dtype).view(-1, *plane.shape[1:])


def principal(phase: Tensor) -> Tensor:
    """``phase`` wrapped into [-pi, pi]; nearly always it lies there, and is returned as it is."""
    if not torch.compiler.is_compiling():
        least, most = phase.aminmax()
        if max(-least, most) <= math.pi:
            return phase
    return phase - (phase / math.tau).round_() * math.tau


def normed(norm: nn.Module, x: Float[Tensor, "M D B"]) -> Float[Tensor, "M D B"]:
    """``x`` after its norm over D; the memory of ``x`` is overwritten."""
    if not isinstance(norm, nn.LayerNorm):
        return x
    x = x.sub_(x.mean(1, keepdim=True))
    x = x.mul_((x * x).mean(1, keepdim=True).add_(norm.eps).rsqrt_())
    return torch.addcmul(norm.bias.unsqueeze(1), x, norm.weight.unsqueeze(1))


def headed(head: Head, norm: nn.Module, x: Float[Tensor, "M D B"]) -> Float[Tensor, " B"]:
    """``head`` of ``x`` after its norm: sum_m (h_m w) . (x_m - mean) / deviation + h_m . b, for each row."""
    if not isinstance(norm, nn.LayerNorm):
        return (head.weight @ x.flatten(0, 1)).squeeze(0) + head.bias
    h = head.weight.view(x.shape[:2])
    mean, weights = x.mean(1), h * norm.weight
    scale = (x * x).mean(1).sub_(mean * mean).add_(norm.eps).rsqrt_()
    sums = (weights.unsqueeze(1) @ x).squeeze(1).sub_(mean * weights.sum(1, keepdim=True))
    return (sums * scale).sum(0) + (h @ norm.bias).sum() + head.bias
