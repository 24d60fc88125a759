"""``history``: one workload over commits, and where its level changed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_gpuprof.cli.arguments import Subcommands, add_command, add_format, add_store, at_least
from pytest_gpuprof.cli.figures import figure_names, kinds
from pytest_gpuprof.cli.output import as_csv, as_json, cell, coloured, has_colours, note, plain, short_of_characters
from pytest_gpuprof.cli.referring import Runs
from pytest_gpuprof.core.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from pytest_gpuprof.budgets.kinds import Kind
    from pytest_gpuprof.core.environment import Fact
    from pytest_gpuprof.reports.trend import Step
    from pytest_gpuprof.storage.matching import Workload
    from pytest_gpuprof.storage.runs import HistoryPoint
    from pytest_gpuprof.storage.store import Store

__all__ = ["add"]

_SHOWN = 50
"""A table that a person can still follow; ``--limit`` shows more."""

_CANDIDATES = 20
"""So many names are told where a part of a name means several workloads."""


def add(commands: Subcommands) -> None:
    """Add ``history``."""
    history = add_command(
        commands,
        "history",
        _history,
        "show one workload over commits, and where its level changed",
        "WORKLOAD is a test's id, or a part of it and of the workload's name, that means only one; * stands for "
        "anything. A level is three runs or more under the same conditions; one or two odd runs are none.",
        examples=[
            ("pytest-gpuprof history matmul", "the workload that has matmul in its test or name"),
            ("pytest-gpuprof history 'test_conv*fp16' --figure energy", "another figure"),
            ("pytest-gpuprof history matmul --branch main --limit 200", "more of one branch"),
        ],
    )
    history.add_argument("workload", metavar="WORKLOAD", help="the workload, or a part of its name")
    history.add_argument("--figure", metavar="NAME", default="gpu_time", help="which figure (default: gpu_time)")
    history.add_argument(
        "--limit", metavar="N", type=at_least(1), default=_SHOWN, help=f"the newest N runs (default: {_SHOWN})"
    )
    history.add_argument("--branch", metavar="NAME", help="only runs on this branch")
    history.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")
    add_format(history)
    add_store(history)


@dataclass(frozen=True, slots=True)
class _Series:
    """The runs under the same conditions, the oldest first, and the changes of their level."""

    conditions: str
    points: Sequence[HistoryPoint]
    steps: Sequence[Step]


def _history(chosen: argparse.Namespace) -> int:
    known = kinds()
    (figure,) = figure_names("--figure", chosen.figure, known)
    with Runs(chosen) as runs:
        workload = _workload(runs.store, chosen.workload)
        every = runs.store.history(*workload, figure=figure, limit=None if chosen.branch else chosen.limit)
        points = [each for each in every if chosen.branch in (None, each.run.branch)][-chosen.limit :]
        if not points:
            where = f" on the branch {chosen.branch}" if chosen.branch else ""
            raise Unavailable(
                f"no run{where} has the {figure} of {' '.join(workload)}; name another --figure, or measure it"
            )
        facts = runs.store.facts_of(point.conditions_key for point in points)
    series, missing = _levels(points)
    if chosen.format == "json":
        print(as_json(_data(workload, figure, known[figure], points, series, facts)))
    elif chosen.format == "csv":
        print(as_csv(_CSV_HEAD, [_line(point, series, facts) for point in points]))
    else:
        _print(chosen, workload, figure, known[figure], points, series, facts)
    for each in missing:
        note(f"pytest-gpuprof: {each}")
    return 0


def _workload(store: Store, like: str) -> Workload:
    """Return the one workload that a part of a name means.

    A whole test's id, with or without its folders and the workload's name, as tables show it, means that test, whatever
    else has it.
    """
    from pytest_gpuprof.storage.matching import short_id

    found = store.workloads(like)
    exact = [(test, name) for test, name in found if like in (test, f"{test} {name}")]
    if not exact:  # a file in the project's folder has no other name than one of the same name in a folder has
        exact = [(test, name) for test, name in found if like in (short_id(test), f"{short_id(test)} {name}")]
    if len(exact) == 1 or len(found) == 1:
        return (exact or found)[0]
    if not found:
        raise UsageError(
            f"the store {store.url_shown} knows no workload with {like!r} in its name; pytest-gpuprof show lists those "
            "of the newest run"
        )
    names = "\n  ".join(" ".join(each) for each in (exact or found)[:_CANDIDATES])
    more = len(exact or found) - _CANDIDATES
    raise UsageError(
        f"{like!r} means {len(exact or found)} workloads; name one of them:\n  {names}"
        + (f"\n  and {more} more" if more > 0 else "")
    )


def _levels(points: Sequence[HistoryPoint]) -> tuple[dict[str, _Series], list[str]]:
    """Return the series by their conditions, and why changes were not looked for where they were not."""
    from pytest_gpuprof.reports.trend import steps

    groups: dict[str, list[HistoryPoint]] = {}
    for point in points:
        groups.setdefault(point.conditions_key, []).append(point)
    found: dict[str, _Series] = {}
    missing: dict[str, None] = {}
    for key, group in groups.items():
        changes: Sequence[Step] = ()
        try:
            changes = steps([point.figure.value for point in group])
        except Unavailable as error:
            missing[str(error)] = None
        found[key] = _Series(key, group, changes)
    return found, list(missing)


def _change_at(point: HistoryPoint, series: dict[str, _Series]) -> Step | None:
    """Return the change that begins with a run."""
    own = series[point.conditions_key]
    return next((step for step in own.steps if own.points[step.index] is point), None)


Facts = Mapping[str, Mapping[str, "Fact"]]


def _device(point: HistoryPoint, facts: Facts) -> str:
    return str(facts[point.conditions_key].get("device", "unknown"))


# -- for people -------------------------------------------------------------------------------------------------------


def _print(
    chosen: argparse.Namespace,
    workload: Workload,
    figure: str,
    kind: Kind,
    points: Sequence[HistoryPoint],
    series: dict[str, _Series],
    facts: Facts,
) -> None:
    from pytest_gpuprof.reports.trend import sparkline

    colours, ascii_only = has_colours(sys.stdout), chosen.ascii or short_of_characters(sys.stdout)
    print(coloured(plain(f"{figure.replace('_', ' ')} of {' '.join(workload)}", ascii_only), "bold", colours))
    for each in series.values():
        where = f" {_device(each.points[0], facts)}" if len(series) > 1 else ""
        line = sparkline([point.figure.value for point in each.points], ascii_only=ascii_only)
        print(f"{line}{plain(where, ascii_only)}")
    print(plain(_table(kind, points, series, facts), ascii_only))
    for each in series.values():
        for step in each.steps:
            text, worse = _sentence(each, step, kind)
            print(coloured(plain(text, ascii_only), "red" if worse else "green", colours))
    if len(series) > 1:
        print(plain(_conditions(series, facts), ascii_only))


def _table(kind: Kind, points: Sequence[HistoryPoint], series: dict[str, _Series], facts: Facts) -> str:
    from tabulate import tabulate

    from pytest_gpuprof.core.quantities import format_number, scale_for
    from pytest_gpuprof.reports.comparison import share

    suffix, factor = scale_for([point.figure.value for point in points], kind.unit)
    unit = "" if kind.unit == "x" else f" [{suffix}]"
    letters = {key: chr(ord("A") + place % 26) for place, key in enumerate(series)}
    rows = []
    for point in reversed(points):
        low, high = point.figure.interval or (None, None)
        step = _change_at(point, series)
        rows.append([
            str(point.run.number),
            point.run.created.replace("T", " ")[:16],
            f"{point.run.commit[:7]}{'+' if point.run.dirty else ''}" if point.run.commit else "-",
            point.run.branch or "-",
            format_number(point.figure.value / factor),
            "-" if low is None or high is None else f"{format_number(low / factor)} to {format_number(high / factor)}",
            share(step.change) if step else "",
            _device(point, facts),
            *([letters[point.conditions_key]] if len(series) > 1 else []),
        ])  # fmt: skip
    heads = ["run", "when (UTC)", "commit", "branch", f"figure{unit}", "95% interval", "change", "on"]
    more = ["conditions"] if len(series) > 1 else []
    text: str = tabulate(
        rows,
        headers=[*heads, *more],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("right", "left", "left", "left", "right", "left", "right", "left", *("left" for _ in more)),
    )
    return text


def _sentence(series: _Series, step: Step, kind: Kind) -> tuple[str, bool]:
    """Return a change in words, and whether it is for the worse."""
    from pytest_gpuprof.core.quantities import format_quantity

    first, last = series.points[step.index], series.points[step.index - 1]
    worse = (step.change > 0) != kind.at_least
    sized = f"{format_quantity(abs(step.change), 'share')} {'more' if step.change > 0 else 'less'}"
    levels = f"{format_quantity(step.before, kind.unit)} to {format_quantity(step.after, kind.unit)}"
    since = f"commit {first.run.commit[:7]}" if first.run.commit else f"run {first.run.number}"
    before = f" (the run before it: {last.run.commit[:7]})" if last.run.commit and first.run.commit else ""
    return (
        f"{'worse' if worse else 'better'} since {since}{before}, run {first.run.number} of {first.run.created[:10]}: "
        f"{levels}, {sized}, in {step.runs} runs",
        worse,
    )


def _conditions(series: dict[str, _Series], facts: Facts) -> str:
    """Say in what the conditions differ, each from the one before it."""
    from pytest_gpuprof.storage.conditions import differences

    told: list[str] = []
    before: Mapping[str, Fact] | None = None
    for place, each in enumerate(series.values()):
        now = facts[each.conditions]
        if before is not None:
            told.append(f"conditions {chr(ord('A') + place % 26)}: {'; '.join(differences(before, now))}")
        before = now
    return "\n".join(["levels are looked for under the same conditions only", *told])


# -- for programs -----------------------------------------------------------------------------------------------------


_CSV_HEAD = ("run", "created", "commit", "dirty", "branch", "device", "conditions", "value", "low", "high", "rounds",
             "quality", "outcome", "change")  # fmt: skip


def _flat(point: HistoryPoint, series: dict[str, _Series], facts: Facts) -> dict[str, Any]:
    low, high = point.figure.interval or (None, None)
    step = _change_at(point, series)
    return {
        "run": point.run.number,
        "created": point.run.created,
        "commit": point.run.commit,
        "dirty": point.run.dirty,
        "branch": point.run.branch,
        "device": _device(point, facts),
        "conditions": point.conditions_key,
        "value": point.figure.value,
        "low": low if low is not None and abs(low) != float("inf") else None,
        "high": high if high is not None and abs(high) != float("inf") else None,
        "rounds": point.figure.rounds,
        "quality": point.figure.quality,
        "outcome": point.outcome,
        "change": None if step is None else step.change,
    }


def _line(point: HistoryPoint, series: dict[str, _Series], facts: Facts) -> list[object]:
    flat = _flat(point, series, facts)
    return [cell(value) for value in flat.values()]


def _data(
    workload: Workload,
    figure: str,
    kind: Kind,
    points: Sequence[HistoryPoint],
    series: dict[str, _Series],
    facts: Facts,
) -> dict[str, Any]:
    changes = [
        {
            "run": each.points[step.index].run.number,
            "commit": each.points[step.index].run.commit,
            "conditions": each.conditions,
            "before": step.before,
            "after": step.after,
            "change": step.change,
            "worse": (step.change > 0) != kind.at_least,
            "runs": step.runs,
        }
        for each in series.values()
        for step in each.steps
    ]
    return {
        "test": workload[0],
        "name": workload[1],
        "figure": figure,
        "unit": kind.unit,
        "points": [_flat(point, series, facts) for point in points],
        "changes": changes,
    }
