"""Watching how often an energy counter is refreshed."""

from __future__ import annotations

import pytest

from pytest_gpuprof.backends.simulated import Card, SimulatedClock, SimulatedDevice
from pytest_gpuprof.core.protocols import EnergyCounter
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.sampling.refresh import PROBE_S, refresh_periods
from tests.sampling.machines import device_of, exact_machine


def card(**about: object) -> tuple[SimulatedDevice, EnergyCounter]:
    """Return an exact card and its counter."""
    device = device_of(exact_machine(Card(noise=0.0, **about)))  # type: ignore[arg-type]  # options of a card
    board = device.board()
    assert board is not None
    counter = board.energy()
    assert not isinstance(counter, Reading)
    return device, counter


def watched(device: SimulatedDevice, counter: EnergyCounter, call_s: float = 0.002) -> tuple[Reading, int, float]:
    """Return the refresh that is found, how often load was put on, and how long it took."""
    loads = 0

    def load() -> None:
        nonlocal loads
        loads += 1
        device.run(call_s)
        device.synchronize()

    start = device.clock.time
    found = refresh_periods(load if call_s else None, device.clock, {"energy": counter})["energy"]
    return found, loads, device.clock.time - start


@pytest.mark.parametrize("period_s", [0.1, 0.13, 0.2, 0.5, 1.0])
def test_the_refresh_is_found_under_load(period_s: float) -> None:
    """To about half a look at it, and in no more time than a few refreshes take."""
    found, loads, seconds = watched(*card(energy_period_s=period_s))
    assert found.value == pytest.approx(period_s, abs=0.006)
    assert loads > 50
    assert seconds < min(8 * period_s, PROBE_S) + 0.1


def test_a_faster_refresh_is_not_believed() -> None:
    """Cards that refresh fast are also those that a fast reader disturbs."""
    assert watched(*card(energy_period_s=0.02))[0].value == 0.1


def test_the_refresh_is_found_without_load() -> None:
    """The counter also counts an idle board."""
    found, loads, _ = watched(*card(energy_period_s=0.1), call_s=0.0)
    assert found.value == pytest.approx(0.1, abs=0.006)
    assert loads == 0


@pytest.mark.parametrize(
    ("about", "how"), [({"energy_stops_at": 0.0}, "not at all"), ({"energy_period_s": 2.0}, "once")]
)
def test_a_counter_that_does_not_advance_is_unavailable(about: dict[str, float], how: str) -> None:
    """Standing still, and too slow to be watched: each with its remedy, and after the longest watch."""
    found, _, seconds = watched(*card(**about))
    assert found.value is None
    assert f"{how} in 2.5 s; see whether nvidia-smi" in found.reason
    assert seconds == pytest.approx(PROBE_S, abs=0.05)


def test_a_counter_that_cannot_be_read_says_why() -> None:
    """The reason of its reading is the reason; another counter is watched all the same."""

    class Lost:
        period_s = 0.1
        gain_error = 0.05

        def read(self) -> Reading:
            return Reading.unavailable("the GPU is lost")

        def used_j(self, before: float, after: float, seconds: float) -> Reading:
            raise AssertionError("not reached")

    device, counter = card()
    found = refresh_periods(lambda: None, SimulatedClock(), {"energy": Lost()})
    assert found["energy"] == Reading.unavailable("the GPU is lost")
    both = refresh_periods(lambda: device.run(0.005), device.clock, {"energy": Lost(), "package_energy": counter})
    assert both["energy"].value is None
    assert both["package_energy"].value == pytest.approx(0.1, abs=0.006)
