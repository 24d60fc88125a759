"""What a run is compared with: accepted baselines, stored runs or a file, behind one question.

The plugin asks while it measures, for one workload after the other; the command asks for all of a run, which is read at
once. A name that a person gives means the same to both.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from pytest_gpuprof.budgets.figures import figures_of
from pytest_gpuprof.core.baseline import MOST_RUNS, Baseline
from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage import absence
from pytest_gpuprof.storage.baselines import Baselines
from pytest_gpuprof.storage.codec import profile_from
from pytest_gpuprof.storage.conditions import conditions_of, key_of
from pytest_gpuprof.storage.document import figures_by_workload
from pytest_gpuprof.storage.matching import Workload
from pytest_gpuprof.storage.runs import RunInfo, StoredFigures

if TYPE_CHECKING:
    from pytest_gpuprof.storage.store import Store

__all__ = [
    "BASELINE",
    "EarlierRuns",
    "Now",
    "Reference",
    "alike",
    "branch_of",
    "measured_in",
    "newest_runs",
    "reference_of",
    "title_of",
    "titled",
]

BASELINE = "baseline"
"""The reference that means the file of accepted baselines."""

_NEWEST = re.compile(r"latest(?::(?P<branch>[^~]+))?")
"""References that stand for the newest runs, and not for one of them."""

_LOOKED_AT = 200
"""So many of the newest runs are searched for twenty under the same conditions: a fleet of ten kinds of cards has them
among these."""


_KEPT = 16
"""Workloads that are kept of those the store was asked for: a test that measures several is judged when it ends."""


class Reference(Protocol):
    """What was measured before."""

    @property
    def title(self) -> str:
        """How a sentence names it, in the singular or plural."""

    def before(
        self, test: str, name: str, conditions: Mapping[str, Fact], figure: str, key: str | None = None
    ) -> Baseline:
        """Return what a figure was under these conditions, or why that is not known.

        Args:
            test, name: the workload.
            conditions: those of now.
            figure: by name.
            key: of the conditions, by whoever has it already.
        """

    def workloads(self) -> Collection[Workload]:
        """Return the workloads that are there, under whatever conditions; of several runs, in the newest.

        What was gone before it has not vanished now, and what was renamed before it is no news.
        """


class EarlierRuns:
    """Earlier runs, of which the newest twenty that are comparable count.

    A test that failed says little of what is usual, and a regression that failed its test must not become what the next
    run is compared with: such runs count only where there are no others. ``pytest-gpuprof accept`` is how a regression
    becomes a baseline.

    Args:
        title: how a sentence names them.
        count: how many there are.
        of: returns what each of them measured of a workload, the newest first.
        newest: returns the workloads of the newest.
    """

    def __init__(
        self,
        title: str,
        count: int,
        of: Callable[[Workload], Sequence[StoredFigures]],
        newest: Callable[[], Collection[Workload]],
    ) -> None:
        self.title = title
        self.count = count
        self.workloads = newest
        self._of = of

    @classmethod
    def read(cls, title: str, runs: Sequence[Mapping[Workload, StoredFigures]]) -> EarlierRuns:
        """Return runs that were read, the newest first."""

        def of(workload: Workload) -> Sequence[StoredFigures]:
            return [run[workload] for run in runs if workload in run]

        return cls(title, len(runs), of, lambda: runs[0].keys() if runs else ())

    @classmethod
    def asked(cls, title: str, store: Store, infos: Sequence[RunInfo]) -> EarlierRuns:
        """Return runs of which the store is asked only what is needed."""
        of = lru_cache(_KEPT)(lambda workload: store.of_workload(*workload, infos=infos))
        return cls(title, len(infos), of, cache(lambda: store.workloads_of(infos[0]) if infos else ()))

    def before(
        self, test: str, name: str, conditions: Mapping[str, Fact], figure: str, key: str | None = None
    ) -> Baseline:
        """Return what a figure was in the newest of these runs under the same conditions, or why there is nothing."""
        found = self._of((test, name))
        if not found:
            return absence.new(self.title, absence.WAIT)
        key = key or key_of(conditions)
        same = [each for each in found if each.conditions_key == key]
        if not same:
            return absence.incomparable(self.title, [found[0].conditions], conditions, absence.WAIT)
        values = [(each.outcome == "failed", each.values[figure]) for each in same if figure in each.values]
        if not values:
            return absence.new_figure(self.title, figure, absence.WAIT)
        counting = [value for failed, value in values if not failed] or [value for _, value in values]
        return Baseline(tuple(reversed(counting[:MOST_RUNS])), self.title)


@dataclass(frozen=True, slots=True)
class Now:
    """The run that is compared.

    Args:
        id: by which it is left out of what it is compared with.
        info: what the store knows of it: what came later is left out too. ``None`` where it is the last.
        measured: all of it, where it is there already; what it is compared with is then read at once.
    """

    id: str
    info: RunInfo | None = None
    measured: Mapping[Workload, StoredFigures] | None = None


def reference_of(
    text: str,
    now: Now,
    *,
    baselines: Baselines,
    file: Callable[[str], tuple[str, Mapping[str, Any]] | None],
    store: Callable[[], Store | None],
) -> Reference:
    """Return what a person means by a reference.

    Args:
        text: ``baseline``, ``latest``, ``latest:BRANCH``, a commit, the number of a run, or a JSON export.
        now: the run that is compared.
        baselines: the file of accepted baselines.
        file: reads the document that a name means, and returns it with its title; ``None`` if it means none.
        store: opens the store if it is needed; ``None`` if nothing was ever kept.

    Raises:
        UsageError: if it means nothing.
        StoreError: if the store cannot be used, or has no such run.
    """
    if text == BASELINE:
        return baselines
    read = file(text)
    if read is not None:
        title, document = read
        return EarlierRuns.read(title, [measured_in(document)] if document["id"] != now.id else [])
    opened, newest = store(), _NEWEST.fullmatch(text)
    if newest is None:
        if opened is None:
            raise UsageError(f"there is no run {text}, because nothing is stored yet; compare with baseline or a file")
        where, infos = f" of {text}", [each for each in opened.resolve(text) if each.id != now.id]
    else:
        where = f" on {newest['branch']}" if newest["branch"] else ""
        infos = newest_runs(opened, newest["branch"], now) if opened is not None else []
    if opened is None or not infos:
        return EarlierRuns.read(f"the newest runs{where}, of which there is none yet", [])
    if now.measured is None:
        title = title_of(infos, where) if newest is None else f"the newest runs{where}"
        return EarlierRuns.asked(title, opened, infos[:_LOOKED_AT])
    infos = alike(opened, infos, now.measured)
    return EarlierRuns.read(title_of(infos, where), opened.figures_of(infos))


def branch_of(text: str) -> str | None:
    """Return the branch whose newest runs a reference means."""
    newest = _NEWEST.fullmatch(text)
    return None if newest is None else newest["branch"]


def newest_runs(store: Store, branch: str | None, now: Now) -> list[RunInfo]:
    """Return the newest finished runs before one, the newest first, so many that twenty comparable are among them."""
    found = store.runs(branch=branch, before=now.info, limit=_LOOKED_AT)
    return [each for each in found if each.finished and each.id != now.id]


def alike(store: Store, infos: list[RunInfo], measured: Mapping[Workload, StoredFigures]) -> list[RunInfo]:
    """Return up to twenty runs that share a condition with one; if none does the newest, which tells what differs."""
    keys = {each.conditions_key for each in measured.values()}
    return store.under(keys, infos, limit=MOST_RUNS) or infos[:1]


# -- words ------------------------------------------------------------------------------------------------------------


def title_of(infos: Sequence[RunInfo], where: str = "") -> str:
    """Return how a sentence names runs, given the newest first."""
    if len(infos) == 1:
        (info,) = infos
        return f"run {info.number} ({titled(info.commit, info.dirty, info.branch, info.created)})"
    numbers = f" ({infos[-1].number} to {infos[0].number})" if infos else ""
    return f"{len(infos)} runs{where}{numbers}"


def titled(commit: str | None, dirty: bool, branch: str | None, created: str) -> str:
    """Return which run it is, as a person recognizes it."""
    parts = [f"commit {commit[:7]}{' with changes' if dirty else ''}"] if commit else []
    parts += [f"on {branch}"] if branch else []
    return " ".join([*parts, f"of {created[:10]}"])


# -- a document -------------------------------------------------------------------------------------------------------


def measured_in(document: Mapping[str, Any]) -> dict[Workload, StoredFigures]:
    """Return what a document says of each workload, as a store would."""
    return {workload: _measured(record) for workload, record in figures_by_workload(document).items()}


def _measured(record: Mapping[str, Any]) -> StoredFigures:
    conditions, stored = record.get("conditions"), record.get("figures")
    if conditions is None or stored is None:  # an older version wrote it
        profile = profile_from(record)
        conditions = conditions_of(profile)
        values = {name: figure.value for name, figure in figures_of(profile).items()}
    else:
        values = {name: figure["value"] for name, figure in stored.items()}
    return StoredFigures(
        str(record.get("outcome", "")), record.get("attempt", 1), key_of(conditions), conditions, values
    )
