"""What a run is compared with: accepted baselines, stored runs or one file, behind one question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pytest_gpuprof.core.baseline import MOST_RUNS, Baseline
from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage.baselines import SCHEMA as BASELINES_SCHEMA
from pytest_gpuprof.storage.baselines import Baselines
from pytest_gpuprof.storage.conditions import differences, key_of
from pytest_gpuprof.storage.document import figures_by_workload, read_document, schema_of
from pytest_gpuprof.storage.store import RunInfo, Store

__all__ = ["BASELINE", "OneRun", "Reference", "StoredRuns", "Workload", "reference_of"]

Workload = tuple[str, str]
"""A test's node id and the name of a profile in it: what figures are kept under."""

BASELINE = "baseline"
"""The reference that means the file of accepted baselines."""


class Reference(Protocol):
    """What was measured before."""

    title: str
    """How a sentence names it."""

    def before(self, test: str, name: str, conditions: Mapping[str, Fact], figure: str) -> Baseline:
        """Return what a figure was under these conditions, or why that is not known."""

    def workloads(self) -> frozenset[Workload]:
        """Return the workloads that it knows, under whatever conditions."""


class StoredRuns:
    """Runs of the store: the newest twenty that are comparable.

    Tests that failed are no baseline: a regression that has failed its test must not become what the next run is
    compared with. ``pytest-gpuprof accept`` is how it becomes that.

    Args:
        store: where they are.
        infos: the runs, newest first.
        title: how a sentence names them.
    """

    def __init__(self, store: Store, infos: Sequence[RunInfo], title: str) -> None:
        self.title = title
        self._store = store
        self._infos = tuple(infos)
        self._kept: dict[tuple[str, str, str], Sequence[Mapping[str, Any]]] = {}

    def before(self, test: str, name: str, conditions: Mapping[str, Fact], figure: str) -> Baseline:
        """Return what a figure was in these runs."""
        place = (test, name, key_of(conditions))
        if place not in self._kept:
            self._kept[place] = self._store.before(*place, infos=self._infos, limit=MOST_RUNS)
        values = tuple(float(each[figure]["value"]) for each in self._kept[place] if figure in each)
        if values:
            runs = f"{len(values)} run{'s' if len(values) > 1 else ''}"
            return Baseline(values, f"{runs} of {self.title}")
        other = self._store.other_conditions(test, name, infos=self._infos)
        if other is not None and other != dict(conditions):
            return _incomparable(self.title, differences(other, conditions))
        return _new(self.title)

    def workloads(self) -> frozenset[Workload]:
        """Return the workloads of the newest of these runs: older ones have lost what was renamed since."""
        return frozenset(self._store.figures(self._infos[0])) if self._infos else frozenset()


class OneRun:
    """A run read from a file.

    Args:
        document: what was read.
        title: how a sentence names it.
    """

    def __init__(self, document: Mapping[str, Any], title: str) -> None:
        self.title = title
        self._records = figures_by_workload(document)

    def before(self, test: str, name: str, conditions: Mapping[str, Fact], figure: str) -> Baseline:
        """Return what a figure was in this run."""
        record = self._records.get((test, name))
        if record is None:
            return _new(self.title)
        other = record.get("conditions", {})
        if key_of(other) != key_of(conditions):
            return _incomparable(self.title, differences(other, conditions))
        found = record.get("figures", {}).get(figure)
        return _new(self.title) if found is None else Baseline((float(found["value"]),), self.title)

    def workloads(self) -> frozenset[Workload]:
        """Return the workloads of this run."""
        return frozenset(self._records)


def _new(title: str) -> Baseline:
    return Baseline(absence="new", reason=f"{title} does not know it")


def _incomparable(title: str, changed: Sequence[str]) -> Baseline:
    return Baseline(
        absence="incomparable",
        reason=f"{title} knows it under other conditions only: {', '.join(changed) or 'in another form'}",
    )


def reference_of(text: str, *, root: Path, baselines: Path, store: Callable[[], Store]) -> Reference:
    """Return what a person means by a reference.

    Args:
        text: ``baseline``, ``latest``, ``latest:BRANCH``, a commit, the number of a run, or a file.
        root: the project's folder, for a relative path.
        baselines: the file of accepted baselines.
        store: opens the store, if it is needed.

    Raises:
        UsageError: if it means nothing.
        StoreError: if the store cannot be used.
    """
    if text == BASELINE:
        return Baselines(baselines)
    path = root / text
    if path.is_file():
        if schema_of(path) == BASELINES_SCHEMA:
            return Baselines(path)
        return OneRun(read_document(path), path.name)
    if text.endswith(".json"):
        raise UsageError(f"there is no file {text} to compare with; name a file, a commit, latest or baseline")
    opened = store()
    return StoredRuns(opened, opened.resolve(text), f"{text} in {opened.url_shown}")
