"""RecBole's models with our weights. They read embeddings and linear term from a data set: here they get ours."""

import importlib
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from models.weights import DIM, EULER, FIELDS, HIDDEN, MLP, SIZES, Case, Copy, euler, layers, put, weight

BATCH = MLP | dict(norm="batch")


class Config(dict):  # EulerNet reads attributes, the others keys
    __getattr__ = dict.__getitem__


class Logits(nn.Module):
    """Their model on ids [B, F], with our ``embedding`` and our linear term, or what stands in its place."""

    def __init__(self, model: Any, mine: Any, case: Case) -> None:
        super().__init__()
        self.model = model
        model.sigmoid = nn.Identity()
        model.concat_embed_input_fields = lambda x: mine.embedding(x)
        term = case.linear or (lambda mine, x: mine.linear(x).unsqueeze(1))
        model.first_order_linear = lambda x: term(mine, x)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Peer:
    """Builds the models of the package that is installed."""

    def __init__(self) -> None:
        importlib.import_module("recbole.model.abstract_recommender").ContextRecommender.__init__ = start
        self.models = importlib.import_module("recbole.model.context_aware_recommender")

    def cases(self) -> list[Case]:
        return CASES

    def build(self, case: Case, mine: Any) -> nn.Module:
        common = dict(
            mlp_hidden_size=HIDDEN, dropout_prob=0.0, reg_weight=0.0, embedding_size=DIM["embedding_dim"]
        )  # fmt: skip
        kind = getattr(self.models, case.theirs)
        if hasattr(kind, "_get_feature2field"):
            kind._get_feature2field = lambda self: self.feature2field.update({f: f for f in range(FIELDS)})
        model = kind(Config(common | case.their_settings), None)
        for copy in case.copies:
            copy(model, mine)
        return Logits(model, mine, case)


def start(model: Any, config: Config, dataset: None) -> None:
    nn.Module.__init__(model)
    model.num_feature_field, model.embedding_size, model.device = FIELDS, DIM["embedding_dim"], torch.device("cpu")
    model.logger = SimpleNamespace(warning=print)
    model.token_field_names, model.token_field_dims = [f"f{f}" for f in range(FIELDS)], SIZES
    for kind in ("float_field", "token_seq_field", "float_seq_field"):
        setattr(model, f"{kind}_names", [])
        setattr(model, f"{kind}_dims", [])


def deep(head: str) -> list[Copy]:
    return [layers("mlp_layers", "deep.hidden"), layers(head, "deep.head")]


def fwfm(b: Any, a: Any) -> None:
    a.linear.data.zero_()
    b.weight = torch.zeros(FIELDS, FIELDS, 1, dtype=torch.float64)
    left, right = torch.triu_indices(FIELDS, FIELDS, 1)
    b.weight[left, right, 0] = a.strength.data


def no_attention_bias(b: Any, a: Any) -> None:
    a.attention[0].bias.data.zero_()


def no_pooled_norm(b: Any, a: Any) -> None:
    put(b.bn.running_var, torch.full((DIM["embedding_dim"],), 1 - b.bn.eps, dtype=torch.float64))


def cross(weights: str, biases: str, own_weight: str) -> Copy:
    def copy(b: Any, a: Any) -> None:
        for w, bias, own in zip(getattr(b, weights), getattr(b, biases), a.cross, strict=True):
            weight("", own_weight)(w, own)
            put(bias, own.bias)

    return copy


def cin(b: Any, a: Any) -> None:
    for layer, own in zip(b.conv1d_list, a.cin, strict=True):
        put(layer.weight, own.weight)
        put(layer.bias, torch.zeros_like(layer.bias))


CASES = [
    Case("FM", "fm", DIM, "FM", {}, []),
    Case("FwFM", "fwfm", DIM, "FwFM", dict(fields=None), [fwfm],
         "with the linear terms 0: theirs is LW, ours FiLV, the paper has both",
         lambda mine, x: mine.bias.expand(len(x), 1)),
    Case("AFM", "afm", DIM | dict(attention_dim=5, dropout=0.0), "AFM", dict(attention_size=5),
         [no_attention_bias, weight("attlayer.w.weight", "attention.0.weight"),
          weight("attlayer.h", "attention.2.weight"), weight("p", "head.weight")],
         "with the attention bias b of the paper's Eq. 5, which theirs lacks, 0"),
    Case("NFM", "nfm", DIM | BATCH | dict(activation="sigmoid"), "NFM", {}, [no_pooled_norm, *deep("predict_layer")],
         "with their batch norm of the pooled products the identity: it is an option of the paper's"),
    Case("DNN (their FNN)", "dnn", DIM | MLP | dict(activation="tanh"), "FNN", {}, deep("predict_layer")),
    Case("Wide & Deep", "wide_deep", DIM | MLP, "WideDeep", {}, deep("deep_predict_layer"),
         linear=lambda mine, x: mine.wide(x).unsqueeze(1)),
    Case("DeepFM", "deepfm", DIM | MLP, "DeepFM", {}, deep("deep_predict_layer")),
    Case("DCN", "dcn", DIM | BATCH | dict(cross_layers=3), "DCN", dict(cross_layer_num=3),
         [cross("cross_layer_w", "cross_layer_b", "weight.weight"), layers("mlp_layers", "deep"),
          layers("predict_layer", "head")]),
    *(Case(f"DCNv2 ({structure})", "dcnv2", DIM | BATCH | dict(structure=structure, cross_layers=3, rank=None),
           "DCNV2", dict(structure=structure, mixed=False, cross_layer_num=3),
           [cross("cross_layer_w", "bias", "weight"), layers("mlp_layers", "deep"), layers("predict_layer", "head")])
      for structure in ("parallel", "stacked")),
    Case("xDeepFM", "xdeepfm", DIM | MLP | dict(cin_units=[5, 3]), "xDeepFM", dict(direct=True, cin_layer_size=[5, 3]),
         [cin, layers("cin_linear", "head"), layers("mlp_layers", "deep")],
         "theirs has ReLU in the CIN, where the paper's formula is linear, and on the MLP's logit"),
    Case("AutoInt+", "autoint", DIM | MLP | dict(attention_layers=1, heads=2, head_dim=4), "AutoInt",
         dict(attention_size=8, dropout_probs=[0.0] * 3, n_layers=1, num_heads=2, has_residual=True), [],
         "another model: theirs projects first, scales, has biases and one residual for all layers; ours is Eq. 5-8",
         lambda mine, x: torch.zeros(1)),
    Case("PNN (inner)", "pnn", DIM | MLP | dict(product="inner", product_units=HIDDEN[0], hidden_units=HIDDEN[1:]),
         "PNN", dict(use_inner=True, use_outer=False), [],
         "another model: theirs weighs each inner product freely, ours by theta_i theta_j, as the paper"),
    Case("Fi-GNN", "fignn", DIM | dict(heads=2, steps=3), "FiGNN",
         dict(attention_size=6, n_layers=4, num_heads=2, hidden_dropout_prob=0.0, attn_dropout_prob=0.0), [],
         "another model: theirs has a first residual, weights per step, A[i, j] for A[j, i]; ours is the paper's"),
    Case("EulerNet", "eulernet", DIM | EULER | dict(init="recbole"), "EulerNet",
         dict(order_list=[5, 3], apply_norm=True, drop_ex=0.0, drop_im=0.0), [euler]),
]  # fmt: skip
