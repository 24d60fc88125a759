"""Wall time, against the simulated truth."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.backends.simulated import Card, SimulatedBackend, SimulatedDevice
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import MeasurementError
from pytest_gpuprof.meters.time import WallTime

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


class SetBack:
    """A device whose host clock is set back while it is measured."""

    def __init__(self) -> None:
        self.clock = self
        self._times = iter((2.0, 1.0))

    def now(self) -> float:
        return next(self._times)

    def synchronize(self) -> None:
        pass


def test_a_clock_that_is_set_back_is_no_time() -> None:
    """Neither negative nor zero seconds are a figure."""
    device: Any = SetBack()
    span = WallTime(device).begin()
    span.end()
    with pytest.raises(MeasurementError, match=r"went on by -1\.0 s"):
        span.read()


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


def test_the_meter_fills_the_metric_it_names(device: SimulatedDevice) -> None:
    """In seconds that add up over calls."""
    meter = WallTime(device)
    span = meter.begin()
    device.run(1e-3)
    span.end()
    assert set(span.read()) == {metric.name for metric in meter.metrics}
    assert all(metric.adds_up and metric.unit == "s" for metric in meter.metrics)
