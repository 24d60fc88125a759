"""A run compared with earlier ones, workload by workload and figure by figure. Pure.

Whether a figure changed is judged as ``max_regression`` judges it. Here nothing can be measured again, so what this
calls *regressed* a test may still find to be noise.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from pytest_gpuprof.budgets.figures import Figure, figures_of
from pytest_gpuprof.budgets.kinds import Kind
from pytest_gpuprof.budgets.regression import change_of, share_worse
from pytest_gpuprof.core.baseline import MOST_RUNS, Baseline
from pytest_gpuprof.storage.codec import profile_from
from pytest_gpuprof.storage.conditions import conditions_of, differences, key_of
from pytest_gpuprof.storage.document import figures_by_workload
from pytest_gpuprof.storage.matching import Workload, matched
from pytest_gpuprof.storage.runs import StoredFigures

if TYPE_CHECKING:
    from pytest_gpuprof.storage.baselines import Entry

__all__ = [
    "LEAST",
    "OUTCOMES",
    "Comparison",
    "Earlier",
    "EarlierAccepted",
    "EarlierRuns",
    "Mean",
    "Row",
    "compared",
    "figures_of_interest",
    "measured_in",
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

_INTERESTING = ("gpu_time", "speedup", "gpu_memory", "energy")
"""The figures that are compared when none is named: how long, how much faster, how much memory, how much energy."""


class Earlier(Protocol):
    """What a run is compared with."""

    @property
    def workloads(self) -> Collection[Workload]:
        """All that are known."""

    @property
    def newest(self) -> Collection[Workload]:
        """Those that were there last; they have vanished if they are missing now."""

    @property
    def figures(self) -> Collection[str]:
        """The names of all figures."""

    def before(self, workload: Workload, now: StoredFigures, figure: str) -> Baseline:
        """Return what a figure was, under the conditions of now."""


class EarlierRuns:
    """Earlier runs, the newest first.

    Args:
        runs: what each measured.
        source: what a sentence calls them.
    """

    def __init__(self, runs: Sequence[Mapping[Workload, StoredFigures]], source: str) -> None:
        self._runs = runs
        self._source = source

    @cached_property
    def workloads(self) -> Collection[Workload]:
        """All that any of them has."""
        return {workload for run in self._runs for workload in run}

    @property
    def newest(self) -> Collection[Workload]:
        """Those of the newest: what was gone before it has not vanished now."""
        return self._runs[0] if self._runs else ()

    @cached_property
    def figures(self) -> Collection[str]:
        """The names of all figures."""
        return {name for run in self._runs for measured in run.values() for name in measured.figures}

    def before(self, workload: Workload, now: StoredFigures, figure: str) -> Baseline:
        """Return the values of the newest runs under the same conditions, or why there are none.

        A test that failed says little of what is usual; of several runs it is left out.
        """
        found = [measured for run in self._runs if (measured := run.get(workload)) is not None]
        if not found:
            return Baseline(absence="new", reason="no earlier run has it")
        alike = [each for each in found if each.conditions_key == now.conditions_key]
        if not alike:
            return Baseline(absence="incomparable", reason="; ".join(differences(found[0].conditions, now.conditions)))
        values = [(each.outcome == "failed", each.figures[figure].value) for each in alike if figure in each.figures]
        if not values:
            return Baseline(absence="new", reason="it was not measured before")
        sound = [value for failed, value in values if not failed] or [value for _, value in values]
        return Baseline(tuple(reversed(sound[:MOST_RUNS])), self._source)


class EarlierAccepted:
    """What was accepted, as the file of baselines has it.

    Args:
        entries: of the file, those of the workloads that are compared.
        source: what a sentence calls it.
    """

    def __init__(self, entries: Iterable[Entry], source: str) -> None:
        self._source = source
        self._found: dict[tuple[str, str, str], dict[str, Entry]] = {}
        for entry in entries:
            self._found.setdefault((entry.test, entry.name, entry.figure), {})[key_of(entry.conditions)] = entry
        self.workloads: Collection[Workload] = {place[:2] for place in self._found}
        self.newest = self.workloads
        self.figures: Collection[str] = {place[2] for place in self._found}

    def before(self, workload: Workload, now: StoredFigures, figure: str) -> Baseline:
        """Return the accepted values for the conditions of now, or why there are none."""
        found = self._found.get((*workload, figure), {})
        if now.conditions_key in found:
            return Baseline(found[now.conditions_key].values, self._source)
        if not found:
            lacks = "other figures of it only" if workload in self.workloads else "nothing of it"
            return Baseline(absence="new", reason=f"{self._source} has {lacks}")
        told = min((differences(each.conditions, now.conditions) for each in found.values()), key=len)
        return Baseline(absence="incomparable", reason="; ".join(told))


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


def measured_in(document: Mapping[str, Any]) -> dict[Workload, StoredFigures]:
    """Return what a document says of each workload, as a store would."""
    return {workload: _measured(record) for workload, record in figures_by_workload(document).items()}


def _measured(record: Mapping[str, Any]) -> StoredFigures:
    conditions, stored = record.get("conditions"), record.get("figures")
    if conditions is None or stored is None:  # an older version wrote it
        profile = profile_from(record)
        conditions, figures = conditions_of(profile), figures_of(profile)
    else:
        figures = {name: _figure(each) for name, each in stored.items()}
    return StoredFigures(
        str(record.get("outcome", "")), record.get("attempt", 1), key_of(conditions), conditions, figures
    )


def _figure(stored: Mapping[str, Any]) -> Figure:
    low, high = stored["interval"] or (None, None)  # JSON has no infinity, so a bound that is None is none
    interval = None if low is None and high is None else (-math.inf if low is None else low, high or math.inf)
    return Figure(stored["value"], interval, stored["rounds"], stored["quality"])


def figures_of_interest(now: Mapping[Workload, StoredFigures], earlier: Earlier) -> list[str]:
    """Return the figures to compare when none is named: what matters and both have."""
    measured = {name for each in now.values() for name in each.figures}
    both = [name for name in _INTERESTING if name in measured and name in earlier.figures]
    return both if "gpu_time" in both else ["gpu_time" if "gpu_time" in measured else "cpu_time", *both]


def compared(
    now: Mapping[Workload, StoredFigures],
    earlier: Earlier,
    kinds: Mapping[str, Kind],
    figures: Sequence[str],
    least: Mapping[str, float] | None = None,
) -> tuple[Row, ...]:
    """Compare a run with earlier ones.

    Args:
        now: the run.
        earlier: what it is compared with.
        kinds: what each figure means, by its name.
        figures: the names of those to compare.
        least: by which share a figure has to change to be called changed, where it is not :data:`LEAST`.
    """
    known = earlier.workloads
    names = matched([*earlier.newest, *(each for each in now if each in known and each not in earlier.newest)], now)
    rows = []
    for workload, measured in now.items():
        for figure in figures:
            row = _row(workload, measured, earlier, figure, kinds[figure], (least or {}).get(figure, LEAST))
            rows += [] if row is None else [row]
    for workload in names.vanished:
        guess = names.renamed.get(workload)
        why = "" if guess is None else f"{_called(guess.name, workload)} has {guess.why}"
        rows.append(Row(*workload, "vanished" if guess is None else "maybe renamed", reason=why))
    return tuple(rows)


def _called(name: Workload, other: Workload) -> str:
    return name[0] if name[1] == other[1] else f"{name[0]} {name[1]}"


def _row(
    workload: Workload, measured: StoredFigures, earlier: Earlier, figure: str, kind: Kind, least: float
) -> Row | None:
    found = measured.figures.get(figure)
    device = str(measured.conditions.get("device", ""))

    def row(outcome: Outcome, **more: object) -> Row:
        now = None if found is None else found.value
        return Row(*workload, outcome, figure, kind, now=now, device=device, **more)  # type: ignore[arg-type]

    before = earlier.before(workload, measured, figure)
    if found is None:
        if not before.known:
            return None
        return row("incomparable", before=before.values[-1], runs=len(before.values), reason="it is not measured now")
    if not before.known:
        return row("new" if before.absence == "new" else "incomparable", reason=before.reason)
    change = change_of(kind, before.values, found.value, least)
    if change is None:
        return row(
            "incomparable",
            before=before.values[-1],
            runs=len(before.values),
            reason="a figure of 0 or less is no multiple of another",
        )
    worse = share_worse(kind, change.effect)
    bounds = sorted(_grown(kind, bound) for bound in change.interval)
    return row(
        "unchanged" if change.outcome == "same" else "regressed" if change.outcome == "worse" else "improved",
        before=change.level,
        change=_grown(kind, change.effect),
        interval=(bounds[0], bounds[1]),
        worse=worse,
        p=change.p,
        runs=change.runs,
        detectable=share_worse(kind, change.detectable),
    )


def _grown(kind: Kind, effect: float) -> float:
    """Return by which share a figure grew whose effect, positive where it is worse, is given as a logarithm."""
    share = share_worse(kind, effect)
    return -share if kind.at_least else share


def sorted_rows(rows: Iterable[Row], order: Literal["run", "name", "change"]) -> list[Row]:
    """Return rows by name, or the worst first; what was not compared stands last then."""
    if order == "name":
        return sorted(rows, key=lambda row: (row.test, row.name, row.figure))
    if order == "change":
        return sorted(rows, key=lambda row: math.inf if row.worse is None else -row.worse)
    return list(rows)
