"""``PASSED (5.1x)`` at ``-v``: the speedup beside the outcome of the test that measured it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import pytest

from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.quantities import format_quantity
from pytest_gpuprof.storage.codec import profile_from

__all__ = ["Status", "speedups"]

_WORDS = ("PASSED", "FAILED")
"""What else pytest, or a plugin, calls the outcome of a test has a meaning of its own: it stays as it is."""


class Status:
    """Adds to the words while tests run; those of the short summary, which programs read, stay as they are."""

    def __init__(self) -> None:
        self._running = True

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self, report: Any) -> Generator[None, Any, Any]:
        """Add the speedup to the word that is shown for a test."""
        status = yield
        carried = getattr(report, "gpuprof", None)
        if not (self._running and carried and report.when == "call") or hasattr(report, "context"):
            return status  # a subtest's report is a copy of its test's
        category, letter, shown = status
        word, *markup = shown if isinstance(shown, tuple) else (shown,)
        found = speedups(map(profile_from, carried["records"])) if word in _WORDS else ""
        if not found:
            return status
        more = f"{word} ({found})"
        return category, letter, (more, *markup) if markup else more

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """The tests have run."""
        self._running = False


def speedups(profiles: Iterable[Profile]) -> str:
    """Return the speedup of a test, or the least and the greatest of several; empty if there is none.

    Digits are those of the table, so that one figure reads the same in both. A stand-in's word goes with it.

    Args:
        profiles: of the test.
    """
    found = [(value, profile) for profile in profiles if (value := profile.ratio("speedup").value) is not None]
    if not found:
        return ""
    ends = dict.fromkeys(format_quantity(pick(value for value, _ in found), "x") for pick in (min, max))
    devices = [profile.gpu.device for _, profile in found]
    words = [device.why_stand_in for device in devices if device is not None and device.why_stand_in]
    partly = "partly " if len(words) < len(found) else ""
    return ", ".join([" to ".join(ends), *(f"{partly}{word}" for word in dict.fromkeys(words))])
