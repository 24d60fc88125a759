"""Warming up, on a clock set by hand: until steady, and no longer than allowed."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.backends.simulated import SimulatedBackend, SimulatedDevice
from pytest_gpuprof.sampling.legs import built
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.warmup import Warmth, calls_per_sample, warm_up
from tests.sampling.machines import exact_machine, leg_on, running


def rising_clock(machine: SimulatedBackend, tau: float, seconds: float = 1e-3) -> Callable[..., Callable[[], None]]:
    """Return a builder of work that takes twice as long on a clock that has just begun to rise."""
    began = machine.clock.time

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            device.run(seconds * (1 + math.exp(-(machine.clock.time - began) / tau)))
            device.synchronize()

        return run

    return work


@settings(derandomize=True, deadline=None, max_examples=40)
@given(tau=st.floats(0.01, 5.0))
def test_a_clock_that_rises_is_waited_for_or_told(tau: float) -> None:
    """However slowly it rises: what is called steady is within 10 % of the end, or the cap was reached."""
    machine = exact_machine()
    plan = Plan()
    with built(leg_on(machine, rising_clock(machine, tau))) as ready:
        began = machine.clock.time
        warmth = warm_up(ready, plan)
        took = machine.clock.time - began
    assert took <= plan.warmup_cap_s + 0.1
    assert took >= plan.warmup_s
    risen = 1 + math.exp(-took / tau)
    assert warmth.seconds_per_call == pytest.approx(1e-3 * risen, rel=0.1)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(seconds=st.floats(1e-6, 2.0))
def test_a_sample_is_long_enough_or_one_call(seconds: float) -> None:
    """10 ms, of as many calls as that takes."""
    plan = Plan()
    with built(leg_on(exact_machine(), running(seconds), "cpu")) as ready:
        calls, warmth = calls_per_sample(ready, plan, warm_up(ready, plan))
    assert calls == 1 or calls * seconds >= plan.sample_s * 0.99
    assert calls * seconds <= plan.sample_s * 1.1 + seconds
    assert warmth.seconds_per_call == pytest.approx(seconds, rel=0.05)


def test_calls_that_were_slow_all_through_the_warm_up_are_found_out() -> None:
    """A sample that turns out much shorter than meant is enlarged until it fits."""
    with built(leg_on(exact_machine(), running(1e-4))) as ready:
        calls, warmth = calls_per_sample(ready, Plan(), Warmth(seconds_per_call=10e-3, calls=20))
    assert 50 <= calls <= 110  # the first samples are few calls, of which launching is a part
    assert warmth.seconds_per_call == pytest.approx(1e-4, rel=0.15)
    assert warmth.calls > 20
