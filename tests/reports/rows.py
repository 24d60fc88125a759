"""Rows of the table made by hand, and what a table of them looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_gpuprof.core.results import Measurement, Verdict
from pytest_gpuprof.reports.rows import Row
from pytest_gpuprof.reports.screen import Screen
from pytest_gpuprof.reports.table import tables

from ..budgets.profiles import profile_of


def row(
    cpu: Measurement | Sequence[float] | None = (0.2,) * 3,
    gpu: Measurement | Sequence[float] | None = (0.01,) * 3,
    *verdicts: Verdict,
    test: str = "t.py::test_a",
    threads: int | None = 2,
    **parts: Any,
) -> Row:
    """Return a row with these legs, or with these seconds per round of a leg."""
    return Row(test, "passed", profile_of(cpu, gpu, threads=threads, **parts).with_verdicts(verdicts))


def text_of(*rows: Row, columns: tuple[str, ...] | None = None, screen: Screen | None = None) -> str:
    """Return the one table of these rows."""
    ((_, text),) = tables(rows, columns, screen=screen or Screen())
    return text


def met(budget: str = "min_speedup", limit: float = 5.0, observed: float = 20.0, **parts: Any) -> Verdict:
    """Return a verdict with headroom."""
    told = {"limit": limit, "observed": observed, "outcome": "met", "sentence": f"{budget} stands", **parts}
    return Verdict(told.pop("outcome"), budget, told.pop("sentence"), **told)


def missed(**parts: Any) -> Verdict:
    """Return a verdict without."""
    return met(**{"observed": 4.0, "outcome": "missed", **parts})
