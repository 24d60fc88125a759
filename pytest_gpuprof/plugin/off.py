"""A run without ``--gpu-profile``: each workload runs once, unmeasured; plain ``pytest`` stays a functional test.

Registered when the first test uses a fixture of ours, so that a run without such tests pays nothing.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

import pytest

from pytest_gpuprof.budgets.budget import merge
from pytest_gpuprof.builtin import Builtin
from pytest_gpuprof.core.errors import Unavailable, UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.plugin.markers import STATE, read_markers
from pytest_gpuprof.plugin.outcome import fail
from pytest_gpuprof.plugin.settings import Settings
from pytest_gpuprof.plugin.switch import BUILTIN
from pytest_gpuprof.plugin.tally import KEY, OFF, say_unjudged
from pytest_gpuprof.plugin.use import body_as_workload
from pytest_gpuprof.profiler import Profiler

__all__ = ["Off"]


class Off:
    """Runs workloads once."""

    enabled = False

    def __init__(self, config: pytest.Config) -> None:
        settings = Settings.of(config)
        if not config.pluginmanager.has_plugin(BUILTIN):  # it is there with --gpu-profile-xdist=off
            config.pluginmanager.register(Builtin(), BUILTIN)
        self._profiler = Profiler(
            extensions=Extensions(config.hook),
            devices=settings.devices,
            backend=settings.backend,
            only_devices_name=True,
        )
        self._rules = settings.budgets
        self._budgets = 0

    # -- what fixtures do -------------------------------------------------------------------------------------------

    def prepare(self, item: pytest.Item) -> None:
        """Read the markers of a test; what is wrong in them fails it before it does anything.

        Raises:
            UsageError: with what is wrong.
        """
        read_markers(item, self._rules, self._profiler.extensions.kinds)

    def profile(self, item: pytest.Item, workload: Any, options: Mapping[str, Any]) -> Profile:
        """Run the workload once on the best device there is."""
        state = item.stash[STATE]
        jobs = self._profiler.jobs(workload, **{**state.options, **options})
        self._budgets += len(state.budgets_of(jobs[0].name))
        return replace(self._profiler.run_once(jobs[0]), judge=self)

    def require(self, profile: Profile, limits: Mapping[str, Any]) -> Profile:
        """Judge nothing, but refuse what could never be judged, and count it."""
        try:
            self._budgets += len(merge([limits], self._profiler.extensions.kinds))
        except UsageError as error:
            fail(str(error))
        return profile

    # -- hooks ------------------------------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Turn a figure that nobody measured into a skip, with the reason."""
        __tracebackhide__ = True
        try:
            return (yield)
        except Unavailable as error:
            skip = pytest.skip.Exception(str(error), _use_item_location=True)
        except UsageError as error:
            fail(str(error))
        raise skip

    @pytest.hookimpl(tryfirst=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> bool | None:
        """Call the body of a test that requests ``gpu_profile_device`` with a device, and what it returns once."""
        if "gpu_profile_device" not in pyfuncitem.fixturenames:
            return None
        self.profile(pyfuncitem, body_as_workload(pyfuncitem), {})
        return True

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
