"""``--gpu-profile-plan``: what would be measured, and how long it takes at most. Nothing is run."""

from __future__ import annotations

import pytest

from pytest_gpuprof.budgets.budget import Need
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.job import METRICS_ASKED, needs_of
from pytest_gpuprof.plugin.markers import FIXTURES, STATE, TestState, read_markers
from pytest_gpuprof.plugin.settings import Settings

__all__ = ["Planning"]


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
        rows, seconds = [], 0.0
        for item in session.items:
            if not FIXTURES.intersection(getattr(item, "fixturenames", ())):
                continue
            try:
                read_markers(item, self._settings.budgets, self._extensions.kinds)
                state = item.stash[STATE]
                needs, longest = self._plan_of(state)
            except UsageError as error:
                rows.append([item.nodeid, f"error: {error}", ""])
                continue
            seconds += longest
            rows.append([item.nodeid, ", ".join(needs), f"{longest:.0f} s"])
        if reporter is not None:
            text = tabulate(rows, headers=["test", "what is measured", "at most"], tablefmt="simple")
            reporter.write_line(text if rows else "no test measures anything")
            reporter.write_line(
                f"{len(rows)} tests, at most {seconds:.0f} s with one profile each, without compilation; "
                "a missed budget is measured twice"
            )
        return True

    def _plan_of(self, state: TestState) -> tuple[list[str], float]:
        """Return what a test's profile needs, and how long that takes at most."""
        asked = needs_of(state.options.get("metrics")) or needs_of(self._settings.metrics)
        needs: set[Need] = set(asked or ())
        legs: set[str] = {"cpu", "gpu"} if asked else set()
        for budget in state.budgets:
            needs |= budget.needs
            legs |= budget.meaning.legs
        if not needs:
            needs, legs = set(METRICS_ASKED["time"]), {"cpu", "gpu"}
        plan = self._settings.plan.with_(rounds=state.options.get("rounds"), max_time_s=state.options.get("max_time"))
        energy_legs = ("energy" in needs) + ("package energy" in needs)
        longest = plan.longest_s(timed="rounds" in needs, energy_legs=energy_legs)
        return [f"{' and '.join(sorted(legs))}: {', '.join(sorted(needs))}"], longest
