"""The frame of a report: one HTML file with its style inside, and the boxes that sections are put together from."""

import re
from collections.abc import Sequence
from pathlib import Path

from eulernet.reporting.html import Html, join, tag

STYLE, SCRIPT = Path(__file__).with_name("page.css"), Path(__file__).with_name("page.js")


def page(title: str, *parts: Html, made_by: str) -> str:
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Html(STYLE.read_text())),
    )
    first, *others = parts
    content, contents = anchored(join(*others))
    main = tag("main", first, contents, content, tag("footer", made_by))
    body = tag("body", main, tag("script", Html(SCRIPT.read_text())))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def anchored(content: Html) -> tuple[Html, Html]:
    """The content with an anchor at each section, and the list of them."""
    seen: dict[str, int] = {}
    links: list[Html] = []

    def name(found: re.Match[str]) -> str:
        title = re.sub(r"<small>.*|<[^>]*>", "", found[2])
        word = re.sub(r"\W+", "-", re.sub(r"^\W*\d+", "n", title.lower())).strip("-")
        seen[word] = seen.get(word, 0) + 1
        anchor = word if seen[word] == 1 else f"{word}-{seen[word]}"
        links.append(tag("li", tag("a", Html(title), href=f"#{anchor}"), class_="part" if "part" in found[1] else None))
        return f'<h2 id="{anchor}"{found[1]}>{found[2]}</h2>'

    done = re.sub(r"<h2([^>]*)>(.*?)</h2>", name, content)
    nav = tag("nav", tag("ul", *links), aria_label="Contents") if len(links) > 2 else Html()
    return Html(done), nav


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


def table(
    columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], *, wide: bool = False, sortable: bool = False
) -> Html:
    """Cells are text, or ``<td>`` where they need a class of their own. ``wide``: all but the first are numbers.

    ``sortable``: where scripts run, it is sorted by a click on a heading and filtered by a word.
    """

    def number(column: int) -> str | None:
        return "n" if wide and column else None

    heads = [
        tag("th" if name else "td", name, class_=number(i), scope="col" if name else None)
        for i, name in enumerate(columns)
    ]
    lines = [
        tag(
            "tr", *(cell if isinstance(cell, Html) else tag("td", cell, class_=number(i)) for i, cell in enumerate(row))
        )
        for row in rows
    ]
    head = tag("thead", tag("tr", *heads)) if any(columns) else Html()
    words = " ".join(name for name, said in (("wide", wide), ("sortable", sortable)) if said)
    return tag("table", head, tag("tbody", join(*lines)), class_=words or None)
