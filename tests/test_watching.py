"""Watching a board: what was seen in dropped rounds is no doubt about the others, unless somebody was there."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_gpuprof.backends.simulated import SimulatedClock
from pytest_gpuprof.core.environment import Environment
from pytest_gpuprof.core.protocols import Conditions, EnergyCounter
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.watching import Watched
from tests.meters.test_conditions import state
from tests.sampling.machines import exact_machine, leg_on, running

FAST, SLOW = Reading(1.98e9), Reading(1.2e9)
GPU = leg_on(exact_machine(), running(1e-3))


class Told:
    """A board that is in one state after the other."""

    def __init__(self, *states: Conditions) -> None:
        self._states: Iterator[Conditions] = iter(states)

    def energy(self) -> EnergyCounter | Reading:
        return Reading.unavailable("it has no counter")

    def conditions(self) -> Conditions:
        return next(self._states)

    def facts(self) -> Environment:
        return Environment()


def codes_of(watched: Watched) -> list[str]:
    _, cautions, _ = watched.end(energy=False)
    return [each.code for each in cautions]


def round_of(watched: Watched, clock: SimulatedClock) -> bool:
    """Take a round of a tenth of a second, and return whether the board was held back in it."""
    watched.begin_round()
    clock.sleep(0.1)
    watched.observe(GPU)
    return watched.was_held_back()


def test_a_dropped_round_leaves_neither_its_clock_nor_its_seconds() -> None:
    """The counter went on in the pause after it, which is left out too."""
    clock = SimulatedClock()
    cool, warm = state(clock=FAST, thermal=0.0), state(clock=FAST, thermal=0.12)
    watched = Watched(Told(cool, cool, state(clock=SLOW, thermal=0.09), *[warm] * 7), clock)
    assert round_of(watched, clock)
    watched.drop_round()
    clock.sleep(0.05)
    assert not any(round_of(watched, clock) for _ in range(3))
    assert codes_of(watched) == ["taken again"]


def test_what_is_counted_late_stays_a_doubt_about_the_round_before() -> None:
    """Nothing is in force at the look, so the counter may tell of the round that is kept, unless it is the first."""
    for kept, codes in ((0, ["taken again"]), (1, ["taken again", "throttled"])):
        clock = SimulatedClock()
        calm, counted = state(clock=FAST, thermal=0.0), state(clock=FAST, thermal=0.09)
        watched = Watched(Told(*[calm] * (2 + 2 * kept), *[counted] * 6), clock)
        assert not any(round_of(watched, clock) for _ in range(kept))
        assert round_of(watched, clock)
        watched.drop_round()
        assert not round_of(watched, clock)
        assert sorted(codes_of(watched)) == codes


def test_a_round_that_is_kept_all_the_same_is_doubted() -> None:
    """By what was counted, or, of what nothing counts, by what was in force."""
    for throttled in (state(clock=SLOW, thermal=0.09), state(frozenset({"hardware"}), clock=SLOW)):
        clock = SimulatedClock()
        calm = state(clock=FAST, thermal=0.0) if throttled.throttled_s else state(clock=FAST)
        after = state(clock=FAST, thermal=0.09) if throttled.throttled_s else calm
        watched = Watched(Told(calm, calm, throttled, after), clock)
        assert round_of(watched, clock)
        assert codes_of(watched) == ["throttled"]


def test_who_came_and_went_in_a_dropped_round_is_told() -> None:
    """Another process is no passing state of the board."""
    clock, calm = SimulatedClock(), state(thermal=0.0)
    hot, cool = state(others=Reading(1), thermal=0.1), state(thermal=0.1)
    watched = Watched(Told(calm, calm, hot, *[cool] * 3), clock)
    assert round_of(watched, clock)
    watched.drop_round()
    assert not round_of(watched, clock)
    assert sorted(codes_of(watched)) == ["shared", "taken again"]


def test_without_a_board_no_round_is_held_back() -> None:
    """Nor is anything dropped."""
    clock = SimulatedClock()
    watched = Watched(Reading.unavailable("there is no GPU leg"), clock)
    assert not round_of(watched, clock)
    watched.drop_round()
    assert codes_of(watched) == []
