"""Doubts from the state of the board: only what happened meanwhile, and only about the legs it concerns."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.protocols import Conditions
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.conditions import (
    board_cautions,
    board_state,
    clock_cautions,
    clock_under_load,
    setting_cautions,
)

UNKNOWN = Reading.unavailable("it is not told; ask elsewhere")
ALONE = Reading(0.0)
SLOWED = {("time", "missed"), ("ratio", "missed"), ("energy", "met"), ("energy", "missed")}
"""What a board that only got slower spoils: a figure that was met would have been met all the more; joules go either
way."""


def state(
    reasons: frozenset[str] = frozenset(),
    others: Reading = ALONE,
    clock: Reading = UNKNOWN,
    **throttled_s: float,
) -> Conditions:
    """Return a state of a board; keywords are the seconds it was throttled so far, by reason."""
    seconds = {reason.replace("_", " "): each for reason, each in throttled_s.items()}
    return Conditions(clock, Reading(1.98e9), UNKNOWN, others, seconds, reasons)


def test_a_quiet_board_gives_no_doubt() -> None:
    """Also when it counts nothing."""
    assert board_cautions(state(), state(), 10) == ()
    assert board_cautions(state(thermal=5.0), state(thermal=5.0), 10) == ()


def test_throttling_meanwhile_is_a_doubt_about_what_was_missed() -> None:
    """It only slows: what was met stands. Energy goes either way. The CPU leg does not run on the board."""
    (caution,) = board_cautions(state(thermal=5.0), state(thermal=8.0, clock=Reading(1.2e9)), 10)
    assert caution.code == "throttled"
    assert caution.message == "the GPU was throttled: thermal for 30% of the time (clock 1200 of 1980 MHz)"
    assert caution.spoils == SLOWED
    assert sorted(caution.legs or ()) == ["gpu", "reference"]
    assert caution.remedy


@pytest.mark.parametrize("reason", ["thermal", "hardware", "power_brake", "board_limit", "reliability"])
def test_every_hard_reason_counts(reason: str) -> None:
    """A well-kept machine shows none of them."""
    counted: dict[str, Any] = {reason: 1.0}
    assert board_cautions(state(**{**counted, reason: 0.0}), state(**counted), 10)


@pytest.mark.parametrize("clock", [UNKNOWN, Reading(1.98e9), Reading(0.985 * 1.98e9)])
def test_a_power_cap_at_full_clock_is_how_heavy_kernels_run(clock: Reading) -> None:
    """It is no doubt, and without a clock nothing shows that it is one."""
    calm = state(frozenset({"power"}), power=0.0)
    assert board_cautions(calm, state(frozenset({"power"}), clock=clock, power=9.0), 10) == ()


def test_a_power_cap_that_holds_the_clock_down_is_told_and_spoils_nothing() -> None:
    """The next run under the same limit is held down as much."""
    (caution,) = board_cautions(state(power=0.0), state(clock=Reading(1.59e9), power=9.0), 10)
    assert caution.code == "power capped"
    assert "held its clock down for 90% of the time (clock 1590 of 1980 MHz)" in caution.message
    assert not caution.spoils
    idle = state(frozenset({"idle"}), clock=Reading(0.345e9), power=9.0)
    assert board_cautions(state(power=0.0), idle, 10) == ()


def test_less_than_a_hundredth_of_the_time_moves_no_figure() -> None:
    """The counters may tick over."""
    assert board_cautions(state(thermal=0.0), state(thermal=0.09), 10) == ()
    assert board_cautions(state(thermal=0.0), state(thermal=0.11), 10) != ()


@pytest.mark.parametrize(
    ("before", "after"), [(frozenset({"thermal"}), frozenset()), (frozenset(), frozenset({"thermal"}))]
)
def test_without_counters_the_reasons_in_force_are_the_evidence(before: frozenset[str], after: frozenset[str]) -> None:
    """At the beginning or at the end."""
    (caution,) = board_cautions(state(before), state(after), 10)
    assert "thermal" in caution.message


def test_a_counter_that_appears_meanwhile_has_no_difference() -> None:
    """Its beginning is not known."""
    assert board_cautions(state(), state(thermal=100.0), 10) == ()


@pytest.mark.parametrize(
    ("before", "after", "said"), [(0, 1, "1 other process used"), (3, 2, "3 other processes used")]
)
def test_another_process_on_the_board_is_a_doubt(before: int, after: int, said: str) -> None:
    """The larger number of the two moments; it slows too, and takes energy."""
    (caution,) = board_cautions(state(others=Reading(before)), state(others=Reading(after)), 10)
    assert caution.code == "shared"
    assert said in caution.message
    assert caution.spoils == SLOWED
    assert sorted(caution.legs or ()) == ["gpu", "reference"]


def test_throttled_and_shared_are_two_doubts() -> None:
    """Each with its remedy."""
    found = board_cautions(state(thermal=0.0), state(thermal=9.0, others=Reading(1)), 10)
    assert [each.code for each in found] == ["throttled", "shared"]


# -- who else uses the board ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("looks", [(ALONE, UNKNOWN), (UNKNOWN, ALONE), (UNKNOWN, UNKNOWN)])
def test_users_that_nobody_knows_spoil_joules_only(looks: tuple[Reading, Reading]) -> None:
    """The counter is of the whole board; a time would have to be missed to be doubted, and is not for ignorance."""
    before, after = (state(others=each) for each in looks)
    (caution,) = board_cautions(before, after, 10)
    assert caution.code == "sharing unknown"
    assert caution.message.endswith("count as well: it is not told")
    assert caution.remedy == "ask elsewhere"
    assert caution.spoils == {("energy", "met"), ("energy", "missed")}
    assert board_cautions(before, after, 10, energy=False) == ()


def test_a_user_that_was_seen_outweighs_a_look_that_failed() -> None:
    """One look is enough to know that there is one."""
    (caution,) = board_cautions(state(others=Reading(2)), state(others=UNKNOWN), 10)
    assert caution.code == "shared"


def test_an_estimated_count_of_nobody_is_told_and_spoils_nothing() -> None:
    """In a container our own process is told by when it came; the word stands beside it."""
    estimated = state(others=Reading(0.0, quality="estimated"))
    (caution,) = board_cautions(state(), estimated, 10)
    assert caution.code == "sharing estimated"
    assert "--pid=host" in caution.remedy
    assert not caution.spoils
    assert board_cautions(state(), estimated, 10, energy=False) == ()


# -- what a record keeps ----------------------------------------------------------------------------------------------


def test_what_the_board_went_through_is_kept() -> None:
    """Temperatures at both ends, and the share of the time by reason; nothing that is not told."""
    before = Conditions(UNKNOWN, UNKNOWN, Reading(40.0), UNKNOWN, {"power": 1.0, "sync boost": 0.0})
    after = Conditions(UNKNOWN, UNKNOWN, Reading(71.0), UNKNOWN, {"power": 6.0, "sync boost": 0.0, "thermal": 3.0})
    assert board_state(before, after, 10.0) == {
        "gpu_temperature_start_c": 40.0,
        "gpu_temperature_end_c": 71.0,
        "gpu_held_back_power": 0.5,
        "gpu_held_back_sync_boost": 0.0,
    }
    assert board_state(state(), state(), 10.0) == {}


# -- the clock, round by round ----------------------------------------------------------------------------------------


def clocks(*megahertz: float | None) -> list[Reading]:
    """Return the clock of each round; ``None`` was not told."""
    return [UNKNOWN if each is None else Reading(each * 1e6) for each in megahertz]


def test_the_clock_of_an_idle_board_says_nothing_about_its_work() -> None:
    """It falls within milliseconds of the last kernel."""
    busy = state(clock=Reading(1.9e9))
    assert clock_under_load(busy) == Reading(1.9e9)
    idle = clock_under_load(state(frozenset({"idle"}), clock=Reading(3.45e8)))
    assert idle.value is None
    assert "idle" in idle.reason


@pytest.mark.parametrize(
    "steady",
    [
        [],
        [None] * 24,
        [1980, 990],  # two rounds tell nothing about a spread
        [1980] * 24,
        [1980, 1965, 1950, 1935, 1950, 1965] * 4,  # the steps of a clock that is left to itself
        [1980] * 9 + [1200] * 3,  # a quarter of slow rounds does not move a median
        [1980, 1980, None, 1980, None, 1200, 1980, 1980],
        [1980 - 8 * index for index in range(24)],  # sinks by 9 %, without a jump
    ],
)
def test_a_steady_clock_is_no_doubt(steady: list[float | None]) -> None:
    """Nor is one that nobody told."""
    assert clock_cautions(clocks(*steady)) == ()


def test_a_clock_that_sinks_spoils_what_was_missed() -> None:
    """It only slows, so a met time stands."""
    sinking = [1980 - 40 * index for index in range(12)]
    (caution,) = clock_cautions(clocks(*sinking))
    assert caution.code == "unstable clock"
    assert "fell from 1940 MHz to 1540 MHz, and was below 90% of the former in 6 of 12 rounds" in caution.message
    assert caution.spoils == SLOWED
    assert sorted(caution.legs or ()) == ["gpu", "reference"]


@pytest.mark.parametrize("lower", [1400, 1900])
def test_a_clock_that_jumps_between_two_speeds_spoils_both_verdicts(lower: float) -> None:
    """A median falls on either by chance; 4 % apart is enough."""
    (caution,) = clock_cautions(clocks(*[1980, lower] * 6))
    assert f"jumped between 1980 MHz (6 of 12 rounds) and {lower} MHz (6 of 12 rounds)" in caution.message
    assert caution.spoils == SLOWED | {("time", "met"), ("ratio", "met")}


def test_two_speeds_closer_than_three_per_cent_are_one() -> None:
    """The decision rule bears a noise of two per cent."""
    assert clock_cautions(clocks(*[1980, 1930] * 6)) == ()


repeatable = settings(derandomize=True, deadline=None)


@repeatable
@given(
    st.lists(st.integers(300, 3000), max_size=24),
    st.sampled_from([0.25, 2.0, 8.0]),  # exact in binary, so that no comparison is decided by rounding
    st.randoms(use_true_random=False),
)
def test_neither_the_order_nor_the_unit_of_clocks_matters(rounds: list[int], scale: float, shuffle: Any) -> None:
    """A slower card with the same course of clocks has the same doubt."""
    shuffled = list(rounds)
    shuffle.shuffle(shuffled)
    doubts = [
        [(each.code, each.spoils) for each in clock_cautions(clocks(*taken))]
        for taken in (rounds, shuffled, [each * scale for each in rounds])
    ]
    assert doubts[0] == doubts[1] == doubts[2]


@repeatable
@given(st.lists(st.floats(1900.0, 1955.0), min_size=3, max_size=24))
def test_clocks_within_three_per_cent_are_never_a_doubt(rounds: list[float]) -> None:
    """However they are spread."""
    assert clock_cautions(clocks(*rounds)) == ()


# -- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["CUDA_LAUNCH_BLOCKING", "HIP_LAUNCH_BLOCKING", "AMD_SERIALIZE_KERNEL"])
def test_launches_that_block_are_a_doubt(name: str) -> None:
    """Every launch waits for its kernel, which only slows; a zero switches it off."""
    (caution,) = setting_cautions({name: "1"})
    assert caution.message == f"{name}=1 makes every launch wait for its kernel"
    assert caution.remedy == f"unset {name}"
    assert caution.spoils == SLOWED
    assert setting_cautions({name: "0"}) == setting_cautions({name: ""}) == setting_cautions({}) == ()


@pytest.mark.parametrize(
    ("limit", "default", "said"),
    [(300.0, 350.0, True), (350.0, 350.0, False), (400.0, 350.0, False), ("unavailable: x", 350.0, False)],
)
def test_a_lowered_power_limit_is_told_and_spoils_nothing(limit: Fact, default: Fact, said: bool) -> None:
    """Somebody chose it, and it is part of the identity; but limits may have been set on a card without it."""
    found = setting_cautions({"gpu_power_limit_w": limit, "gpu_default_power_limit_w": default})
    assert [each.message for each in found] == ["the GPU's power limit is 300 W, where 350 W is its default"] * said
    assert not any(each.spoils for each in found)
