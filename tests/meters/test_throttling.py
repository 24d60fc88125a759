"""Throttling that passes: what counts as such, and what is left of the rest of a measurement."""

from __future__ import annotations

import pytest

from pytest_gpuprof.core.protocols import Conditions
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.conditions import board_cautions
from pytest_gpuprof.meters.throttling import Dropped, held_back, uncounted
from tests.meters.test_conditions import state

SLOW, FULL = Reading(1.2e9), Reading(1.98e9)
THERMAL = frozenset({"thermal"})


@pytest.mark.parametrize(
    ("before", "look", "found"),
    [
        (state(), state(), set()),
        (state(thermal=5.0), state(thermal=5.02), {"thermal"}),
        (state(thermal=5.0), state(thermal=5.0005), set()),
        (state(), state(thermal=100.0), set()),
        (state(), state(frozenset({"thermal"})), {"thermal"}),
        (state(), state(frozenset({"hardware", "power brake"}), clock=SLOW), {"hardware", "power brake"}),
        (state(), state(frozenset({"thermal"}), clock=FULL), set()),
        (state(thermal=5.0), state(frozenset({"thermal"}), clock=FULL, thermal=5.02), {"thermal"}),
    ],
)
def test_what_was_counted_or_is_in_force_held_the_board_back(
    before: Conditions, look: Conditions, found: set[str]
) -> None:
    """A counter that appears has no difference, and a clock at full speed is not held back."""
    assert held_back(before, [look]) == found
    assert held_back(before, [before, look]) == found
    assert held_back(before, []) == set()


@pytest.mark.parametrize("reason", ["power", "board limit", "reliability", "sync boost", "application clocks", "idle"])
def test_a_limit_under_which_a_card_always_runs_does_not_pass(reason: str) -> None:
    """Rounds under it would be taken again for ever, and never be better."""
    now = state(frozenset({reason}), clock=SLOW, **{reason.replace(" ", "_"): 9.0})
    assert held_back(state(**{reason.replace(" ", "_"): 0.0}), [now]) == set()


def test_what_nothing_counts_is_seen_in_the_rounds_that_are_kept() -> None:
    """What is counted is judged by its share of the time."""
    looks = [state(), state(frozenset({"thermal", "hardware", "power"}), clock=SLOW, thermal=1.0)]
    assert uncounted(looks) == {"hardware"}


def test_what_was_counted_in_dropped_rounds_is_no_doubt_about_the_others() -> None:
    """Nor is the time that they took time in which nothing was counted."""
    before, hot, after = state(thermal=1.0), state(thermal=1.3), state(thermal=1.35)
    assert board_cautions(before, after, 10)
    dropped = Dropped().and_round(before, hot, 0.4, THERMAL, THERMAL)
    assert not board_cautions(dropped.left_out_of(before), after, 10 - dropped.seconds)
    (caution,) = board_cautions(dropped.left_out_of(before), after, 4 - dropped.seconds)
    assert "thermal for 1% of the time" in caution.message


def test_no_more_is_left_out_than_the_round_took() -> None:
    """A counter that lags shows what was in the round before, which is kept."""
    dropped = Dropped().and_round(state(thermal=1.0), state(thermal=1.1), 0.06, THERMAL, THERMAL)
    assert dropped.left_out_of(state(thermal=1.0)).throttled_s["thermal"] == pytest.approx(1.06)


def test_what_may_have_been_counted_for_a_kept_round_stays() -> None:
    """The round is dropped for it all the same."""
    dropped = Dropped().and_round(state(thermal=1.0), state(thermal=1.1), 0.2, THERMAL, frozenset())
    assert dropped.left_out_of(state(thermal=1.0)).throttled_s["thermal"] == 1.0
    assert dropped.count == 1


def test_dropped_rounds_are_told_and_spoil_nothing() -> None:
    """How many, and why."""
    dropped = Dropped()
    assert not dropped.cautions
    said = []
    for reason in ("thermal", "hardware"):
        dropped = dropped.and_round(state(), state(), 0.1, frozenset({reason}), frozenset())
        (caution,) = dropped.cautions
        said.append(caution.message)
        assert not caution.spoils
    assert said == [
        "1 round was dropped and taken again, because the GPU was throttled in it: thermal",
        "2 rounds were dropped and taken again, because the GPU was throttled in them: hardware, thermal",
    ]
    assert dropped.seconds == pytest.approx(0.2)
