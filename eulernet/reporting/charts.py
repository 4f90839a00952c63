"""Charts as inline SVG: a pair of axes to draw on, and the few kinds of marks that reports need.

Colours are classes that page.css gives a value, light and dark: ``c1`` to ``c5`` for series, ``mute`` for what is not
to stand out. A chart is drawn 400 units wide, about the width that it is shown at, so that its text stays readable on
a phone.
"""

import math
import re
from collections.abc import Sequence
from urllib.parse import quote

import numpy as np

from eulernet.reporting.html import Html, join, scroll, tag

Point = tuple[float, float]

WIDTH, HEIGHT = 400, 264
LEFT, RIGHT, TOP, BOTTOM = 50, 14, 12, 40


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from ``low`` to ``high``, in steps of 1, 2 or 5 times a power of ten, about as many as wanted."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def spread(values: Sequence[float], margin: float = 0.06) -> tuple[float, float]:
    """The range of an axis that shows ``values`` with some room around them."""
    low, high = min(values), max(values)
    room = (high - low) * margin or abs(high) * margin or 1.0
    return low - room, high + room


def tick_text(value: float, steps: Sequence[float]) -> str:
    """As many decimals as the steps between ticks need; thousands as k, millions as M."""
    step = steps[1] - steps[0] if len(steps) > 1 else abs(value) or 1.0
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if step >= unit / 10 and abs(value) >= unit:
            return f"{value / unit:g}{letter}"
    text = f"{value:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"
    return text.replace("-", "\N{MINUS SIGN}")


class Plot:
    """A pair of axes; marks are drawn in the order in which they are added."""

    def __init__(
        self,
        what: str,
        x: tuple[float, float],
        y: tuple[float, float],
        x_name: str,
        *,
        right: int = RIGHT,
        whole: bool = False,
    ) -> None:
        self.what, self.x, self.y, self.x_name = what, x, y, x_name
        self.whole = whole
        self.data: list[tuple[str, float, float]] = []  # name of the series, x, y: what the figure can be read from
        self.right = WIDTH - right
        self.bottom = HEIGHT - BOTTOM
        self.marks: list[Html] = []
        self._grid(x_name)

    def at(self, x: float, y: float) -> Point:
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (self.right - LEFT), self.bottom - up * (self.bottom - TOP)

    def _grid(self, x_name: str) -> None:
        for value in ticks(*self.y):
            _, y = self.at(self.x[0], value)
            self.marks.append(tag("line", x1=LEFT, x2=self.right, y1=y, y2=y, class_="grid"))
            self.marks.append(tag("text", tick_text(value, ticks(*self.y)), x=LEFT - 7, y=y + 4, class_="tick end"))
        self.marks.append(tag("line", x1=LEFT, x2=self.right, y1=self.bottom, y2=self.bottom, class_="axis"))
        places = [value for value in ticks(*self.x) if not self.whole or value == int(value)]
        for value in places:
            x, _ = self.at(value, self.y[0])
            self.marks.append(tag("line", x1=x, x2=x, y1=self.bottom, y2=self.bottom + 4, class_="axis"))
            self.marks.append(tag("text", tick_text(value, places), x=x, y=self.bottom + 17, class_="tick mid"))
        middle = (LEFT + self.right) / 2
        self.marks.append(tag("text", x_name, x=middle, y=HEIGHT - 5, class_="name mid"))

    def line(self, points: Sequence[Point], style: str, name: str | None = None) -> None:
        """Cut off where it leaves the axes. With a ``name`` its points are among the data of the figure."""
        self.data += [(name, *point) for point in points if name is not None]
        path = tag("path", d=_path([self.at(*point) for point in points]), class_=f"line {style}")
        if all(self.y[0] <= y <= self.y[1] for _, y in points):
            self.marks.append(path)
            return
        left, top, width, height = LEFT, TOP, self.right - LEFT, self.bottom - TOP
        box = f"{left} {top} {width} {height}"
        self.marks.append(tag("svg", path, x=left, y=top, width=width, height=height, viewBox=box))

    def area(self, points: Sequence[Point], style: str) -> None:
        """Filled between the points and the bottom."""
        inner = [self.at(*point) for point in points]
        closed = [(inner[0][0], self.bottom), *inner, (inner[-1][0], self.bottom)]
        self.marks.append(tag("path", d=f"{_path(closed)}Z", class_=f"area {style}"))

    def dot(self, x: float, y: float, style: str, title: str, radius: float = 3.5) -> None:
        cx, cy = self.at(x, y)
        self.marks.append(tag("circle", tag("title", title), cx=cx, cy=cy, r=radius, class_=f"dot {style}"))

    def whisker(self, x: float, low: float, high: float, style: str) -> None:
        self.line([(x, low), (x, high)], f"thin {style}")

    def bar(self, left: float, right: float, height: float, style: str, title: str) -> None:
        (x1, y1), (x2, y2) = self.at(left, height), self.at(right, self.y[0])
        width = max(x2 - x1 - 1, 0.5)
        self.marks.append(
            tag("rect", tag("title", title), x=x1, y=y1, width=width, height=max(y2 - y1, 0.0), class_=f"bar {style}")
        )

    def ends(self, labels: Sequence[tuple[float, str, str]]) -> None:
        """Name lines at the right edge: (y of the line's end, text, style), pushed apart where they would overlap."""
        heights = apart([self.at(self.x[1], y)[1] for y, _, _ in labels], 14.0, TOP + 4.0, self.bottom - 2.0)
        for (_, text, style), height in zip(labels, heights, strict=True):
            self.marks.append(tag("text", text, x=self.right + 6, y=height + 4, class_=f"note ink-{style}"))

    def svg(self) -> Html:
        """The drawing, and below it a link to its data as CSV, in which a script finds the values to show."""
        drawn = picture(self.what, WIDTH, HEIGHT, *self.marks, **self.scale())
        return join(drawn, csv_link(self.what, self.x_name, self.data)) if self.data else drawn

    def scale(self) -> dict[str, str]:
        """What turns a place in the drawing into values."""
        across, up = (*self.x, LEFT, self.right), (*self.y, self.bottom, TOP)
        return {f"data_{name}": " ".join(f"{value:.9g}" for value in ends) for name, ends in (("x", across), ("y", up))}


def csv_link(what: str, x_name: str, data: Sequence[tuple[str, float, float]]) -> Html:
    """A link whose address is the data itself: it is there without a network and without a script."""
    lines = [f'"{name}",{x:.7g},{y:.7g}' for name, x, y in (row for row in data)]
    text = "\n".join([f'series,"{x_name}",value', *lines]) + "\n"
    file = re.sub(r"\W+", "_", what.lower()).strip("_")
    link = tag(
        "a",
        "CSV",
        href=f"data:text/csv,{quote(text, safe='=[],')}",
        download=f"{file}.csv",
        aria_label=f"{what} as CSV",
    )
    return tag("p", link, class_="csv")


def picture(what: str, width: float, height: float, *marks: Html, class_: str = "plot", **more: str) -> Html:
    box = f"0 0 {width:g} {height:g}"
    return tag(
        "svg", *marks, viewBox=box, width=width, height=height, class_=class_, role="img", aria_label=what, **more
    )


def apart(heights: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """The heights in their order, moved to be ``gap`` apart and within top and bottom, where all of them fit."""
    moved, order = [0.0] * len(heights), sorted(range(len(heights)), key=lambda i: heights[i])
    lowest = top
    for i in order:
        moved[i] = max(heights[i], lowest)
        lowest = moved[i] + gap
    highest = bottom
    for i in reversed(order):
        moved[i] = min(moved[i], highest)
        highest = moved[i] - gap
    return moved


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def intervals(
    what: str,
    rows: Sequence[tuple[str, str, Sequence[float], float, float]],
    x: tuple[float, float],
    reference: float,
    *,
    x_name: str,
    names: int,
    styles: Sequence[str] | None = None,
) -> Html:
    """A line a row: its name, its number as text, its dots, and an interval from low to high, over one shared axis.

    ``names`` is how many letters of a name there is room for.
    """
    name_width, number_width, step, top = 12 + 7.2 * names, 58.0, 23.0, 6.0
    left, right = name_width + 8, WIDTH - number_width
    bottom = top + step * len(rows)

    def at(value: float) -> float:
        return left + (min(max(value, x[0]), x[1]) - x[0]) / (x[1] - x[0]) * (right - left)

    marks = [tag("line", x1=at(value), x2=at(value), y1=top, y2=bottom, class_="grid") for value in ticks(*x, 3)]
    marks.append(tag("line", x1=at(reference), x2=at(reference), y1=top, y2=bottom, class_="reference"))
    for i, (name, number, dots, low, high) in enumerate(rows):
        y, style = top + step * (i + 0.5), styles[i] if styles else "c1"
        shown = tag("text", tag("title", name), shorten(name, names), x=name_width, y=y + 4, class_="label end")
        marks.append(shown)
        marks.append(tag("line", x1=at(low), x2=at(high), y1=y, y2=y, class_=f"line thin {style}"))
        marks += [tag("circle", cx=at(dot), cy=y, r=3.5, class_=f"dot {style}") for dot in dots]
        marks.append(tag("text", number, x=WIDTH - 2, y=y + 4, class_="number end"))
    for value in ticks(*x, 3):
        text = tick_text(value, ticks(*x, 3))
        marks.append(tag("text", text, x=at(value), y=bottom + 15, class_="tick mid"))
    marks.append(tag("text", x_name, x=WIDTH - 2, y=bottom + 15, class_="name end"))
    return picture(what, WIDTH, bottom + 22, *marks, class_="rows")


def heat_map(what: str, values: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Html:
    """One cell a number: the stronger the colour the farther from 0, one colour below and one above.

    Numbers are written into the cells of small maps, and can be pointed at in large ones.
    """
    written = values.shape[1] <= 14
    name_width = 10.0 + 6.6 * max(len(shorten(name, 18)) for name in rows)
    cell_width, cell_height, top = (46.0, 28.0, 22.0) if written else (16.0, 16.0, 22.0)
    largest = float(np.abs(values).max()) or 1.0
    marks: list[Html] = []
    for j, column in enumerate(columns):
        if written or j % 5 == 4:
            middle = name_width + cell_width * (j + 0.5)
            marks.append(tag("text", column, x=middle, y=top - 8, class_="tick mid"))
    for i, row in enumerate(rows):
        y = top + cell_height * i
        text = tag("text", tag("title", row), shorten(row, 18), x=name_width - 8, y=y + cell_height / 2 + 4)
        marks.append(tag("g", text, class_="label end"))
        for j, value in enumerate(values[i]):
            x, strength = name_width + cell_width * j, abs(float(value)) / largest
            cell = dict(x=x + 1, y=y + 1, width=cell_width - 2, height=cell_height - 2, rx=3)
            number = signed(float(value))
            title = tag("title", f"{row}, vector {columns[j]}: {number}")
            colour = "below" if value < 0 else "above"
            marks.append(tag("rect", title, **cell, class_=colour, fill_opacity=f"{strength:.3f}"))
            if written:
                ink = "number mid strong" if strength > 0.85 else "number mid"
                marks.append(tag("text", number, x=x + cell_width / 2, y=y + cell_height / 2 + 4, class_=ink))
    width, height = name_width + cell_width * len(columns), top + cell_height * len(rows) + 2
    return scroll(what, picture(what, width, height, *marks, class_="map"))


def signed(value: float) -> str:
    text = f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
    return text.lstrip("\N{MINUS SIGN}") if float(f"{value:.2f}") == 0 else text


def shorten(text: str, longest: int) -> str:
    """Where it is longer, keys are cut, ``embedding_dim=8`` to ``em…=8``; then the middle is left out.

    What tells names apart are values, and the end.
    """
    words = [[*word.partition("=")] for word in text.split(" ")]
    while (over := len(text) - longest) > 0:
        word = max(words, key=lambda word: len(word[0]) if word[1] else 0)
        if not word[1] or len(word[0]) < 4:
            break
        word[0] = (
            word[0].rstrip("\N{HORIZONTAL ELLIPSIS}")[: max(1, len(word[0]) - over - 1)] + "\N{HORIZONTAL ELLIPSIS}"
        )
        text = " ".join("".join(word) for word in words)
    if len(text) <= longest:
        return text
    head = longest // 2
    return f"{text[:head]}\N{HORIZONTAL ELLIPSIS}{text[len(text) - (longest - head - 1) :]}"


def legend(*entries: tuple[str, str]) -> Html:
    """(style, text) of each series."""
    items = [tag("span", tag("i", class_=f"swatch {style}"), text) for style, text in entries]
    return tag("p", join(*items), class_="legend")
