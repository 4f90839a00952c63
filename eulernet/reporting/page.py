"""The frame of a report: one HTML file with its style inside, and the boxes that sections are put together from."""

from collections.abc import Sequence
from pathlib import Path

from eulernet.reporting.html import Html, join, tag

STYLE = Path(__file__).with_name("page.css")


def page(title: str, *parts: Html, made_by: str) -> str:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE.read_text())),
    )
    body = tag("body", tag("main", *parts, tag("footer", made_by)))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def header(eyebrow: str, title: str, lead: str) -> Html:
    return tag("header", tag("p", eyebrow, class_="eyebrow"), tag("h1", title), tag("p", lead, class_="lead"))


def part(title: str, note: str) -> Html:
    """The heading of several sections."""
    return tag("h2", title, tag("small", note), class_="part")


def section(title: str, about: str, *parts: Html) -> Html:
    return tag("section", tag("h2", title), tag("p", about, class_="about"), *parts)


def left_out(title: str, reason: str) -> Html:
    """A section that cannot be made, and why."""
    return tag("section", tag("h2", title), tag("p", f"Left out: {reason}.", class_="missing"))


def figure(title: str, reading: str, *drawing: Html, wide: bool = False) -> Html:
    caption = tag("figcaption", tag("h3", title), tag("p", reading))
    return tag("figure", caption, *drawing, class_="wide" if wide else None)


def figures(*parts: Html) -> Html:
    return tag("div", *parts, class_="figures")


def tiles(*entries: tuple[str, str, str]) -> Html:
    """(name, figure, what to know about it) of each."""
    shown = [
        tag("div", tag("dt", name), tag("dd", value, tag("small", note) if note else ""), class_="tile")
        for name, value, note in entries
    ]
    return tag("dl", *shown, class_="tiles")


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, wide: bool = False) -> Html:
    """Cells are text, or ``<td>`` where they need a class of their own. ``wide``: all but the first are numbers."""

    def number(column: int) -> str | None:
        return "n" if wide and column else None

    heads = [tag("th", name, class_=number(i)) for i, name in enumerate(columns)]
    lines = [
        tag(
            "tr", *(cell if isinstance(cell, Html) else tag("td", cell, class_=number(i)) for i, cell in enumerate(row))
        )
        for row in rows
    ]
    head = tag("thead", tag("tr", *heads)) if any(columns) else Html()
    return tag("table", head, tag("tbody", join(*lines)), class_="wide" if wide else None)
