"""``--gpu-profile-plan``: what would be measured, and how long it takes at most. Nothing is run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pytest

from pytest_gpuprof.budgets.budget import Need
from pytest_gpuprof.budgets.crossover import is_of_sweep
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.job import METRICS_ASKED, needs_of
from pytest_gpuprof.plugin.markers import FIXTURES, STATE, TestState, read_markers
from pytest_gpuprof.plugin.settings import Settings
from pytest_gpuprof.plugin.use import INSTEAD
from pytest_gpuprof.sampling.latency import PATIENCE
from pytest_gpuprof.sampling.leak import FURTHER_S
from pytest_gpuprof.sampling.leak import MOST_CALLS as LEAK_CALLS
from pytest_gpuprof.sampling.memory import MOST_CALLS as MEMORY_CALLS

__all__ = ["EnergyNotice", "Planning", "energy_line"]


@dataclass(frozen=True, slots=True)
class _Longest:
    """How long something takes at most: seconds, and calls that take as long as they take."""

    seconds: float
    calls: int

    def __add__(self, other: _Longest) -> _Longest:
        return _Longest(self.seconds + other.seconds, self.calls + other.calls)

    @property
    def text(self) -> str:
        seconds = f"{self.seconds:.0f} s"
        if not self.calls:
            return seconds
        return f"{seconds} and {self.calls} calls" if self.seconds else f"{self.calls} calls"


class Planning:
    """Shows the plan of each test in place of running it."""

    def __init__(self, settings: Settings, extensions: Extensions) -> None:
        self._settings = settings
        self._extensions = extensions

    @pytest.hookimpl
    def pytest_report_header(self) -> str:
        """Say that nothing will be measured."""
        return "gpuprof: showing the plan, measuring nothing"

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Show the plan, and run no test."""
        from tabulate import tabulate

        if session.testsfailed:
            raise session.Interrupted(f"{session.testsfailed} errors during collection")
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        rows, total = [], _Longest(0.0, 0)
        energetic: list[float] = []
        sweeping = 0
        for item in session.items:
            if not FIXTURES.intersection(getattr(item, "fixturenames", ())):
                continue
            if INSTEAD in item.stash:
                rows.append([item.nodeid, f"nothing: unchanged since {self._settings.changed_since}", ""])
                continue
            try:
                read_markers(item, self._settings.budgets, self._extensions.kinds)
                state = item.stash[STATE]
                needs, longest = self._plan_of(state)
                energetic += energy_seconds(self._settings, state)
            except UsageError as error:
                rows.append([item.nodeid, f"error: {error}", ""])
                continue
            total += longest
            sweeps = _sweeps(item, state)
            sweeping += sweeps
            rows.append([item.nodeid, needs, f"{longest.text} per size" if sweeps else longest.text])
        if reporter is not None:
            text = tabulate(rows, headers=["test", "what is measured", "at most"], tablefmt="simple")
            reporter.write_line(text if rows else "no test measures anything")
            reporter.write_line(
                f"{len(rows)} tests, at most {total.text} with one profile each, without compilation; "
                "a missed budget is measured twice"
            )
            if sweeping:
                tests = f"{sweeping} tests that sweep are" if sweeping > 1 else "1 test that sweeps is"
                reporter.write_line(f"{tests} counted with one size: how many there are is known when a test runs")
            if energetic:
                reporter.write_line(
                    f"{energy_line(self._settings, energetic)}; an energy too close to call is measured once more, "
                    "with windows twice as long"
                )
        return True

    def _plan_of(self, state: TestState) -> tuple[str, _Longest]:
        """Return what a test's profile needs, and how long that takes at most."""
        needs, legs = _needs(self._settings, state)
        plan = self._settings.plan.with_(rounds=state.options.get("rounds"), max_time_s=state.options.get("max_time"))
        seconds = plan.longest_s(timed="rounds" in needs, energy_legs=_energy_legs(needs), net="net energy" in needs)
        latency_legs = {leg for budget in state.budgets if budget.quantile is not None for leg in budget.meaning.legs}
        seconds += len(latency_legs) * (PATIENCE * plan.warmup_s + plan.max_time_s)
        asked = needs_of(state.options.get("metrics")) or needs_of(self._settings.metrics) or frozenset()
        memory_legs = {leg for budget in state.budgets if "memory" in budget.needs for leg in budget.meaning.legs}
        calls = MEMORY_CALLS * len(legs if "memory" in asked else memory_legs)
        if "leak" in needs or asked >= METRICS_ASKED["memory"]:  # who asks for memory is told of leaks too
            seconds += FURTHER_S
            calls += LEAK_CALLS
        return f"{' and '.join(sorted(legs))}: {', '.join(sorted(needs))}", _Longest(seconds, calls)


def _sweeps(item: pytest.Item, state: TestState) -> bool:
    """Return whether a test measures several sizes, as far as its budgets and the names in its body show."""
    code = getattr(getattr(item, "function", None), "__code__", None)
    return any(map(is_of_sweep, state.budgets)) or (code is not None and "sweep" in code.co_names)


def _needs(settings: Settings, state: TestState) -> tuple[set[Need], set[str]]:
    """Return what has to be measured for a test, and on which legs."""
    asked = needs_of(state.options.get("metrics")) or needs_of(settings.metrics)
    needs: set[Need] = set(asked or ())
    legs: set[str] = {"cpu", "gpu"} if asked else set()
    for budget in state.budgets:
        needs |= budget.needs
        legs |= budget.meaning.legs
    if not needs:
        needs, legs = set(METRICS_ASKED["time"]), {"cpu", "gpu"}
    return needs, legs


def _energy_legs(needs: Collection[Need]) -> int:
    """Return on how many legs energy is measured: the board's on one, the package's on both."""
    if "package energy" in needs:
        return 2
    return 1 if "energy" in needs else 0


def energy_seconds(settings: Settings, state: TestState) -> list[float]:
    """Return about how long the energy of a test takes; empty if it measures none."""
    needs, _ = _needs(settings, state)
    legs = _energy_legs(needs)
    if not legs:
        return []
    plan = settings.plan
    return [legs * plan.energy_s() + plan.energy_s(net="net energy" in needs) - plan.energy_s()]


def energy_line(settings: Settings, seconds: Sequence[float]) -> str:
    """Return in one line what measuring energy takes.

    Args:
        settings: of the run.
        seconds: of each test that measures energy.
    """
    plan = settings.plan
    tests = f"{len(seconds)} test{'s' if len(seconds) != 1 else ''}"
    return (
        f"gpuprof: energy of {tests} takes about {sum(seconds):.0f} s ({settings.energy}: {plan.settle_s:g} s to "
        f"settle and {plan.trials} windows of {plan.window_s:g} s on each leg)"
    )


class EnergyNotice:
    """Says before the first test how long measuring energy will take."""

    def __init__(self, settings: Settings, extensions: Extensions) -> None:
        self._settings = settings
        self._extensions = extensions

    @pytest.hookimpl
    def pytest_report_collectionfinish(self, items: Sequence[pytest.Item]) -> str | None:
        """Add up the tests that measure energy; what is wrong in a marker is told when its test runs."""
        seconds: list[float] = []
        for item in items:
            if not FIXTURES.intersection(getattr(item, "fixturenames", ())) or INSTEAD in item.stash:
                continue
            try:
                read_markers(item, self._settings.budgets, self._extensions.kinds)
                seconds += energy_seconds(self._settings, item.stash[STATE])
                del item.stash[STATE]  # it is read again when the test runs, which counts its attempts
            except UsageError:
                continue
        return energy_line(self._settings, seconds) if seconds else None
