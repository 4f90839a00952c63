"""The comments of the files in ``conf``: they are the documentation of every key, and --help shows them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import takewhile
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Commented:
    """What the first comment of a file says, the examples in it (its indented lines), and the comment of each key.

    Keys are dotted. A key's comment stands on the line where its value ends, or in whole lines above it.
    ``package`` is where Hydra puts the keys, if the file says so: "# @package model".
    """

    about: str
    examples: list[str]
    package: str | None
    keys: dict[str, str]
    defaults: list[str]  # the files of its folder that it begins with, as Hydra's defaults list has them


def comments_of(name: str, files: Mapping[str, Path], prefix: str) -> dict[str, str]:
    """The comment of each key of the file called ``name``, with ``prefix``; of those it begins with, what it lacks."""
    found = read_comments(files[name])
    own = prefix if found.package is None else f"{found.package}.".removeprefix("_global_.")
    keys = {f"{own}{key}": comment for key, comment in found.keys.items()}
    for default in found.defaults:
        other, _, package = default.partition("@")  # eulernet@model: its keys are those of model
        if other in files:
            keys = comments_of(other, files, f"{package}." if package else prefix) | keys
    return keys


@cache
def read_comments(file: Path) -> Commented:
    text = file.read_text(encoding="utf-8")
    lines = text.splitlines()
    head = comment_lines(lines)
    examples = [line.strip() for line in head if line.startswith("  ")]
    packages = [line.removeprefix("@package ") for line in head if line.startswith("@package ")]
    about = " ".join(line.strip() for line in head if not line.startswith(("  ", "@package ")))
    root = yaml.compose(text, yaml.SafeLoader)
    keys = dict(comments_in(root, lines, len(head), "")) if isinstance(root, yaml.MappingNode) else {}
    plain = yaml.safe_load(text)
    defaults = [one for one in plain.get("defaults", []) if isinstance(one, str)] if isinstance(plain, dict) else []
    return Commented(about, examples, next(iter(packages), None), keys, defaults)


def comment_lines(lines: Iterable[str]) -> list[str]:
    """The comments that ``lines`` begin with, without their signs."""
    return [line.strip().removeprefix("#").removeprefix(" ") for line in takewhile(is_comment, lines)]


def is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def comments_in(node: yaml.MappingNode, lines: list[str], first: int, prefix: str) -> Iterator[tuple[str, str]]:
    """(dotted key, its comment) of every key in ``node`` that has one; lines before ``first`` are the file's own."""
    for key, value in node.value:
        block = isinstance(value, yaml.CollectionNode) and not value.flow_style
        end = (key if block else value).end_mark
        beside = lines[end.line][end.column :].partition("#")[2].strip()
        above = comment_lines(reversed(lines[first : key.start_mark.line]))[::-1]
        if beside or above:
            yield f"{prefix}{key.value}", "\n".join(filter(None, [beside, *above]))
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield from comments_in(value, lines, first, f"{prefix}{key.value}.")
