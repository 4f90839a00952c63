"""FuxiCTR's models with our weights: a table, and what a checkout of github.com/reczoo/FuxiCTR needs to build one.

So are FCN and ECN of a checkout of github.com/salmon1802/FCN, which are written for FuxiCTR.
"""

import importlib
import importlib.util
import inspect
import sys
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eulernet.layers.mlp import Dice
from eulernet.layers.pooling import ActivationUnit
from models.weights import (
    DIM,
    EULER,
    FIELDS,
    HIDDEN,
    MLP,
    SIZES,
    Case,
    Copy,
    at,
    each,
    euler,
    layers,
    put,
    put_layers,
    weight,
)

WITH = dict(hidden_units=HIDDEN)


class Logits(nn.Module):
    """Their model on ids [B, F]."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.activation, model.output_activation = model, model.output_activation, nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.model({f"f{f}": x[:, f] for f in range(FIELDS)})["y_pred"].squeeze(1)

    def calculate_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """What they train on, without their regularisers. QNN-alpha's and FCN's take the inputs, as in FuxiCTR 2.0."""
        inputs, labels = {f"f{f}": x[:, f] for f in range(FIELDS)}, y.unsqueeze(1)
        self.model.output_activation, self.model.get_labels = self.activation, lambda inputs: labels
        old = "inputs" in inspect.signature(self.model.add_loss).parameters
        return self.model.add_loss(inputs) if old else self.model.add_loss(self.model(inputs), labels)


class Peer:
    """Builds the models of a checkout of FuxiCTR, and those of the FCN repository if there is a checkout of that."""

    def __init__(self, fuxictr: Path, fcn: Path | None = None) -> None:
        self.zoo, self.fcn, self.attention_gap = fuxictr / "model_zoo", fcn, partial(attention_gap, fuxictr)
        sys.path.insert(0, str(fuxictr))
        self.features = importlib.import_module("fuxictr.features").FeatureMap("cross_check", "")
        self.features.features = OrderedDict(
            (f"f{f}", {"type": "categorical", "source": "", "vocab_size": size}) for f, size in enumerate(SIZES)
        )
        self.features.num_fields, self.features.labels = FIELDS, ["label"]
        self.features.default_emb_dim = DIM["embedding_dim"]

    def cases(self) -> list[Case]:
        return [*LINEAR, *DEEP, *CROSS, *STRUCTURES, *ATTENTION, *TWO_STREAMS, *NEWEST, *(FCN if self.fcn else [])]

    def build(self, case: Case, mine: Any) -> nn.Module:
        file, name = case.theirs.rsplit(" ", 1)
        folder = self.fcn if case.ours == "fcn" and self.fcn else self.zoo
        spec = importlib.util.spec_from_file_location(name, folder / file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        task, loss = ("binary_classification", "binary_crossentropy") if case.loss else ("regression", "mse_loss")
        common = dict(gpu=-1, task=task, optimizer="adam", loss=loss, metrics=[], verbose=0, model_root="")
        settings = (DIM if "embedding_dim" in case.settings else {}) | case.their_settings
        self.features.default_emb_dim = settings.get("embedding_dim", DIM["embedding_dim"])
        model = getattr(module, name)(self.features, **common, **settings)
        for copy in case.copies:
            copy(model, mine)
        return Logits(model)


def attention_gap(checkout: Path) -> float:
    """The largest difference between what their DIN_Attention and our activation unit make of the same histories.

    Their DIN has features of a kind of its own, with 0 in empty places; what it does with vectors is compared.
    """
    sys.path.insert(0, str(checkout))
    theirs = importlib.import_module("fuxictr.pytorch.layers").DIN_Attention(
        DIM["embedding_dim"], attention_units=HIDDEN, hidden_activations="Dice"
    )
    mine = ActivationUnit(DIM["embedding_dim"], HIDDEN, "dice").double().eval()
    for weights in mine.parameters():
        nn.init.normal_(weights, std=0.5)
    units = [module for module in mine.modules() if isinstance(module, Dice)]
    for unit in units:
        nn.init.normal_(unit.standardise.running_mean)
        nn.init.uniform_(unit.standardise.running_var, 0.5, 2.0)
    theirs = theirs.double().eval()
    linear = [[one for one in model.modules() if isinstance(one, nn.Linear)] for model in (theirs, mine)]
    for a, b in zip(*linear, strict=True):
        put(a.weight, b.weight)
        put(a.bias, b.bias)
    their_units = [module for module in theirs.modules() if type(module).__name__ == "Dice"]
    for a, b in zip(their_units, units, strict=True):
        put(a.alpha, b.alpha)
        put(a.bn.running_mean, b.standardise.running_mean)
        put(a.bn.running_var, b.standardise.running_var)
    target, members = torch.randn(64, 6).double(), torch.randn(64, 5, 6).double()
    there = torch.arange(5) < torch.randint(6, (64, 1))
    pooled = (mine(target, members, there).unsqueeze(2) * members).sum(1)
    return (theirs(target, members, there) - pooled).abs().max().item()


def put_table(embedding: Any, mine: Any) -> None:
    tables = embedding.embedding_layer.embedding_layers.values()
    for table, rows in zip(tables, mine.rows_by_field(), strict=True):
        put(table.weight, rows)


def table(theirs: str = "embedding_layer", mine: str = "embedding") -> Copy:
    return lambda b, a: put_table(at(b, theirs), at(a, mine))


def linear(theirs: str = "lr_layer", mine: str = "linear", bias: str = "") -> Copy:
    """The linear term; our one bias is theirs, or the one at ``bias``, of the layer that they give it to."""

    def copy(b: Any, a: Any) -> None:
        put_table(at(b, theirs).embedding_layer, at(a, mine).weights)
        put(at(b, bias or f"{theirs}.bias"), at(a, mine).bias)

    return copy


def ffm(b: Any, a: Any) -> None:
    """Their k-th embedding holds v_f,k+1 of the fields f <= k and v_f,k of f > k."""
    for k, embedding in enumerate(b.embedding_layers):
        for f, rows in enumerate(a.embedding.rows_by_field()):
            layer = embedding.embedding_layer.embedding_layers[f"f{f}"]
            put(layer.weight, rows.unflatten(1, (FIELDS, DIM["embedding_dim"]))[:, k + 1 if f <= k else k])


def hofm(b: Any, a: Any) -> None:
    for embedding, own in zip(b.embedding_layers, a.embeddings, strict=True):
        put_table(embedding, own)


def cin(b: Any, a: Any) -> None:
    """Their rows are (field, row), ours (row, field)."""
    n = FIELDS
    for layer, own in zip(b.cin.cin_layer.values(), a.cin, strict=True):
        put(layer.weight, own.weight.unflatten(1, (n, FIELDS)).mT)
        put(layer.bias, torch.zeros_like(layer.bias))
        n = own.out_features


def residual(layer: Any, own: Any) -> None:
    if layer.W_res is None:
        own.residual.weight.data.copy_(torch.eye(8))
    else:
        put_layers(layer.W_res, own.residual)


def fignn(b: Any, a: Any) -> None:
    put(b.fignn.gnn.W_in, a.w_in.mT)
    put(b.fignn.gnn.W_out, a.w_out.mT)
    b.fignn.gru.load_state_dict(a.gru.state_dict())


def finalmlp(b: Any, a: Any) -> None:
    for name, layer in b.fs_module.fs2_ctx_emb.embedding_layer.embedding_layers.items():
        put(layer.weight, a.embedding.rows_by_field()[int(name[1:])])
    w_x, w_y = a.linear.weight.split([4, 6], dim=1)
    put(b.fusion_module.w_x.weight, w_x)
    put(b.fusion_module.w_y.weight, w_y)
    put(b.fusion_module.w_y.bias, torch.zeros(1, dtype=torch.float64))


def finalnet(b: Any, a: Any) -> None:
    for block, head, own in ((b.block1, b.fc1, a.block_1), (b.block2, b.fc2, a.block_2)):
        put_layers(block.layer, own[0:-1:4])
        put_layers(block.norm, own[1:-1:4])
        put_layers(head, own[-1])


def masknet(b: Any, a: Any) -> None:
    for norm in b.emb_norm:
        put_layers(norm, a.norm)


def gdcn(b: Any, a: Any) -> None:
    net = b.cross_net
    for layer, gate, bias, own, own_gate in zip(net.w, net.wg, net.b, a.cross, a.gates, strict=True):
        put(layer.weight, own.weight)
        put(bias, own.bias)
        put(gate.weight, own_gate.weight)


def quadratic(b: Any, a: Any) -> None:
    """Their gates are (head, row, number), ours (row, head, number)."""
    _, heads, _ = a.shape

    def swap(values: Any) -> Any:
        return values.unflatten(0, (-1, heads, a.mix.in_features // heads)).transpose(0, 1).flatten(0, 2)

    put(b.linear[0].weight, swap(a.mix.weight))
    put(b.linear[0].bias, swap(a.mix.bias))


def as_in_fuxictr_2_0(b: Any, a: Any) -> None:
    """Their call of the embedding layer names its argument as FuxiCTR 2.0 did."""
    layer = b.embedding_layer
    layer.forward = lambda X, dynamic_emb_dim: type(layer).forward(layer, X, flatten_emb=dynamic_emb_dim)


def wukong(b: Any, a: Any) -> None:
    put(b.fmb.proj_Y, a.projection)
    put_layers(b.fmb.layer_norm, a.products[0])
    put_layers(b.fmb.mlp, a.products[1])
    put_layers(b.lcb, a.compress)
    put_layers(b.layer_norm, a.norm)
    if hasattr(b, "residual_proj"):
        put_layers(b.residual_proj, a.residual)


def cross_network(theirs: str, head: str, mine: str) -> list[Copy]:
    """FCN's, whose biases are all [F D / H]."""
    return [
        layers(f"{theirs}.w", f"{mine}.maps"),
        layers(f"{theirs}.layer_norm", f"{mine}.norms"),
        layers(f"{theirs}.{head}", f"{mine}.head"),
        lambda b, a: [put(*pair) for pair in zip(at(b, theirs).b, at(a, mine).biases, strict=True)] and None,
    ]


def put_x_back(b: Any, a: Any) -> None:
    for layer in b.cross_layers:
        layer.forward = lambda x0, x, layer=layer: type(layer).forward(layer, x0, x) + x


TABLE = table()
DNN = layers("dnn", "deep")
CROSS_LAYER = (weight("weight.weight", "weight.weight"), weight("bias", "bias"))
LAST = "dnn.mlp.-1.bias"

LINEAR = [
    Case("LR", "lr", {}, "LR/src/LR.py LR", {}, [linear()]),
    Case("FM", "fm", DIM, "FM/src/FM.py FM", {}, [TABLE, linear("fm.lr_layer")]),
    Case("FwFM", "fwfm", DIM, "FwFM/src/FwFM.py FwFM", dict(linear_type="FiLV"),
         [TABLE, weight("linear_weight_layer.weight", "linear"), weight("interaction_weight.weight", "strength"),
          weight("interaction_weight.bias", "bias")]),
    Case("FmFM", "fmfm", DIM, "FmFM/src/FmFM.py FmFM", {}, [TABLE, linear(), weight("interaction_weight", "matrices")]),
    Case("FFM", "ffm", DIM, "FFM/src/FFM.py FFM", {}, [linear(), ffm]),
    Case("AFM", "afm", DIM | dict(attention_dim=5, dropout=0.0), "AFM/src/AFM.py AFM", dict(attention_dim=5),
         [TABLE, linear(), layers("attention", "attention"), layers("weight_p", "head")],
         "with dropout off: theirs is on the attention weights, the paper's on the products"),
    Case("HOFM", "hofm", DIM | dict(order=4), "HOFM/src/HOFM.py HOFM", dict(order=4), [linear(), hofm]),
]  # fmt: skip
DEEP = [
    Case("NFM", "nfm", DIM | MLP, "NFM/src/NFM.py NFM", WITH, [TABLE, DNN, linear(bias=LAST)]),
    Case("DNN", "dnn", DIM | MLP | dict(norm="batch"), "DNN/DNN_torch/src/DNN.py DNN", WITH | dict(batch_norm=True),
         [TABLE, layers("mlp", "deep")]),
    Case("Wide & Deep", "wide_deep", DIM | MLP, "WideDeep/WideDeep_torch/src/WideDeep.py WideDeep", WITH,
         [TABLE, DNN, linear(mine="wide", bias=LAST)]),
    Case("DeepFM", "deepfm", DIM | MLP, "DeepFM/DeepFM_torch/src/DeepFM.py DeepFM", WITH,
         [TABLE, layers("mlp", "deep"), linear("fm.lr_layer")]),
    Case("PNN (inner)", "pnn", DIM | MLP | dict(product="inner", product_units=HIDDEN[0], hidden_units=HIDDEN[1:]),
         "PNN/src/PNN.py PNN", WITH, [TABLE],
         "another model: theirs weighs each inner product freely, ours by theta_i theta_j, as the paper"),
    Case("DLRM", "dlrm", DIM | MLP, "DLRM/src/DLRM.py DLRM", dict(top_mlp_units=HIDDEN),
         [TABLE, layers("top_mlp", "deep")]),
]  # fmt: skip
CROSS = [
    Case("DCN", "dcn", DIM | MLP | dict(cross_layers=3), "DCN/DCN_torch/src/DCN.py DCN",
         dict(num_cross_layers=3, dnn_hidden_units=HIDDEN),
         [TABLE, DNN, layers("fc", "head"), each("crossnet.cross_net", "cross", *CROSS_LAYER)]),
    Case("EDCN", "edcn", DIM | dict(layers=2, temperature=0.7, dropout=0.0), "EDCN/src/EDCN.py EDCN",
         dict(num_cross_layers=2, temperature=0.7),
         [TABLE, each("regulation_modules", "regulate", weight("g1", "gates.0"), weight("g2", "gates.1")),
          each("cross_layers", "cross", *CROSS_LAYER), layers("dense_layers", "deep"), layers("fc", "head"),
          put_x_back],
         "with the + x put back that their cross layer lacks and the paper's (DCN's) has"),
    Case("EulerNet", "eulernet", DIM | EULER | dict(init="fuxictr"), "EulerNet/src/EulerNet.py EulerNet",
         dict(shape=[5, 3], layer_norm=True), [TABLE, euler]),
]  # fmt: skip
STRUCTURES = [
    *(Case(f"DCNv2 ({structure})", "dcnv2", DIM | MLP | dict(structure=structure, cross_layers=3, rank=None)
           | dict(hidden_units=[] if structure == "cross" else HIDDEN), "DCNv2/src/DCNv2.py DCNv2",
           dict(num_cross_layers=3, model_structure="crossnet_only" if structure == "cross" else structure,
                parallel_dnn_hidden_units=HIDDEN, stacked_dnn_hidden_units=HIDDEN),
           [TABLE, layers("crossnet", "cross"), layers("fc", "head"),
            *([] if structure == "cross" else [layers(f"{structure}_dnn", "deep")])])
      for structure in ("parallel", "stacked", "cross")),
    *(Case("xDeepFM" if hidden else "CIN", "xdeepfm", DIM | MLP | dict(cin_units=[5, 3], hidden_units=hidden),
           "xDeepFM/src/xDeepFM.py xDeepFM", dict(cin_hidden_units=[5, 3], dnn_hidden_units=hidden),
           [TABLE, cin, layers("cin.fc", "head"), linear(bias="cin.fc.bias"), *([DNN] if hidden else [])],
           "with their CIN biases 0, which the paper's formula lacks")
      for hidden in (HIDDEN, None)),
    *(Case("AFN+" if dnn else "AFN", "afn",
           DIM | MLP | dict(logarithmic_neurons=7, dnn_hidden_units=dnn, dnn_dropout=0.0, norm="batch"),
           "AFN/src/AFN.py AFN", dict(logarithmic_neurons=7, afn_hidden_units=HIDDEN, dnn_hidden_units=dnn or [5],
                                      ensemble_dnn=dnn is not None, batch_norm=True),
           [TABLE, weight("coefficient_W.weight", "orders"), layers("log_batch_norm", "norm_log"),
            layers("exp_batch_norm", "norm_exp"), layers("dense_layer", "deep"),
            *([table("embedding_layer2", "dnn.embedding"), layers("dnn", "dnn.deep"), layers("fc", "mix")]
              if dnn else [])])
      for dnn in (None, [5])),
    *(Case("DeepIM" if hidden else "IM", "deepim", DIM | MLP | dict(order=4, hidden_units=hidden),
           "DeepIM/src/DeepIM.py DeepIM", dict(im_order=4, hidden_units=hidden),
           [TABLE, layers("im_layer.fc", "head"), *([DNN] if hidden else [])])
      for hidden in (HIDDEN, None)),
    *(Case(f"GDCN ({structure})", "gdcn", DIM | MLP | dict(structure=structure, cross_layers=3),
           f"GDCN/src/GDCN.py {name}", dict(num_cross_layers=3, dnn_hidden_units=HIDDEN), [TABLE, gdcn, *more])
      for structure, name, more in (
          ("stacked", "GDCN", [lambda b, a: put_layers(b.dnn, nn.ModuleList([a.deep, a.head]))]),
          ("parallel", "GDCNP", [DNN, layers("fc", "head")]))),
]  # fmt: skip
ATTENTION = [
    *(Case("AutoInt+" if hidden else "AutoInt", "autoint",
           DIM | MLP | dict(attention_layers=2, heads=2, head_dim=4, hidden_units=hidden),
           "AutoInt/src/AutoInt.py AutoInt",
           dict(attention_layers=2, num_heads=2, attention_dim=8, dnn_hidden_units=hidden),
           [TABLE, each("self_attention", "attention", residual, layers("W_q", "query"), layers("W_k", "key"),
                        layers("W_v", "value")), layers("fc", "head"), *([DNN] if hidden else [])],
           "with W_res the identity from layer 2 on: theirs lacks it there")
      for hidden in (None, HIDDEN)),
    *(Case(f"FiBiNET ({matrices})", "fibinet", DIM | MLP | dict(reduction=2, matrices=matrices),
           "FiBiNET/src/FiBiNET.py FiBiNET", WITH | dict(reduction_ratio=2, bilinear_type=f"field_{matrices}"),
           [TABLE, layers("senet_layer", "senet"), weight("bilinear_interaction1.bilinear_W", "bilinear_p.weight"),
            weight("bilinear_interaction2.bilinear_W", "bilinear_q.weight"), DNN, linear(bias=LAST)])
      for matrices in ("all", "each", "interaction")),
    Case("Fi-GNN", "fignn", DIM | dict(heads=2, steps=3), "FiGNN/src/FiGNN.py FiGNN",
         dict(gnn_layers=3, reuse_graph_layer=True),
         [TABLE, fignn, weight("fignn.gnn.bias_p", "bias"), weight("fignn.W_attn.weight", "edge.weight"),
          layers("fc.mlp1", "score"), layers("fc.mlp2", "attend")],
         "theirs lacks the self-attention, sums A[i, j], its softmax is over j != i; the paper: A[j, i], over all j"),
]  # fmt: skip
TWO_STREAMS = [
    Case("FinalMLP", "finalmlp",
         DIM | dict(context_1=[], context_2=[1, 3], gate_units=[5], hidden_units_1=[8, 4], hidden_units_2=[6], heads=2,
                    activation="relu", norm="batch", dropout_1=0.0, dropout_2=0.0), "FinalMLP/src/FinalMLP.py FinalMLP",
         dict(fs1_context=[], fs2_context=["f1", "f3"], fs_hidden_units=[5], mlp1_hidden_units=[8, 4],
              mlp2_hidden_units=[6], num_heads=2, mlp1_batch_norm=True, mlp2_batch_norm=True),
         [TABLE, finalmlp, weight("fs_module.fs1_ctx_bias", "select_1.learned"), layers("mlp1", "mlp_1"),
          layers("fs_module.fs1_gate", "select_1.gate"), layers("fs_module.fs2_gate", "select_2.gate"),
          layers("mlp2", "mlp_2"), weight("fusion_module.w_x.bias", "linear.bias"),
          weight("fusion_module.w_xy", "fusion")],
         "with the context fields' own tables equal to the embedding, which ours shares"),
    *(Case(f"FinalNet ({residual})", "finalnet",
           DIM | dict(field_gate=gate, residual=residual, hidden_units_1=[8, 4], hidden_units_2=[6], activation="relu",
                      norm="batch", dropout_1=0.0, dropout_2=0.0), "FinalNet/src/FinalNet.py FinalNet",
           dict(use_feature_gating=gate, residual_type=residual, block1_hidden_units=[8, 4], block2_hidden_units=[6],
                block1_hidden_activations="ReLU", block2_hidden_activations="ReLU"),
           [TABLE, finalnet, *([weight("feature_gating.linear.weight", "gate.weight"),
                                weight("feature_gating.linear.bias", "gate.bias")] if gate else [])], loss=True)
      for residual, gate in (("concat", True), ("sum", False))),
    *(Case(f"MaskNet ({structure})", "masknet",
           DIM | MLP | dict(structure=structure, block_units=[5, 5], reduction=2.0, hidden_units=hidden),
           "MaskNet/src/MaskNet.py MaskNet",
           dict(model_type=f"{structure.title()}MaskNet", reduction_ratio=2.0, dnn_hidden_units=hidden or [5, 5],
                parallel_num_blocks=2, parallel_block_dim=5),
           [TABLE, masknet, layers("mask_net.mask_blocks", "blocks"), layers(f"mask_net.{end}", "deep")],
           "with their LayerNorms of the fields alike: ours is one, as the paper's")
      for structure, hidden, end in (("serial", [], "fc"), ("parallel", HIDDEN, "dnn"))),
]  # fmt: skip
NEWEST = [
    *(Case(f"QNN-alpha ({heads} heads)", "qnn_alpha",
           DIM | dict(layers=3, rows=2, heads=heads, norm="none", dropout=0.0),
           "QNN/src/QNN_alpha.py QNN_alpha", dict(num_layers=3, num_heads=heads, num_row=2),
           [TABLE, each("qnn.layer", "layers", quadratic), layers("qnn.fc", "head"), as_in_fuxictr_2_0],
           "with FuxiCTR 2.0's name of an argument, which they still give", loss=True)
      for heads in (1, 3)),
    Case("Wukong", "wukong",
         DIM | MLP | dict(layers=3, fm_embeddings=3, linear_embeddings=2, rank=2, fm_units=[7]),
         "WuKong/src/WuKong.py WuKong",
         dict(num_wukong_layers=3, lcb_features=2, fmb_features=3, fmb_mlp_units=[7], fmp_rank_k=2,
              mlp_hidden_units=HIDDEN, mlp_batch_norm=False),
         [TABLE, each("wukong_stack", "layers", wukong), layers("fc", "deep")]),
]  # fmt: skip
FCN = [
    *(Case(f"FCN ({heads} heads)", "fcn",
           DIM | dict(structure="fused", heads=heads, exponential_layers=3, linear_layers=2, dropout_exponential=0.0,
                      dropout_linear=0.0), "src/DCNv3.py DCNv3",
           dict(embedding_dim=6 // heads, num_heads=heads, num_deep_cross_layers=3, num_shallow_cross_layers=2,
                deep_net_dropout=0.0, shallow_net_dropout=0.0),
           [table("embedding_layer.embedding_layer"), *cross_network("ECN", "dfc", "exponential"),
            *cross_network("LCN", "sfc", "linear")], loss=True)
      for heads in (1, 3)),
    Case("ECN", "fcn", DIM | dict(structure="exponential", heads=1, exponential_layers=3, linear_layers=1,
                                  dropout_exponential=0.0, dropout_linear=0.0), "src/ECN.py ECN",
         dict(num_cross_layers=3, net_dropout=0.0),
         [table("embedding_layer.embedding_layer"), *cross_network("ECN", "fc", "exponential")]),
]  # fmt: skip
