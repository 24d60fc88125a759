"""The plugin while profiling is on: every hook that a run without it must not pay for. PYTEST_DONT_REWRITE."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gpuprof.budgets.crossover import is_of_sweep
from pytest_gpuprof.core.errors import MeasurementError, OutputsDiffer, Unavailable, UsageError
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.plugin import outcome
from pytest_gpuprof.plugin.collecting import location_of, property_pairs
from pytest_gpuprof.plugin.comparing import Comparing
from pytest_gpuprof.plugin.journal import Journal, store_name
from pytest_gpuprof.plugin.markers import STATE, TestState, concerns_us, read_markers
from pytest_gpuprof.plugin.measures import Measures
from pytest_gpuprof.plugin.run import Run
from pytest_gpuprof.plugin.settings import Settings
from pytest_gpuprof.plugin.skips import is_excused
from pytest_gpuprof.plugin.termination import without_our_frames
from pytest_gpuprof.plugin.use import INSTEAD, body_as_workload
from pytest_gpuprof.storage.codec import record_of

if TYPE_CHECKING:
    from pytest_gpuprof.plugin.evidence import Evidence

__all__ = ["Session"]


class Session(Measures):
    """Measures, in the process that runs the tests.

    Args:
        config, settings, extensions, comparing, evidence: as in :class:`~pytest_gpuprof.plugin.measures.Measures`.
        run: knows the head of the run, for the journal.
    """

    def __init__(
        self,
        config: pytest.Config,
        settings: Settings,
        extensions: Extensions,
        run: Run,
        comparing: Comparing,
        evidence: Evidence | None,
    ) -> None:
        super().__init__(config, settings, extensions, comparing, evidence)
        self._root = config.rootpath
        self._run = run

    @cached_property
    def _journal(self) -> Journal:
        """The journal of this process; its head is known when the session has started."""
        settings = self._settings
        return Journal(self._root, settings.worker, self._run.head, store_name(settings.store, self._root))

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
    names = {name.partition("@")[0] for name in state.profiles} | set(state.profiles) | state.sweeps
    for budget in state.budgets:
        if budget.profile is not None and state.profiles and budget.profile not in names:
            raise outcome.GpuBudgetUnjudged(
                f"{budget.keyword} binds to profile={budget.profile!r}, and the test has {', '.join(sorted(names))}",
                pytrace=False,
            )
    _check_sweeps(state)


def _check_sweeps(state: TestState) -> None:
    """Fail a test whose own limit on a sweep binds to none: a gate does not pass by not running."""
    swept = state.sweeps | {name for name, profile in state.profiles.items() if profile.scaling is not None}
    for budget in filter(is_of_sweep, state.own_budgets if state.profiles else ()):
        if not swept:
            raise outcome.GpuBudgetUnjudged(
                f"{budget.keyword} limits a sweep, and the test has none; measure it with gpu_profile.sweep(…)",
                pytrace=False,
            )
        if budget.profile is not None and budget.profile not in swept:
            raise outcome.GpuBudgetUnjudged(
                f"{budget.keyword} limits a sweep, and profile={budget.profile!r} is none; "
                f"there is {', '.join(sorted(state.sweeps))}",
                pytrace=False,
            )
