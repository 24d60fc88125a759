"""The energy pass on a simulated machine: what it does in which order, what it finds, and what it doubts."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_gpuprof.backends.simulated import Card, SimulatedBackend, SimulatedDevice
from pytest_gpuprof.core.environment import Environment
from pytest_gpuprof.core.protocols import Board, Conditions, EnergyCounter
from pytest_gpuprof.core.results import Caution, Reading
from pytest_gpuprof.sampling import energy
from pytest_gpuprof.sampling.energy import Instruments, energy_pass
from pytest_gpuprof.sampling.passes import PassResult
from pytest_gpuprof.sampling.plan import ENERGY_PRESETS, Plan
from tests.sampling.machines import EXACT, device_of, exact_machine, leg_on, running, texts

BRIEF = Plan(window_s=0.5, settle_s=0.2)
"""Shorter windows than usual, with wider intervals."""

QUICK = Plan(**ENERGY_PRESETS["quick"])

FREE = replace(EXACT, launch_s=0.0, latency_s=0.0, sync_s=0.0)
"""A card on which only the kernels take time: back to back, it is busy without pause."""


class Exact:
    """A counter whose sensor has no error of its own: what is left is its refresh and the windows' spread."""

    period_s = 0.1
    gain_error = 0.0

    def __init__(self, counter: EnergyCounter) -> None:
        self.read = counter.read
        self.used_j = counter.used_j


def board_of(machine: SimulatedBackend) -> Board:
    board = device_of(machine).board()
    assert board is not None
    return board


def counter_of(machine: SimulatedBackend) -> Exact:
    counter = board_of(machine).energy()
    assert not isinstance(counter, Reading)
    return Exact(counter)


def energy_of(
    machine: SimulatedBackend,
    builder: Callable[..., Any],
    counter: Any = None,
    plan: Plan = BRIEF,
    *,
    periods: dict[str, float] | None = None,
    reset: Callable[[], object] | None = None,
    **how: Any,
) -> PassResult:
    instruments = Instruments(
        {"energy": counter or counter_of(machine)}, board_of(machine), {} if periods is None else periods
    )
    leg = leg_on(machine, builder, **({"reset": reset} if reset else {}))
    return energy_pass(leg, instruments, plan, threads=1, quality="simulated", **how)


def bounds(reading: Reading) -> tuple[float, float]:
    assert reading.interval is not None
    return reading.interval


def codes(result: PassResult) -> list[str]:
    return [caution.code for caution in result.cautions]


# -- the figure -------------------------------------------------------------------------------------------------------


def test_the_true_energy_lies_within_the_interval_in_95_of_100_runs() -> None:
    """Of 1000: counters of 20, 100 and 200 ms at any phase, load whose power varies by 0 to 2 %, calls of any length.

    Without an allowance for the sensor's gain, of which this one has no error.
    """
    rng = random.Random(7)
    inside, widths = 0, []
    for seed in range(1000):
        sigma = rng.choice([0.0, 0.005, 0.01, 0.02])
        # A level for some seconds each, as a board's temperature and clocks drift.
        levels = [1 + sigma * rng.gauss(0, 1) for _ in range(64)]

        def power_at(moment: float, levels: list[float] = levels) -> float:
            return levels[int(moment / 2.3) % 64]

        period_s = rng.choice([0.02, 0.1, 0.2])
        machine = exact_machine(replace(FREE, energy_period_s=period_s, power_at=power_at))
        machine.clock.sleep(rng.uniform(0, 1))  # another phase of the counter
        call_s = rng.choice([0.013, 0.029, 0.07, 0.31])
        plan = replace(QUICK, settle_s=0.3)
        reading = energy_of(machine, running(call_s), plan=plan, seed=seed).readings["energy"]
        low, high = bounds(reading)
        inside += low <= 350 * call_s <= high
        widths.append(reading.repeatability)
    assert inside >= 950
    assert sum(widths) / len(widths) < 0.07


@pytest.mark.parametrize(("preset", "widest"), [("quick", 0.07), ("standard", 0.05), ("strict", 0.03)])
def test_each_preset_knows_the_energy_as_well_as_it_says(preset: str, widest: float) -> None:
    """Half the width, without the sensor's own 5 %, which the whole interval has besides."""
    machine = exact_machine()
    counter = board_of(machine).energy()
    reading = energy_of(machine, running(0.01), counter, Plan(**ENERGY_PRESETS[preset])).readings["energy"]
    assert reading.value == pytest.approx(3.5, rel=0.03)
    assert reading.value is not None
    assert 0 < reading.repeatability <= widest
    low, high = bounds(reading)
    assert (high - low) / 2 / reading.value == pytest.approx(math.hypot(reading.repeatability, 0.05))


def test_mean_power_is_that_of_the_windows() -> None:
    """A board that is busy without pause takes its busy power, however long a call is."""
    power = energy_of(exact_machine(), running(0.01)).readings["power"]
    assert power.value == pytest.approx(350, rel=0.05)
    low, high = bounds(power)
    assert low < 350 < high


def test_windows_that_begin_on_an_idle_board_are_biased_low(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is why load runs before each; with rest in its place, the mean over many runs is too low."""

    def mean(runs: int = 60) -> float:
        values = []
        for seed in range(runs):
            machine = exact_machine(FREE)
            machine.clock.sleep(seed * 0.0371)
            reading = energy_of(machine, running(0.007), plan=replace(BRIEF, settle_s=0.0), seed=seed)
            values.append(reading.readings["energy"].require("energy"))
        return sum(values) / runs / (350 * 0.007)

    assert mean() == pytest.approx(1, abs=0.015)
    run = energy._EnergyPass._run

    def rest_first(self: Any, calls: int) -> None:
        if calls < 40:  # load before a window, not a window
            self._clock.sleep(0.15)
        else:
            run(self, calls)

    monkeypatch.setattr(energy._EnergyPass, "_run", rest_first)
    monkeypatch.setattr(energy._EnergyPass, "_per_call_s", 0.007)
    assert mean() < 0.97


def test_net_energy_leaves_out_what_the_idle_board_draws() -> None:
    """Measured in a window of its own, before the load, on the live context; only when it is asked for."""
    machine = exact_machine(FREE)
    plain = energy_of(machine, running(0.01), plan=QUICK)
    assert "net_energy" not in plain.readings
    start = machine.clock.time
    result = energy_of(machine, running(0.01), plan=QUICK, net=True)
    assert result.readings["energy"].value == pytest.approx(3.5, rel=0.03)
    net = result.readings["net_energy"]
    assert net.value == pytest.approx(2.8, rel=0.03)
    low, high = bounds(net)
    assert low < 2.8 < high
    assert machine.clock.time - start > 1 + 3 + 1 + 2 + 6


def test_somebody_else_on_the_idle_board_leaves_no_net_energy() -> None:
    """What they draw is no idle power; the gross energy has its own doubt."""
    machine = exact_machine(replace(FREE, shared_from=0.0))
    result = energy_of(machine, running(0.01), net=True)
    assert "another process used the GPU in the window without load" in result.readings["net_energy"].reason
    assert result.readings["energy"].value is not None


# -- the order of a pass ----------------------------------------------------------------------------------------------


class Recorded(Exact):
    """A counter that notes when it is read."""

    def __init__(self, machine: SimulatedBackend) -> None:
        counter = counter_of(machine)
        super().__init__(counter)
        self.times: list[float] = []

        def read() -> Reading:
            self.times.append(machine.clock.time)
            return counter.read()

        self.read = read


def test_windows_are_jittered_in_length_and_start_and_read_twice() -> None:
    """Equal windows would all have the same error; more reads would disturb the counter."""
    machine = exact_machine()
    counter = Recorded(machine)
    energy_of(machine, running(0.0007), counter, periods={"energy": 0.1})
    times = counter.times
    assert len(times) == 6
    lengths = [end - start for start, end in zip(times[::2], times[1::2], strict=True)]
    phases = [start % 0.1 for start in times[::2]]
    assert len({round(length, 3) for length in lengths}) == 3
    assert len({round(phase, 3) for phase in phases}) == 3
    assert all(0.5 <= length <= 0.5 + 0.11 for length in lengths)


def test_the_refresh_is_watched_once_and_then_the_counter_is_left_alone() -> None:
    """For a second under load; the next pass knows it already."""
    machine = exact_machine(replace(FREE, energy_period_s=0.2))
    periods: dict[str, float] = {}
    first, second = Recorded(machine), Recorded(machine)
    energy_of(machine, running(0.01), first, periods=periods)
    assert periods == {"energy": pytest.approx(0.2, abs=0.01)}
    assert len(first.times) > 100
    assert first.times[-6] - first.times[-7] > 1.0
    known = dict(periods)
    energy_of(machine, running(0.01), second, periods=periods)
    assert len(second.times) == 6
    assert periods == known


def test_a_slower_counter_gets_longer_windows() -> None:
    """So that the interval is as narrow as with the usual one."""
    usual, slow = (
        energy_of(exact_machine(replace(FREE, energy_period_s=period_s)), running(0.01), plan=QUICK)
        for period_s in (0.1, 0.4)
    )
    assert slow.calls > 3 * usual.calls
    assert slow.readings["energy"].repeatability < 0.07


def test_the_board_settles_until_its_temperature_is_steady() -> None:
    """At least as long as planned, and at most twice that."""

    def calls(degrees_per_s: float) -> int:
        machine = exact_machine(replace(FREE, temperature_at=lambda now: 40 + degrees_per_s * (now - 1000)))
        return energy_of(machine, running(0.01), plan=replace(BRIEF, settle_s=4.0), periods={"energy": 0.1}).calls

    steady = calls(0.4)
    assert calls(0.0) == steady
    assert calls(3.0) - steady == pytest.approx(400, abs=20)


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


def test_a_call_longer_than_a_window_is_a_window() -> None:
    """It cannot be cut, nor its length be jittered: the bound of one window is what holds."""
    reading = energy_of(exact_machine(), running(3.0)).readings["energy"]
    assert reading.value == pytest.approx(3.0 * 350, rel=0.05)
    assert reading.repeatability >= 0.1 / 3.01


def test_calls_that_would_fill_more_than_the_longest_window() -> None:
    """As many as fit, and one at least."""
    plan = replace(BRIEF, window_s=5.0, max_window_s=5.0)
    assert energy_of(exact_machine(), running(3.0), plan=plan, periods={"energy": 0.1}).calls < 15
    assert energy_of(exact_machine(), running(9.0), plan=plan).readings["energy"].value == pytest.approx(3150, rel=0.05)


def test_what_is_left_to_do_is_told() -> None:
    """Which window of how many, and about how many seconds to go, before each."""
    said: list[str] = []
    energy_of(exact_machine(), running(0.01), plan=QUICK, watch=texts(said.append))
    assert said == [
        "energy on simulated:0: getting ready, about 10 s left",
        "energy on simulated:0: settling, about 8 s left",
        "energy on simulated:0: window 1 of 3, about 7 s left",
        "energy on simulated:0: window 2 of 3, about 4 s left",
        "energy on simulated:0: window 3 of 3, about 2 s left",
    ]


def test_calls_of_a_pass_are_counted() -> None:
    """All of them."""
    calls = 0

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal calls
            calls += 1
            device.run(0.01)

        return run

    assert energy_of(exact_machine(Card(noise=0.1)), work, net=True).calls == calls


# -- counters that cannot be believed ---------------------------------------------------------------------------------


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
        (lambda reads: Reading(100.0 * reads if reads < 5 else reads), "the energy counter went backwards"),
        (
            lambda reads: Reading.unavailable("the GPU is lost") if reads == 4 else Reading(100.0 * reads),
            "the GPU is lost",
        ),
    ],
    ids=["stands still", "counts down", "is reset in the last window", "is reset between", "is lost in the second"],
)
def test_a_counter_that_cannot_be_believed_is_unavailable(readings: Callable[[int], Reading], reason: str) -> None:
    """Energy, net energy and power, with the first reason; never 0, never a guess from the windows that were good."""
    result = energy_of(exact_machine(), running(0.01), _Broken(readings), periods={"energy": 0.1})
    assert result.readings["energy"] == Reading.unavailable(reason)
    assert result.readings["power"] == result.readings["energy"]
    assert result.cautions == ()


def test_one_broken_counter_leaves_the_other_alone() -> None:
    """Board and package are read around the same windows."""
    machine = exact_machine()
    counters: dict[str, Any] = {"energy": _Broken(lambda reads: Reading(5.0)), "package_energy": counter_of(machine)}
    leg = leg_on(machine, running(0.01))
    readings = energy_pass(leg, Instruments(counters), BRIEF, threads=1, quality="measured").readings
    assert "does not advance as it should: not at all" in readings["energy"].reason
    assert readings["package_energy"].value == pytest.approx(3.5, rel=0.1)
    assert readings["package_energy"].quality == "measured"


@pytest.mark.parametrize(
    ("about", "reason"),
    [
        ({"energy_stops_at": 1000.1}, "does not advance as it should"),
        ({"energy_stops_at": 1004.5}, "stood still"),
        ({"energy_resets_at": 1004.5}, "went backwards"),
        ({"energy_period_s": 4.0}, "does not advance as it should"),
    ],
    ids=["frozen before", "frozen meanwhile", "reset", "too slow"],
)
def test_a_card_whose_counter_fails_has_no_energy(about: dict[str, float], reason: str) -> None:
    """However much of it was good."""
    result = energy_of(exact_machine(replace(FREE, **about)), running(0.01), plan=QUICK)
    assert result.readings["energy"].value is None
    assert reason in result.readings["energy"].reason


# -- doubts -----------------------------------------------------------------------------------------------------------


def spoilt(result: PassResult, code: str) -> frozenset[tuple[Any, str]]:
    (caution,) = [each for each in result.cautions if each.code == code]
    assert caution.legs == {"gpu"}
    return caution.spoils


BOTH = {("energy", "met"), ("energy", "missed")}


def test_a_sound_board_raises_no_doubt() -> None:
    """Else every budget would be inconclusive."""
    assert energy_of(exact_machine(), running(0.01), plan=QUICK).cautions == ()


@pytest.mark.parametrize("gain", [0.7, 1.3])
def test_a_counter_that_the_power_reading_contradicts_is_suspect(gain: float) -> None:
    """Both figures are told; neither verdict is trusted."""
    result = energy_of(exact_machine(replace(FREE, energy_gain=gain)), running(0.01), plan=QUICK)
    assert spoilt(result, "suspect_counter") == BOTH
    assert "but the board's own power reading is 350 W" in result.cautions[0].message


@pytest.mark.parametrize("gain", [0.9, 1.1])
def test_sensors_may_differ_by_their_own_errors(gain: float) -> None:
    """A tenth is no reason to distrust a counter."""
    result = energy_of(exact_machine(replace(FREE, energy_gain=gain)), running(0.01), plan=QUICK)
    assert codes(result) == []


def test_a_counter_that_reading_disturbs_is_right_when_it_is_read_twice() -> None:
    """Watching it costs it most of its joules; a second of rest and two reads per window cost one in a hundred."""
    machine = exact_machine(replace(FREE, energy_read_s=0.016))
    result = energy_of(machine, running(0.01), plan=QUICK)
    assert result.readings["energy"].value == pytest.approx(3.5, rel=0.03)
    assert codes(result) == []


def test_a_counter_that_lags_is_read_under_load_at_both_ends() -> None:
    """What it shows is old, and so it was under load already."""
    machine = exact_machine(replace(FREE, energy_lag_s=0.09))
    assert energy_of(machine, running(0.01), plan=QUICK).readings["energy"].value == pytest.approx(3.5, rel=0.03)


class _Told:
    """A board that says what it is told to."""

    def __init__(self, power_w: Reading, limit_w: float | None, **more: Any) -> None:
        unknown = Reading.unavailable("unknown")
        self._now = Conditions(unknown, unknown, unknown, Reading(0.0), power_w=power_w, **more)
        self._limit = {} if limit_w is None else {"gpu_power_limit_w": limit_w}

    def energy(self) -> EnergyCounter | Reading:
        raise AssertionError("not asked here")

    def conditions(self) -> Conditions:
        return self._now

    def facts(self) -> Environment:
        return Environment(self._limit)


@pytest.mark.parametrize(
    ("limit_w", "doubts"), [(None, []), (300.0, []), (260.0, ["suspect_counter"])], ids=["none", "near", "far"]
)
def test_no_board_draws_more_than_its_limit(limit_w: float | None, doubts: list[str]) -> None:
    """Where there is no power reading to compare with, the limit is left; a little above it is the sensor's error."""
    machine = exact_machine(FREE)
    board = _Told(Reading.unavailable("not offered"), limit_w)
    instruments = Instruments({"energy": counter_of(machine)}, board)
    assert codes(energy_pass(leg_on(machine, running(0.01)), instruments, BRIEF, threads=1, quality="simulated")) == [
        "low_resolution",
        *doubts,
    ]


def test_throttling_in_one_window_spoils_the_energy_both_ways() -> None:
    """Lower clocks take fewer joules or more; a throttled met is no more to be trusted than a throttled missed."""
    machine = exact_machine(replace(FREE, speed_at=lambda now: 0.5 if 1006.0 < now < 1006.5 else 1.0))
    result = energy_of(machine, running(0.01), plan=QUICK)
    assert spoilt(result, "throttled") == BOTH


def test_throttling_before_the_windows_is_no_doubt() -> None:
    """It is over when the first begins."""
    machine = exact_machine(replace(FREE, speed_at=lambda now: 0.5 if now < 1001.5 else 1.0))
    assert codes(energy_of(machine, running(0.01), plan=QUICK)) == []


def test_a_process_that_comes_between_the_windows_is_told() -> None:
    """It was not there before the first."""
    machine = exact_machine(replace(FREE, shared_from=1007.0))
    assert spoilt(energy_of(machine, running(0.01), plan=QUICK), "shared") == BOTH


def test_short_windows_are_told_and_spoil_nothing() -> None:
    """The interval is as wide as they make it."""
    result = energy_of(exact_machine(), running(0.01))
    assert spoilt(result, "low_resolution") == set()
    assert "energy windows of 0.5" in result.cautions[0].message


def test_the_energy_of_resets_is_in_the_figure_and_said_to_be() -> None:
    """It runs before each call of a window, and no counter can leave it out: the limit may be missed for nothing."""
    machine = exact_machine(FREE)
    ready = False

    def reset() -> None:
        nonlocal ready
        ready = True
        device_of(machine).run(0.01)

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal ready
            assert ready
            ready = False
            device.run(0.01)

        return run

    result = energy_of(machine, work, plan=QUICK, reset=reset)
    assert result.readings["energy"].value == pytest.approx(7.0, rel=0.05)
    assert spoilt(result, "reset energy") == {("energy", "missed")}


def test_resets_of_the_cpu_leg_flatter_the_ratio() -> None:
    """There, too many joules let a least ratio be met for nothing."""
    machine = SimulatedBackend((EXACT,), cpu_noise=0.0, cpu_watts=100.0)
    counter = device_of(machine, "cpu").package_energy()
    assert counter is not None
    leg = leg_on(machine, running(0.01), "cpu", reset=lambda: device_of(machine, "cpu").run(0.01))
    instruments = Instruments({"package_energy": counter})
    (caution,) = energy_pass(leg, instruments, BRIEF, threads=1, quality="simulated").cautions
    assert caution.code == "reset energy"
    assert (caution.spoils, caution.legs) == ({("energy", "met")}, {"cpu"})


def test_all_doubts_end_with_a_remedy() -> None:
    """Each is a sentence that says what to do."""
    card = replace(
        FREE, energy_gain=0.5, shared_from=1004.0, speed_at=lambda now: 0.9 if now > 1005 else 1.0, energy_period_s=0.2
    )
    machine = exact_machine(card)
    result = energy_of(machine, running(0.01), reset=lambda: None, plan=replace(BRIEF, window_s=1.0, settle_s=2.0))
    found: Sequence[Caution] = result.cautions
    assert {each.code for each in found} == {"throttled", "shared", "reset energy", "low_resolution", "suspect_counter"}
    assert all(each.remedy for each in found)
    facts: Mapping[str, Reading] = result.readings
    assert facts["energy"].value is not None
