"""A workload that fails: the user's own exception is shown, all else is restored, and the others are not harmed."""

from __future__ import annotations

import sys

import pytest

from .conftest import GPU, Runs, text_of

WHERE = {
    "the builder": ("raise Broken('here')\n    calls = iter([1])", "any"),
    "the first call": ("fails_at = 1", "cpu"),
    "the tenth call": ("fails_at = 10", "cpu"),
    "the first call on the GPU": ("fails_at = 1", "gpu"),
    "the tenth call on the GPU": ("fails_at = 10", "gpu"),
    "a late call on the GPU": ("fails_at = 1000", "gpu"),
}

RESTORED = (
    GPU
    + """
import gc, json, sys
from contextlib import contextmanager

CURRENT, THREADS = ["nothing"], [8]

class Threads:
    @contextmanager
    def limit(self, count):
        before, THREADS[0] = THREADS[0], count
        try:
            yield
        finally:
            THREADS[0] = before

class Watched(Machine):
    def open(self, device):
        opened = super().open(device)

        @contextmanager
        def active():
            before, CURRENT[0] = CURRENT[0], str(device)
            try:
                yield
            finally:
                CURRENT[0] = before

        opened.active, opened.threads = active, Threads()
        return opened

MACHINE = Watched([Card(name='NVIDIA T4')], seed=3)

def state():
    return [CURRENT[0], THREADS[0], gc.isenabled(), sys.gettrace() is None, sys.getprofile() is None]
"""
)
"""A machine that knows its current device and its threads, and says what state the process is in."""

FAILING = """
from conftest import state

class Broken(Exception):
    pass

def failing(device):
    {code}
    calls = []
    def work():
        device.run(1e-3)
        calls.append(1)
        if len(calls) == fails_at and device.info.kind == {leg!r}:
            raise Broken("here")
    return work

BEFORE = []

def test_before(gpu_profile):
    BEFORE.append(state())
    gpu_profile(fast).require(min_speedup=5)

@pytest.mark.gpu_budget(min_speedup=5)
def test_failing(gpu_profile):
    gpu_profile(failing)

def test_after(gpu_profile):
    assert state() == BEFORE[0]
    gpu_profile(fast).require(min_speedup=5)
    assert state() == BEFORE[0]
"""


@pytest.mark.parametrize(("code", "leg"), list(WHERE.values()), ids=list(WHERE))
def test_the_users_exception_is_the_failure(runs: Runs, code: str, leg: str) -> None:
    """It is shown where it was raised; device, threads, gc and tracing are as before, and the others are measured."""
    result = runs.on_gpu(FAILING.format(code=code, leg=leg), "--gpu-profile-rounds=24", conftest=RESTORED)
    result.assert_outcomes(passed=2, failed=1)
    shown = text_of(result)
    assert "test_it.Broken: here" in shown
    assert 'raise Broken("here")' in shown or "raise Broken('here')" in shown
    assert "budgets: 2 met, 0 missed, 0 inconclusive, 1 not enforced" in shown


NOTES = {
    ("fails_at = 1", "cpu"): "raised by the cpu leg on cpu of 'failing', in the first call",
    ("fails_at = 1", "gpu"): "raised by the gpu leg on simulated:0 of 'failing', in the first call",
    ("fails_at = 10", "gpu"): "raised by the gpu leg on simulated:0 of 'failing', during warm-up",
    ("fails_at = 1000", "gpu"): "raised by the gpu leg on simulated:0 of 'failing', in round 1",
}


@pytest.mark.skipif(not hasattr(BaseException, "add_note"), reason="notes came with Python 3.11")
@pytest.mark.parametrize("where", NOTES)
def test_the_exception_says_which_leg_and_call(runs: Runs, where: tuple[str, str]) -> None:
    """A note on the user's exception tells the leg and how far measuring had come."""
    code, leg = where
    result = runs.on_gpu(FAILING.format(code=code, leg=leg), "--gpu-profile-rounds=24", conftest=RESTORED)
    assert NOTES[where] in text_of(result)


def test_a_tracer_is_put_back(runs: Runs) -> None:
    """A trace function and a profile function are paused in the rounds, and back after a failure."""
    runs(
        """
import sys

def tracer(frame, event, argument):
    return None

def profiler(frame, event, argument):
    return None

def broken(device):
    calls = []
    def work():
        device.run(1e-3)
        calls.append(sys.gettrace())
        if len(calls) > 50:
            assert sys.gettrace() is None
            raise RuntimeError("in a round")
    return work

def test_it(gpu_profile):
    before = sys.gettrace(), sys.getprofile()
    sys.settrace(tracer)
    sys.setprofile(profiler)
    try:
        with pytest.raises(RuntimeError):
            gpu_profile(broken)
        assert (sys.gettrace(), sys.getprofile()) == (tracer, profiler)
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
"""
    ).assert_outcomes(passed=1)


def test_collection_that_was_off_stays_off(runs: Runs) -> None:
    """Garbage collection is given back as it was found."""
    runs(
        """
import gc

def test_it(gpu_profile):
    gc.disable()
    try:
        gpu_profile(fast)
        assert not gc.isenabled()
    finally:
        gc.enable()
"""
    ).assert_outcomes(passed=1)


def test_out_of_memory_is_the_users_failure(runs: Runs) -> None:
    """Running out of the device's memory fails that test; the memory is free again for the next."""
    result = runs(
        """
def greedy(device):
    kept = [device.allocate(2**30) for _ in range(17)] if device.info.kind != "cpu" else []
    return lambda: device.run(len(kept) * 1e-3)

def test_greedy(gpu_profile):
    gpu_profile(greedy)

@pytest.mark.gpu_budget(max_gpu_memory="15.5 GiB")
def test_next(gpu_profile):
    def modest(device):
        kept = device.allocate(15 * 2**30) if device.info.kind != "cpu" else None
        def work():
            device.run(1e-3)
            return kept is None
        return work
    gpu_profile(modest)
"""
    )
    result.assert_outcomes(passed=1, failed=1)
    assert "SimulatedOutOfMemory: out of memory on Simulated GPU (simulated)" in text_of(result)
    assert "budgets: 1 met" in text_of(result)


BREAKING = """
@pytest.mark.gpu_budget(min_speedup=5)
def test_before(gpu_profile):
    gpu_profile(fast)

def breaking(device):
    def work():
        device.run(1e-3)
        if device.info.kind != "cpu":
            device.break_context()
    return work

def test_breaks(gpu_profile):
    gpu_profile(breaking)

@pytest.mark.gpu_budget(min_speedup=5)
def test_after(gpu_profile):
    gpu_profile(fast)

@pytest.mark.gpu_budget(max_cpu_time=1)
def test_cpu_only(gpu_profile):
    gpu_profile(fast)
"""


def test_a_broken_device_is_unavailable_afterwards(runs: Runs) -> None:
    """After a test has broken the device's context, later tests say so and name that test; the CPU still works."""
    result = runs.on_gpu(BREAKING)
    result.assert_outcomes(passed=2, failed=2)
    shown = text_of(result)
    assert "simulated:0 was broken by test_it.py::test_breaks (SimulatedContextError:" in shown
    assert "run that one alone" in shown
    assert "budgets: 2 met, 0 missed, 0 inconclusive, 1 not enforced" in shown


def test_a_failure_that_breaks_nothing_names_nobody(runs: Runs) -> None:
    """A workload that merely raises leaves the device to the others."""
    result = runs.on_gpu(
        """
def raising(device):
    return lambda: 1 / 0

def test_raises(gpu_profile):
    gpu_profile(raising)

@pytest.mark.gpu_budget(min_speedup=5)
def test_after(gpu_profile):
    gpu_profile(fast)
"""
    )
    result.assert_outcomes(passed=1, failed=1)
    assert "was broken by" not in text_of(result)


def test_a_builder_that_yields_cleans_up_after_a_failure(runs: Runs) -> None:
    """What a builder does after its yield is done on each leg, although a callable raised."""
    runs(
        """
log = []

def careful(device):
    yield lambda: 1 / 0
    log.append(device.info.kind)

def test_it(gpu_profile):
    with pytest.raises(ZeroDivisionError):
        gpu_profile(careful)
    assert sorted(log) == ["cpu", "stand-in"]
"""
    ).assert_outcomes(passed=1)


def test_the_next_profile_of_a_test_is_measured(runs: Runs) -> None:
    """A test that handles the failure of one profile goes on with the next."""
    (record,) = runs.records(
        """
def test_it(gpu_profile):
    with pytest.raises(ZeroDivisionError):
        gpu_profile(lambda device: lambda: 1 / 0, name="a")
    gpu_profile(fast, name="b").require(min_speedup=5)
"""
    )
    assert (record["name"], record["outcome"]) == ("b", "passed")


def test_the_error_of_a_workload_shows_the_workload_only(runs: Runs) -> None:
    """The traceback leads from the test to the line that failed, with no frame of ours between them."""
    result = runs(
        """
def broken(device):
    def work():
        raise RuntimeError("the kernel failed")
    return work

def test_it(gpu_profile):
    gpu_profile(broken, backend="simulated")
"""
    )
    shown = text_of(result)
    assert "the kernel failed" in shown
    assert "in the first call" in shown or sys.version_info < (3, 11)  # notes came with Python 3.11
    assert "pytest_gpuprof/" not in shown.partition("= FAILURES =")[2].partition("short test summary")[0]
