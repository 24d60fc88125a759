"""A run without ``--gpu-profile``: each workload runs once, unmeasured; plain ``pytest`` stays a functional test.

Registered when the first test uses a fixture of ours, so that a run without such tests pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from pytest_gpuprof.budgets.budget import merge
from pytest_gpuprof.budgets.crossover import refuse_limits_of_sweeps
from pytest_gpuprof.builtin import Builtin
from pytest_gpuprof.core.errors import Unavailable, UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.sizes import Sizes
from pytest_gpuprof.core.sweep import Sweep
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.plugin.markers import PROFILE_OPTIONS, STATE, read_markers
from pytest_gpuprof.plugin.outcome import fail
from pytest_gpuprof.plugin.settings import Settings
from pytest_gpuprof.plugin.switch import BUILTIN
from pytest_gpuprof.plugin.tally import KEY, OFF, say_unjudged
from pytest_gpuprof.plugin.use import MissingOutput, body_as_workload
from pytest_gpuprof.profiler import Profiler
from pytest_gpuprof.sweeping import limits_of_sweep, scaled

__all__ = ["Off", "Once", "skipping_what_is_missing"]


class Once:
    """Runs workloads once, and judges nothing.

    Args:
        profiler: what makes jobs of workloads, and runs them.
        why: nothing is measured, as the end of "unavailable, because …".
        count: told how many budgets of a test were met and not judged.
    """

    enabled = False

    def __init__(self, profiler: Callable[[], Profiler], why: str, count: Callable[[pytest.Item, int], None]) -> None:
        self._profiler = profiler
        self._why = why
        self._count = count

    def prepare(self, item: pytest.Item) -> None:
        """Do nothing: the markers were read before any fixture was set up."""

    def profile(self, item: pytest.Item, workload: Any, options: Mapping[str, Any]) -> Profile:
        """Run the workload once on the best device there is."""
        profiler, state = self._profiler(), item.stash[STATE]
        jobs = profiler.jobs(workload, **{**state.options, **options})
        self._count(item, len(state.budgets_of(jobs[0].name)))
        judge = _CountingJudge(profiler.extensions, lambda count: self._count(item, count))
        return replace(profiler.run_once(jobs[0], self._why), judge=judge)

    def sweep(self, item: pytest.Item, workload: Any, options: Mapping[str, Any]) -> Sweep:
        """Run the workload once, at the smallest size."""
        profiler, state = self._profiler(), item.stash[STATE]
        servants = profiler.extensions.registry.parameters
        sizes = Sizes.of(workload, {**state.options, **options}, known=PROFILE_OPTIONS, servants=servants)
        jobs = sizes.jobs(lambda **each: profiler.jobs(workload, **each))[0]
        smallest = min(jobs)
        once = profiler.run_once(jobs[smallest], self._why)
        names = {job.name for job in jobs.values()} | {None, sizes.name}
        self._count(item, sum(budget.profile in names for budget in state.budgets))
        judge = _CountingJudge(profiler.extensions, lambda count: self._count(item, count))
        other = MissingOutput(f"only the smallest size was run, and {self._why}")
        profiles = {
            size: replace(
                once, name=job.name, params=job.params, judge=judge, output=once.output if size == smallest else other
            )
            for size, job in jobs.items()
        }
        return Sweep(sizes.name, profiles, scaled(sizes.parameter, profiles), _CountingSweepJudge(judge))

    def runs_body_of(self, item: pytest.Function) -> bool:
        """Call the body of a test that requests ``gpu_profile_device`` with a device, and what it returns once."""
        if "gpu_profile_device" not in item.fixturenames:
            return False
        self.profile(item, body_as_workload(item), {})
        return True


class _CountingJudge:
    """Judges nothing, but refuses what could never be judged, and counts it."""

    def __init__(self, extensions: Extensions, count: Callable[[int], None]) -> None:
        self._extensions = extensions
        self._count = count

    def require(self, profile: Profile, limits: Mapping[str, Any]) -> Profile:
        try:
            budgets = merge([limits], self._extensions.kinds)
            refuse_limits_of_sweeps(budgets)
            self._count(len(budgets))
        except UsageError as error:
            fail(str(error))
        return profile

    def count_of_sweep(self, limits: Mapping[str, Any]) -> None:
        """Count limits on a sweep."""
        try:
            self._count(len(limits_of_sweep(limits, self._extensions.kinds)))
        except UsageError as error:
            fail(str(error))


class _CountingSweepJudge:
    """The same for what limits a sweep."""

    def __init__(self, judge: _CountingJudge) -> None:
        self._judge = judge

    def require(self, sweep: Sweep, limits: Mapping[str, Any]) -> Sweep:
        self._judge.count_of_sweep(limits)
        return sweep


def skipping_what_is_missing() -> Generator[None, object, object]:
    """Turn a figure that nobody measured into a skip, with the reason; what cannot be meant fails in one sentence."""
    __tracebackhide__ = True
    try:
        return (yield)
    except Unavailable as error:
        skip = pytest.skip.Exception(str(error), _use_item_location=True)
    except UsageError as error:
        fail(str(error))
    raise skip


class Off(Once):
    """Runs every workload of a run once."""

    def __init__(self, config: pytest.Config) -> None:
        settings = Settings.of(config)
        if not config.pluginmanager.has_plugin(BUILTIN):  # it is there with --gpu-profile-xdist=off
            config.pluginmanager.register(Builtin(), BUILTIN)
        profiler = Profiler(
            extensions=Extensions(config.hook),
            devices=settings.devices,
            backend=settings.backend,
            only_devices_name=True,
        )
        super().__init__(lambda: profiler, OFF, self._add)
        self._kinds = profiler.extensions.kinds
        self._rules = settings.budgets
        self._budgets = 0

    def _add(self, item: pytest.Item, count: int) -> None:
        self._budgets += count

    def prepare(self, item: pytest.Item) -> None:
        """Read the markers of a test; what is wrong in them fails it before it does anything.

        Raises:
            UsageError: with what is wrong.
        """
        read_markers(item, self._rules, self._kinds)

    # -- hooks ------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Turn a figure that nobody measured into a skip, with the reason."""
        __tracebackhide__ = True
        return (yield from skipping_what_is_missing())

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Call the body of a test that requests ``gpu_profile_device`` with a device, and what it returns once."""
        return self.runs_body_of(pyfuncitem) or None

    @pytest.hookimpl
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """In an xdist worker, whose terminal nobody sees, hand the count to the controller."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[KEY] = self._budgets

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many budgets were not judged."""
        say_unjudged(terminalreporter, self._budgets, OFF)
