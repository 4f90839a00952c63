"""Raw rows to the ids that the graph takes, as ``fields.json`` says: the standard library and numpy alone."""

import csv
import hashlib
import io
import json
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import ceil, floor, log
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "fields.json").read_text("utf-8"))
RAW, FIELDS = ABOUT["raw"], ABOUT["fields"]
VALUES = json.loads((HERE / "vocabularies.json").read_text("utf-8"))
IDS = {name: {value: i for i, value in enumerate(values, 1)} for name, values in VALUES.items()}


def read(file):
    """The rows of a file in the form of the training data."""
    csv.field_size_limit(2**31 - 1)
    quoting = {"quotechar": RAW["quote"]} if RAW["quote"] else {"quoting": csv.QUOTE_NONE}
    text = Path(file).read_bytes().decode("utf-8-sig")
    text = unescaped(text) if RAW.get("escape") else text
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=RAW["separator"], **quoting)
    names = RAW["names"] or named(next(cells for cells in lines if cells))
    rows = []
    for cells in lines:
        cells = cells or [""] * (len(names) == 1)  # a blank line is a row only where there is one column
        if cells:
            if len(cells) != len(names):
                raise ValueError(f"{file}, line {lines.line_num}: {len(cells)} columns where {len(names)} belong")
            rows.append(dict(zip(names, cells, strict=True)))
    return rows


def unescaped(text):
    """The same rows; a quote in a quoted cell is written twice where the escape character stood before it."""
    s, q, e = (re.escape(RAW[key]) for key in ("separator", "quote", "escape"))
    cell = rf"(?<![^{s}\n]){q}[^{q}{e}]*(?:(?:{e}.|{q}{q})[^{q}{e}]*)*{q}(?=[{s}\r\n]|\Z)"
    plain = {RAW["quote"]: 2 * RAW["quote"], RAW["escape"]: RAW["escape"]}
    return re.sub(cell, lambda c: re.sub(rf"{e}([{e}{q}])", lambda mark: plain[mark[1]], c[0]), text, flags=re.DOTALL)


def named(header):
    return [cell.strip() or f"(unnamed {i})" for i, cell in enumerate(header)]


def probabilities(logits):
    """Of the graph's logits: float32, or float64 where the run was calibrated."""
    if "calibration" in ABOUT:
        logits = calibrated(logits, ABOUT["calibration"])
    return 1 / (1 + np.exp(-logits))


def encode(rows):
    """int32 [rows, C] of dictionaries {column: value}; a column that is left out is missing, if it may be."""
    x = [[number for field in FIELDS for number in columns_of(field, row)] for row in rows]
    return np.array(x, dtype=np.int32).reshape(len(rows), sum(field.get("length", 1) for field in FIELDS))


def columns_of(field, row):
    """What a field has of x."""
    if field["required"] and field["column"] not in row:
        raise ValueError(f"a row has no {field['column']}")
    value = row.get(field["column"])
    value = None if type(value).__name__ in ("NAType", "NaTType") else value  # pandas' own missing values
    if value is None or (isinstance(value, str) and value in ("", *RAW["missing"])):
        value = None
    elif value == value:  # NaN is not
        listed = "separator" in field and isinstance(value, list | tuple)
        value = value if listed else TYPES.get(RAW["columns"][field["column"]], whole)(value, field)
    if value is not None and value == value:
        value = value.split(field["separator"]) if "separator" in field and not listed else value
        value = TRANSFORMS[field["transform"]](value)
    else:
        value = None
    return KINDS[field["kind"]](field, value, IDS.get(field.get("same_as", field["name"])))


def whole(value, field):
    if isinstance(value, str):
        is_whole = re.fullmatch(r"[+-]?[0-9]+(\.0*)?", value.strip())
        value = int(value.partition(".")[0]) if is_whole else value
    if isinstance(value, str) or value % 1 or not -(2**63) <= value < 2**64:
        raise ValueError(f"{field['column']} is {value!r}, not a whole number")
    return int(value)


def real(value, field):
    if isinstance(value, str | int | float | Decimal | np.number):
        value = float(value)
        if not abs(value) > 1e30:
            return value
    raise ValueError(f"{field['column']} is {value!r}, not a number to learn from")


def text(value, field):
    if isinstance(value, list | tuple | dict | set):
        raise ValueError(f"{field['column']} is {value!r}, not text")
    return written(value)


def several(value, field):
    if not isinstance(value, list | tuple):
        raise ValueError(f"{field['column']} is {value!r}, not a list")
    return value


TYPES = {"String": text, "List": several, "Float32": real, "Float64": real}  # all others are whole numbers


def weekday(hour):  # of YYMMDDHH; Monday is 0
    return date(2000 + hour // 10**6, hour // 10**4 % 100, hour // 100 % 100).weekday()


TRANSFORMS = {
    "as_is": lambda value: value,
    "text": str,
    "whole": int,
    "log_square": lambda count: count if count <= 2 else ceil(log(count) ** 2 + 1),
    "floor_log_square": lambda count: (count if count <= 2 else floor(log(count) ** 2)) or None,
    "hexadecimal": lambda code: int(code, 16),
    "hour": lambda hour: hour % 100,
    "weekday": weekday,
    "weekday_from_sunday": lambda hour: (weekday(hour) + 1) % 7,
    "weekend": lambda hour: int(weekday(hour) >= 5),
    "first_two": lambda text: text[:2],
    "decade": lambda age: min(ceil(age / 10), 7) if 1 <= age <= 95 else None,
    "members": lambda values: [str(value) for value in values if value not in ("", None)],
}

# What follows is eulernet's own, as eulernet/data/ has it for training: the spelling of values, the kinds of fields.
