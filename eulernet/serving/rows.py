"""A request's body to rows, and what is wrong with it. Nothing here may take longer than its bytes deserve."""

import json
import math
import re
from collections.abc import Collection, Sequence
from typing import Any

from eulernet.errors import UserError, nearest

Value = str | int | float | bool | None
Row = dict[str, Value | list[Value]]
SMALLEST, LARGEST = -(2**63), 2**64 - 1  # integers that a data set can hold
LONGEST = 500  # characters of an error's message, which quotes the request


class Refused(Exception):
    """A request is answered with ``status`` and one line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def read_rows(body: bytes, columns: Collection[str], most: int, lists: Collection[str] = ()) -> list[Row]:
    """The rows of ``body``: one or a list of objects, whose names are ``columns`` and whose values are simple.

    Those named in ``lists`` may be lists of simple values. Other names than ``columns`` are left out of a row that has
    all of these. In a row that lacks one, another name may be that one misspelt: UserError.

    Refused with 400 for what is not JSON, 413 for too many rows; UserError for rows that cannot be.
    """
    try:
        rows: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is not JSON ({error})") from None
    if isinstance(rows, dict):
        rows = [rows]
    if not isinstance(rows, list):
        raise UserError(f"send a row, {{...}}, or a list of rows, [{{...}}, ...]; this is {kind(rows)}")
    if len(rows) > most:
        raise Refused(413, f"{len(rows):,} rows; a request has at most {most:,}, send several")
    known = set(columns)
    for i, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise UserError(f"row {i} is {kind(row)}; a row is an object, {{name: value}}")
        if not known.issuperset(row) and known.issubset(row):
            rows[i - 1] = row = {name: row[name] for name in columns}
        elif not known.issuperset(row):
            name = next(name for name in row if name not in known)[:100]
            raise UserError(f"row {i}: unknown field {json.dumps(name)}; {nearest(name, columns)}")
        for name, value in row.items():
            members = value if type(value) is list and name in lists else (value,)
            for member in members:
                if type(member) is not str and (wrong := wrong_value(member)):
                    raise UserError(f"row {i}: {name} {'is' if members is not value else 'has'} {wrong}")
    return rows


def wrong_value(value: Any) -> str | None:
    """What is wrong with a value that is not text, if anything. NaN, as Python writes it, is a missing value."""
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int):
        return None if SMALLEST <= value <= LARGEST else "a whole number of more than 64 bits; send it as text"
    if isinstance(value, float):
        return "not a finite number" if math.isinf(value) else None
    return f"{kind(value)}; a value is text, a number, true, false or null"


def kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def explain(message: str, columns: Sequence[str]) -> dict[str, Any]:
    """The answer for an error in the rows, with the row and the field that it names."""
    answer: dict[str, Any] = {"error": message if len(message) <= LONGEST else f"{message[:LONGEST]} ..."}
    if row := re.match(r"row (\d+)", message):
        answer["row"] = int(row[1])
    if unknown := re.match(r"row \d+: unknown field ", message):
        answer["field"] = json.JSONDecoder().raw_decode(message, unknown.end())[0]
        return answer
    places = {name: re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message[:LONGEST]) for name in columns}
    found = {name: place.span() for name, place in places.items() if place}
    if found:  # the first of them, and the longer of two that begin there
        answer["field"] = min(found, key=lambda name: (found[name][0], -found[name][1]))
    return answer
