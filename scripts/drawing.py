"""How the figures of scripts/figures.py look: on white, so that they can be read on a light and on a dark page."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from eulernet.reporting.page import STYLE
from eulernet.training.files import write_atomically

# What is above 0 and below it has the colours of the HTML report on a light page.
LIGHT = dict(re.findall(r"--(\w+): (#\w+);", STYLE.read_text().partition("@media")[0]))
GOOD, BELOW, DULL, INK = LIGHT["above"], LIGHT["below"], "#b8b2a7", "#333333"
DIVERGING = LinearSegmentedColormap.from_list("orders", [BELOW, "#ffffff", GOOD])
matplotlib.rcParams.update(
    {
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.edgecolor": DULL,
        "axes.spines.top": False,
        "axes.spines.right": False,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color"), INK),
        "svg.hashsalt": "eulernet",  # the same figure, the same bytes
    }
)


def new(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained")


def heat_map(axes: Any, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], limit: float) -> None:
    """A cell a number, written into it; white is 0 and full colour is ``limit``."""
    axes.imshow(values, cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="minor", length=0)
    for (i, j), value in np.ndenumerate(values):
        ink = "white" if abs(value) > 0.6 * limit else INK
        axes.text(j, i, number(value), ha="center", va="center", color=ink, fontsize=8)


def number(value: float, digits: int = 2) -> str:
    """With a true minus, and none before zero."""
    text = f"{value:.{digits}f}"
    return f"{0:.{digits}f}" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def save(figure: Figure, file: Path) -> None:
    """As PNG and as SVG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file.with_suffix(".png"), lambda new: figure.savefig(new, dpi=150, format="png"))
    write_atomically(file.with_suffix(".svg"), lambda new: figure.savefig(new, format="svg", metadata={"Date": None}))
