"""The plugin while profiling is on: every hook that a run without it must not pay for. PYTEST_DONT_REWRITE."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gpuprof.budgets.budget import Budget, merge
from pytest_gpuprof.core.errors import MeasurementError, OutputsDiffer, Unavailable, UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.plugin import outcome
from pytest_gpuprof.plugin.collecting import location_of, property_pairs
from pytest_gpuprof.plugin.comparing import Comparing
from pytest_gpuprof.plugin.journal import Journal, store_name
from pytest_gpuprof.plugin.locks import DeviceLocks
from pytest_gpuprof.plugin.markers import STATE, TestState, concerns_us, read_markers, without_group
from pytest_gpuprof.plugin.progress import ProgressLine
from pytest_gpuprof.plugin.quarantine import spare
from pytest_gpuprof.plugin.run import Run
from pytest_gpuprof.plugin.settings import Settings
from pytest_gpuprof.plugin.skips import is_excused
from pytest_gpuprof.plugin.termination import without_our_frames
from pytest_gpuprof.plugin.use import INSTEAD, body_as_workload
from pytest_gpuprof.profiler import Profiler
from pytest_gpuprof.storage.codec import record_of

if TYPE_CHECKING:
    from pytest_gpuprof.plugin.evidence import Evidence

__all__ = ["Session"]


class Session:
    """Measures, in the process that runs the tests."""

    enabled = True

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        extensions: Extensions,
        run: Run,
        comparing: Comparing,
        evidence: Evidence | None,
    ) -> None:
        self._settings = settings
        self._extensions = extensions
        self._progress = ProgressLine(config, settings)
        self._locks = DeviceLocks(settings.workers)
        self._root = config.rootpath
        self._run = run
        self._comparing = comparing
        self._evidence = evidence
        self._profiler: Profiler | None = None
        self._began_s = time.monotonic()

    @cached_property
    def _journal(self) -> Journal:
        """The journal of this process; its head is known when the session has started."""
        settings = self._settings
        return Journal(self._root, settings.worker, self._run.head, store_name(settings.store, self._root))

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

    # -- what fixtures do -------------------------------------------------------------------------------------------

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
            if job.name in state.profiles:
                raise UsageError(f"the test has two profiles called {job.name!r}; give each its own with name=")
            job, budgets = self._comparing.with_implied(job, state.budgets_of(job.name))
            with self._progress.of(job.name):
                left_s = self._left_s()
                if left_s <= 0:
                    taken = profiler.out_of_time(job, budgets)
                else:
                    job = replace(job, plan=job.plan.with_(max_time_s=min(job.plan.max_time_s, left_s)))
                    taken = profiler.measure(job, budgets, owner=item.nodeid)
            taken = self._spared(item, taken)
            state.profiles[job.name] = taken
            measured.append(replace(taken, judge=_TestJudge(self, item, job)))
        return measured[0]

    def require(self, item: pytest.Item, job: Any, profile: Profile, limits: Mapping[str, Any]) -> Profile:
        """Judge further limits, in the body of the test; what fails, fails at once."""
        __tracebackhide__ = True
        state = item.stash[STATE]
        known = state.profiles[job.name]  # the test may hold an older one, from before another require()
        try:
            budgets: tuple[Budget, ...] = merge([limits], self._extensions.kinds)
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

    # -- hooks ------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """With ``--gpu-profile-only``, leave the other tests out."""
        if not self._settings.only:
            return
        kept = [item for item in items if concerns_us(item)]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Read the markers, before any fixture is set up; what is wrong in them fails this test and no other."""
        __tracebackhide__ = True
        try:
            read_markers(item, self._settings.budgets, self._extensions.kinds)
        except UsageError as error:
            outcome.fail(str(error))
        return (yield from self._told_plainly(item))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Run the test, then apply the verdicts on what it measured."""
        __tracebackhide__ = True
        state = item.stash.get(STATE, None)
        if state is None or INSTEAD in item.stash:
            return (yield)
        result = yield from self._told_plainly(item)
        _check_complete(state)
        outcome.apply(state.profiles, self._settings)
        return result

    def _told_plainly(self, item: pytest.Item) -> Generator[None, object, object]:
        """Turn our exceptions, which a fixture or a body may meet, into outcomes that need no traceback."""
        __tracebackhide__ = True
        try:
            return (yield)
        except Unavailable as error:
            raise self._missing(item, str(error)) from None
        except (UsageError, OutputsDiffer, MeasurementError) as error:
            outcome.fail(str(error))
        except BaseException as error:
            error.__traceback__ = without_our_frames(error.__traceback__)
            raise

    def _missing(self, item: pytest.Item, reason: str) -> BaseException:
        """Return what a figure that is missing does to a test: skip it, or under strict fail it.

        A budget that fails the test goes before both.
        """
        state = item.stash.get(STATE, None)
        profiles = () if state is None else state.profiles.values()
        judged = [(verdict, profile) for profile in profiles for verdict in profile.verdicts]
        failure = outcome.fails(judged, self._settings)
        if failure is not None:
            return failure
        if self._settings.strict and not is_excused(item):
            return outcome.GpuBudgetUnjudged(reason, pytrace=False)
        return pytest.skip.Exception(reason, _use_item_location=True)

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Measure the body of a test that requests ``gpu_profile_device``."""
        __tracebackhide__ = True
        if "gpu_profile_device" not in pyfuncitem.fixturenames or INSTEAD in pyfuncitem.stash:
            return None
        self.profile(pyfuncitem, body_as_workload(pyfuncitem), {})
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the records to the report, which carries them across xdist."""
        state = item.stash.get(STATE, None)
        if state is not None and call.when == "call":
            item.user_properties[:] = [pair for pair in item.user_properties if not pair[0].startswith("gpuprof.")]
            item.user_properties += property_pairs(state.profiles, self._extensions.kinds.values())
        report = yield
        if state is None or (call.when == "setup" and not report.failed and not report.skipped):
            return report
        if call.when in ("setup", "call"):
            where: dict[str, Any] = {"location": location_of(item)}
            if self._evidence is not None:
                where["evidence"] = self._evidence.note()
            kinds = tuple(self._extensions.kinds.values())
            records = [
                record_of(profile, test=item.nodeid, attempt=state.attempt, kinds=kinds) | where
                for profile in state.profiles.values()
            ]
            judged = sum(len(profile.verdicts) for profile in state.profiles.values())
            for name, profile in state.profiles.items():
                state.profiles[name] = replace(profile, output=None)  # it may hold memory of the device
            report.gpuprof = {  # type: ignore[attr-defined]  # a report carries whatever it is given
                "records": records,
                "unjudged": 0 if judged else len(state.budgets),
                "problem": None,
            }
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a test's records to the journal, once: not those of its subtests' reports, which are copies."""
        carried: dict[str, Any] | None = getattr(report, "gpuprof", None)
        if carried is None or hasattr(report, "context") or self._evidence is not None:
            return
        for record in carried["records"]:
            self._journal.append({**record, "outcome": report.outcome})
        if carried["records"]:
            carried["problem"] = self._journal.problem

    @pytest.hookimpl
    def pytest_unconfigure(self) -> None:
        """Let go of the journal, if there is one."""
        if "_journal" in self.__dict__:
            self._journal.close()


def _check_complete(state: TestState) -> None:
    """Fail a test whose own budgets were never measured, or whose budget binds to no profile."""
    if state.own_budgets and not state.profiles:
        keywords = ", ".join(sorted({budget.keyword for budget in state.budgets}))
        raise outcome.GpuBudgetUnjudged(
            f"the test has budgets ({keywords}) and measured nothing; request gpu_profile and call it, or request "
            "gpu_profile_device and return the callable to measure",
            pytrace=False,
        )
    names = {name.partition("@")[0] for name in state.profiles} | set(state.profiles)
    for budget in state.budgets:
        if budget.profile is not None and state.profiles and budget.profile not in names:
            raise outcome.GpuBudgetUnjudged(
                f"{budget.keyword} binds to profile={budget.profile!r}, and the test has {', '.join(sorted(names))}",
                pytrace=False,
            )


class _TestJudge:
    """Judges further limits for a test."""

    def __init__(self, session: Session, item: pytest.Item, job: Any) -> None:
        self._session = session
        self._item = item
        self._job = job

    def require(self, profile: Profile, limits: Mapping[str, Any]) -> Profile:
        __tracebackhide__ = True
        return self._session.require(self._item, self._job, profile, limits)
