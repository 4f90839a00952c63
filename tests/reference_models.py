"""Slow, obvious twins of the models: one row at a time, from its ids x and its field vectors e [F, D] to its logit.

Sums over pairs, subsets, heads and neurons are loops in the order in which the papers write them; dropout is left out.
"""

import copy
from itertools import combinations
from math import prod
from types import SimpleNamespace

import torch
from torch import Tensor, nn


def logits(model: nn.Module, x: Tensor) -> Tensor:
    kind = type(model).__name__
    if kind == "MultiEmbedding":
        return sum(logits(one, x) for one in model.models) / len(model.models)
    if kind == "Ensemble":
        p = sum(sigmoid(logits(member(model, m), x)) for m in range(model.members)) / model.members
        return torch.log(p / (1 - p))
    twin = TWINS[type(model).__name__]
    embed = getattr(model, "embedding", lambda x: x)
    return torch.stack([twin(model, x[row], embed(x[row : row + 1])[0]) for row in range(len(x))])


def member(ensemble: nn.Module, m: int) -> nn.Module:
    """Member m as a plain model: its matrices are S W R, s and r on diagonals, biases and heads are its own."""
    model = copy.deepcopy(ensemble.model, {id(weight): weight for weight in ensemble.parameters()})
    for part in [*model.modules()]:
        if type(part).__name__ == "FieldEmbedding":
            part.copies = 1
        for name, layer in [*part.named_children()]:
            if type(layer).__name__ == "SharedLinear":
                matrix = layer.scale_out[m].T * layer.weight * layer.scale_in[m]
                part._modules[name] = SimpleNamespace(weight=matrix, bias=layer.bias[m, 0])
            elif type(layer).__name__ == "MemberHead":
                part._modules[name] = layer.heads[m]
    return model


# What several models share.


def linear(term: nn.Module, x: Tensor) -> Tensor:
    """w_0 + sum_f w_f[x_f], each field's weights after those of the fields before it."""
    total, sizes = term.bias, term.weights.field_sizes
    for f in range(len(x)):
        total = total + term.weights.table.weight[sum(sizes[:f]) + int(x[f]), 0]
    return total


def dot(a: Tensor, b: Tensor) -> Tensor:
    return sum(a[k] * b[k] for k in range(len(a)))


def relu(a: Tensor) -> Tensor:
    return torch.where(a > 0, a, torch.zeros_like(a))


def sigmoid(a: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-a))


def affine(layer: nn.Linear, a: Tensor) -> Tensor:
    product = layer.weight @ a
    return product if layer.bias is None else product + layer.bias


def normalise(norm: nn.Module, a: Tensor) -> Tensor:
    """By the running statistics of each entry, or by the row's own."""
    if isinstance(norm, nn.Identity):
        return a
    if isinstance(norm, nn.LayerNorm):
        centred = a - a.mean()
        return centred / torch.sqrt((centred**2).mean() + 1e-5) * norm.weight + norm.bias
    shape = (-1,) + (1,) * (a.dim() - 1)  # per first index: units of a layer, or fields of a matrix [F, D]
    mean, var, weight, bias = (t.view(shape) for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias))
    return (a - mean) / torch.sqrt(var + 1e-5) * weight + bias


def mlp(model: nn.Module, a: Tensor) -> Tensor:
    steps = list(model.layers)
    for at in range(0, len(steps), 4):
        layer, norm, activation, _ = steps[at : at + 4]
        a = normalise(norm, affine(layer, a))
        a = LEARNED.get(type(activation).__name__, activation_itself)(activation, a)
    return a


def dice(activation: nn.Module, a: Tensor) -> Tensor:
    moments = activation.standardise
    p = [sigmoid((a[k] - moments.running_mean[k]) / torch.sqrt(moments.running_var[k] + 1e-8)) for k in range(len(a))]
    return torch.stack([p[k] * a[k] + (1 - p[k]) * activation.alpha[k] * a[k] for k in range(len(a))])


def prelu(activation: nn.Module, a: Tensor) -> Tensor:
    return torch.stack([a[k] if a[k] > 0 else activation.weight[k] * a[k] for k in range(len(a))])


def activation_itself(activation: nn.Module, a: Tensor) -> Tensor:
    return activation(a)


LEARNED = {"ReLU": lambda _, a: relu(a), "Dice": dice, "PReLU": prelu}


def logit_mlp(model: nn.Module, a: Tensor) -> Tensor:
    return affine(model.head, mlp(model.hidden, a))[0]


# The models.


def lr(m, x, e):
    return linear(m.linear, x)


def fm(m, x, e):
    return linear(m.linear, x) + sum(dot(e[i], e[j]) for i, j in combinations(range(len(e)), 2))


def fwfm(m, x, e):
    total = m.bias + sum(dot(e[i], m.linear[i]) for i in range(len(e)))
    for pair, (i, j) in enumerate(combinations(range(len(e)), 2)):
        total = total + m.strength[pair] * dot(e[i], e[j])
    return total


def fmfm(m, x, e):
    pairs = enumerate(combinations(range(len(e)), 2))
    return linear(m.linear, x) + sum(dot(e[i] @ m.matrices[pair], e[j]) for pair, (i, j) in pairs)


def ffm(m, x, e):
    fields = len(e)
    v = e.view(fields, fields, -1)
    return linear(m.linear, x) + sum(dot(v[i, j], v[j, i]) for i, j in combinations(range(fields), 2))


def afm(m, x, e):
    products = [e[i] * e[j] for i, j in combinations(range(len(e)), 2)]
    hidden, _, score, _ = m.attention
    scores = [torch.exp(affine(score, relu(affine(hidden, product)))[0]) for product in products]
    pooled = sum(score / sum(scores) * product for score, product in zip(scores, products, strict=True))
    return linear(m.linear, x) + dot(m.head.weight[0], pooled)


def hofm(m, x, e):
    total = linear(m.linear, x)
    for order, embed in enumerate(m.embeddings, start=2):
        vectors = embed(x[None])[0]
        for subset in combinations(range(len(x)), order):
            total = total + prod(vectors[f] for f in subset).sum()
    return total


def nfm(m, x, e):
    pooled = sum(e[i] * e[j] for i, j in combinations(range(len(e)), 2))
    return linear(m.linear, x) + logit_mlp(m.deep, pooled)


def pnn(m, x, e):
    fields, products = range(len(e)), []
    for node in m.kernel:
        if m.product == "inner":
            products.append(sum(node[i] * node[j] * dot(e[i], e[j]) for i in fields for j in fields))
        else:
            products.append(sum((node * torch.outer(e[i], e[j])).sum() for i in fields for j in fields))
    return logit_mlp(m.deep, relu(affine(m.linear, e.flatten()) + torch.stack(products)))


def dnn(m, x, e):
    return logit_mlp(m.deep, e.flatten())


def attended(embedding: nn.Module, x: Tensor, e: Tensor) -> Tensor:
    """e [F, D] with the vector of each history that has a target added up member by member."""
    vectors = list(e)
    for unit, (start, stop, target) in zip(
        getattr(embedding, "units", ()), getattr(embedding, "attended", ()), strict=True
    ):
        t, total = embedding.table.weight[embedding.first_row[target] + x[target]], 0 * e[0]
        for c in range(start, stop):
            if x[c] >= 0:
                member = embedding.table.weight[embedding.first_row[target] + x[c]]
                total = total + logit_mlp(unit.mlp, torch.cat([t, member, t - member, t * member])) * member
        vectors[embedding.field[start]] = total
    return torch.stack(vectors)


def din(m, x, e):
    return logit_mlp(m.deep, attended(m.embedding, x, e).flatten())


def wide_deep(m, x, e):
    return linear(m.wide, x) + logit_mlp(m.deep, e.flatten())


def deepfm(m, x, e):
    return fm(m, x, e) + logit_mlp(m.deep, e.flatten())


def cross(layer, x0, x):
    return torch.outer(x0, x) @ layer.weight.weight[0] + layer.bias + x


def dcn(m, x, e):
    x0 = crossed = e.flatten()
    for layer in m.cross:
        crossed = cross(layer, x0, crossed)
    return affine(m.head, torch.cat([crossed, mlp(m.deep, x0)]))[0]


def dcnv2(m, x, e):
    x0 = crossed = e.flatten()
    for layer in m.cross:
        if isinstance(layer, nn.Linear):
            matrix, bias = layer.weight, layer.bias
        else:
            v, u = layer
            matrix, bias = u.weight @ v.weight, u.bias
        crossed = x0 * (matrix @ crossed + bias) + crossed
    last = {
        "cross": lambda: crossed,
        "stacked": lambda: mlp(m.deep, crossed),
        "parallel": lambda: torch.cat([crossed, mlp(m.deep, x0)]),
    }
    return affine(m.head, last[m.structure]())[0]


def gdcn(m, x, e):
    c0 = c = e.flatten()
    for layer, gate in zip(m.cross, m.gates, strict=True):
        c = c0 * (layer.weight @ c + layer.bias) * sigmoid(gate.weight @ c) + c
    last = mlp(m.deep, c) if m.structure == "stacked" else torch.cat([c, mlp(m.deep, c0)])
    return affine(m.head, last)[0]


def xdeepfm(m, x, e):
    rows, pooled = list(e), []
    for layer in m.cin:
        weight = layer.weight.view(layer.out_features, len(rows), len(e))
        rows = [
            sum(weight[h, i, j] * rows[i] * e[j] for i in range(len(rows)) for j in range(len(e)))
            for h in range(layer.out_features)
        ]
        pooled.extend(row.sum() for row in rows)
    total = linear(m.linear, x) + dot(m.head.weight[0], pooled)
    return total if m.deep is None else total + logit_mlp(m.deep, e.flatten())


def attend(queries, keys, values, scale):
    """Softmax-weighted values of each query, one head."""
    out = []
    for q in queries:
        weights = [torch.exp(scale * dot(q, k)) for k in keys]
        out.append(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
    return torch.stack(out)


def heads(matrix, count):
    """The rows of a stacked projection [H D, N] that belong to each head."""
    return matrix.view(count, -1, matrix.shape[1])


def autoint(m, x, e):
    h = e
    for layer in m.attention:
        q, k, v, residual = (part.weight for part in (layer.query, layer.key, layer.value, layer.residual))
        parts = [
            attend(h @ hq.T, h @ hk.T, h @ hv.T, 1.0)
            for hq, hk, hv in zip(*(heads(w, layer.heads) for w in (q, k, v)), strict=True)
        ]
        h = relu(torch.cat(parts, dim=1) + h @ residual.T)
    total = affine(m.head, h.flatten())[0]
    return total if m.deep is None else total + logit_mlp(m.deep, e.flatten())


def afn(m, x, e):
    features = torch.exp(normalise(m.norm_log, torch.log(e.abs())))
    products = [prod(features[f] ** order[f] for f in range(len(e))) for order in m.orders]
    total = logit_mlp(m.deep, normalise(m.norm_exp, torch.stack(products)).flatten())
    if m.dnn is None:
        return total
    return affine(m.mix, torch.stack([total, dnn(m.dnn, x, m.dnn.embedding(x[None])[0])]))[0]


def bilinear(layer, e):
    out = []
    for pair, (i, j) in enumerate(combinations(range(len(e)), 2)):
        which = pair if layer.per_pair else min(i, len(layer.weight) - 1)
        out.append((e[i] @ layer.weight[which]) * e[j])
    return out


def fibinet(m, x, e):
    first, _, second, _ = m.senet.excite
    importance = relu(affine(second, relu(affine(first, torch.stack([v.mean() for v in e])))))
    weighed = torch.stack([a * v for a, v in zip(importance, e, strict=True)])
    return linear(m.linear, x) + logit_mlp(
        m.deep, torch.cat(bilinear(m.bilinear_p, e) + bilinear(m.bilinear_q, weighed))
    )


def fignn(m, x, e):
    fields, dim = e.shape
    q, k, v = m.project.weight.chunk(3)
    scale = (dim / m.heads) ** -0.5
    h = first = relu(
        torch.cat(
            [
                attend(e @ hq.T, e @ hk.T, e @ hv.T, scale)
                for hq, hk, hv in zip(*(heads(w, m.heads) for w in (q, k, v)), strict=True)
            ],
            dim=1,
        )
    )
    w = m.edge.weight.flatten()  # w' [e_i, e_j]
    edges = {}
    for i in range(fields):
        raw = [nn.functional.leaky_relu(dot(w, torch.cat([e[i], e[j]]))) for j in range(fields)]
        for j in range(fields):
            edges[i, j] = torch.exp(raw[j]) / sum(torch.exp(r) for r in raw) if i != j else 0.0
    for _ in range(m.steps):
        new = []
        for i in range(fields):
            a = m.bias
            for j in range(fields):
                a = a + edges[j, i] * (h[j] @ m.w_out[j] @ m.w_in[i])
            new.append(gru(m.gru, a, h[i]) + first[i])
        h = torch.stack(new)
    attention = sigmoid(m.attend.weight @ h.flatten())
    return sum(attention[i] * dot(m.score.weight[0], h[i]) for i in range(fields))


def gru(cell, a, h):
    """Update and reset gates z and r, and the candidate n, in torch's order r, z, n."""
    ar, az, an = (cell.weight_ih @ a + cell.bias_ih).chunk(3)
    hr, hz, hn = (cell.weight_hh @ h + cell.bias_hh).chunk(3)
    r, z = sigmoid(ar + hr), sigmoid(az + hz)
    return (1 - z) * torch.tanh(an + r * hn) + z * h


def deepim(m, x, e):
    sums = []
    for order in range(1, m.order + 1):
        zero = torch.zeros_like(e[0])
        sums.append(sum((prod(e[f] for f in subset) for subset in combinations(range(len(e)), order)), zero))
    total = affine(m.head, torch.cat(sums))[0]
    return total if m.deep is None else total + logit_mlp(m.deep, e.flatten())


def finalmlp(m, x, e):
    streams = []
    for select, stack in ((m.select_1, m.mlp_1), (m.select_2, m.mlp_2)):
        context = select.learned[0] if not select.context else torch.cat([e[f] for f in select.context])
        hidden, last, _ = select.gate
        streams.append(mlp(stack, 2 * sigmoid(affine(last, mlp(hidden, context))) * e.flatten()))
    one, two = streams
    total = affine(m.linear, torch.cat([one, two]))[0]
    size_1, size_2 = len(one) // m.heads, len(two) // m.heads
    for head in range(m.heads):
        part_1 = one[head * size_1 : (head + 1) * size_1]
        part_2 = two[head * size_2 : (head + 1) * size_2]
        total = total + part_1 @ m.fusion[head] @ part_2
    return total


def finalnet(m, x, e):
    gated = [*e]
    if not isinstance(m.gate, nn.Identity):
        for f in range(len(e)):
            gated.append((sum(m.gate.weight[f, g] * e[g] for g in range(len(e))) + m.gate.bias[f]) * e[f])
    total = 0.0
    for block, a in ((m.block_1, torch.cat(gated)), (m.block_2, e.flatten())):
        *steps, head = block
        for at in range(0, len(steps), 4):
            layer, norm, activation, _ = steps[at : at + 4]
            both = affine(layer.linear, a)
            h, g = both[: len(both) // 2], both[len(both) // 2 :]
            a = h + g * h if layer.residual == "sum" else torch.cat([h, g * h])
            a = activation(normalise(norm, a))
        total = total + affine(head, a)[0] / 2
    return total


def masknet(m, x, e):
    v = torch.cat([normalise(m.norm, vector) for vector in e])

    def block(b, v):
        first, _, second = b.mask
        mask = affine(second, relu(affine(first, e.flatten())))
        layer, norm, _, _ = b.hidden
        return relu(normalise(norm, affine(layer, mask * v)))

    if not m.serial:
        return logit_mlp(m.deep, torch.cat([block(b, v) for b in m.blocks]))
    for b in m.blocks:
        v = block(b, v)
    return logit_mlp(m.deep, v)


def edcn(m, x, e):
    v, c0 = e, None
    for regulate, layer, deep in zip(m.regulate, m.cross, m.deep, strict=True):
        gates = torch.exp(regulate.gates[:, :, 0] / regulate.temperature)
        c = torch.cat([gates[0, f] / gates[0].sum() * v[f] for f in range(len(v))])
        d = torch.cat([gates[1, f] / gates[1].sum() * v[f] for f in range(len(v))])
        c0 = c if c0 is None else c0
        c, d = cross(layer, c0, c), relu(affine(deep[0], d))
        v = (c * d).view(e.shape)
    return affine(m.head, torch.cat([c, d, c * d]))[0]


def dlrm(m, x, e):
    return logit_mlp(m.deep, torch.stack([dot(e[i], e[j]) for i, j in combinations(range(len(e)), 2)]))


def fcn(m, x, e):
    fields, dim = e.shape
    part = dim // (2 * m.heads)
    logits = []
    for network in [m.exponential] if m.linear is None else [m.exponential, m.linear]:
        for head in range(m.heads):
            halves = [
                [e[f, (2 * head + half) * part + k] for f in range(fields) for k in range(part)] for half in (0, 1)
            ]
            x0 = a = torch.stack(halves[0] + halves[1])
            for w, norm, b in zip(network.maps, network.norms, network.biases, strict=True):
                c = affine(w, a)
                base = a if network is m.exponential else x0
                a = a + base * (torch.cat([c, c * relu(normalise(norm, c))]) + b)
            logits.append(affine(network.head, a)[0])
    return sum(logits) / len(logits)


def qnn_alpha(m, x, e):
    a = e.flatten()
    for layer in m.layers:
        fields, heads, part = layer.shape
        order = [f * heads * part + h * part + k for h in range(heads) for f in range(fields) for k in range(part)]
        gates = relu(normalise(layer.norm, affine(layer.mix, a))).view(-1, len(a))
        a = a + sum(a[order] * gate for gate in gates)
    return affine(m.head, a)[0]


def rankmixer(m, x, e):
    flat = torch.cat([e.flatten(), e.new_zeros(m.filling)]).view(m.tokens, -1)

    def per_token(layer, t):
        return [t[i] @ layer.weight[i] + layer.bias[i] for i in range(m.tokens)]

    t, part = per_token(m.project, flat), m.head.in_features // m.tokens
    for block in m.layers:
        mixed = [torch.cat([token[i * part : (i + 1) * part] for token in t]) for i in range(m.tokens)]
        s = [normalise(block.norm_mixed, a + b) for a, b in zip(mixed, t, strict=True)]
        wide = [a * (1 + torch.erf(a / 2**0.5)) / 2 for a in per_token(block.widen, s)]
        t = [normalise(block.norm, a + b) for a, b in zip(per_token(block.narrow, wide), s, strict=True)]
    return affine(m.head, sum(t) / m.tokens)[0]


def wukong(m, x, e):
    for layer in m.layers:
        n = range(len(e))
        kept = torch.stack([sum(dot(e[i], e[j]) * layer.projection[j] for j in n) for i in n])  # X X' Y
        norm, deep, shape = layer.products
        fm = list(mlp(deep, normalise(norm, kept.flatten())).view(shape.unflattened_size))
        new = fm + [sum(w[i] * e[i] for i in n) for w in layer.compress.weight]
        old = (
            list(e)
            if isinstance(layer.residual, nn.Identity)
            else (
                [
                    sum(w[i] * e[i] for i in n) + b
                    for w, b in zip(layer.residual.weight, layer.residual.bias, strict=True)
                ]
            )
        )
        e = torch.stack([normalise(layer.norm, a + b) for a, b in zip(new, old, strict=True)])
    return logit_mlp(m.deep, e.flatten())


TWINS = {
    "AFM": afm,
    "AFN": afn,
    "AutoInt": autoint,
    "DCN": dcn,
    "DCNv2": dcnv2,
    "DLRM": dlrm,
    "DIN": din,
    "DNN": dnn,
    "DeepFM": deepfm,
    "DeepIM": deepim,
    "EDCN": edcn,
    "FCN": fcn,
    "FFM": ffm,
    "FM": fm,
    "FiBiNET": fibinet,
    "FiGNN": fignn,
    "FinalMLP": finalmlp,
    "FinalNet": finalnet,
    "FmFM": fmfm,
    "FwFM": fwfm,
    "GDCN": gdcn,
    "HOFM": hofm,
    "LR": lr,
    "MaskNet": masknet,
    "NFM": nfm,
    "PNN": pnn,
    "QNNAlpha": qnn_alpha,
    "RankMixer": rankmixer,
    "WideDeep": wide_deep,
    "Wukong": wukong,
    "XDeepFM": xdeepfm,
}
