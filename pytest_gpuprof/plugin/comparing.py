"""Comparing with what was: the reference of a run, budgets that ``--gpu-profile-compare`` implies, and what is gone.

One object serves the process that measures (:class:`Comparing`), another the one that talks to the person
(:class:`Comparison`); without xdist both are in one process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.budgets.budget import Budget, Kind
from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.errors import GpuprofError, StoreError, UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.job import METRICS_ASKED, Job
from pytest_gpuprof.plugin.markers import without_group
from pytest_gpuprof.plugin.run import Run
from pytest_gpuprof.plugin.selection import Selection
from pytest_gpuprof.plugin.settings import Settings
from pytest_gpuprof.reports.remarks import describe_comparison
from pytest_gpuprof.storage.address import NOWHERE
from pytest_gpuprof.storage.baselines import Baselines
from pytest_gpuprof.storage.conditions import conditions_of, key_of
from pytest_gpuprof.storage.document import read_document
from pytest_gpuprof.storage.matching import Workload, matched
from pytest_gpuprof.storage.reference import BASELINE, Now, Reference, reference_of
from pytest_gpuprof.storage.store import Store

__all__ = ["Comparing", "Comparison", "vanished"]

_SHOWN = 10
"""Vanished workloads that are named; a renamed folder makes hundreds of them."""


class Comparing:
    """What each workload was before, for the process that measures.

    Args:
        settings: of the run.
        root: the project's folder.
        kinds: the budgets there are.
        run: this one, which is no baseline of itself.

    Raises:
        UsageError: if what the options say of comparing cannot be meant.
    """

    def __init__(self, settings: Settings, root: Path, kinds: Mapping[str, Kind], run: Run) -> None:
        self._settings = settings
        self._root = root
        self._run = run
        written = [
            {"keyword": "max_regression", "limit": settings.max_regression, "metric": figure}
            for figure in settings.compare_figures
        ]
        implied = tuple(Budget.from_written(each, kinds) for each in written)  # checked also where it is not used
        self._implied = implied if settings.compare is not None else ()
        self._opened: Store | None = None

    @cached_property
    def reference(self) -> Reference:
        """What this run is compared with.

        Raises:
            UsageError: if the option means nothing, or the file of baselines is damaged.
            StoreError: if the store cannot be used.
        """
        return reference_of(
            self._settings.compare or BASELINE,
            Now(self._run.id),
            baselines=Baselines(self._root / self._settings.baselines),
            file=self._file,
            store=self._store,
        )

    def _file(self, text: str) -> tuple[str, Mapping[str, Any]] | None:
        path = self._root / text
        if path.is_file():
            return path.name, read_document(path)
        if text.endswith(".json"):
            raise UsageError(
                f"there is no file {text} to compare with; name an export, a commit, latest, latest:BRANCH or baseline"
            )
        return None

    def _store(self) -> Store | None:
        if self._settings.store == NOWHERE:
            raise UsageError(
                f"--gpu-profile-compare={self._settings.compare} needs a store, and --gpu-profile-store={NOWHERE} "
                "keeps nothing; compare with baseline or a file, or name a store"
            )
        self._opened = Store.existing(self._settings.store, self._root)
        return self._opened

    def close(self) -> None:
        """Close the store, if it was asked."""
        if self._opened is not None:
            self._opened.close()

    def check(self) -> bool:
        """Find out now, not after measuring, whether there is anything to compare with, and that it can be read.

        Returns:
            Whether this run compares: an option says so, or there is a file of baselines.

        Raises:
            UsageError: if the reference means nothing, or cannot be read.
        """
        file = self._root / self._settings.baselines
        if self._settings.compare is None and not file.exists():
            return False
        try:
            self.reference.workloads()
        except StoreError as error:
            raise UsageError(f"--gpu-profile-compare={self._settings.compare}: {error}") from error
        return True

    def before(self, test: str, profile: Profile, figures: Sequence[str]) -> Mapping[str, Baseline]:
        """Return what figures of a profile were; a store that cannot be used is no reason for a test to fail.

        Raises:
            UsageError: if the file of baselines is damaged: whoever wrote a budget on it must know.
        """
        conditions = conditions_of(profile)
        key = key_of(conditions)
        try:
            return {each: self.reference.before(test, profile.name, conditions, each, key) for each in figures}
        except StoreError as error:
            return {each: Baseline(absence="unreadable", reason=str(error)) for each in figures}

    def with_implied(self, job: Job, budgets: tuple[Budget, ...]) -> tuple[Job, tuple[Budget, ...]]:
        """Return a job and its budgets, with those that ``--gpu-profile-compare`` adds.

        A budget says what is measured. One that nobody wrote must not narrow it: a test without budgets of its own is
        timed on both legs, as it would be without the option.

        Args:
            job: what is measured.
            budgets: of the test; one on the regression of the same figure goes before ours.
        """
        limited = {budget.metric for budget in budgets if budget.keyword == "max_regression"}
        added = tuple(budget for budget in self._implied if budget.metric not in limited)
        if added and not budgets and job.metrics is None:
            job = replace(job, metrics=METRICS_ASKED["time"])
        return job, (*budgets, *added)


def vanished(
    known: Collection[Workload],
    tests: Collection[str],
    measured: Mapping[str, Collection[str]],
    whole: Callable[[str], bool],
) -> list[Workload]:
    """Return the workloads that a reference knows and the project no longer has.

    Args:
        known: what the reference knows.
        tests: every test that measures, also those left out by ``-k``.
        measured: the profiles of each test that was measured.
        whole: whether all tests of a file were looked for; one that is gone was.
    """
    gone = []
    for test, name in sorted(known):
        path = test.partition("::")[0]
        if test not in tests:
            if whole(path):
                gone.append((test, name))
        elif measured.get(test) and name not in measured[test]:
            gone.append((test, name))
    return gone


class Comparison:
    """Tells how the run compares as a whole, in the process that talks to the person.

    Args:
        comparing: knows the reference.
        selection: the tests there are.
    """

    def __init__(self, comparing: Comparing, selection: Selection) -> None:
        self._comparing = comparing
        self._selection = selection
        self._measured: dict[str, dict[str, list[str]]] = {}

    @pytest.hookimpl
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what became of each comparison; a rerun takes the place of what it repeats."""
        carried: Mapping[str, Any] | None = getattr(report, "gpuprof", None)
        if carried is not None and not hasattr(report, "context"):
            self._measured[without_group(report.nodeid)] = {
                record["name"]: [each["change"] for each in record["verdicts"] if each["change"]]
                for record in carried["records"]
            }

    def told(self) -> Mapping[str, Any] | None:
        """Return how the run compares, as its document has it; ``None`` if nothing was compared and nothing is gone."""
        changes = Counter(change for each in self._measured.values() for found in each.values() for change in found)
        gone = self._gone() if self._measured else []
        if not changes and not gone:
            return None
        return {"reference": self._comparing.reference.title, "changes": dict(sorted(changes.items())), "gone": gone}

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many workloads are new, improved, regressed, …, and which are gone."""
        told = None if terminalreporter.config.option.no_summary else self.told()
        if told is None:
            return
        bad = bool(told["gone"]) or bool(told["changes"].keys() & {"regressed", "noisy", "unreadable"})
        terminalreporter.write_line(describe_comparison(told), **{"yellow" if bad else "green": True})
        for line in told["gone"][:_SHOWN]:
            terminalreporter.write_line(line, yellow=True)
        if len(told["gone"]) > _SHOWN:
            terminalreporter.write_line(f"… and {len(told['gone']) - _SHOWN} more are gone", yellow=True)

    def _gone(self) -> list[str]:
        """Return a sentence for each workload that the reference knows and the project no longer has."""
        try:
            known = self._comparing.reference.workloads()
        except GpuprofError:  # told by whoever needed it
            return []
        gone = vanished(known, self._selection.nodeids, self._measured, self._selection.covers)
        new = [(test, name) for test, found in self._measured.items() for name in found if (test, name) not in known]
        guesses = matched(gone, new).renamed
        title = self._comparing.reference.title
        return [
            f"gone: {test} {name} is in {title} and no longer among what is measured"
            + (f"; it may be {' '.join(guesses[test, name].name)} now" if (test, name) in guesses else "")
            for test, name in gone
        ]
