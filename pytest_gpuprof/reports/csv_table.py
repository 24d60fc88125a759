"""A run as CSV: one row per figure, in base units, with the budget that judged it. For spreadsheets and data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pytest_gpuprof.core.results import Verdict
from pytest_gpuprof.reports.workloads import ShownFigure, Workload, workloads

__all__ = ["COLUMNS", "csv_text"]

COLUMNS: Final = (
    "test",
    "profile",
    "outcome",
    "figure",
    "unit",
    "value",
    "low",
    "high",
    "rounds",
    "quality",
    "device",
    "device_name",
    "stand_in",
    "budget",
    "limit",
    "verdict",
    "sentence",
)
"""``low`` and ``high`` bound the 95 % interval, empty where there is none; ``quality`` and ``stand_in`` are the words
that a figure carries."""

_WORST = ("missed", "inconclusive", "unavailable", "not enforced", "met")
"""Of several budgets on one figure (its median and its p95), the row tells the worst outcome."""


def csv_text(document: Mapping[str, Any]) -> str:
    """Return the figures of a run; a budget whose figure is missing has a row without a value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for workload in workloads(document):
        writer.writerows(_rows(workload))
    return text.getvalue()


def _rows(workload: Workload) -> Iterator[Sequence[object]]:
    verdicts: dict[str, Verdict] = {}
    for verdict in sorted(workload.profile.verdicts, key=lambda each: -_WORST.index(each.outcome)):
        verdicts[_figure_of(verdict.budget)] = verdict
    for shown in workload.figures:
        yield _row(workload, shown.name, shown, verdicts.pop(shown.name, None))
    for name, verdict in verdicts.items():
        yield _row(workload, name, None, verdict)


def _figure_of(budget: str) -> str:
    return budget[len("min_") :]


def _row(workload: Workload, name: str, shown: ShownFigure | None, verdict: Verdict | None) -> Sequence[object]:
    figure = None if shown is None else shown.figure
    low, high = (None, None) if figure is None or figure.interval is None else figure.interval
    return (
        workload.test,
        workload.profile.name,
        workload.outcome,
        name,
        shown.unit if shown else "",
        figure.value if figure else None,
        low,
        high,
        figure.rounds if figure else None,
        figure.quality if figure else "",
        shown.device if shown else "",
        shown.device_name if shown else "",
        shown.stand_in if shown else "",
        verdict.budget if verdict else "",
        verdict.limit if verdict else None,
        verdict.outcome if verdict else "",
        verdict.sentence if verdict else "",
    )
