"""The words of a command line, as Hydra takes them: settings before options, and names that it has no quotes for."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, unquote

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

QUOTE = "%22"  # a quotation mark as ``quote`` writes it
TEXT = re.compile(r"""(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')(\s*:)?""")  # in quotes; before a colon it is a key


def as_hydra_takes(argv: Sequence[str]) -> list[str]:
    """``argv`` with all settings first, and names in quotes written so that Hydra reads them.

    argparse refuses settings on both sides of an option: ``raw=log.csv -m seed=1,2``.
    """
    settings = get_args_parser().parse_known_intermixed_args(list(argv))[0].overrides
    options = list(argv)
    for word in settings:
        options.remove(word)
    return [*readable(settings), *options]


def readable(settings: Sequence[str]) -> list[str]:
    """``settings`` for Hydra, whose grammar has no quotes around the keys of a dictionary.

    >>> readable(['dataset.fields={"prix (€)": number}'])
    ['dataset.fields={%22prix%20%28%E2%82%AC%29%22: number}']
    """
    return [_readable(word) for word in settings]


def _readable(word: str) -> str:
    if not any(text[3] for text in TEXT.finditer(word)) or _parses(word):
        return word
    new = TEXT.sub(_written, word)
    return new if _parses(new) else word


def _written(text: re.Match[str]) -> str:
    if text[3] is None:  # a value, which Hydra reads
        return text[0]
    name = re.sub(r"\\(.)", r"\1", text[1] or text[2] or "")
    return f"{QUOTE}{quote(name, safe='').replace('~', '%7E')}{QUOTE}:"


def _parses(word: str) -> bool:
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:  # of a sign that no word has, it is not an OverrideParseException
        return False
    return True


def with_names(node: Any) -> Any:
    """``node``, of a configuration, with the names that ``readable`` wrote as they were in their quotes."""
    if isinstance(node, dict):
        return {unquoted(key): with_names(value) for key, value in node.items()}
    return [with_names(value) for value in node] if isinstance(node, list) else node


def unquoted(key: Any) -> Any:
    """The name that ``readable`` wrote as ``key``; another ``key`` is a name as it is."""
    ours = isinstance(key, str) and key.startswith(QUOTE) and key.endswith(QUOTE) and len(key) >= 2 * len(QUOTE)
    return unquote(key)[1:-1] if ours else key
