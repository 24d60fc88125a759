"""What is held still while rounds are taken, and put back after."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from pytest_gpuprof.sampling import quiet as module
from pytest_gpuprof.sampling.quiet import allowed_threads, quiet, threads_limited, tracing
from tests.sampling.machines import exact_machine, leg_on, take


def watcher(frame: FrameType, event: str, argument: Any) -> Any:
    return None


@pytest.fixture
def watched() -> Iterator[None]:
    """A tracer and a profile function, as of a coverage tool."""
    before = sys.gettrace(), sys.getprofile()
    sys.settrace(watcher)
    sys.setprofile(watcher)
    yield
    sys.settrace(before[0])
    sys.setprofile(before[1])


def state() -> tuple[bool, Any, Any]:
    return gc.isenabled(), sys.gettrace(), sys.getprofile()


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("collecting", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_collection_and_tracing_stop_and_come_back(collecting: bool, fails: bool) -> None:
    """Also when the workload raises, and only to what they were."""
    (gc.enable if collecting else gc.disable)()
    try:
        before = state()
        try:
            with quiet():
                within = state()
                if fails:
                    raise KeyError
        except KeyError:
            pass
        after = state()
    finally:
        gc.enable()
    assert within == (False, None, None)
    assert before == (collecting, watcher, watcher)
    assert after == before


@pytest.mark.usefixtures("watched")
def test_a_workload_that_raises_in_its_rounds_leaves_all_as_it_was() -> None:
    """The loop puts back what it stopped."""
    calls = []

    def work(device: Any) -> Any:
        def run() -> None:
            calls.append(state())
            device.run(0.01)
            if len(calls) > 20:
                raise KeyError("in a round")

        return run

    before = state()
    with pytest.raises(KeyError):
        take([leg_on(exact_machine(), work)])
    assert state() == before
    assert calls[0] == before
    assert calls[-1] == (False, None, None)


def test_a_tracer_is_a_doubt_about_the_cpu_leg() -> None:
    """It makes a speedup too good, and a time too long: those verdicts cannot be trusted."""
    trace, profiler = sys.gettrace(), sys.getprofile()
    try:
        sys.settrace(None)
        sys.setprofile(None)
        calm = tracing()
        sys.settrace(watcher)
        traced = tracing()
        sys.settrace(None)
        sys.setprofile(watcher)
        profiled = tracing()
    finally:
        sys.setprofile(profiler)
        sys.settrace(trace)
    assert calm is None or "sys.monitoring" in calm.message
    assert traced is not None
    assert profiled is not None
    assert traced.code == profiled.code == "traced"
    assert traced.spoils == {("ratio", "met"), ("ratio", "missed"), ("cpu time", "missed")}


class _Threads:
    def __init__(self) -> None:
        self.allowed = 8

    @contextmanager
    def limit(self, count: int) -> Iterator[None]:
        before, self.allowed = self.allowed, count
        try:
            yield
        finally:
            self.allowed = before


def test_threads_are_limited_for_a_while() -> None:
    """And what cannot be limited is left alone."""
    threads = _Threads()
    seen = []
    with contextlib.suppress(KeyError), threads_limited(threads, 2):
        seen.append(threads.allowed)
        raise KeyError
    assert seen == [2]
    assert threads.allowed == 8
    with threads_limited(None, 2):
        pass


@pytest.mark.parametrize(("quota", "allowed"), [(None, 8), (2.5, 3), (0.5, 1), (64.0, 8)])
def test_a_containers_quota_limits_the_threads(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, allowed: int
) -> None:
    """Rounded up: two and a half CPUs are three threads."""
    monkeypatch.setattr(module, "cpu_quota", lambda: quota)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert allowed_threads() == allowed


def test_cprofile_goes_on_afterwards() -> None:
    """It is paused like any other, and what it is restored by is not what restores a function."""
    import cProfile

    def seen() -> None:
        pass

    profiler = cProfile.Profile()
    profiler.enable()
    try:
        with quiet():
            assert sys.getprofile() is None
        seen()
    finally:
        profiler.disable()
    assert any(getattr(entry.code, "co_name", "") == "seen" for entry in profiler.getstats())
