"""Passes of their own: the energy of back-to-back calls."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pytest_gpuprof.backends.simulated import Card, SimulatedBackend, SimulatedDevice
from pytest_gpuprof.core.protocols import EnergyCounter
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.sampling.passes import PassResult, energy_pass, flops_pass
from pytest_gpuprof.sampling.plan import Plan
from tests.sampling.machines import EXACT, device_of, exact_machine, leg_on, running

# -- energy -----------------------------------------------------------------------------------------------------------


class Exact:
    """A counter whose sensor has no error of its own: what is left is its refresh and the windows' spread."""

    gain_error = 0.0

    def __init__(self, counter: EnergyCounter) -> None:
        self.period_s = counter.period_s
        self.read = counter.read
        self.used_j = counter.used_j


def counter_of(machine: SimulatedBackend) -> Exact:
    board = device_of(machine).board()
    assert board is not None
    counter = board.energy()
    assert not isinstance(counter, Reading)
    return Exact(counter)


BRIEF = Plan(window_s=0.5, settle_s=0.2)
"""Shorter windows than usual, with wider intervals."""


def energy_of(machine: SimulatedBackend, builder: Callable[..., Any], counter: Any = None, seed: int = 0) -> PassResult:
    counters = {"energy": counter or counter_of(machine)}
    return energy_pass(leg_on(machine, builder), counters, BRIEF, threads=1, quality="simulated", seed=seed)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_true_energy_of_a_call_lies_within_the_interval(noise: float) -> None:
    """In at least 95 % of 200 runs, with a counter refreshed every 0.1 s and no allowance for the sensor's gain.

    The truth: busy power for as long as the kernel runs, idle power for the rest of the call.
    """
    rng = random.Random(7)
    inside = 0
    widths = []
    for seed in range(200):
        card = replace(EXACT, noise=noise)
        machine = SimulatedBackend((card,), seed=seed, cpu_noise=0.0)
        machine.clock.sleep(rng.uniform(0, 1))  # another phase of the counter
        seconds = rng.uniform(0.004, 0.03)
        prelude = rng.choice([0.0, 0.5, 2.0]) * seconds

        def work(device: SimulatedDevice, seconds: float = seconds, prelude: float = prelude) -> Callable[[], None]:
            def run() -> None:
                device.host(prelude)
                device.run(seconds)

            return run

        kernel = seconds * (1 + noise**2 / 2)
        period = max(prelude + card.launch_s, kernel)
        truth = card.busy_w * kernel + card.idle_w * (period - kernel)
        reading = energy_of(machine, work, seed=seed).readings["energy"]
        assert reading.interval is not None
        assert reading.value is not None
        low, high = reading.interval
        inside += low <= truth <= high
        widths.append((high - low) / 2 / reading.value)
    assert inside >= 190
    assert sum(widths) / len(widths) < 0.2


def test_the_default_windows_know_the_energy_within_a_tenth() -> None:
    """Two seconds and three trials: 5 to 7 %, and the sensor's 5 %."""
    machine = exact_machine()
    board = device_of(machine).board()
    assert board is not None
    counters = {"energy": board.energy()}
    result = energy_pass(leg_on(machine, running(0.01)), counters, Plan(), threads=1, quality="simulated")  # type: ignore[arg-type]  # it has a counter
    reading = result.readings["energy"]
    assert reading.value == pytest.approx(3.5, rel=0.05)
    assert reading.value is not None
    assert reading.interval is not None
    assert 0.05 < (reading.interval[1] - reading.interval[0]) / 2 / reading.value < 0.1


def test_mean_power_is_that_of_the_windows() -> None:
    """A board that is busy without pause takes its busy power, however long a call is."""
    power = energy_of(exact_machine(), running(0.01)).readings["power"]
    assert power.value == pytest.approx(350, rel=0.05)
    assert power.interval is not None
    assert power.interval[0] < 350 < power.interval[1]


def test_a_compilation_while_settling_does_not_shorten_the_windows() -> None:
    """Five seconds in the third call are neither load nor the time of a call; each pass may meet them anew."""
    machine = exact_machine()
    calls = 0

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal calls
            calls += 1
            device.run(0.001)
            if calls == 3:
                device.host(5.0)

        return run

    reading = energy_of(machine, work).readings["energy"]
    assert reading.value == pytest.approx(0.35, rel=0.1)
    assert calls > 1500 + 200  # three windows of half a second, after settling for a fifth


def test_windows_are_jittered_in_length_and_start() -> None:
    """Equal windows would all have the same error."""
    machine = exact_machine()
    counter = counter_of(machine)
    times: list[float] = []

    class Recorded(Exact):
        def __init__(self) -> None:
            super().__init__(counter)
            self.read = self._read

        def _read(self) -> Reading:
            times.append(machine.clock.time)
            return counter.read()

    energy_of(machine, running(0.0007), Recorded())
    assert len(times) == 6  # never more than two reads per window
    lengths = [end - start for start, end in zip(times[::2], times[1::2], strict=True)]
    phases = [start % 0.1 for start in times[::2]]
    assert len({round(length, 3) for length in lengths}) == 3
    assert len({round(phase, 3) for phase in phases}) == 3
    assert all(0.5 <= length <= 0.5 + 0.11 for length in lengths)


def test_a_call_longer_than_a_window_is_a_window() -> None:
    """It cannot be cut."""
    reading = energy_of(exact_machine(), running(3.0)).readings["energy"]
    assert reading.value == pytest.approx(3.0 * 350, rel=0.05)


class _Broken:
    """A counter that does one thing wrong."""

    period_s = 0.1
    gain_error = 0.05

    def __init__(self, readings: Callable[[int], Reading]) -> None:
        self._readings = readings
        self._reads = 0

    def read(self) -> Reading:
        self._reads += 1
        return self._readings(self._reads)

    def used_j(self, before: float, after: float, seconds: float) -> Reading:
        if after < before:
            return Reading.unavailable("the energy counter went backwards")
        return Reading(after - before)


@pytest.mark.parametrize(
    ("readings", "reason"),
    [
        (lambda reads: Reading(5.0), "the energy counter stood still: the window was shorter than its refresh"),
        (lambda reads: Reading(1000.0 - reads), "the energy counter went backwards"),
        (lambda reads: Reading(100.0 * reads if reads < 6 else 0.0), "the energy counter went backwards"),
        (
            lambda reads: Reading.unavailable("the GPU is lost") if reads == 4 else Reading(100.0 * reads),
            "the GPU is lost",
        ),
    ],
    ids=["stands still", "counts down", "is reset in the last window", "is lost in the second"],
)
def test_a_counter_that_cannot_be_believed_is_unavailable(readings: Callable[[int], Reading], reason: str) -> None:
    """Energy and power, with the first reason; never 0, never a guess from the windows that were good."""
    result = energy_of(exact_machine(), running(0.01), _Broken(readings)).readings
    assert result["energy"] == Reading.unavailable(reason)
    assert result["power"] == result["energy"]


def test_one_broken_counter_leaves_the_other_alone() -> None:
    """Board and package are read around the same windows."""
    machine = exact_machine()
    counters: dict[str, Any] = {"energy": _Broken(lambda reads: Reading(5.0)), "package_energy": counter_of(machine)}
    readings = energy_pass(leg_on(machine, running(0.01)), counters, BRIEF, threads=1, quality="measured").readings
    assert readings["energy"].value is None
    assert readings["package_energy"].value == pytest.approx(3.5, rel=0.1)
    assert readings["package_energy"].quality == "measured"


def test_reset_runs_before_each_call_of_a_window() -> None:
    """A workload that needs it would fail without."""
    machine = exact_machine()
    ready = False

    def reset() -> None:
        nonlocal ready
        ready = True

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal ready
            assert ready
            ready = False
            device.run(0.01)

        return run

    plan = leg_on(machine, work, reset=reset)
    result = energy_pass(plan, {"energy": counter_of(machine)}, BRIEF, threads=1, quality="simulated")
    assert result.readings["energy"].value == pytest.approx(3.5, rel=0.1)


def test_calls_of_a_pass_are_counted() -> None:
    """All of them."""
    calls = 0

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal calls
            calls += 1
            device.run(0.01)

        return run

    assert energy_of(exact_machine(Card(noise=0.1)), work).calls == calls


# -- FLOPs ------------------------------------------------------------------------------------------------------------


class Abacus:
    """Counts a fixed number, or fails."""

    name = "the abacus"
    knows = "sums"

    def __init__(self, counts: int | Exception) -> None:
        self.counts = counts
        self.calls = 0

    def count(self, function: Callable[[], Any]) -> int:
        function()
        self.calls += 1
        if isinstance(self.counts, Exception):
            raise self.counts
        return self.counts


def flops_of(machine: SimulatedBackend, abacus: Abacus, builder: Any = None, **options: Any) -> Reading:
    result = flops_pass(leg_on(machine, builder or running(1e-3), **options), abacus, threads=1, quality="estimated")
    assert result.calls == 2
    return result.readings["flops"]


def test_one_call_is_counted_after_one_that_is_not(machine: SimulatedBackend) -> None:
    """The first may compile; the reading is estimated, and says who counted what."""
    made: list[str] = []

    def work(device: SimulatedDevice) -> Callable[[], None]:
        return lambda: made.append("call")

    abacus = Abacus(12)
    reading = flops_of(machine, abacus, work, reset=lambda: made.append("reset"))
    assert (reading.value, reading.quality) == (12.0, "estimated")
    assert reading.source == "counted by the abacus (only sums)"
    assert made == ["reset", "call", "reset", "call"]
    assert abacus.calls == 1


@pytest.mark.parametrize(
    ("counts", "reason"),
    [
        (0, "the abacus counted nothing: it knows sums; give flops= yourself"),
        (RuntimeError("a bead fell"), "the abacus failed (RuntimeError: a bead fell); give flops= yourself"),
    ],
)
def test_a_count_that_failed_or_found_nothing_is_unavailable(
    machine: SimulatedBackend, counts: Any, reason: str
) -> None:
    """Never 0, and no error of the workload's: it ran well unwatched."""
    reading = flops_of(machine, Abacus(counts))
    assert (reading.value, reading.reason) == (None, reason)


def test_an_error_of_the_workload_is_its_own(machine: SimulatedBackend) -> None:
    """Before anybody counts."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            raise KeyError("mine")

        return run

    with pytest.raises(KeyError, match="mine"):
        flops_of(machine, Abacus(1), work)
