"""What our own speed and accuracy are, beside others, as ratios; not installed with the package.

``python -m benchmarks`` runs every benchmark and writes ``docs/benchmarks.md``; ``python -m benchmarks.NAME`` runs one.

A benchmark is a module (or a package) in this folder. Its docstring says what is measured and how, and becomes the text
of its section on the page. It offers:

* ``NAME``: as on the command line; its results go to ``results/NAME.json``.
* ``TITLE``: the heading of its section.
* ``measure(quick: bool = False) -> dict``: measures, and returns builtin types only. ``quick`` does just enough to show
  that everything works. It raises :class:`CannotRun` where something is missing; the page then keeps the last result.
* ``table(results: dict) -> str``: the results as Markdown. What holds no Markdown table is shown in a fixed font.
* ``plots(results: dict, folder: Path) -> list[Path]`` (optional): draws SVG files there, by :mod:`benchmarks.drawing`.
* ``result_name(results: dict) -> str`` (optional): the stem of the result's file, where one per machine is kept.

Ratios are what may be compared between machines; seconds are shown so that one sees of what order they are.
"""

from __future__ import annotations

__all__ = ["CannotRun"]


class CannotRun(Exception):
    """What a benchmark needs is missing here; the message says what, and what to do about it."""
