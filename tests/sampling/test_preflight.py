"""What a device's events and backlog are good for, on cards whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.backends.simulated import SimulatedDevice
from pytest_gpuprof.sampling.preflight import Preflights, preflight
from tests.sampling.machines import EXACT, device_of, exact_machine


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    resolution=st.sampled_from([32e-9, 100e-9, 500e-9, 1e-6, 1.024e-6, 2e-6]),
    mark=st.floats(0.5e-6, 3e-6),
    latency=st.floats(0.5e-6, 4e-6),
)
def test_the_step_of_the_clock_is_never_taken_for_finer_than_it_is(
    resolution: float, mark: float, latency: float
) -> None:
    """Events told in steps cannot differ by less than one; too coarse only costs time."""
    device = device_of(exact_machine(replace(EXACT, resolution_s=resolution, mark_s=mark, latency_s=latency)))
    found = preflight(device)
    assert found is not None
    assert found.resolution_s >= resolution * (1 - 1e-6)
    assert found.resolution_s <= 2e-6


@pytest.mark.parametrize("resolution", [32e-9, 0.5e-6, 1.024e-6])
def test_the_step_of_the_clock_is_found(resolution: float) -> None:
    """Where neighbouring steps are met at all."""
    found = preflight(device_of(exact_machine(replace(EXACT, resolution_s=resolution))))
    assert found is not None
    assert found.resolution_s == pytest.approx(resolution, rel=0.01)


def test_behind_a_backlog_an_empty_pair_costs_the_device_nothing_here() -> None:
    """Without one, the host's time to record an event is what keeps the two apart."""
    with_backlog = preflight(device_of(exact_machine()))
    device = device_of(exact_machine())
    device.backlog = None
    without = preflight(device)
    assert with_backlog is not None
    assert without is not None
    assert with_backlog.empty_s == 0.0
    assert without.empty_s == pytest.approx(EXACT.mark_s, abs=EXACT.resolution_s)
    assert without.backlog is None


@pytest.mark.parametrize("share", [0.0, 0.5, 100.0])
def test_a_backlog_that_does_not_last_is_not_used(share: float) -> None:
    """Half the time would hide nothing; a hundred times as long is broken."""
    device = device_of(exact_machine())
    real = device.backlog
    assert real is not None
    device.backlog = lambda seconds: real(seconds * share)
    found = preflight(device)
    assert found is not None
    assert found.backlog is None


def test_a_backlog_that_lasts_too_long_is_only_a_waste() -> None:
    """A thread that opens a gate may be late."""
    device = device_of(exact_machine())
    real = device.backlog
    assert real is not None
    device.backlog = lambda seconds: real(seconds * 3)
    found = preflight(device)
    assert found is not None
    assert found.backlog is device.backlog


def test_a_device_without_events_has_no_preflight() -> None:
    """A CPU."""
    device = device_of(exact_machine(), "cpu")
    assert isinstance(device, SimulatedDevice)
    assert preflight(device) is None


def test_what_is_a_fact_of_a_device_is_found_out_once() -> None:
    """Per device, and also that there are no events; nothing is asked of the device again."""
    machine = exact_machine(EXACT, EXACT)
    card, cpu = device_of(machine), device_of(machine, "cpu")
    found = Preflights()
    first = found.of(card)
    assert first == preflight(card)
    assert found.of(cpu) is None
    moment = machine.clock.time
    assert found.of(card) is first
    assert found.of(cpu) is None
    assert machine.clock.time == moment
    assert found.of(device_of(exact_machine())) is not first


def test_a_backlog_that_failed_is_tried_again() -> None:
    """One busy moment must not leave all later tests without it."""
    device = device_of(exact_machine())
    real = device.backlog
    assert real is not None
    found = Preflights()
    device.backlog = lambda seconds: real(seconds * 0.5)
    failed = found.of(device)
    device.backlog = real
    mended = found.of(device)
    assert failed is not None
    assert failed.backlog is None
    assert mended is not None
    assert mended.backlog is real
    assert found.of(device) is mended
