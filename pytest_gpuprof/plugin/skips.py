"""Under ``--gpu-profile-strict``, a test with budgets must not get out of them by skipping itself."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from pytest_gpuprof.plugin import outcome
from pytest_gpuprof.plugin.markers import STATE
from pytest_gpuprof.plugin.quarantine import is_quarantined
from pytest_gpuprof.plugin.use import INSTEAD

__all__ = ["NoSkips", "is_excused"]


class NoSkips:
    """Under strict, fails a test with budgets that skips itself, by a mark, in a fixture or in its body."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        """Refuse a skip while the test is set up."""
        __tracebackhide__ = True
        return (yield from _without_skip(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Refuse a skip while the test runs."""
        __tracebackhide__ = True
        return (yield from _without_skip(item))


def _without_skip(item: pytest.Item) -> Generator[None, object, object]:
    __tracebackhide__ = True
    try:
        return (yield)
    except pytest.skip.Exception as skip:
        state = item.stash.get(STATE, None)
        if state is None or not state.budgets or is_excused(item):
            raise
        reason = str(skip)
    raise outcome.GpuBudgetUnjudged(
        f"the test has budgets and skips itself ({reason}), which --gpu-profile-strict does not accept", pytrace=False
    )


def is_excused(item: pytest.Item) -> bool:
    """Whether strict asks nothing of a test: it is in quarantine, or nothing of it changed and it is not measured."""
    return is_quarantined(item) or INSTEAD in item.stash
