"""How many budgets were not judged because profiling is off, also across xdist workers."""

from __future__ import annotations

from typing import Any

import pytest

__all__ = ["KEY", "NOT_UNDER_XDIST", "OFF", "Tally", "say_unjudged"]

KEY = "gpuprof_unjudged"
"""The key under which a worker hands its count to the controller."""

OFF = "profiling is off: run with --gpu-profile"
NOT_UNDER_XDIST = "--gpu-profile-xdist=off measures nothing in xdist workers: run with -n0"


def say_unjudged(terminalreporter: pytest.TerminalReporter, count: int, why: str) -> None:
    """Say how many budgets were not judged; nothing if there were none."""
    if count and not terminalreporter.config.option.no_summary:
        plural = "budget was" if count == 1 else "budgets were"
        terminalreporter.write_line(f"gpuprof: {count} {plural} not judged, because {why}")


class Tally:
    """Adds up the counts of the workers, in the controller of a run that measures nothing.

    Args:
        why: it measures nothing, and what to do.
    """

    def __init__(self, why: str) -> None:
        self._why = why
        self._count = 0

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take a worker's count; a worker that died has none."""
        self._count += (getattr(node, "workeroutput", None) or {}).get(KEY, 0)

    @pytest.hookimpl
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many budgets were not judged."""
        say_unjudged(terminalreporter, self._count, self._why)
