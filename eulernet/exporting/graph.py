"""A model as a graph that runs without its code: ids [B, C] to logits [B], in torch's own format or as ONNX."""

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int32

from eulernet.errors import UserError
from eulernet.models.base import CTRModel

Ids = Int32[np.ndarray, "B C"]
Logits = Float32[np.ndarray, " B"]
LARGEST = float(np.finfo(np.float32).max)
ROWS = 8191  # of the example that is traced: unlike any other size, which the tracer would take for the same


def trace(model: CTRModel, columns: int) -> torch.export.ExportedProgram:
    """The graph of ``model``, which is on the CPU and in evaluation mode, for any batch of 1 row or more."""
    example = torch.zeros((ROWS, columns), dtype=torch.int32)
    sizes = ({0: torch.export.Dim("B")},)
    return torch.export.export(model, (example,), dynamic_shapes=sizes)


def save_torch(graph: torch.export.ExportedProgram, file: Path) -> None:
    torch.export.save(graph, file)


def load_torch(file: Path) -> Callable[[Ids], Logits]:
    with _quiet():
        module = torch.export.load(file).module()

    @torch.inference_mode()
    def run(x: Ids) -> Logits:
        return module(torch.from_numpy(x)).numpy()

    return run


def save_onnx(graph: torch.export.ExportedProgram, file: Path) -> None:
    """Write ``graph`` with input ``x`` and output ``logits``; weights above 2 GB go into a file beside it.

    The exporter's own optimizer is left out because it takes constants within 1e-8 of zero for zero, such as the
    1e-8 that keeps log|z|^2 finite. onnxruntime optimizes what it loads anyway.
    """
    require_onnx("onnxruntime", "onnxscript")  # the first reads what is written here
    with _quiet():
        program = torch.onnx.export(
            graph,
            dynamo=True,
            optimize=False,
            verbose=False,
            input_names=["x"],
            output_names=["logits"],
            custom_translation_table={
                torch.ops.aten.atan2.default: atan2,
                torch.ops.aten.view.dtype: floats_of_bits,
            },
        )
    assert program is not None
    program.save(file)


def require_onnx(*packages: str) -> None:
    """UserError where one of them is not installed."""
    try:
        for package in packages:
            import_module(package)
    except ImportError as missing:
        raise UserError(f"ONNX needs {missing.name}: pip install 'eulernet[export]'") from None


def load_onnx(file: Path, threads: int = 1) -> Callable[[Ids], Logits]:
    """A batch is divided over ``threads``: within one, onnxruntime runs Sin, Cos and Atan on a single thread."""
    require_onnx("onnxruntime")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    pool = ThreadPoolExecutor(threads)

    def part(x: Ids) -> Logits:
        return session.run(["logits"], {"x": x})[0]

    def run(x: Ids) -> Logits:
        parts = min(threads, len(x) // 256 + 1)
        return part(x) if parts == 1 else np.concatenate(list(pool.map(part, np.array_split(x, parts))))

    return run


def atan2(p: Any, r: Any) -> Any:
    """arg(r + ip) in ONNX, which has atan only: atan(p / r), and where r < 0 plus or minus pi, by the sign of p.

    The exporter's own gives -pi for p = +0, r < 0, where pi is right, and 0 for r = -0; and its ``Where`` costs more
    than the arc tangent. A zero's sign is that of its reciprocal, whose infinity is kept finite so that 0 / 0 is 0.
    """
    from onnxscript import opset18 as op

    def constant(value: float) -> Any:
        return op.CastLike(op.Constant(value_float=value), r)

    def is_negative(reciprocal: Any) -> Any:
        return op.CastLike(op.Less(reciprocal, constant(0.0)), r)

    one_over_r = op.Reciprocal(r)
    finite = op.Clip(one_over_r, constant(-LARGEST), constant(LARGEST))
    half_turn = op.Sub(constant(math.pi), op.Mul(constant(math.tau), is_negative(op.Reciprocal(p))))
    return op.Add(op.Atan(op.Mul(p, finite)), op.Mul(is_negative(one_over_r), half_turn))


def floats_of_bits(bits: Any, dtype: int) -> Any:
    """The finite float32 numbers whose bits are given as int32, which ONNX has no operator for.

    With exponent e and fraction f they are sign (2^23 + f) 2^(e - 150), or for e = 0 sign f 2^-149: exact in float32.
    """
    from onnxscript import opset18 as op

    float32 = 1  # as ONNX numbers its types
    assert dtype == float32
    e, hidden = np.arange(256), 1 << 23
    power = np.ldexp(np.float32(1), np.clip(e, 1, 254) - 150).astype(np.float32)
    unsigned = op.BitwiseAnd(bits, op.Constant(value=_tensor(np.int32(2**31 - 1))))
    exponent = op.Div(unsigned, op.Constant(value=_tensor(np.int32(hidden))))
    fraction = op.Sub(unsigned, op.Mul(exponent, op.Constant(value=_tensor(np.int32(hidden)))))
    leading = op.Gather(op.Constant(value=_tensor(np.where(e > 0, hidden, 0).astype(np.int32))), exponent)
    size = op.Mul(
        op.Cast(op.Add(fraction, leading), to=float32), op.Gather(op.Constant(value=_tensor(power)), exponent)
    )
    return op.Where(op.Less(bits, op.Constant(value=_tensor(np.int32(0)))), op.Neg(size), size)


def _tensor(values: Any) -> Any:
    import onnx

    return onnx.numpy_helper.from_array(np.asarray(values))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without notes on packages that are not there, on weights that share memory, and on nodes that were left out."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnx_ir", "onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
