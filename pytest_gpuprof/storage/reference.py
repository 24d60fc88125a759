"""What a run is compared with while it measures: accepted baselines, stored runs or a file, behind one question."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from pytest_gpuprof.budgets.figures import Figure
from pytest_gpuprof.core.baseline import MOST_RUNS, Baseline
from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage.baselines import Baselines
from pytest_gpuprof.storage.comparison import measured_in
from pytest_gpuprof.storage.conditions import differences, key_of
from pytest_gpuprof.storage.document import read_document
from pytest_gpuprof.storage.matching import Workload
from pytest_gpuprof.storage.runs import RunInfo, StoredFigures
from pytest_gpuprof.storage.store import Store

__all__ = ["BASELINE", "FileRun", "Reference", "StoredRuns", "reference_of"]

BASELINE = "baseline"
"""The reference that means the file of accepted baselines."""


class Reference(Protocol):
    """What was measured before."""

    @property
    def title(self) -> str:
        """How a sentence names it."""

    def before(self, test: str, name: str, conditions: Mapping[str, Fact], figure: str) -> Baseline:
        """Return what a figure was under these conditions, or why that is not known."""

    def workloads(self) -> Collection[Workload]:
        """Return the workloads that it knows, under whatever conditions."""


class StoredRuns:
    """Runs of the store, of which the newest twenty that are comparable count.

    A test that failed is no baseline: a regression that has failed its test must not become what the next run is
    compared with. ``pytest-gpuprof accept`` is how it becomes that.

    Args:
        store: where they are.
        infos: the runs, newest first.
        title: how a sentence names them.
    """

    def __init__(self, store: Store, infos: Sequence[RunInfo], title: str) -> None:
        self.title = title
        self._store = store
        self._infos = infos
        self._kept: dict[tuple[str, str, str], Sequence[Mapping[str, Figure]]] = {}

    def before(self, test: str, name: str, conditions: Mapping[str, Fact], figure: str) -> Baseline:
        """Return what a figure was in these runs."""
        place = (test, name, key_of(conditions))
        if place not in self._kept:
            self._kept[place] = self._store.before(*place, infos=self._infos, limit=MOST_RUNS)
        values = tuple(each[figure].value for each in self._kept[place] if figure in each)
        if values:
            return Baseline(values, self.title)
        other = self._store.other_conditions(*place, infos=self._infos)
        return _new(self.title) if other is None else _incomparable(self.title, other, conditions)

    def workloads(self) -> Collection[Workload]:
        """Return the workloads of the newest of these runs: what was renamed before it is no news."""
        return self._store.figures(self._infos[0]).keys() if self._infos else ()


class FileRun:
    """A run read from a file.

    Args:
        path: of a JSON export.

    Raises:
        UsageError: if it is none.
    """

    def __init__(self, path: Path) -> None:
        self.title = path.name
        self._measured: Mapping[Workload, StoredFigures] = measured_in(read_document(path))

    def before(self, test: str, name: str, conditions: Mapping[str, Fact], figure: str) -> Baseline:
        """Return what a figure was in this run."""
        measured = self._measured.get((test, name))
        if measured is None or figure not in measured.figures:
            return _new(self.title)
        if measured.conditions_key != key_of(conditions):
            return _incomparable(self.title, measured.conditions, conditions)
        return Baseline((measured.figures[figure].value,), self.title)

    def workloads(self) -> Collection[Workload]:
        """Return the workloads of this run."""
        return self._measured.keys()


def _new(title: str) -> Baseline:
    return Baseline(absence="new", reason=f"it is not in {title}; it is compared once it is")


def _incomparable(title: str, before: Mapping[str, Fact], now: Mapping[str, Fact]) -> Baseline:
    changed = ", ".join(differences(before, now))
    reason = f"in {title} it is under other conditions: {changed}; it is compared once it is there under these"
    return Baseline(absence="incomparable", reason=reason)


def reference_of(
    text: str, *, root: Path, baselines: Path, store: Callable[[], Store | None], without: str = ""
) -> Reference:
    """Return what a person means by a reference.

    Args:
        text: ``baseline``, ``latest``, ``latest:BRANCH``, a commit, the number of a run, or a JSON export.
        root: the project's folder, for a relative path.
        baselines: the file of accepted baselines.
        store: opens the store if it is needed; ``None`` if nothing was ever kept.
        without: the id of a run to leave out: the one that is compared.

    Raises:
        UsageError: if it means nothing.
        StoreError: if the store cannot be used, or has no such run.
    """
    if text == BASELINE:
        return Baselines(baselines)
    path = root / text
    if path.is_file():
        return FileRun(path)
    if text.endswith(".json"):
        raise UsageError(
            f"there is no file {text} to compare with; name an export, a commit, latest, latest:BRANCH or baseline"
        )
    opened = store()
    newest, colon, branch = text.partition(":")
    if opened is None:
        if newest == "latest":
            return _Nothing(f"the newest runs{f' on {branch}' if branch else ''}")
        raise UsageError(f"there is no run {text}, because nothing is stored yet; compare with baseline or a file")
    if newest == "latest":  # finished runs, so many that twenty comparable ones are among them where cards differ
        infos = [each for each in opened.runs(branch=branch if colon else None, limit=_LOOKED_AT) if each.finished]
        title = f"the newest runs{f' on {branch}' if branch else ''}"
    else:
        infos, title = opened.resolve(text), f"the runs of {text}"
    return StoredRuns(opened, [each for each in infos if each.id != without], title)


_LOOKED_AT = 200
"""So many of the newest runs are searched for twenty under the same conditions: a fleet of ten kinds of cards has them
among these."""


class _Nothing:
    """A store in which there is nothing yet: the first run of a project is new, and not wrong."""

    def __init__(self, title: str) -> None:
        self.title = title

    def before(self, test: str, name: str, conditions: Mapping[str, Fact], figure: str) -> Baseline:
        return _new(self.title)

    def workloads(self) -> Collection[Workload]:
        return ()
