"""A comparison for people (a table and sentences), for a pull request (Markdown) and for programs. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_gpuprof.core.quantities import format_number, format_quantity
from pytest_gpuprof.reports.remarks import Remark
from pytest_gpuprof.reports.screen import Paint
from pytest_gpuprof.storage.comparison import Comparison, Outcome, Row
from pytest_gpuprof.storage.matching import Workload, short_id

__all__ = ["COLOURS", "CSV_HEAD", "csv_rows", "data", "markdown", "remarks", "share", "table"]

COLOURS: Mapping[Outcome, str] = {"regressed": "red", "improved": "green", "incomparable": "yellow",
                                  "vanished": "yellow", "maybe renamed": "yellow"}  # fmt: skip
"""How an outcome is shown on a terminal that has colours."""

_NOTHING = 0.0001
"""A hundredth of a percent: no instrument here sees so little."""

_MOST_NAMES = 5
"""So many tests a sentence names; a person who wants all of them looks into the table."""

CSV_HEAD = (
    "test", "name", "figure", "outcome", "before", "now", "change", "change_low", "change_high", "p", "runs",
    "detectable", "device", "reason",
)  # fmt: skip
"""The columns for programs. Figures are in base units, changes are shares: 0.1 is 10 % more."""


def table(comparison: Comparison, rows: Sequence[Row], paint: Paint | None = None) -> str:
    """Return the rows as a table.

    Args:
        comparison: as a whole; how a test is called depends on which others there are.
        rows: in the order in which to show them.
        paint: for a terminal with colours.
    """
    from tabulate import tabulate

    many = {row.figure for row in rows if row.figure}
    names = _names_of(comparison)
    cells = [_cells(row, names, len(many) > 1) for row in rows]
    if paint is not None:
        cells = [
            [*each[:-2], paint(each[-2], COLOURS[row.outcome]) if row.outcome in COLOURS else each[-2], each[-1]]
            for each, row in zip(cells, rows, strict=True)
        ]
    heads = ["test", *(["figure"] if len(many) > 1 else []), "before", "now", "change", "outcome", "on"]
    text: str = tabulate(
        cells,
        headers=heads,
        tablefmt="simple",
        disable_numparse=True,
        colalign=(*("left" for _ in heads[:-5]), "right", "right", "left", "left", "left"),
    )
    return text


def _names_of(comparison: Comparison) -> Mapping[Workload, str]:
    """Return how each workload is called: as in the table of a run, with its folders if another is called the same."""
    workloads = dict.fromkeys((row.test, row.name) for row in comparison.rows)
    profiles = Counter(test for test, _ in workloads)
    alike = Counter(map(short_id, profiles))
    names = {}
    for test, name in workloads:
        called = short_id(test) if alike[short_id(test)] == 1 else test
        names[test, name] = f"{called} {name}".strip() if profiles[test] > 1 or not test else called
    return names


def _cells(row: Row, names: Mapping[Workload, str], with_figure: bool) -> list[str]:
    name = names[row.test, row.name]
    figure = [row.figure.replace("_", " ")] if with_figure else []
    return [name, *figure, _figure(row, row.before), _figure(row, row.now), change(row), row.outcome, row.device]


def _figure(row: Row, value: float | None) -> str:
    if value is None or row.kind is None:
        return "-"
    return format_quantity(value, row.kind.unit)


def change(row: Row) -> str:
    """Return by how much a figure grew or fell, with its interval where it has a width."""
    if row.change is None:
        return "-"
    low, high = row.interval or (row.change, row.change)
    return share(row.change) if low == high else f"{share(row.change)} ({share(low)} to {share(high)})"


def share(part: float) -> str:
    """Return a change as people write it.

    >>> share(0.1234), share(-0.05), share(0.0004), share(0.00001), share(float("inf"))
    ('+12.3%', '-5%', '+0.04%', '0%', 'from 0')
    """
    if math.isinf(part):
        return "from 0"
    if abs(part) < _NOTHING:
        return "0%"
    return f"{'-' if part < 0 else '+'}{format_number(abs(part) * 100, 3 if abs(part) >= 0.001 else 1)}%"


def remarks(comparison: Comparison) -> list[Remark]:
    """Return the sentences below the table: means, counts, and what nobody should pass over."""
    found = [
        Remark(
            f"geometric mean of {mean.figure.replace('_', ' ')} over {_count(mean.workloads, 'workload')}: "
            f"{share(mean.change)}"
        )
        for mean in comparison.means
    ]
    found += _few_runs(comparison)
    for reason, names in _by_reason(comparison, "incomparable").items():
        found.append(Remark(f"incomparable: {_names(names)}: {reason}", "yellow"))
    for reason, names in _by_reason(comparison, "maybe renamed").items():
        found.append(Remark(f"maybe renamed: {_names(names)} is gone, and {reason}", "yellow"))
    for names in _by_reason(comparison, "vanished").values():
        found.append(Remark(f"vanished: {_names(names)}", "yellow"))
    found.append(Remark(told_counts(comparison)))
    return found


def told_counts(comparison: Comparison) -> str:
    """Return how many have each outcome, in one line."""
    return ", ".join(f"{count} {outcome}" for outcome, count in comparison.counts.items()) or "nothing was compared"


def _few_runs(comparison: Comparison) -> list[Remark]:
    """Say how blind the comparison is where a figure had a single earlier run."""
    single: dict[str, float] = {}
    for row in comparison.comparable:
        if row.runs == 1 and row.detectable is not None:
            single[row.figure] = max(row.detectable, single.get(row.figure, 0.0))
    return [
        Remark(
            f"one earlier run shows a change of {figure.replace('_', ' ')} for the worse from "
            f"{format_quantity(least, 'share', digits=2)} on; several show smaller ones (compare latest:BRANCH)"
        )
        for figure, least in single.items()
        if least > 0
    ]


def _by_reason(comparison: Comparison, outcome: Outcome) -> Mapping[str, list[str]]:
    names = _names_of(comparison)
    found: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.outcome == outcome:
            found.setdefault(row.reason, []).append(names[row.test, row.name])
    return {reason: list(dict.fromkeys(names)) for reason, names in found.items()}


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMES])
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


# -- for a pull request, and for programs -----------------------------------------------------------------------------


def markdown(comparison: Comparison, rows: Sequence[Row]) -> str:
    """Return the comparison as Markdown: a heading, a table with the means as its last rows, and the sentences."""
    from tabulate import tabulate

    many = len({row.figure for row in rows if row.figure}) > 1
    heads = ["test", *(["figure"] if many else []), "before", "now", "change", "outcome", "on"]
    names = _names_of(comparison)
    cells = [[_escaped(cell) for cell in _cells(row, names, many)] for row in rows]
    for row, each in zip(rows, cells, strict=True):
        if row.outcome in ("regressed", "improved"):
            each[-2] = f"**{each[-2]}**"
    for mean in comparison.means:
        figure = [mean.figure.replace("_", " ")] if many else []
        cells.append([f"*geometric mean of {mean.workloads}*", *figure, "", "", share(mean.change), "", ""])
    aligned = (*("left" for _ in heads[:-5]), "right", "right", "left", "left", "left")
    text = tabulate(cells, headers=heads, tablefmt="pipe", disable_numparse=True, colalign=aligned) if cells else ""
    told = [f"- {_escaped(remark.text)}" for remark in remarks(comparison) if not remark.text.startswith("geometric")]
    return "\n\n".join(
        part
        for part in (f"**{_escaped(comparison.now)}** against {_escaped(comparison.before)}", text, "\n".join(told))
        if part
    )


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is: ids of tests have brackets, underscores and maybe bars."""
    return "".join(f"\\{character}" if character in r"\`*_[]<>|~" else character for character in text)


def csv_rows(rows: Sequence[Row]) -> list[list[object]]:
    """Return the rows for a spreadsheet, by the columns of :data:`CSV_HEAD`; what is missing or infinite is empty."""
    return [["" if (value := flat[name]) is None else value for name in CSV_HEAD] for flat in map(_flat, rows)]


def _flat(row: Row) -> dict[str, Any]:
    low, high = row.interval or (None, None)
    flat = {
        "test": row.test,
        "name": row.name,
        "figure": row.figure or None,
        "outcome": row.outcome,
        "before": row.before,
        "now": row.now,
        "change": row.change,
        "change_low": low,
        "change_high": high,
        "p": row.p,
        "runs": row.runs,
        "detectable": row.detectable,
        "device": row.device,
        "reason": row.reason,
    }
    return {key: None if _is_infinite(value) else value for key, value in flat.items()}


def _is_infinite(value: object) -> bool:
    return isinstance(value, float) and math.isinf(value)


def data(comparison: Comparison, rows: Sequence[Row], failed: Mapping[str, int]) -> dict[str, Any]:
    """Return the comparison for a program.

    Args:
        comparison: as a whole.
        rows: those to show.
        failed: the conditions of ``--fail-on`` that hold, each with the number of rows it holds for.
    """
    return {
        "before": comparison.before,
        "now": comparison.now,
        "counts": dict(comparison.counts),
        "geometric_means": [
            {"figure": mean.figure, "change": mean.change, "workloads": mean.workloads} for mean in comparison.means
        ],
        "failed": dict(failed),
        "rows": [
            {key: value for key, value in _flat(row).items() if value not in (None, "")}
            | ({"unit": row.kind.unit} if row.kind is not None else {})
            for row in rows
        ],
    }
