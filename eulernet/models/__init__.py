"""The models by name: ``model.name`` in a configuration picks a class from ``MODELS``."""

from collections.abc import Mapping, Sequence
from typing import Any

from eulernet.errors import choose, require
from eulernet.features import FieldEmbedding, FieldSize
from eulernet.models.afm import AFM
from eulernet.models.afn import AFN
from eulernet.models.autoint import AutoInt
from eulernet.models.base import CTRModel
from eulernet.models.boosted_trees import BoostedTrees
from eulernet.models.dcn import DCN
from eulernet.models.dcnv2 import DCNv2
from eulernet.models.deepfm import DeepFM
from eulernet.models.deepim import DeepIM
from eulernet.models.din import DIN
from eulernet.models.dlrm import DLRM
from eulernet.models.dnn import DNN
from eulernet.models.edcn import EDCN
from eulernet.models.eulernet import EulerNet
from eulernet.models.fcn import FCN
from eulernet.models.ffm import FFM
from eulernet.models.fibinet import FiBiNET
from eulernet.models.fignn import FiGNN
from eulernet.models.finalmlp import FinalMLP
from eulernet.models.finalnet import FinalNet
from eulernet.models.fm import FM
from eulernet.models.fmfm import FmFM
from eulernet.models.fwfm import FwFM
from eulernet.models.gdcn import GDCN
from eulernet.models.hofm import HOFM
from eulernet.models.lr import LR
from eulernet.models.masknet import MaskNet
from eulernet.models.nfm import NFM
from eulernet.models.pnn import PNN
from eulernet.models.qnn_alpha import QNNAlpha
from eulernet.models.rankmixer import RankMixer
from eulernet.models.sklearn_lr import SklearnLR
from eulernet.models.wide_deep import WideDeep
from eulernet.models.wrappers import WRAPS, wrap
from eulernet.models.wukong import Wukong
from eulernet.models.xdeepfm import XDeepFM
from eulernet.settings import construct

MODELS: dict[str, type[CTRModel]] = {
    "afm": AFM,
    "afn": AFN,
    "autoint": AutoInt,
    "dcn": DCN,
    "dcnv2": DCNv2,
    "deepfm": DeepFM,
    "deepim": DeepIM,
    "din": DIN,
    "dlrm": DLRM,
    "dnn": DNN,
    "edcn": EDCN,
    "eulernet": EulerNet,
    "fcn": FCN,
    "ffm": FFM,
    "fibinet": FiBiNET,
    "fignn": FiGNN,
    "finalmlp": FinalMLP,
    "finalnet": FinalNet,
    "fm": FM,
    "fmfm": FmFM,
    "fwfm": FwFM,
    "gdcn": GDCN,
    "hofm": HOFM,
    "lr": LR,
    "masknet": MaskNet,
    "nfm": NFM,
    "pnn": PNN,
    "qnn_alpha": QNNAlpha,
    "rankmixer": RankMixer,
    "wide_deep": WideDeep,
    "wukong": Wukong,
    "xdeepfm": XDeepFM,
}

# What another library trains (models/reference.py): one epoch, and no layers to take apart.
REFERENCES: dict[str, type[CTRModel]] = {"lightgbm": BoostedTrees, "sklearn_lr": SklearnLR}


def make_model(settings: Mapping[str, Any], field_sizes: Sequence[FieldSize]) -> CTRModel:
    """The model that the section ``model`` of a configuration describes, with starting weights.

    Beside the model's own settings the section may have ``embeddings`` and ``members`` (eulernet.models.wrappers).
    """
    own = dict(settings)
    name = str(own.pop("name", None))
    make = choose({**MODELS, **REFERENCES}, name, "model")
    wrapped: dict[str, Any] = {key: own.pop(key) for key in WRAPS if key in own}
    require(name not in REFERENCES or not wrapped, f"model.{next(iter(wrapped), '')}: {name} cannot be wrapped")
    model = construct(wrap, wrapped, "model", new=lambda: construct(make, own, "model", field_sizes=field_sizes))
    for part in model.modules():
        if isinstance(part, FieldEmbedding):
            part.start_from_given()
    return model
