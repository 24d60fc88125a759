"""Wall time and device time of the same calls, against the simulated truth."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.backends.simulated import Card, SimulatedBackend, SimulatedDevice
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.meters.time import DeviceTime, WallTime

CARD = Card(noise=0.0)
repeatable = settings(derandomize=True, deadline=None)


@pytest.fixture
def device() -> SimulatedDevice:
    return SimulatedBackend((CARD,)).open(DeviceId("simulated"))


def test_wall_time_is_from_an_idle_device_to_an_idle_device(device: SimulatedDevice) -> None:
    """Work that was queued before is not in it, and work that was queued in it is."""
    device.run(5.0)
    span = WallTime(device).begin()
    device.run(1.0)
    span.end()
    assert span.read()["wall_time"] == pytest.approx(1.0, rel=1e-4)


def test_device_time_is_that_of_the_events(device: SimulatedDevice) -> None:
    """Behind other work the host's launches are not seen, and marking the end does not wait."""
    assert device.timer is not None
    device.run(1.0)
    began = device.clock.time
    span = DeviceTime(device.timer).begin()
    for _ in range(3):
        device.run(1e-3)
    span.end()
    assert device.clock.time - began < 1e-4
    device.synchronize()
    assert span.read()["device_time"] == pytest.approx(3e-3, abs=2 * CARD.resolution_s)


def test_nested_spans_see_the_same_work(device: SimulatedDevice) -> None:
    """Wall time outside, device time inside: the outer adds launch and synchronization."""
    assert device.timer is not None
    wall = WallTime(device).begin()
    events = DeviceTime(device.timer).begin()
    device.run(1e-3)
    events.end()
    wall.end()
    inner, outer = events.read()["device_time"], wall.read()["wall_time"]
    assert 1e-3 <= inner < outer < 1e-3 + 50e-6


@repeatable
@given(st.lists(st.floats(1e-6, 1e-2), min_size=1, max_size=5))
def test_each_use_of_a_meter_is_its_own(kernels: list[float]) -> None:
    """Spans do not share what they took."""
    device = SimulatedBackend((CARD,)).open(DeviceId("simulated"))
    meter = WallTime(device)
    spans: list[Any] = []
    for seconds in kernels:
        span = meter.begin()
        device.run(seconds)
        span.end()
        spans.append(span)
    overhead = CARD.launch_s + CARD.latency_s + CARD.sync_s + 1e-6
    for seconds, span in zip(kernels, spans, strict=True):
        assert seconds <= span.read()["wall_time"] <= seconds + overhead


def test_each_meter_fills_the_metrics_it_names(device: SimulatedDevice) -> None:
    """In seconds that add up over calls."""
    assert device.timer is not None
    meters: list[Any] = [WallTime(device), DeviceTime(device.timer)]
    for meter in meters:
        span = meter.begin()
        span.end()
        device.synchronize()
        assert set(span.read()) == {metric.name for metric in meter.metrics}
        assert all(metric.adds_up and metric.unit == "s" for metric in meter.metrics)
