"""ONNX Runtime in the place of torch: a predictor whose model is the graph that an export makes of it."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eulernet.errors import UserError
from eulernet.exporting import graph
from eulernet.exporting.bundle import FORMATS, check, graph_of
from eulernet.models.base import CTRModel
from eulernet.runs.predictor import Predictor


class GraphModel(CTRModel):
    """Ids [B, C] to logits [B] by onnxruntime, on the CPU. Its weights are in the graph ``file``."""

    def __init__(self, file: Path, correction: float) -> None:
        super().__init__()
        self.run = graph.load_onnx(file, torch.get_num_threads())
        self.correction = correction  # which the graph adds, and a predictor again

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return torch.from_numpy(self.run(x.numpy())) - self.correction


def with_onnx(predictor: Predictor, run: Path) -> Predictor:
    """``predictor``, which is on the CPU and was loaded from ``run``, with onnxruntime in the place of torch.

    The graph is the one that ``eulernet.export run=... format=onnx`` left in ``run``, else it is made now, in some
    seconds. UserError for a graph in ``run`` that is not its model's, and where a package is missing.
    """
    name, model = FORMATS["onnx"].file, graph_of(predictor)
    exported = run / "onnx" / name
    graph.require_onnx("onnxruntime", *[] if exported.is_file() else ["onnxscript"])
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = exported if exported.is_file() else Path(folder) / name
        if file != exported:
            graph.save_onnx(model.trace(), file)
        try:
            found = GraphModel(file, predictor.preprocessor.correction)
            check(found.run, model)
        except UserError:
            raise
        except Exception as error:  # whatever onnxruntime finds wrong with a file
            if file != exported:
                raise
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{file} is not the graph of this run ({reason}); take it away, or export again") from None
    return replace(predictor, model=found)
