"""HTML and SVG by function calls: what is not marked as HTML is escaped."""

from html import escape
from typing import Any

VOID = ("meta", "wbr", "input")  # elements that are never closed


class Html(str):
    """Text that is HTML: ``tag`` puts it in as it is, and escapes every other text."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: Any) -> Html:
    """``<name attributes>children</name>``; class_ is the attribute class, fill_opacity fill-opacity, and None none."""
    words = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{words}>" if name in VOID else f"<{name}{words}>{join(*children)}</{name}>")


def join(*children: str) -> Html:
    return Html("".join(child if isinstance(child, Html) else escape(child, quote=False) for child in children))


def scroll(what: str, *children: str) -> Html:
    """What may be wider than the page: it scrolls by itself, by the keys too."""
    return tag("div", *children, class_="scroll", tabindex=0, role="group", aria_label=what)


def breakable(name: str) -> Html:
    """May go on in the next line after each underscore of the first word, and between words."""
    word, space, rest = name.partition(" ")
    first, *others = word.split("_")
    return join(first, *(join("_", tag("wbr"), part) for part in others), space, rest)


def _text(value: Any) -> str:
    """Numbers to a tenth of a pixel, which is as fine as anything is drawn."""
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
