"""The innermost loop, and what it costs by itself."""

from __future__ import annotations

import pytest

from pytest_gpuprof.backends.numpy import NumpyBackend
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.sampling.loop import CallCost, call_cost
from tests.sampling.machines import EXACT, device_of, exact_machine


def test_what_measuring_costs_by_itself_is_found_out() -> None:
    """Synchronizing an idle device and reading the clock twice; a call of nothing costs a simulated host nothing."""
    cost = call_cost(device_of(exact_machine()))
    assert cost.sync_s == pytest.approx(EXACT.sync_s, abs=1e-6)
    assert cost.call_s == 0.0
    assert cost.share_of(1e-3, 10) == pytest.approx(EXACT.sync_s / 10e-3, rel=0.1)


def test_calling_costs_something_on_a_real_host() -> None:
    """Python needs some tens of nanoseconds to call anything; 20 µs would be a broken measurement."""
    cost = call_cost(NumpyBackend().open(DeviceId("cpu")))
    assert 0 < cost.call_s < 20e-6
    assert cost.share_of(1.0, 1) < 0.01


def test_the_share_falls_with_the_calls_of_a_sample() -> None:
    """One synchronization is spread over all of them, calling is not."""
    cost = CallCost(sync_s=10e-6, call_s=50e-9)
    assert cost.share_of(1e-6, 1) == pytest.approx(10.05)
    assert cost.share_of(1e-6, 10_000) == pytest.approx(0.051)
