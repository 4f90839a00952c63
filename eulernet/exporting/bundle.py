"""The exported folder.

model.onnx or model.pt2   ids [B, C] to logits [B], for any B
fields.json               how a raw row becomes ids, and where all of it comes from
vocabularies.json         the values of every field; the i-th (from 1) has id i
encode.py, example.py     carry this out with numpy, and score the rows of a file
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import eulernet
from eulernet.data.coders import BagCoder, CategoryCoder
from eulernet.data.dataset import field_sizes
from eulernet.errors import choose, require
from eulernet.exporting import graph
from eulernet.features import Bag, FieldSize, Number
from eulernet.models.base import CTRModel
from eulernet.runs.portable import is_archive, packing
from eulernet.runs.predictor import Predictor

FORMAT = 1
# What the example says with onnxruntime, and what with torch.
WITH_TORCH = {
    "with onnxruntime and numpy": "with torch and numpy",
    "import onnxruntime\n": "import torch\n",
    "ONE = onnxruntime.SessionOptions()\n": "",
    "ONE.intra_op_num_threads = 1  # parts of a batch take the threads: onnxruntime's Sin and Cos know only one\n": "",
    'SESSION = onnxruntime.InferenceSession(HERE / "model.onnx", ONE, providers=["CPUExecutionProvider"])': (
        'MODEL = torch.export.load(HERE / "model.pt2").module()'
    ),
    'SESSION.run(["logits"], {"x": x})[0]': "MODEL(torch.from_numpy(x)).detach().numpy()",
}


@dataclass(frozen=True)
class Format:
    """One kind of graph: its file, how it is written and read, and what the example says differently."""

    file: str
    save: Callable[[torch.export.ExportedProgram, Path], None]
    load: Callable[[Path], Callable[[graph.Ids], graph.Logits]]
    example: Mapping[str, str]


FORMATS = {
    "onnx": Format("model.onnx", graph.save_onnx, graph.load_onnx, {}),
    "torch_export": Format("model.pt2", graph.save_torch, graph.load_torch, WITH_TORCH),
}


def export(predictor: Predictor, output: Path, name: str) -> float:
    """Write ``predictor``, which is on the CPU, into the new folder ``output`` in the format ``name``, or nothing.

    Returns the largest difference of a logit between the graph, read back, and the model, on ids drawn at random.
    UserError for a format that there is not and for a folder that is there already.
    """
    form = choose(FORMATS, name, "format")
    require(not is_archive(output), f"output={output}: give a folder")
    sizes = field_sizes(predictor.preprocessor.meta)
    with packing(output) as new:
        columns = sum(getattr(size, "length", 1) for size in sizes)
        form.save(graph.trace(predictor.model, columns), new / form.file)
        worst = check(form.load(new / form.file), predictor.model, sizes)
        write_json(new / "fields.json", describe(predictor, form))
        write_json(new / "vocabularies.json", vocabularies(predictor))
        shutil.copyfile(Path(__file__).with_name("encode.py"), new / "encode.py")
        (new / "example.py").write_text(example(form), "utf-8")
    return worst


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")


def check(exported: Callable[[graph.Ids], graph.Logits], model: CTRModel, sizes: Sequence[FieldSize]) -> float:
    """The largest difference of a logit over batches of several sizes; RuntimeError if it is not rounding."""
    worst = 0.0
    for rows in (1, 7, 4096):
        x = draw_ids(sizes, rows, np.random.default_rng(rows))
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
            columns.append(draw.integers(size, size=(rows, 1)))
    return np.concatenate(columns, axis=1).astype(np.int32)


def describe(predictor: Predictor, form: Format) -> dict[str, Any]:
    """What fields.json says."""
    prepare = predictor.preprocessor
    kept = ("name", "kind", "size", "column", "transform", "separator", "edges", "mean", "scale", "length", "pooling")
    return {
        "format": FORMAT,
        "eulernet": eulernet.__version__,
        "graph": {"file": form.file, "input": "x int32 [B, C]", "output": "logits float32 [B]"},
        "model": predictor.config["model"],
        "dataset": {key: prepare.meta[key] for key in ("name", "protocol")},
        "raw": {key: value for key, value in prepare.meta["raw"].items() if key != "label"},
        "fields": [
            {key: field[key] for key in kept if key in field}
            | {"required": field["column"] not in prepare.optional}
            | asdict(prepare.writing[field["column"]])
            for field in prepare.meta["fields"]
        ],
    }


def vocabularies(predictor: Predictor) -> dict[str, list[Any]]:
    return {
        coder.name: coder.vocabulary.values.to_list()
        for coder in predictor.preprocessor.coders
        if isinstance(coder, CategoryCoder | BagCoder)
    }


def example(form: Format) -> str:
    text = Path(__file__).with_name("example.py").read_text()
    for with_onnx, instead in form.example.items():
        assert with_onnx in text
        text = text.replace(with_onnx, instead)
    return text
