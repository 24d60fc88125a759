"""A run compared with earlier ones, workload by workload and figure by figure. Pure.

Whether a figure changed is judged as ``max_regression`` judges it. Here nothing can be measured again, so what this
calls *regressed* a test may still find to be noise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from pytest_gpuprof.budgets.kinds import Kind
from pytest_gpuprof.budgets.regression import change_of
from pytest_gpuprof.stats.regression import Direction
from pytest_gpuprof.storage.matching import Workload, matched
from pytest_gpuprof.storage.reference import Reference
from pytest_gpuprof.storage.runs import StoredFigures

__all__ = [
    "LEAST",
    "OUTCOMES",
    "Comparison",
    "Mean",
    "Row",
    "compared",
    "sorted_rows",
]

Outcome = Literal["regressed", "improved", "unchanged", "incomparable", "new", "vanished", "maybe renamed"]

OUTCOMES: Final[tuple[Outcome, ...]] = (
    "regressed",
    "improved",
    "unchanged",
    "incomparable",
    "new",
    "vanished",
    "maybe renamed",
)
"""What can become of a figure, in the order in which a person wants to hear of it."""

LEAST = 0.05
"""Less than 5 % is nothing that anybody acts upon."""

_OUTCOMES: Mapping[Direction, Outcome] = {"worse": "regressed", "better": "improved", "same": "unchanged"}

_INTERESTING = ("gpu_time", "speedup", "gpu_memory", "energy")
"""The figures that are compared when none is named: how long, how much faster, how much memory, how much energy."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of one workload, before and now.

    Args:
        test, name: the workload.
        outcome: what became of it.
        figure: its name, empty for a workload that vanished; ``kind`` is what it means.
        before: its typical value in earlier runs; ``now`` in the run at hand.
        change: by which share it grew, negative where it fell; ``interval`` is the 95 % interval.
        worse: by which share it got worse, negative where it got better.
        p: the chance of so large a change if there was none.
        runs: how many earlier runs there were.
        detectable: the least share by which it would have had to get worse to be called regressed.
        device: on which it was measured, with the word that a stand-in carries.
        reason: why it is incomparable, or under which name it may go on.
    """

    test: str
    name: str
    outcome: Outcome
    figure: str = ""
    kind: Kind | None = None
    before: float | None = None
    now: float | None = None
    change: float | None = None
    interval: tuple[float, float] | None = None
    worse: float | None = None
    p: float | None = None
    runs: int = 0
    detectable: float | None = None
    device: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Mean:
    """The geometric mean of now ÷ before over workloads, as a change."""

    figure: str
    change: float
    workloads: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run compared with earlier ones.

    Args:
        before, now: what is compared, in words.
        rows: in the order of the run.
    """

    before: str
    now: str
    rows: tuple[Row, ...]

    @property
    def counts(self) -> Mapping[Outcome, int]:
        """How many rows have each outcome; those that have none are left out."""
        found = [row.outcome for row in self.rows]
        return {outcome: found.count(outcome) for outcome in OUTCOMES if outcome in found}

    @property
    def comparable(self) -> Sequence[Row]:
        """The rows in which something was compared."""
        return [row for row in self.rows if row.change is not None]

    @property
    def means(self) -> Sequence[Mean]:
        """The geometric mean of each figure."""
        logs: dict[str, list[float]] = {}
        for row in self.comparable:
            if row.before and row.now:
                logs.setdefault(row.figure, []).append(math.log(row.now / row.before))
        return [Mean(figure, math.expm1(statistics.fmean(each)), len(each)) for figure, each in logs.items()]


def compared(
    now: Mapping[Workload, StoredFigures],
    reference: Reference,
    kinds: Mapping[str, Kind],
    *,
    figures: Sequence[str] = (),
    least: Mapping[str, float] | None = None,
    is_wanted: Callable[[Workload], bool] = lambda workload: True,
) -> tuple[Row, ...]:
    """Compare a run with earlier ones.

    Args:
        now: the run.
        reference: what it is compared with.
        kinds: what each figure means, by its name.
        figures: the names of those to compare; by default how long it takes, and what else matters and both have.
        least: by which share a figure has to change to be called changed, where it is not :data:`LEAST`.
        is_wanted: which workloads of the reference are missed if they are gone.
    """
    chosen = list(figures) or _of_interest(now)
    rows = []
    known = {workload for workload in reference.workloads() if is_wanted(workload)}
    missed = sorted(known)
    for workload, measured in now.items():
        for figure in chosen:
            row = _row(workload, measured, reference, figure, kinds[figure], (least or {}).get(figure, LEAST))
            if row is not None:
                rows.append(row)
                if row.outcome != "new" and workload not in known:  # it was not in the newest, and before it
                    known.add(workload)
                    missed.append(workload)
    if not figures:
        both = {row.figure for row in rows if row.outcome != "new"} | {chosen[0]}
        rows = [row for row in rows if row.figure in both]
    names = matched(missed, now)
    for workload in names.vanished:
        guess = names.renamed.get(workload)
        why = "" if guess is None else f"{_called(guess.name, workload)} has {guess.why}"
        rows.append(Row(*workload, "vanished" if guess is None else "maybe renamed", reason=why))
    return tuple(rows)


def _of_interest(now: Mapping[Workload, StoredFigures]) -> list[str]:
    measured = {name for each in now.values() for name in each.values}
    first = [] if "gpu_time" in measured else ["cpu_time"]
    return [*first, *(name for name in _INTERESTING if name in measured)]


def _called(name: Workload, other: Workload) -> str:
    return name[0] if name[1] == other[1] else f"{name[0]} {name[1]}"


def _row(
    workload: Workload, measured: StoredFigures, reference: Reference, figure: str, kind: Kind, least: float
) -> Row | None:
    now = measured.values.get(figure)
    device = str(measured.conditions.get("device", ""))
    before = reference.before(*workload, measured.conditions, figure, measured.conditions_key)
    if now is None and not before.known:
        return None
    row = Row(*workload, "incomparable", figure, kind, now=now, device=device)
    if not before.known:
        return replace(row, outcome="new" if before.absence == "new" else "incomparable", reason=before.reason)
    change = None if now is None else change_of(kind, before.values, now, least)
    if change is None:
        why = "it is not measured now" if now is None else "a figure of 0 or less is no multiple of another"
        return replace(row, before=before.values[-1], runs=len(before.values), reason=why)
    sign = -1 if kind.at_least else 1  # an effect is positive where it is worse, and a share where it grew
    share = _share(sign * change.effect)
    low, high = (_share(sign * bound) for bound in change.interval[::sign])
    return Row(
        *workload,
        _OUTCOMES[change.outcome],
        figure,
        kind,
        before=change.level,
        now=now,
        change=share,
        interval=(low, high),
        worse=sign * share,
        p=change.p,
        runs=change.runs,
        detectable=sign * _share(sign * change.detectable),
        device=device,
    )


def _share(logarithm: float) -> float:
    """Return by which share of its former value a figure grew."""
    try:
        return math.expm1(logarithm)
    except OverflowError:
        return math.inf


def sorted_rows(rows: Iterable[Row], order: Literal["run", "name", "change"]) -> list[Row]:
    """Return rows by name, or the worst first; what was not compared stands last then."""
    if order == "name":
        return sorted(rows, key=lambda row: (row.test, row.name, row.figure))
    if order == "change":
        return sorted(rows, key=lambda row: math.inf if row.worse is None else -row.worse)
    return list(rows)
