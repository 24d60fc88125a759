"""Plots as SVG files that come out the same, byte for byte, from the same results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import CannotRun

__all__ = ["COLOURS", "drawing"]

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, which the colour-blind can tell apart; the first is ours."""


@contextmanager
def drawing(path: Path, *, title: str, x: str, y: str, size: tuple[float, float] = (8.0, 4.5)) -> Iterator[Any]:
    """Offer axes to draw on, and write them to ``path`` when the context ends.

    Raises:
        CannotRun: without matplotlib.
    """
    try:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise CannotRun("plots need matplotlib: pip install matplotlib") from None
    # The salt makes the names of shapes repeat; text stays text, so that the file is small and can be searched.
    with matplotlib.rc_context({"svg.hashsalt": "pytest-gpuprof", "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.set(title=title, xlabel=x, ylabel=y)
        axes.grid(visible=True, which="major", linewidth=0.4, color="#cccccc")
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        yield axes
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
