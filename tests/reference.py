"""Slow, obvious twins of the clever lines: loops, complex numbers, one row at a time."""

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import torch
from torch import Tensor, nn


def product_of_powers(r: Tensor, p: Tensor, orders: Tensor) -> Tensor:
    """prod_n z_n^orders[n, m] in complex numbers: [B, N, D] parts to complex [B, M, D]."""
    z = torch.complex(r, p)
    columns = []
    for m in range(orders.shape[1]):
        product = torch.ones_like(z[:, 0])
        for n in range(orders.shape[0]):
            product = product * z[:, n] ** orders[n, m]
        columns.append(product)
    return torch.stack(columns, dim=1)


def euler_layer(layer: nn.Module, r: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
    """The layer as docs of the published code state it, sample by sample and neuron by neuron, without dropout.

    lam = 1/2 ln(r^2 + p^2 + 1e-8), theta = atan2(p, r); lam' = exp(alpha' lam + b), theta' = alpha' theta + b';
    explicit = lam' (cos theta', sin theta'); implicit = relu(W r + c), relu(W p + c); their sum, LayerNorm over D.
    """
    samples, n_in, dim = r.shape
    n_out = layer.orders.shape[1]
    out_r, out_p = [], []
    for s in range(samples):
        mixed_r = layer.mix.weight @ r[s].reshape(n_in * dim) + layer.mix.bias
        mixed_p = layer.mix.weight @ p[s].reshape(n_in * dim) + layer.mix.bias
        rows_r, rows_p = [], []
        for m in range(n_out):
            log_lam, theta = layer.log_modulus_bias[m], layer.phase_bias[m]
            for n in range(n_in):
                log_lam = log_lam + layer.orders[n, m] * 0.5 * torch.log(r[s, n] ** 2 + p[s, n] ** 2 + 1e-8)
                theta = theta + layer.orders[n, m] * torch.atan2(p[s, n], r[s, n])
            lam = torch.exp(log_lam)
            part = slice(m * dim, (m + 1) * dim)
            rows_r.append(norm(lam * torch.cos(theta) + torch.clamp(mixed_r[part], min=0), layer.norm_r))
            rows_p.append(norm(lam * torch.sin(theta) + torch.clamp(mixed_p[part], min=0), layer.norm_p))
        out_r.append(torch.stack(rows_r))
        out_p.append(torch.stack(rows_p))
    return torch.stack(out_r), torch.stack(out_p)


def norm(row: Tensor, module: nn.Module) -> Tensor:
    """LayerNorm of one row [D], written out; or nothing, where the layer has none."""
    if isinstance(module, nn.Identity):
        return row
    centred = row - row.mean()
    return centred / torch.sqrt((centred**2).mean() + 1e-5) * module.weight + module.bias


def eulernet(model: nn.Module, x: Tensor) -> Tensor:
    """Logits of the whole model, from ids to the head whose bias counts twice."""
    starts = [sum(model.embedding.field_sizes[:f]) for f in range(x.shape[1])]
    phase = torch.stack([model.embedding.table.weight[starts[f] + x[:, f].long()] for f in range(x.shape[1])], dim=1)
    r, p = model.modulus * torch.cos(phase), model.modulus * torch.sin(phase)
    for layer in model.layers:
        r, p = euler_layer(layer, r, p)
    weight, bias = model.head.weight[0], model.head.bias[0]
    return torch.stack([(weight @ r[s].flatten() + bias) + (weight @ p[s].flatten() + bias) for s in range(len(x))])


def row_adam(row: list[float], grads: list[list[float] | None], *, lr: float, decay: float) -> list[float]:
    """One row of a table through steps of Adam that pass over it where its gradient is None."""
    first, second = [0.0] * len(row), [0.0] * len(row)
    for step, grad in enumerate(grads, start=1):
        if grad is None:
            continue
        for d, g in enumerate(grad):
            g = g + decay * row[d]
            first[d] = 0.9 * first[d] + 0.1 * g
            second[d] = 0.999 * second[d] + 0.001 * g * g
            size = math.sqrt(second[d] / (1 - 0.999**step)) + 1e-8
            row[d] = row[d] - lr * first[d] / (1 - 0.9**step) / size
    return row


def row_adagrad(row: list[float], grads: list[list[float] | None], *, lr: float, decay: float) -> list[float]:
    """One row of a table through steps of row-wise Adagrad: its mean square adds up, one number for the row."""
    total = 0.0
    for grad in grads:
        if grad is None:
            continue
        grad = [g + decay * w for g, w in zip(grad, row, strict=True)]
        total += sum(g * g for g in grad) / len(grad)
        row = [w - lr * g / (math.sqrt(total) + 1e-8) for g, w in zip(grad, row, strict=True)]
    return row


def cowclip(row: list[float], grad: list[float], count: int, ratio: float, bound: float) -> list[float]:
    """Zheng et al.: the gradient of one id, no longer than count max(r |row|, zeta)."""
    allowed = count * max(ratio * math.hypot(*row), bound)
    norm = math.hypot(*grad)
    return [g * allowed / norm for g in grad] if norm > allowed else grad


def auc(labels: list[int], scores: list[float]) -> float:
    """Every pair of a click and a non-click, one by one."""
    pairs = wins = 0.0
    for label, score in zip(labels, scores, strict=True):
        for other_label, other in zip(labels, scores, strict=True):
            if label == 1 and other_label == 0:
                pairs += 1
                wins += 1.0 if score > other else 0.5 if score == other else 0.0
    return wins / pairs


def logloss(labels: list[int], logits: list[float]) -> float:
    total = 0.0
    for label, logit in zip(labels, logits, strict=True):
        probability = 1 / (1 + math.exp(-logit))
        total -= math.log(probability if label == 1 else 1 - probability)
    return total / len(labels)


def movielens_1m_rows(folder: Path) -> list[tuple[tuple[str, ...], int]]:
    """The paper's rows of MovieLens-1M in file order, one line at a time: seven raw values and the label."""
    users, movies, rows = {}, {}, []
    for line in (folder / "users.dat").open(encoding="latin-1"):
        user, gender, age, occupation, zip_code = line.rstrip("\n").split("::")
        users[user] = (age, gender, occupation, zip_code)
    for line in (folder / "movies.dat").open(encoding="latin-1"):
        movie, title, _ = line.rstrip("\n").split("::")
        year = re.search(r"\((\d{4})\)$", title)
        movies[movie] = year[1] if year else ""
    for line in (folder / "ratings.dat").open(encoding="latin-1"):
        user, movie, rating, _ = line.split("::")
        if rating != "3":
            rows.append(((user, *users[user], movie, movies[movie]), int(rating in "45")))
    return rows


def criteo_rows(file: Path) -> list[tuple[tuple[int | None, ...], int]]:
    """The paper's rows of Criteo, one line at a time, as the authors' DataSource/criteo_parse.py has them.

    An integer above 2 becomes ceil(ln(v)^2 + 1), a category the number that its hexadecimal digits write.
    """
    rows = []
    for line in file.open():
        label, *cells = line.rstrip("\n").split("\t")
        assert len(cells) == 39
        counts = [int(cell) if cell else None for cell in cells[:13]]
        counts = [math.ceil(math.log(v) ** 2 + 1) if v is not None and v > 2 else v for v in counts]
        rows.append(((*counts, *(int(cell, 16) if cell else None for cell in cells[13:])), int(label)))
    return rows


def avazu_rows(file: Path) -> list[tuple[tuple[int, ...], int]]:
    """The paper's rows of Avazu, as DataSource/avazu_parse.py has them: weekday, hour, then 21 columns as numbers."""
    rows = []
    lines = file.open()
    next(lines)
    for line in lines:
        cells = line.rstrip("\r\n").split(",")
        time = datetime.strptime(cells[2], "%y%m%d%H")
        codes = [int(cell, 16) for cell in cells[5:14]]
        rest = [int(cell) for cell in cells[14:]]
        rows.append(((time.weekday(), time.hour, *map(int, cells[3:5]), *codes, *rest), int(cells[1])))
    return rows


def paper_split(rows: list, seed: int) -> tuple[list, list, list]:
    """Train, validation and test rows, as the authors' script makes them: it shuffles the rows themselves."""
    rows = list(rows)
    random.seed(seed)
    random.shuffle(rows)
    test, valid = int(len(rows) * 0.1), int(len(rows) * 0.2)
    return rows[valid:], rows[test:valid], rows[:test]


def encode(values: list, min_count: int) -> list[int]:
    """Ids by falling count, ties by value; missing and rare ones 0."""
    counts = Counter(value for value in values if value is not None)
    known = sorted((v for v in counts if counts[v] >= min_count), key=lambda v: (-counts[v], v))
    return [known.index(v) + 1 if v in known else 0 for v in values]


def delong(labels: Sequence[int], a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """The z statistic and the variance of the difference of two AUCs, every pair of rows looked at (DeLong 1988)."""
    clicks = [i for i, label in enumerate(labels) if label == 1]
    others = [i for i, label in enumerate(labels) if label == 0]

    def psi(scores: Sequence[float], i: int, j: int) -> float:
        return 1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0

    of_clicks = [[sum(psi(s, i, j) for j in others) / len(others) for i in clicks] for s in (a, b)]
    of_others = [[sum(psi(s, i, j) for i in clicks) / len(clicks) for j in others] for s in (a, b)]

    def covariance(x: Sequence[float], y: Sequence[float]) -> float:
        mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
        return sum((p - mean_x) * (q - mean_y) for p, q in zip(x, y, strict=True)) / (len(x) - 1)

    def matrix(k: int, m: int) -> float:
        by_clicks = covariance(of_clicks[k], of_clicks[m]) / len(clicks)
        return by_clicks + covariance(of_others[k], of_others[m]) / len(others)

    variance = matrix(0, 0) + matrix(1, 1) - 2 * matrix(0, 1)
    difference = sum(of_clicks[0]) / len(clicks) - sum(of_clicks[1]) / len(clicks)
    return difference / variance**0.5, variance
