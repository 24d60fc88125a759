"""What may become a baseline: the figures of runs that nobody has reason to doubt. Pure.

A figure that was measured while the card was throttled, or that misses its own limit, would excuse every later one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_gpuprof.budgets.kinds import KINDS, Kind, kinds_by_figure
from pytest_gpuprof.budgets.verdict import doubts_about
from pytest_gpuprof.core.baseline import MOST_RUNS
from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.storage.codec import completed
from pytest_gpuprof.storage.conditions import key_of
from pytest_gpuprof.storage.entries import Entry
from pytest_gpuprof.storage.matching import short_id
from pytest_gpuprof.storage.parts import cautions_from

__all__ = ["Offer", "entries_of"]

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """What runs have to offer as baselines.

    Args:
        entries: what can be accepted, for :meth:`~pytest_gpuprof.storage.baselines.Baselines.accept`.
        left_out: a sentence for each workload or figure that cannot, and why.
    """

    entries: tuple[Entry, ...]
    left_out: tuple[str, ...]


def entries_of(
    runs: Iterable[Iterable[Record]],
    *,
    figures: Collection[str] | None = None,
    kinds: Iterable[Kind] = tuple(KINDS.values()),
) -> Offer:
    """Return what can be accepted from the records of one run, or of several.

    Each kind of machine among them has its own entries, with one value per run. What was measured twice in a run, by a
    rerun of the test, counts as it was the last time.

    A test may have failed because of ``max_regression`` alone: accepting is how a person says that this regression is
    wanted. Whatever else failed it leaves its record out.

    Args:
        runs: the records of each run, the oldest run first.
        figures: by name, ``None`` for all.
        kinds: the budgets there are; the figure of one that is unknown is not looked at for doubts.

    Raises:
        UsageError: for a record that cannot be read.
    """
    known = tuple(kinds)
    by_name = kinds_by_figure(known)
    values: dict[tuple[str, str, str, str], list[float]] = {}
    conditions: dict[str, Mapping[str, Fact]] = {}
    left_out: dict[str, None] = {}
    for run in runs:
        records = _last_attempts(run)
        for record in records:
            workload = _shown(record)
            why = _why_not(record, [each for each in records if each["test"] == record["test"]])
            if why:
                left_out[f"{workload} is left out: {why}"] = None
                continue
            full = completed(record, known)
            key = key_of(full["conditions"])
            conditions[key] = full["conditions"]
            for figure, found in full["figures"].items():
                if figures is not None and figure not in figures:
                    continue
                why = _why_not_figure(full, figure, found, by_name)
                if why:
                    left_out[f"{figure} of {workload} is left out: {why}"] = None
                else:
                    values.setdefault((record["test"], record["name"], figure, key), []).append(found["value"])
    entries = tuple(
        Entry(test, name, figure, conditions[key], tuple(seen[-MOST_RUNS:]))
        for (test, name, figure, key), seen in sorted(values.items())
    )
    return Offer(entries, tuple(left_out))


def _last_attempts(run: Iterable[Record]) -> Sequence[Record]:
    last: dict[tuple[str, str], Record] = {}
    for record in run:
        place = (record["test"], record["name"])
        if place not in last or record["attempt"] >= last[place]["attempt"]:
            last[place] = record
    return list(last.values())


def _shown(record: Record) -> str:
    test = short_id(record["test"])
    return f"{test} {record['name']}" if test else str(record["name"])


def _why_not(record: Record, of_test: Sequence[Record]) -> str:
    """Return why nothing of a record may be accepted, empty if something may.

    Args:
        record: of a workload.
        of_test: all of its test, which failed or passed as a whole.
    """
    if record.get("outcome", "passed") not in ("failed", "error"):
        return ""
    verdicts = [verdict for each in of_test for verdict in each["verdicts"]]
    failing = [verdict for verdict in verdicts if verdict["outcome"] == "missed" and verdict["enforce"]]
    if failing and all(verdict.get("change") == "regressed" for verdict in failing):
        return ""
    return "its test failed"


def _why_not_figure(record: Record, figure: str, found: Mapping[str, Any], kinds: Mapping[str, Kind]) -> str:
    """Return why a figure may not be accepted, empty if it may."""
    if found["value"] < 0:
        return "it is negative, and no share of it can be told"
    kind = kinds.get(figure)
    if kind is None:
        return ""
    if any(each["budget"] == kind.keyword and each["outcome"] == "missed" for each in record["verdicts"]):
        return f"it misses {kind.keyword}"
    cautions = cautions_from(record)
    if figure == "crossover" and "sweep" in record:
        cautions += cautions_from(record["sweep"])
    doubts = doubts_about(cautions, kind)
    return f"{doubts[0].message}; {doubts[0].remedy}" if doubts else ""
