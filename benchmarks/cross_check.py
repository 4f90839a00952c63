"""Do our models compute what FuxiCTR and RecBole compute? python benchmarks/cross_check.py fuxictr=CHECKOUT | recbole

Builds each model that both have, copies our random weights over, and compares logits in float64, in evaluation mode.
A row says ``agrees`` below 1e-5, or what differs and which of the two follows the paper; a row that is not as noted
ends the script with 1. Each peer wants an environment of its own, with this repository on the path:

    python -m venv peer && peer/bin/pip install torch==2.13.0 jaxtyping scikit-learn h5py tqdm pyarrow polars==1.40.1 \\
        Keras-Preprocessing==1.1.2 pyyaml pandas            # for a checkout of github.com/reczoo/FuxiCTR
    python -m venv peer && peer/bin/pip install torch==2.13.0 jaxtyping numpy==1.26.4 pandas==2.2.3 recbole==1.2.1
    PYTHONPATH=. peer/bin/python benchmarks/cross_check.py ...
"""

import importlib
import importlib.util
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from eulernet.models import MODELS
from eulernet.models.base import CTRModel

SIZES, FIELDS, DIM, HIDDEN = [11, 3, 7, 5], 4, 6, [8, 4]
MLP = dict(hidden_units=HIDDEN, activation="relu", norm="none", dropout=0.0)
Row = tuple[str, CTRModel, nn.Module, str]  # name, our model, theirs with our weights, what differs


def main() -> None:
    peer, _, path = sys.argv[1].partition("=") if len(sys.argv) == 2 else ("", "", "")
    if (peer, bool(path)) not in (("fuxictr", True), ("recbole", False)):
        sys.exit(__doc__)
    torch.manual_seed(0)
    rows = fuxictr(Path(path).resolve()) if peer == "fuxictr" else recbole()
    x = torch.stack([torch.randint(size, (64,)) for size in SIZES], dim=1)
    surprises = 0
    for name, mine, theirs, difference in rows:
        with torch.no_grad():
            logits = mine(x)
            gap = (logits - theirs.double().eval()(x)).abs().max().item()
            assert logits.std() > 1e-3, name  # else nothing is compared
        agrees = gap < 1e-5
        surprise = agrees == bool(difference and not difference.startswith("with"))
        surprises += surprise
        verdict = "agrees" if agrees else "differs"
        print(f"{name:20} {verdict:8} {gap:9.1e}  {difference}{'  <-- not as noted' * surprise}", flush=True)
    sys.exit(f"{surprises} rows are not as noted" if surprises else 0)


def ours(name: str, **settings: Any) -> CTRModel:
    """With all weights and running statistics random."""
    torch.manual_seed(1)
    model = MODELS[name](SIZES, **settings).double().eval()
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


def put(theirs: Tensor, mine: Tensor) -> None:
    theirs.data = mine.data.clone().reshape(theirs.shape)


def put_layers(theirs: nn.Module, mine: nn.Module) -> None:
    """Linear and norm layers in order; a bias that only theirs has becomes 0."""
    kinds = (nn.Linear, nn.BatchNorm1d, nn.LayerNorm)
    pairs = [[layer for layer in model.modules() if isinstance(layer, kinds)] for model in (theirs, mine)]
    for a, b in zip(*pairs, strict=True):
        put(a.weight, b.weight)
        if a.bias is not None:
            put(a.bias, torch.zeros_like(a.bias) if b.bias is None else b.bias)
        if isinstance(a, nn.BatchNorm1d):
            put(a.running_mean, b.running_mean)
            put(a.running_var, b.running_var)


def put_euler(theirs: nn.Module, mine: Any) -> None:
    """The two ports name their parts alike."""
    put(theirs.mu, mine.modulus)
    put_layers(theirs.reg, mine.head)
    for a, b in zip(theirs.Euler_interaction_layers, mine.layers, strict=True):
        put(a.inter_orders, b.orders)
        put(a.bias_lam, b.log_modulus_bias.T)
        put(a.bias_theta, b.phase_bias.T)
        for part, own in ((a.im, b.mix), (a.norm_r, b.norm_r), (a.norm_p, b.norm_p)):
            put_layers(part, own)


EULER = dict(embedding_dim=DIM, orders=[5, 3], drop_explicit=0.0, drop_implicit=0.0, norm=True, without="nothing",
             norm_penalty=0.0)  # fmt: skip


def fuxictr(root: Path) -> Iterator[Row]:
    sys.path.insert(0, str(root))
    features = importlib.import_module("fuxictr.features").FeatureMap("cross_check", "")
    features.features = OrderedDict(
        (f"f{f}", {"type": "categorical", "source": "", "vocab_size": size}) for f, size in enumerate(SIZES)
    )
    features.num_fields, features.labels, features.default_emb_dim = FIELDS, ["label"], DIM

    class Logits(nn.Module):
        """Their model on ids [B, F]."""

        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model({f"f{f}": x[:, f] for f in range(FIELDS)})["y_pred"].squeeze(1)

    def theirs(file: str, name: str, **settings: Any) -> Any:
        spec = importlib.util.spec_from_file_location(name, root / "model_zoo" / file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        common = dict(
            gpu=-1, task="regression", optimizer="adam", loss="mse_loss", metrics=[], verbose=0, model_root=""
        )
        model = getattr(module, name)(features, **common, **settings)
        model.output_activation = nn.Identity()
        return model

    def put_table(embedding: nn.Module, mine: Any) -> None:
        layers = embedding.embedding_layer.embedding_layers.values()
        for layer, rows in zip(layers, mine.rows_by_field(), strict=True):
            put(layer.weight, rows)

    def put_linear(linear: nn.Module, mine: Any, bias: Tensor | None = None) -> None:
        """Our one bias is theirs, or that of the layer which they give it to."""
        put_table(linear.embedding_layer, mine.weights)
        put(linear.bias if bias is None else bias, mine.bias)

    dim = dict(embedding_dim=DIM)
    deep = dict(hidden_units=HIDDEN)

    a, b = ours("lr"), theirs("LR/src/LR.py", "LR")
    put_linear(b.lr_layer, a.linear)
    yield "LR", a, Logits(b), ""

    a, b = ours("fm", **dim), theirs("FM/src/FM.py", "FM", **dim)
    put_table(b.embedding_layer, a.embedding)
    put_linear(b.fm.lr_layer, a.linear)
    yield "FM", a, Logits(b), ""

    a, b = ours("fwfm", **dim), theirs("FwFM/src/FwFM.py", "FwFM", linear_type="FiLV", **dim)
    put_table(b.embedding_layer, a.embedding)
    put(b.linear_weight_layer.weight, a.linear)
    put(b.interaction_weight.weight, a.strength)
    put(b.interaction_weight.bias, a.bias)
    yield "FwFM", a, Logits(b), ""

    a, b = ours("fmfm", **dim), theirs("FmFM/src/FmFM.py", "FmFM", **dim)
    put_table(b.embedding_layer, a.embedding)
    put_linear(b.lr_layer, a.linear)
    put(b.interaction_weight, a.matrices)
    yield "FmFM", a, Logits(b), ""

    a, b = ours("ffm", **dim), theirs("FFM/src/FFM.py", "FFM", **dim)
    put_linear(b.lr_layer, a.linear)
    for k, embedding in enumerate(b.embedding_layers):  # the k-th holds v_f,k+1 of f <= k and v_f,k of f > k
        for f, rows in enumerate(a.embedding.rows_by_field()):
            layer = embedding.embedding_layer.embedding_layers[f"f{f}"]
            put(layer.weight, rows.unflatten(1, (FIELDS, DIM))[:, k + 1 if f <= k else k])
    yield "FFM", a, Logits(b), ""

    a, b = ours("afm", attention_dim=5, dropout=0.0, **dim), theirs("AFM/src/AFM.py", "AFM", attention_dim=5, **dim)
    put_table(b.embedding_layer, a.embedding)
    put_linear(b.lr_layer, a.linear)
    put_layers(b.attention, a.attention)
    put_layers(b.weight_p, a.head)
    yield "AFM", a, Logits(b), "with dropout off: theirs is on the attention weights, the paper's on the products"

    a, b = ours("hofm", order=4, **dim), theirs("HOFM/src/HOFM.py", "HOFM", order=4, **dim)
    put_linear(b.lr_layer, a.linear)
    for embedding, own in zip(b.embedding_layers, a.embeddings, strict=True):
        put_table(embedding, own)
    yield "HOFM", a, Logits(b), ""

    a, b = ours("nfm", **dim, **MLP), theirs("NFM/src/NFM.py", "NFM", **dim, **deep)
    put_table(b.embedding_layer, a.embedding)
    put_layers(b.dnn, a.deep)
    put_linear(b.lr_layer, a.linear, b.dnn.mlp[-1].bias)
    yield "NFM", a, Logits(b), ""

    a, b = (
        ours("dnn", **dim, **MLP | dict(norm="batch")),
        theirs("DNN/DNN_torch/src/DNN.py", "DNN", batch_norm=True, **dim, **deep),
    )
    put_table(b.embedding_layer, a.embedding)
    put_layers(b.mlp, a.deep)
    yield "DNN", a, Logits(b), ""

    a, b = ours("wide_deep", **dim, **MLP), theirs("WideDeep/WideDeep_torch/src/WideDeep.py", "WideDeep", **dim, **deep)
    put_table(b.embedding_layer, a.embedding)
    put_layers(b.dnn, a.deep)
    put_linear(b.lr_layer, a.wide, b.dnn.mlp[-1].bias)
    yield "Wide & Deep", a, Logits(b), ""

    a, b = ours("deepfm", **dim, **MLP), theirs("DeepFM/DeepFM_torch/src/DeepFM.py", "DeepFM", **dim, **deep)
    put_table(b.embedding_layer, a.embedding)
    put_layers(b.mlp, a.deep)
    put_linear(b.fm.lr_layer, a.linear)
    yield "DeepFM", a, Logits(b), ""

    a = ours("pnn", product="inner", product_units=HIDDEN[0], **dim, **MLP | dict(hidden_units=HIDDEN[1:]))
    b = theirs("PNN/src/PNN.py", "PNN", **dim, **deep)
    put_table(b.embedding_layer, a.embedding)
    yield (
        "PNN (inner)",
        a,
        Logits(b),
        "another model: theirs weighs each inner product freely, ours by theta_i theta_j, as the paper",
    )

    a = ours("dcn", cross_layers=3, **dim, **MLP)
    b = theirs("DCN/DCN_torch/src/DCN.py", "DCN", num_cross_layers=3, dnn_hidden_units=HIDDEN, **dim)
    put_table(b.embedding_layer, a.embedding)
    put_layers(b.dnn, a.deep)
    put_layers(b.fc, a.head)
    for layer, own in zip(b.crossnet.cross_net, a.cross, strict=True):
        put(layer.weight.weight, own.weight.weight)
        put(layer.bias, own.bias)
    yield "DCN", a, Logits(b), ""

    for structure in ("parallel", "stacked", "cross"):
        a = ours("dcnv2", structure=structure, cross_layers=3, rank=None, **dim,
                 **MLP | dict(hidden_units=[] if structure == "cross" else HIDDEN))  # fmt: skip
        b = theirs("DCNv2/src/DCNv2.py", "DCNv2", num_cross_layers=3, **dim,
                   model_structure="crossnet_only" if structure == "cross" else structure,
                   parallel_dnn_hidden_units=HIDDEN, stacked_dnn_hidden_units=HIDDEN)  # fmt: skip
        put_table(b.embedding_layer, a.embedding)
        put_layers(b.crossnet, a.cross)
        if structure != "cross":
            put_layers(getattr(b, f"{structure}_dnn"), a.deep)
        put_layers(b.fc, a.head)
        yield f"DCNv2 ({structure})", a, Logits(b), ""

    for hidden in (HIDDEN, None):
        a = ours("xdeepfm", cin_units=[5, 3], **dim, **MLP | dict(hidden_units=hidden))
        b = theirs("xDeepFM/src/xDeepFM.py", "xDeepFM", cin_hidden_units=[5, 3], dnn_hidden_units=hidden, **dim)
        put_table(b.embedding_layer, a.embedding)
        n = FIELDS
        for layer, own in zip(
            b.cin.cin_layer.values(), a.cin, strict=True
        ):  # their rows are (field, row), ours (row, field)
            put(layer.weight, own.weight.unflatten(1, (n, FIELDS)).mT)
            put(layer.bias, torch.zeros_like(layer.bias))
            n = own.out_features
        put_layers(b.cin.fc, a.head)
        put_linear(b.lr_layer, a.linear, b.cin.fc.bias)
        if hidden:
            put_layers(b.dnn, a.deep)
        yield "xDeepFM" if hidden else "CIN", a, Logits(b), "with their CIN biases 0, which the paper's formula lacks"

    for hidden in (None, HIDDEN):
        a = ours("autoint", attention_layers=2, heads=2, head_dim=4, **dim, **MLP | dict(hidden_units=hidden))
        b = theirs("AutoInt/src/AutoInt.py", "AutoInt", attention_layers=2, num_heads=2, attention_dim=8,
                   dnn_hidden_units=hidden, **dim)  # fmt: skip
        put_table(b.embedding_layer, a.embedding)
        for layer, own in zip(b.self_attention, a.attention, strict=True):
            if layer.W_res is None:
                own.residual.weight.data.copy_(torch.eye(8))
            else:
                put_layers(layer.W_res, own.residual)
            put_layers(layer.W_q, own.query)
            put_layers(layer.W_k, own.key)
            put_layers(layer.W_v, own.value)
        put_layers(b.fc, a.head)
        if hidden:
            put_layers(b.dnn, a.deep)
        yield (
            "AutoInt+" if hidden else "AutoInt",
            a,
            Logits(b),
            "with W_res the identity from layer 2 on: theirs lacks it there",
        )

    for dnn in (None, [5]):
        a = ours("afn", logarithmic_neurons=7, dnn_hidden_units=dnn, dnn_dropout=0.0, **dim, **MLP | dict(norm="batch"))
        b = theirs("AFN/src/AFN.py", "AFN", logarithmic_neurons=7, afn_hidden_units=HIDDEN, dnn_hidden_units=dnn or [5],
                   ensemble_dnn=dnn is not None, batch_norm=True, **dim)  # fmt: skip
        put_table(b.embedding_layer, a.embedding)
        put(b.coefficient_W.weight, a.orders)
        put_layers(b.log_batch_norm, a.norm_log)
        put_layers(b.exp_batch_norm, a.norm_exp)
        put_layers(b.dense_layer, a.deep)
        if dnn:
            put_table(b.embedding_layer2, a.dnn.embedding)
            put_layers(b.dnn, a.dnn.deep)
            put_layers(b.fc, a.mix)
        yield "AFN+" if dnn else "AFN", a, Logits(b), ""

    for matrices in ("all", "each", "interaction"):
        a = ours("fibinet", reduction=2, matrices=matrices, **dim, **MLP)
        b = theirs(
            "FiBiNET/src/FiBiNET.py", "FiBiNET", reduction_ratio=2, bilinear_type=f"field_{matrices}", **dim, **deep
        )
        put_table(b.embedding_layer, a.embedding)
        put_layers(b.senet_layer, a.senet)
        put(b.bilinear_interaction1.bilinear_W, a.bilinear_p.weight)
        put(b.bilinear_interaction2.bilinear_W, a.bilinear_q.weight)
        put_layers(b.dnn, a.deep)
        put_linear(b.lr_layer, a.linear, b.dnn.mlp[-1].bias)
        yield f"FiBiNET ({matrices})", a, Logits(b), ""

    a = ours("fignn", heads=2, steps=3, **dim)
    b = theirs("FiGNN/src/FiGNN.py", "FiGNN", gnn_layers=3, reuse_graph_layer=True, **dim)
    put_table(b.embedding_layer, a.embedding)
    put(b.fignn.gnn.W_in, a.w_in.mT)
    put(b.fignn.gnn.W_out, a.w_out.mT)
    put(b.fignn.gnn.bias_p, a.bias)
    put(b.fignn.W_attn.weight, a.edge.weight)
    b.fignn.gru.load_state_dict(a.gru.state_dict())
    put_layers(b.fc.mlp1, a.score)
    put_layers(b.fc.mlp2, a.attend)
    yield (
        "Fi-GNN",
        a,
        Logits(b),
        "theirs lacks the self-attention, sums A[i, j], its softmax is over j != i; the paper: A[j, i], over all j",
    )

    for hidden in (HIDDEN, None):
        a = ours("deepim", order=4, **dim, **MLP | dict(hidden_units=hidden))
        b = theirs("DeepIM/src/DeepIM.py", "DeepIM", im_order=4, hidden_units=hidden, **dim)
        put_table(b.embedding_layer, a.embedding)
        put_layers(b.im_layer.fc, a.head)
        if hidden:
            put_layers(b.dnn, a.deep)
        yield "DeepIM" if hidden else "IM", a, Logits(b), ""

    a = ours("finalmlp", context_1=[], context_2=[1, 3], gate_units=[5], hidden_units_1=[8, 4], hidden_units_2=[6],
             heads=2, activation="relu", norm="batch", dropout_1=0.0, dropout_2=0.0, **dim)  # fmt: skip
    b = theirs("FinalMLP/src/FinalMLP.py", "FinalMLP", fs1_context=[], fs2_context=["f1", "f3"], fs_hidden_units=[5],
               mlp1_hidden_units=[8, 4], mlp2_hidden_units=[6], num_heads=2, mlp1_batch_norm=True, mlp2_batch_norm=True,
               **dim)  # fmt: skip
    put_table(b.embedding_layer, a.embedding)
    put(b.fs_module.fs1_ctx_bias, a.select_1.learned)
    for name, layer in b.fs_module.fs2_ctx_emb.embedding_layer.embedding_layers.items():
        put(layer.weight, a.embedding.rows_by_field()[int(name[1:])])
    put_layers(b.fs_module.fs1_gate, a.select_1.gate)
    put_layers(b.fs_module.fs2_gate, a.select_2.gate)
    put_layers(b.mlp1, a.mlp_1)
    put_layers(b.mlp2, a.mlp_2)
    w_x, w_y = a.linear.weight.split([4, 6], dim=1)
    put(b.fusion_module.w_x.weight, w_x)
    put(b.fusion_module.w_y.weight, w_y)
    put(b.fusion_module.w_x.bias, a.linear.bias)
    put(b.fusion_module.w_y.bias, torch.zeros(1, dtype=torch.float64))
    put(b.fusion_module.w_xy, a.fusion)
    yield "FinalMLP", a, Logits(b), "with the context fields' own tables equal to the embedding, which ours shares"

    for residual, gate in (("concat", True), ("sum", False)):
        a = ours("finalnet", field_gate=gate, residual=residual, hidden_units_1=[8, 4], hidden_units_2=[6],
                 activation="relu", norm="batch", dropout_1=0.0, dropout_2=0.0, **dim)  # fmt: skip
        b = theirs("FinalNet/src/FinalNet.py", "FinalNet", use_feature_gating=gate, residual_type=residual,
                   block1_hidden_units=[8, 4], block2_hidden_units=[6], block1_hidden_activations="ReLU",
                   block2_hidden_activations="ReLU", **dim)  # fmt: skip
        put_table(b.embedding_layer, a.embedding)
        for block, head, own in ((b.block1, b.fc1, a.block_1), (b.block2, b.fc2, a.block_2)):
            put_layers(block.layer, own[0:-1:4])
            put_layers(block.norm, own[1:-1:4])
            put_layers(head, own[-1])
        if gate:
            put(b.feature_gating.linear.weight, a.gate.weight)
            put(b.feature_gating.linear.bias, a.gate.bias)
        yield f"FinalNet ({residual})", a, Logits(b), ""

    for structure in ("serial", "parallel"):
        a = ours("masknet", structure=structure, block_units=[5, 5], reduction=2.0, **dim,
                 **MLP | dict(hidden_units=[] if structure == "serial" else HIDDEN))  # fmt: skip
        b = theirs("MaskNet/src/MaskNet.py", "MaskNet", model_type=f"{structure.title()}MaskNet", reduction_ratio=2.0,
                   dnn_hidden_units=[5, 5] if structure == "serial" else HIDDEN, parallel_num_blocks=2,
                   parallel_block_dim=5, **dim)  # fmt: skip
        put_table(b.embedding_layer, a.embedding)
        for norm in b.emb_norm:
            put_layers(norm, a.norm)
        put_layers(b.mask_net.mask_blocks, a.blocks)
        put_layers(b.mask_net.fc if structure == "serial" else b.mask_net.dnn, a.deep)
        yield (
            f"MaskNet ({structure})",
            a,
            Logits(b),
            "with their LayerNorms of the fields alike: ours is one, as the paper's",
        )

    for structure, name in (("stacked", "GDCN"), ("parallel", "GDCNP")):
        a = ours("gdcn", structure=structure, cross_layers=3, **dim, **MLP)
        b = theirs("GDCN/src/GDCN.py", name, num_cross_layers=3, dnn_hidden_units=HIDDEN, **dim)
        put_table(b.embedding_layer, a.embedding)
        for layer, gate, bias, own, own_gate in zip(
            b.cross_net.w, b.cross_net.wg, b.cross_net.b, a.cross, a.gates, strict=True
        ):
            put(layer.weight, own.weight)
            put(bias, own.bias)
            put(gate.weight, own_gate.weight)
        put_layers(b.dnn, nn.ModuleList([a.deep, a.head] if structure == "stacked" else [a.deep]))
        if structure == "parallel":
            put_layers(b.fc, a.head)
        yield f"GDCN ({structure})", a, Logits(b), ""

    a = ours("edcn", layers=2, temperature=0.7, dropout=0.0, **dim)
    b = theirs("EDCN/src/EDCN.py", "EDCN", num_cross_layers=2, temperature=0.7, **dim)
    put_table(b.embedding_layer, a.embedding)
    for regulate, own in zip(b.regulation_modules, a.regulate, strict=True):
        put(regulate.g1, own.gates[0])
        put(regulate.g2, own.gates[1])
    for layer, own in zip(b.cross_layers, a.cross, strict=True):
        put(layer.weight.weight, own.weight.weight)
        put(layer.bias, own.bias)
    put_layers(b.dense_layers, a.deep)
    put_layers(b.fc, a.head)
    for layer in b.cross_layers:
        layer.forward = lambda x0, x, layer=layer: type(layer).forward(layer, x0, x) + x
    yield "EDCN", a, Logits(b), "with the + x put back that their cross layer lacks and the paper's (DCN's) has"

    a, b = ours("dlrm", **dim, **MLP), theirs("DLRM/src/DLRM.py", "DLRM", top_mlp_units=HIDDEN, **dim)
    put_table(b.embedding_layer, a.embedding)
    put_layers(b.top_mlp, a.deep)
    yield "DLRM", a, Logits(b), ""

    a, b = (
        ours("eulernet", init="fuxictr", **EULER),
        theirs("EulerNet/src/EulerNet.py", "EulerNet", shape=[5, 3], layer_norm=True, **dim),
    )
    put_table(b.embedding_layer, a.embedding)
    put_euler(b, a)
    yield "EulerNet", a, Logits(b), ""


def recbole() -> Iterator[Row]:
    """Their models on our embeddings and our linear term: they read both from a data set, which stays out of it."""
    base = importlib.import_module("recbole.model.abstract_recommender").ContextRecommender
    models = importlib.import_module("recbole.model.context_aware_recommender")

    class Config(dict):  # EulerNet reads attributes, the others keys
        __getattr__ = dict.__getitem__

    def start(model: Any, config: Config, dataset: None) -> None:
        nn.Module.__init__(model)
        model.num_feature_field, model.embedding_size, model.device = FIELDS, DIM, torch.device("cpu")
        model.logger = SimpleNamespace(warning=print)
        model.token_field_names, model.token_field_dims = [f"f{f}" for f in range(FIELDS)], SIZES
        for kind in ("float_field", "token_seq_field", "float_seq_field"):
            setattr(model, f"{kind}_names", [])
            setattr(model, f"{kind}_dims", [])

    base.__init__ = start

    class Logits(nn.Module):
        """Their model on ids [B, F], with our ``embedding`` and our linear term, or what stands in its place."""

        def __init__(self, model: Any, mine: Any, linear: Callable[[Tensor], Tensor] | None = None) -> None:
            super().__init__()
            self.model = model
            model.sigmoid = nn.Identity()
            model.concat_embed_input_fields = lambda x: mine.embedding(x)
            model.first_order_linear = linear or (lambda x: mine.linear(x).unsqueeze(1))

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x)

    def theirs(name: str, **settings: Any) -> Any:
        common = dict(mlp_hidden_size=HIDDEN, dropout_prob=0.0, reg_weight=0.0, embedding_size=DIM)
        model = getattr(models, name)
        if hasattr(model, "_get_feature2field"):
            model._get_feature2field = lambda self: self.feature2field.update({f: f for f in range(FIELDS)})
        return model(Config(common | settings), None)

    dim = dict(embedding_dim=DIM)
    batch = MLP | dict(norm="batch")

    a, b = ours("fm", **dim), theirs("FM")
    yield "FM", a, Logits(b, a), ""

    a, b = ours("fwfm", **dim), theirs("FwFM", fields=None)
    a.linear.data.zero_()
    b.weight = torch.zeros(FIELDS, FIELDS, 1, dtype=torch.float64)
    left, right = torch.triu_indices(FIELDS, FIELDS, 1)
    b.weight[left, right, 0] = a.strength.data
    only_bias = Logits(b, a, lambda x: a.bias.expand(len(x), 1))
    yield "FwFM", a, only_bias, "with the linear terms 0: theirs is LW, ours FiLV, the paper has both"

    a, b = ours("afm", attention_dim=5, dropout=0.0, **dim), theirs("AFM", attention_size=5)
    a.attention[0].bias.data.zero_()
    put(b.attlayer.w.weight, a.attention[0].weight)
    put(b.attlayer.h, a.attention[2].weight)
    put(b.p, a.head.weight)
    yield "AFM", a, Logits(b, a), "with the attention bias b of the paper's Eq. 5, which theirs lacks, 0"

    a, b = ours("nfm", **dim, **batch | dict(activation="sigmoid")), theirs("NFM")
    put(b.bn.running_var, torch.full((DIM,), 1 - b.bn.eps, dtype=torch.float64))
    put_layers(b.mlp_layers, a.deep.hidden)
    put_layers(b.predict_layer, a.deep.head)
    yield (
        "NFM",
        a,
        Logits(b, a),
        "with their batch norm of the pooled products the identity: it is an option of the paper's",
    )

    a, b = ours("dnn", **dim, **MLP | dict(activation="tanh")), theirs("FNN")
    put_layers(b.mlp_layers, a.deep.hidden)
    put_layers(b.predict_layer, a.deep.head)
    yield "DNN (their FNN)", a, Logits(b, a), ""

    a, b = ours("wide_deep", **dim, **MLP), theirs("WideDeep")
    put_layers(b.mlp_layers, a.deep.hidden)
    put_layers(b.deep_predict_layer, a.deep.head)
    yield "Wide & Deep", a, Logits(b, a, lambda x: a.wide(x).unsqueeze(1)), ""

    a, b = ours("deepfm", **dim, **MLP), theirs("DeepFM")
    put_layers(b.mlp_layers, a.deep.hidden)
    put_layers(b.deep_predict_layer, a.deep.head)
    yield "DeepFM", a, Logits(b, a), ""

    a, b = ours("dcn", cross_layers=3, **dim, **batch), theirs("DCN", cross_layer_num=3)
    for w, bias, own in zip(b.cross_layer_w, b.cross_layer_b, a.cross, strict=True):
        put(w, own.weight.weight)
        put(bias, own.bias)
    put_layers(b.mlp_layers, a.deep)
    put_layers(b.predict_layer, a.head)
    yield "DCN", a, Logits(b, a), ""

    for structure in ("parallel", "stacked"):
        a = ours("dcnv2", structure=structure, cross_layers=3, rank=None, **dim, **batch)
        b = theirs("DCNV2", structure=structure, mixed=False, cross_layer_num=3)
        for w, bias, own in zip(b.cross_layer_w, b.bias, a.cross, strict=True):
            put(w, own.weight)
            put(bias, own.bias)
        put_layers(b.mlp_layers, a.deep)
        put_layers(b.predict_layer, a.head)
        yield f"DCNv2 ({structure})", a, Logits(b, a), ""

    a, b = ours("xdeepfm", cin_units=[5, 3], **dim, **MLP), theirs("xDeepFM", direct=True, cin_layer_size=[5, 3])
    for layer, own in zip(b.conv1d_list, a.cin, strict=True):
        put(layer.weight, own.weight)
        put(layer.bias, torch.zeros_like(layer.bias))
    put_layers(b.cin_linear, a.head)
    put_layers(b.mlp_layers, a.deep)
    yield (
        "xDeepFM",
        a,
        Logits(b, a),
        "theirs has ReLU in the CIN, where the paper's formula is linear, and on the MLP's logit",
    )

    a = ours("autoint", attention_layers=1, heads=2, head_dim=4, **dim, **MLP)
    b = theirs("AutoInt", attention_size=8, dropout_probs=[0.0] * 3, n_layers=1, num_heads=2, has_residual=True)
    difference = (
        "another model: theirs projects first, scales, has biases and one residual for all layers; ours is Eq. 5-8"
    )
    yield "AutoInt+", a, Logits(b, a, lambda x: torch.zeros(1)), difference

    a = ours("pnn", product="inner", product_units=HIDDEN[0], **dim, **MLP | dict(hidden_units=HIDDEN[1:]))
    b = theirs("PNN", use_inner=True, use_outer=False)
    yield (
        "PNN (inner)",
        a,
        Logits(b, a),
        "another model: theirs weighs each inner product freely, ours by theta_i theta_j, as the paper",
    )

    a = ours("fignn", heads=2, steps=3, **dim)
    b = theirs("FiGNN", attention_size=DIM, n_layers=4, num_heads=2, hidden_dropout_prob=0.0, attn_dropout_prob=0.0)
    difference = (
        "another model: theirs has a first residual, weights per step, A[i, j] for A[j, i]; ours is the paper's"
    )
    yield "Fi-GNN", a, Logits(b, a), difference

    a, b = (
        ours("eulernet", init="recbole", **EULER),
        theirs("EulerNet", order_list=[5, 3], apply_norm=True, drop_ex=0.0, drop_im=0.0),
    )
    put_euler(b, a)
    yield "EulerNet", a, Logits(b, a), ""


if __name__ == "__main__":
    main()
