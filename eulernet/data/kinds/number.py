"""Numbers: the value itself, scaled, times an embedding."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import polars as pl

from eulernet.data.kinds.vocabulary import Engine
from eulernet.data.values import Raw
from eulernet.errors import require

VALUE = pl.col("value")
# A scaling by name: what is taken away from a value, and what it is divided by. All else is one of values.TRANSFORMS.
SCALINGS: dict[str, Callable[[], tuple[pl.Expr, pl.Expr]]] = {
    "standard": lambda: (VALUE.mean(), VALUE.std(ddof=0)),  # mean 0, variance 1
    "minmax": lambda: (VALUE.min(), VALUE.max() - VALUE.min()),  # 0 to 1
    "none": lambda: (pl.when(VALUE.count() > 0).then(0.0), pl.lit(1.0)),
}


@dataclass(frozen=True)
class NumberCoder:
    """(value - mean) / scale, 0 where it is missing, as the bits of a float32."""

    kind: ClassVar[str] = "number"
    columns: ClassVar[int] = 1
    vocabulary: ClassVar[None] = None
    name: str
    mean: float
    scale: float

    def encode(self, values: pl.Series) -> np.ndarray:
        scaled = values.to_frame().select_seq(((pl.first() - self.mean) / self.scale).fill_null(0)).to_series()
        return scaled.to_numpy().astype(np.float32).view(np.int32)

    def settings(self) -> dict[str, Any]:
        return {"size": 1, "mean": self.mean, "scale": self.scale}

    @classmethod
    def read(cls, described: Mapping[str, Any], folder: Path) -> "NumberCoder":
        right = all(isinstance(described[key], float | int) for key in ("mean", "scale"))
        require(right, f"field {described['name']} is described wrongly")
        return cls(described["name"], described["mean"], described["scale"])

    def names(self, ids: list[int]) -> list[str]:
        raise ValueError("a number has no ids")


@dataclass(frozen=True)
class Number:
    """A field of real numbers, scaled; a missing one is 0 after that.

    ``scaling`` is one of SCALINGS; None is standard where ``standardise`` is true, and else none.
    """

    coder: ClassVar[type[NumberCoder]] = NumberCoder
    of: ClassVar[str] = "number"
    settings: ClassVar[dict[str, Any]] = {"standardise": True, "scaling": None}
    name: str
    raw: Raw
    standardise: bool
    scaling: str | None = None

    def fit(self, typed: pl.LazyFrame, engine: Engine) -> NumberCoder:
        offset, scale = SCALINGS[self.scaling or ("standard" if self.standardise else "none")]()
        # always streaming: the last digits of a sum depend on the engine
        mean, std = typed.select(offset=offset, scale=scale).collect(engine="streaming").row(0)
        require(mean is not None, f"field {self.name} is missing in every row; leave it out")
        # Their last digits depend on the order of the additions; and a constant is not to be blown up by them.
        return NumberCoder(self.name, float(f"{mean:.12g}"), float(f"{std:.12g}") if std > 1e-9 * abs(mean) else 1.0)


def number(field: Mapping[str, Any], value: Any, ids: Any) -> list[Any]:  # the plain twin, for exported folders
    scaled = 0 if value is None else (value - field["mean"]) / field["scale"]
    return [np.float32(scaled).view(np.int32)]
