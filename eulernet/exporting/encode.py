"""Raw rows to the ids that the graph takes, as ``fields.json`` says: the standard library and numpy alone."""

import csv
import io
import json
from bisect import bisect_right
from datetime import date
from math import ceil, floor, log
from pathlib import Path
from re import DOTALL, escape, fullmatch, sub

import numpy as np

HERE = Path(__file__).parent
ABOUT = json.loads((HERE / "fields.json").read_text("utf-8"))
RAW, FIELDS = ABOUT["raw"], ABOUT["fields"]
VALUES = json.loads((HERE / "vocabularies.json").read_text("utf-8"))
IDS = {name: {value: i for i, value in enumerate(values, 1)} for name, values in VALUES.items()}


def read(file):
    """The rows of a file in the form of the training data."""
    quoting = {"quotechar": RAW["quote"]} if RAW["quote"] else {"quoting": csv.QUOTE_NONE}
    text = Path(file).read_bytes().decode("utf-8-sig")
    lines = io.StringIO(unescaped(text) if RAW.get("escape") else text, newline="")
    rows = list(csv.DictReader(lines, RAW["names"], delimiter=RAW["separator"], **quoting))
    for i, row in enumerate(rows, 1):
        if None in row.values():
            raise ValueError(f"{file}, row {i}: too few cells")
    return rows


def unescaped(text):
    """The same rows; a quote in a quoted cell is written twice where the escape character stood before it."""
    s, q, e = (escape(RAW[key]) for key in ("separator", "quote", "escape"))
    cell = rf"(?<![^{s}\n]){q}[^{q}{e}]*(?:(?:{e}.|{q}{q})[^{q}{e}]*)*{q}(?=[{s}\r\n]|\Z)"
    plain = {RAW["quote"]: 2 * RAW["quote"], RAW["escape"]: RAW["escape"]}
    return sub(cell, lambda c: sub(rf"{e}([{e}{q}])", lambda mark: plain[mark[1]], c[0]), text, flags=DOTALL)


def encode(rows):
    """int32 [rows, C] of dictionaries {column: value}; a column that is left out is missing, if it may be."""
    x = [[number for field in FIELDS for number in columns_of(field, row)] for row in rows]
    return np.array(x, dtype=np.int32).reshape(len(rows), sum(field.get("length", 1) for field in FIELDS))


def columns_of(field, row):
    """What a field has of x."""
    if field["required"] and field["column"] not in row:
        raise ValueError(f"a row has no {field['column']}")
    value = row.get(field["column"])
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value != value or value == "" or value in RAW["missing"]:
        value = None
    else:
        value = TYPES.get(RAW["columns"][field["column"]], whole)(value, field)
        value = value.split(field["separator"]) if "separator" in field else value
        value = TRANSFORMS[field["transform"]](value)
    if field["kind"] == "number":
        number = 0 if value is None else (value - field["mean"]) / field["scale"]
        return [np.float32(number).view(np.int32)]
    if field["kind"] == "bag":
        members = [IDS[field["name"]].get(member, 0) for member in value or []][: field["length"]]
        return members + [-1] * (field["length"] - len(members))
    if "edges" in field:
        return [0 if value is None else 1 + bisect_right(field["edges"], value)]
    return [IDS[field["name"]].get(value, 0)]


def whole(value, field):
    if isinstance(value, str):
        is_whole = fullmatch(r"[+-]?[0-9]+(\.0*)?", value)
        value = int(value.partition(".")[0]) if is_whole else value
    if not isinstance(value, int | float) or value % 1 or not -(2**63) <= value < 2**63:
        raise ValueError(f"{field['column']} is {value!r}, not a whole number")
    return int(value)


def text(value, field):
    """As training's text wrote numbers and truth values."""
    if not isinstance(value, str | int | float):
        raise ValueError(f"{field['column']} is {value!r}, not text")
    if isinstance(value, bool):
        return field["words"][value]
    if isinstance(value, int | float) and not field["decimals"] and value % 1 == 0:
        return str(int(value))
    return str(float(value) if isinstance(value, int) else value)


TYPES = {
    "String": text,
    "List": lambda value, field: value,
    "Float32": lambda value, field: float(np.float32(value)),
    "Float64": lambda value, field: float(value),
}  # all others are whole numbers


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
