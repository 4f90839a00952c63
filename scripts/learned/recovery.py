"""How well the order vectors that an EulerNet learned are those that were planted in ``dataset=synthetic``.

The clicks tell order vectors up to scales only. A field enters an EulerNet by the phases of its values, and phases
twice as large at half the orders are the same model: an order has no unit before the field's phases have one. And
cos(t) bends a large or a small sum alike, by another amplitude and bias: a vector as a whole has no length. Hence

* a learned order is taken times the slope of its field's phases on the hidden log z of its values (least squares over
  the values): the power of the true z that the vector computes with. The planted orders have no part in this;
* a vector is compared by its direction: absolute cosine, and mean absolute error of its orders after it is given the
  length and the sign of the planted one.

With D dimensions a vector m has a direction in each. They are combined as the leading eigenvector of
sum_d w_d u_d u_d', u the unit directions, w the variance that the dimension adds to the logit beyond the effects of
single fields: these say nothing of which fields share a vector, for a sum of them can be split over vectors at will.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from eulernet.models.eulernet import EulerNet
from learned.terms import Explicit


@dataclass(frozen=True)
class Recovery:
    """Planted orders [K, F], the vectors matched to them, scaled to their lengths, and what tells them apart.

    ``vectors`` are the numbers of the matched learned vectors, ``cosines`` are absolute, ``errors`` mean absolute, [K].
    """

    planted: np.ndarray
    matched: np.ndarray
    vectors: np.ndarray
    cosines: np.ndarray
    errors: np.ndarray


def match(planted: np.ndarray, learned: np.ndarray) -> Recovery:
    """Give each planted vector [K, F] a learned one [M, F] of its own, M >= K, so that the cosines sum to the most."""
    cosines = unit(planted) @ unit(learned).T
    rows, vectors = linear_sum_assignment(-np.abs(cosines))
    sign = np.sign(cosines[rows, vectors])
    matched = unit(learned)[vectors] * (sign * np.linalg.norm(planted, axis=1))[:, None]
    return Recovery(planted, matched, vectors, np.abs(cosines[rows, vectors]), np.abs(matched - planted).mean(1))


def by_chance(planted: np.ndarray, vectors: int, *, draws: int, seed: int) -> tuple[float, float]:
    """The mean cosine and error of ``match`` on as many ``vectors`` of random direction: no knowledge at all."""
    draw = np.random.default_rng(seed)
    found = [match(planted, draw.standard_normal((vectors, planted.shape[1]))) for _ in range(draws)]
    return float(np.mean([one.cosines for one in found])), float(np.mean([one.errors for one in found]))


@torch.no_grad()
def learned_directions(model: EulerNet, logs: Sequence[np.ndarray], x: Int[Tensor, "rows F"]) -> np.ndarray:
    """A unit vector [F] of powers of the true z for each order vector of a one-layer EulerNet, [M, F].

    ``logs`` are the hidden log z of the values of each field, whose ids are 1, 2, ...; x are rows to take variances of.
    """
    longest = max(map(len, logs))
    ids = torch.stack([torch.arange(1, longest + 1).clamp(max=len(values)) for values in logs], dim=1)
    phases = Explicit.of(model, ids).phases.double().numpy()
    slopes = np.stack([slope(values, phases[: len(values), f]) for f, values in enumerate(logs)])  # [F, D]
    explicit = Explicit.of(model, x)
    orders, weights = explicit.orders.double().numpy(), explicit.interactions().double().numpy()
    return np.stack([leading(unit((orders[:, m, None] * slopes).T), weights[m]) for m in range(orders.shape[1])])


def slope(values: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """Of the least-squares line of phases [V, D] on values [V]."""
    centred = values - values.mean()
    return centred @ phases / (centred @ centred)


def leading(directions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The unit vector whose squared cosines with the directions [D, F], times ``weights`` [D], sum to the most."""
    _, vectors = np.linalg.eigh((directions.T * weights) @ directions)
    return vectors[:, -1]


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors, rows, at length 1; zero stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(length > 0, length, 1.0)
