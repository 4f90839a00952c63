"""The exported folder.

model.onnx or model.pt2   ids [B, C] to logits [B], for any B
fields.json               how a raw row becomes ids, and where all of it comes from
vocabularies.json         the values of every field; the i-th (from 1) has id i
encode.py, example.py     carry this out with numpy, and score the rows of a file
"""

import inspect
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

import eulernet
from eulernet.data import kinds
from eulernet.data.dataset import field_sizes
from eulernet.data.kinds.category import id_of
from eulernet.data.preprocessor import Preprocessor
from eulernet.data.spelling import respelled, written
from eulernet.errors import choose, require
from eulernet.exporting import graph
from eulernet.features import Bag, FieldSize, Number
from eulernet.measures.calibration import calibrated, plain
from eulernet.models.base import CTRModel
from eulernet.models.boosted_trees import BoostedTrees
from eulernet.runs.portable import is_archive, packing
from eulernet.runs.predictor import Predictor

FORMAT = 2
HERE = Path(__file__).parent


@dataclass(frozen=True)
class GraphFormat:
    """One kind of graph: its file, how it is written and read, and the example that runs it."""

    file: str
    save: Callable[[torch.export.ExportedProgram, Path], None]
    load: Callable[[Path], Callable[[graph.Ids], graph.Logits]]
    example: str


FORMATS = {
    "onnx": GraphFormat("model.onnx", graph.save_onnx, graph.load_onnx, "example.py"),
    "torch_export": GraphFormat("model.pt2", graph.save_torch, graph.load_torch, "example_torch.py"),
}


def export(predictor: Predictor, output: Path, name: str) -> float:
    """Write ``predictor``, which is on the CPU, into the new folder ``output`` in the format ``name``, or nothing.

    Returns the largest difference of a logit between the graph, read back, and the model, on ids drawn at random.
    UserError for a format that there is not and for a folder that is there already.
    """
    form = choose(FORMATS, name, "format")
    require(not is_archive(output), f"output={output}: give a folder")
    model = graph_of(predictor)
    with packing(output) as new:
        form.save(model.trace(), new / form.file)
        worst = check(form.load(new / form.file), model)
        write_json(new / "fields.json", describe(predictor, form))
        write_json(new / "vocabularies.json", vocabularies_of(predictor.preprocessor))
        (new / "encode.py").write_text(encoder(), "utf-8")
        shutil.copyfile(HERE / form.example, new / "example.py")
    return worst


class Corrected(CTRModel):
    """``model``, whose fields have these sizes, with a constant added to its logits."""

    def __init__(self, model: CTRModel, correction: float, sizes: Sequence[FieldSize] = ()) -> None:
        super().__init__()
        self.model, self.correction, self.sizes = model.eval(), correction, sizes
        self.eval()

    def trace(self) -> torch.export.ExportedProgram:
        return graph.trace(self, sum(getattr(size, "length", 1) for size in self.sizes))

    def forward(self, x: Int[Tensor, "B C"]) -> Float[Tensor, " B"]:
        return self.model(x) + self.correction if self.correction else self.model(x)


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def graph_of(predictor: Predictor) -> Corrected:
    """What an exported graph computes. UserError for a model that is none."""
    trees = isinstance(predictor.model, BoostedTrees)
    require(not trees, "trees cannot be exported as a graph; eulernet.predict and eulernet.serve take such a run")
    prepare = predictor.preprocessor
    return Corrected(predictor.model, prepare.correction, field_sizes(prepare.meta))


def check(exported: Callable[[graph.Ids], graph.Logits], model: Corrected) -> float:
    """The largest difference of a logit over batches of several sizes; RuntimeError if it is not rounding."""
    worst = 0.0
    for rows in (1, 7, 4096):
        x = draw_ids(model.sizes, rows, np.random.default_rng(rows))
        with torch.inference_mode():
            want = model(torch.from_numpy(x)).numpy()
        difference = np.abs(exported(x) - want)
        if not (difference <= 1e-4 * np.maximum(1, np.abs(want))).all():
            raise RuntimeError(f"the exported graph is not the model: logits differ by {difference.max()}")
        worst = max(worst, float(difference.max()))
    return worst


def draw_ids(sizes: Sequence[FieldSize], rows: int, draw: np.random.Generator) -> graph.Ids:
    """Rows [rows, C] with ids drawn evenly, bags of any length, and normal numbers."""
    columns: list[np.ndarray] = []
    for size in sizes:
        if isinstance(size, Number):
            columns.append(draw.standard_normal((rows, 1), dtype=np.float32).view(np.int32))
        elif isinstance(size, Bag):
            ids = draw.integers(size.size, size=(rows, size.length))
            ids[np.arange(size.length) >= draw.integers(size.length + 1, size=(rows, 1))] = -1
            columns.append(ids)
        else:
            columns.append(draw.integers(size if isinstance(size, int) else size.size, size=(rows, 1)))
    return np.concatenate(columns, axis=1).astype(np.int32)


def describe(predictor: Predictor, form: GraphFormat) -> dict[str, Any]:
    """What fields.json says."""
    prepare = predictor.preprocessor
    return {
        "format": FORMAT,
        "eulernet": eulernet.__version__,
        "graph": {"file": form.file, "input": "x int32 [B, C]", "output": "logits float32 [B]"},
        "model": predictor.config["model"],
        "dataset": {key: prepare.meta[key] for key in ("name", "protocol")},
        "raw": {key: value for key, value in prepare.meta["raw"].items() if key != "label"},
        "fields": fields_of(prepare),
    } | ({} if predictor.calibration is None else {"calibration": plain(predictor.calibration)})


def fields_of(prepare: Preprocessor) -> list[dict[str, Any]]:
    """What fields.json says of each field."""
    return [
        {"name": field["name"], "kind": kinds.kind_of(field), **coder.settings()}
        | {key: field[key] for key in ("column", "transform", "separator") if key in field}
        | {"required": field["column"] not in prepare.optional}
        | ({"spelling": asdict(known.spelling)} if (known := getattr(coder, "members", coder).vocabulary) else {})
        for field, coder in zip(prepare.meta["fields"], prepare.coders, strict=True)
    ]


def vocabularies_of(prepare: Preprocessor) -> dict[str, list[Any]]:
    """What vocabularies.json says."""
    known = {coder.name: coder.vocabulary for coder in prepare.coders}
    return {name: vocabulary.values.to_list() for name, vocabulary in known.items() if vocabulary is not None}


def encoder() -> str:
    """encode.py: what stands beside this file, and the plain twins of the spelling and of each kind."""
    twins = [kind.twin for kind in kinds.KINDS.values()]
    functions: dict[Callable[..., Any], None] = dict.fromkeys([written, respelled, id_of, calibrated, *twins])
    sources = [inspect.getsource(function) for function in functions]
    table = ", ".join(f'"{name}": {kind.twin.__name__}' for name, kind in kinds.KINDS.items())
    return "\n\n".join([(HERE / "encode.py").read_text("utf-8"), *sources]) + f"\n\nKINDS = {{{table}}}\n"
