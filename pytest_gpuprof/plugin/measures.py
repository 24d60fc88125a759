"""How a test measures in a run with ``--gpu-profile``: profiles, sweeps, and further limits. PYTEST_DONT_REWRITE."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gpuprof.budgets.budget import Budget, merge
from pytest_gpuprof.budgets.crossover import is_of_sweep, refuse_limits_of_sweeps
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.sizes import Sizes
from pytest_gpuprof.core.sweep import Sweep
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.plugin import outcome
from pytest_gpuprof.plugin.comparing import Comparing
from pytest_gpuprof.plugin.locks import DeviceLocks
from pytest_gpuprof.plugin.markers import PROFILE_OPTIONS, STATE, without_group
from pytest_gpuprof.plugin.progress import ProgressLine
from pytest_gpuprof.plugin.quarantine import spare
from pytest_gpuprof.plugin.settings import Settings
from pytest_gpuprof.profiler import Profiler
from pytest_gpuprof.sweeping import FASTER, judged, limits_of_sweep, remeasured, scaled

if TYPE_CHECKING:
    from pytest_gpuprof.plugin.evidence import Evidence

__all__ = ["Measures"]


class Measures:
    """Runs the workloads of tests, measures and judges them: what the fixtures ask for.

    Args:
        config: of the run.
        settings: of the run.
        extensions: the parts there are.
        comparing: knows what figures were in earlier runs.
        evidence: what was measured elsewhere, in place of measuring.
    """

    enabled = True

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        extensions: Extensions,
        comparing: Comparing,
        evidence: Evidence | None,
    ) -> None:
        self._settings = settings
        self._extensions = extensions
        self._progress = ProgressLine(config, settings)
        self._locks = DeviceLocks(settings.workers)
        self._comparing = comparing
        self._evidence = evidence
        self._profiler: Profiler | None = None
        self._began_s = time.monotonic()

    def measuring(self) -> Profiler:
        """Return the profiler of this run; no backend is asked for anything before the first workload."""
        if self._profiler is None:
            settings = self._settings
            self._profiler = Profiler(
                extensions=self._extensions,
                devices=self._devices(),
                backend=settings.backend,
                metrics=settings.metrics,
                plan=settings.plan,
                peaks=settings.peaks,
                exclusive=self._locks,
                watch=self._progress.watch,
                before=self._comparing.before,
                only_devices_name=True,
                left_s=self._left_s,
            )
        return self._profiler

    def _source(self, item: pytest.Item) -> Any:
        """Return what brings the profiles of a test: the profiler, or what was measured elsewhere."""
        if self._evidence is None:
            return self.measuring()
        from pytest_gpuprof.plugin.evidence import Stored

        words = self._extensions.registry.parameters
        return Stored(self._evidence, without_group(item.nodeid), words, self._settings.plan, self._comparing.before)

    def _left_s(self) -> float:
        """Return the seconds that ``--gpu-profile-session-time`` leaves for measuring."""
        return self._settings.session_time_s - (time.monotonic() - self._began_s)

    def _devices(self) -> tuple[str, ...]:
        """Return the devices of this worker: all that were named, or one with ``--gpu-profile-xdist=assign``."""
        settings = self._settings
        if settings.xdist != "assign" or settings.worker is None:
            return settings.devices
        named = settings.devices or tuple(
            dict.fromkeys(str(info.id) for info in self._extensions.registry.known_devices() if info.kind == "gpu")
        )
        number = int("".join(filter(str.isdigit, settings.worker)) or 0)
        return (named[number % len(named)],) if named else ()

    def prepare(self, item: pytest.Item) -> None:
        """Do nothing: the markers were read before any fixture was set up."""

    def profile(self, item: pytest.Item, workload: Any, options: Mapping[str, Any]) -> Profile:
        """Measure a workload for a test, judge the budgets that bind to it, and return its first profile."""
        __tracebackhide__ = True
        state = item.stash[STATE]
        profiler = self._source(item)
        jobs = profiler.jobs(workload, **{**state.options, **options})
        measured = []
        for job in jobs:
            job, budgets = self._comparing.with_implied(job, state.budgets_of(job.name))
            measured.append(self._taken(item, profiler, job, [each for each in budgets if not is_of_sweep(each)]))
        return measured[0]

    def sweep(self, item: pytest.Item, workload: Any, options: Mapping[str, Any]) -> Sweep:
        """Measure a workload at several sizes for a test, and judge the budgets that bind to each and to all."""
        __tracebackhide__ = True
        state, servants = item.stash[STATE], self._extensions.registry.parameters
        sizes = Sizes.of(workload, {**state.options, **options}, known=PROFILE_OPTIONS, servants=servants)
        if sizes.name in state.sweeps:
            raise UsageError(f"the test has two sweeps called {sizes.name!r}; give each its own with name=")
        state.sweeps.add(sizes.name)
        source = self._source(item)
        swept = sizes.jobs(lambda **each: source.jobs(workload, **each))
        each_accelerator = [self._swept(item, source, sizes, jobs) for jobs in swept]
        return each_accelerator[0]

    def _taken(
        self, item: pytest.Item, source: Any, job: Any, budgets: Sequence[Budget], deciding: Sequence[Budget] = ()
    ) -> Profile:
        """Measure one job for a test, and keep its profile."""
        __tracebackhide__ = True
        state = item.stash[STATE]
        if job.name in state.profiles:
            raise UsageError(f"the test has two profiles called {job.name!r}; give each its own with name=")
        with self._progress.of(job.name):
            left_s = self._left_s()
            if left_s <= 0:
                taken = source.out_of_time(job, budgets)
            else:
                job = replace(job, plan=job.plan.with_(max_time_s=min(job.plan.max_time_s, left_s)))
                taken = source.measure(job, budgets, owner=item.nodeid, deciding=deciding)
        state.profiles[job.name] = self._spared(item, taken)
        return replace(state.profiles[job.name], judge=_TestJudge(self, item, job))

    def _swept(self, item: pytest.Item, source: Any, sizes: Sizes, jobs: Mapping[float, Any]) -> Sweep:
        """Measure a workload at several sizes on one accelerator."""
        __tracebackhide__ = True
        state, profiles = item.stash[STATE], {}
        for size, job in jobs.items():
            job, budgets = self._comparing.with_implied(job, state.budgets_of(job.name, sizes.name))
            of_size = [each for each in budgets if not is_of_sweep(each)]
            profiles[size] = self._taken(item, source, job, of_size, [FASTER])
        largest = max(profiles)
        scaling = profiles[largest].scaling or scaled(sizes.parameter, profiles)  # what was measured elsewhere has one
        profiles[largest] = replace(profiles[largest], scaling=scaling)
        swept = Sweep(sizes.name, profiles, scaling, _TestSweepJudge(self, item, jobs))
        return self._judged_sweep(item, swept, jobs, tuple(filter(is_of_sweep, budgets)))

    def _judged_sweep(
        self, item: pytest.Item, swept: Sweep, jobs: Mapping[float, Any], budgets: tuple[Budget, ...]
    ) -> Sweep:
        """Return a sweep with the verdicts on it as a whole, which belong to the profile of its largest size."""
        state, largest = item.stash[STATE], max(jobs)
        name, judge = jobs[largest].name, swept[largest].judge
        known = replace(state.profiles[name], scaling=swept.scaling)
        if self._evidence is not None:
            now = self._source(item).require(jobs[largest], known, budgets)
        else:
            profiler = self.measuring()
            with self._progress.of(swept.name):
                again = remeasured(profiler, jobs, item.nodeid, self._left_s)
                now = judged({**swept.profiles, largest: known}, budgets, profiler, again, item.nodeid)
        state.profiles[name] = self._spared(item, now, since=len(known.verdicts))
        return replace(swept, profiles={**swept.profiles, largest: replace(state.profiles[name], judge=judge)})

    def require_of_sweep(
        self, item: pytest.Item, swept: Sweep, jobs: Mapping[float, Any], limits: Mapping[str, Any]
    ) -> Sweep:
        """Judge further limits on a sweep, in the body of the test; what fails, fails at once."""
        __tracebackhide__ = True
        largest = max(jobs)
        before = len(item.stash[STATE].profiles[jobs[largest].name].verdicts)
        try:
            swept = self._judged_sweep(item, swept, jobs, limits_of_sweep(limits, self._extensions.kinds))
        except UsageError as error:
            outcome.fail(str(error))
        now = swept[largest]
        failure = outcome.fails([(verdict, now) for verdict in now.verdicts[before:]], self._settings)
        if failure is not None:
            raise failure
        return swept

    def require(self, item: pytest.Item, job: Any, profile: Profile, limits: Mapping[str, Any]) -> Profile:
        """Judge further limits, in the body of the test; what fails, fails at once."""
        __tracebackhide__ = True
        state = item.stash[STATE]
        known = state.profiles[job.name]  # the test may hold an older one, from before another require()
        try:
            budgets: tuple[Budget, ...] = merge([limits], self._extensions.kinds)
            refuse_limits_of_sweeps(budgets)
            with self._progress.of(job.name):
                judged = self._source(item).require(job, known, budgets, owner=item.nodeid)
        except UsageError as error:
            outcome.fail(str(error))
        judged = self._spared(item, judged, since=len(known.verdicts))
        state.profiles[job.name] = judged
        new = judged.verdicts[len(known.verdicts) :]
        failure = outcome.fails([(verdict, judged) for verdict in new], self._settings)
        if failure is not None:
            raise failure
        return replace(judged, judge=profile.judge)

    def _spared(self, item: pytest.Item, profile: Profile, since: int = 0) -> Profile:
        """Return a profile of which the new verdicts fail nothing, if the test is in quarantine."""
        failing = [each for each in profile.verdicts[since:] if outcome.fails([(each, profile)], self._settings)]
        return spare(item, profile, failing, since=since)


class _TestJudge:
    """Judges further limits for a test."""

    def __init__(self, measures: Measures, item: pytest.Item, job: Any) -> None:
        self._measures = measures
        self._item = item
        self._job = job

    def require(self, profile: Profile, limits: Mapping[str, Any]) -> Profile:
        __tracebackhide__ = True
        return self._measures.require(self._item, self._job, profile, limits)


class _TestSweepJudge:
    """Judges further limits on a sweep for a test."""

    def __init__(self, measures: Measures, item: pytest.Item, jobs: Mapping[float, Any]) -> None:
        self._measures = measures
        self._item = item
        self._jobs = jobs

    def require(self, sweep: Sweep, limits: Mapping[str, Any]) -> Sweep:
        __tracebackhide__ = True
        return self._measures.require_of_sweep(self._item, sweep, self._jobs, limits)
