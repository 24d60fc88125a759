"""The library without pytest: one call, one profile, and further limits on it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_gpuprof import BudgetMissed, Profile, call, profile
from pytest_gpuprof.backends.simulated import SimulatedDevice
from pytest_gpuprof.core.errors import BudgetError, WorkloadError


def addition(device: SimulatedDevice) -> Callable[[], None]:
    return lambda: device.run(cpu=20e-3, gpu=1e-3)


def outcomes(taken: Profile) -> dict[str, str]:
    return {verdict.budget: verdict.outcome for verdict in taken.verdicts}


def test_the_library_works_without_a_profiler_of_ones_own() -> None:
    """One call, one profile; figures are simulated and say so."""
    taken = profile(addition, backend="simulated", devices="simulated:0")
    assert taken.require(min_speedup=5).speedup == pytest.approx(20, rel=0.05)
    assert "(simulated)" in str(taken)
    assert taken.environment.identity["python"]


def test_requiring_a_limit_that_is_missed_raises_its_sentence() -> None:
    """A limit that is not enforced does not; both can be an assertion of any test runner."""
    taken = profile(addition, backend="simulated", devices="simulated:0")
    with pytest.raises(BudgetMissed, match=r"GPU time .* misses max_gpu_time 10 µs .*: because I say so"):
        taken.require(max_gpu_time="10 us", reason="because I say so")
    assert outcomes(taken.require(max_gpu_time="10 us", enforce=False)) == {"max_gpu_time": "missed"}
    with pytest.raises(BudgetError, match="did you mean 'min_speedup'"):
        taken.require(min_spedup=5)


def test_a_call_of_a_plain_function_needs_something_to_move() -> None:
    """Without arrays, and without a backend, nobody knows where it should run."""
    with pytest.raises(WorkloadError, match="nothing to move to a device; say backend="):
        profile(call(max, 1, 2))
