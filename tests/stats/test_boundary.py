"""The boundary of the sequential rule: what it spends at each look, what it takes for granted, and what widens it."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import stdtr

from pytest_gpuprof.stats.boundary import CORRELATED_FROM, LOOKS, MAX_ROUNDS, half_width, hidden, student

CONFIDENCES = (0.6, 0.8, 0.9, 0.95, 0.99, 0.999)


def test_every_round_from_the_third_to_the_twenty_fourth_is_looked_at() -> None:
    """There are no other looks, and 24 rounds are all that count."""
    assert tuple(range(3, 25)) == LOOKS
    assert MAX_ROUNDS == 24


@pytest.mark.parametrize(("rounds", "t"), [(2, 50.92), (3, 8.89), (4, 9.15), (6, 3.50), (12, 4.24), (24, 2.79)])
def test_visible_noise_is_bounded_by_the_share_of_each_look(rounds: int, t: float) -> None:
    """The values at 95 %: strict where little is to be gained, mild after six rounds and at the end."""
    assert student(rounds, 0.95) == pytest.approx(t, abs=0.006)


@pytest.mark.parametrize(
    ("confidence", "overlap"), [(0.95, 1.38), (0.9, 1.38 + 0.05), (0.99, 1.28), (0.999, 1.19), (1 - 1e-9, 1.02)]
)
def test_the_looks_spend_more_than_the_whole_since_they_overlap(confidence: float, overlap: float) -> None:
    """Their error rates sum to the overlap times that of one side; what is ever rarer overlaps ever less."""
    side = (1 - confidence) / 2
    spent = math.fsum(float(stdtr(rounds - 1, -student(rounds, confidence))) for rounds in LOOKS)
    assert spent / side == pytest.approx(overlap, abs=0.006)


def test_one_round_bounds_nothing() -> None:
    """Not at any confidence."""
    assert half_width([0.3], 0.95, 0.02) == math.inf


@pytest.mark.parametrize(("confidence", "first"), [(0.8, 4), (0.9, 5), (0.95, 6), (0.99, 9), (0.999, 12)])
def test_hidden_noise_counts_in_full_until_two_speeds_must_have_shown(confidence: float, first: int) -> None:
    """A clock shows one of two speeds only for r rounds with a probability of 2**-r, small beside the error rate."""
    multiples = [hidden(rounds, confidence) for rounds in LOOKS]
    early = [multiple for multiple in multiples if multiple == multiples[0]]
    assert LOOKS[0] + len(early) == first
    assert multiples[0] >= 4.75
    assert 2.0**-first < (1 - confidence) / 2


@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_hidden_noise_never_grows_with_rounds(confidence: float) -> None:
    """So more rounds never ask for more headroom, as far as they agree."""
    multiples = [hidden(rounds, confidence) for rounds in range(2, 40)]
    assert multiples == sorted(multiples, reverse=True)


def test_hidden_noise_ends_at_what_may_hide_for_all_rounds() -> None:
    """From 18 rounds on 0.8 floors, more than a round in ten that is 14 % slower moves the mean by."""
    assert hidden(17, 0.95) > hidden(18, 0.95) == hidden(24, 0.95) == 0.8
    assert 0.8 * 0.02 > 0.1 * 0.14


@pytest.mark.parametrize("rounds", [2, *LOOKS])
def test_more_confidence_asks_for_more(rounds: int) -> None:
    """Of both kinds of noise, at every look."""
    for bound in (student, hidden):
        bounds = [bound(rounds, confidence) for confidence in CONFIDENCES]
        assert bounds == sorted(bounds)


@pytest.mark.parametrize("rounds", [2, 3, 5, 6, 7, 12, 24])
def test_the_larger_of_visible_and_hidden_noise_decides(rounds: int) -> None:
    """Identical rounds get the floor's width, rounds far apart get Student's, with nothing of the floor in it."""
    assert half_width([0.5] * rounds, 0.95, 0.02) == pytest.approx(hidden(rounds, 0.95) * 0.02)
    apart = [1.0, -1.0] * (rounds // 2) + [0.0] * (rounds % 2)  # alternating, so that nothing looks correlated
    width = student(rounds, 0.95) * statistics.stdev(apart) / math.sqrt(rounds)
    assert half_width(apart, 0.95, 0.02) == pytest.approx(width)
    assert half_width(apart, 0.95, 0.0) == pytest.approx(width)


@pytest.mark.parametrize(
    ("values", "widening"),
    [
        pytest.param([0.1 * step for step in range(7)], 1.0, id="seven rounds are too few to tell"),
        # Deviations -0.35 ... 0.35: neighbours 0.2625, squares 0.42, so rho = 5/8 + 1/8 and (1 + rho)/(1 - rho) = 7.
        pytest.param([0.1 * step for step in range(8)], math.sqrt(7), id="bias of a short series is given back"),
        pytest.param([0.0, 0.1] * 6, 1.0, id="alternation earns nothing"),
        pytest.param([0.1 * step for step in range(24)], 3.0, id="at most by three"),
    ],
)
def test_resemblance_of_neighbours_widens(values: list[float], widening: float) -> None:
    """From eight rounds on, by sqrt((1 + rho) / (1 - rho)) with rho = autocorrelation + 1/r, kept within 0 and 0.8."""
    rounds = len(values)
    width = student(rounds, 0.95) * statistics.stdev(values) / math.sqrt(rounds)
    assert half_width(values, 0.95, 0.0) == pytest.approx(width * widening)


def test_resemblance_of_neighbours_widens_hidden_noise_too() -> None:
    """A slow drift far below the floor shows that rounds are worth less than their number."""
    drifting = [0.0001 * step for step in range(12)]
    mixed = random.Random(1).sample(drifting, 12)
    assert half_width(mixed, 0.95, 0.02) < 1.5 * hidden(12, 0.95) * 0.02
    assert half_width(drifting, 0.95, 0.02) == pytest.approx(3 * hidden(12, 0.95) * 0.02)


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 0.7, 1.1])
def test_rounding_of_identical_rounds_is_not_taken_for_correlation(value: float) -> None:
    """Identical rounds whose mean rounds off by one bit get the width of the floor, not three times that."""
    for rounds in (6, 7, CORRELATED_FROM, 12, 13, 24):
        assert half_width([value] * rounds, 0.95, 0.02) == pytest.approx(hidden(rounds, 0.95) * 0.02)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(-5000, 5000), min_size=2, max_size=24), st.integers(-5000, 5000))
def test_width_depends_on_differences_only(numbers: list[int], shift: int) -> None:
    """Where the rounds lie, and in which direction they are counted, says nothing about their noise."""
    values = [number / 8192 for number in numbers]  # of a power of two, so that sums are exact
    width = half_width(values, 0.95, 0.02)
    assert half_width([value + shift / 8192 for value in values], 0.95, 0.02) == pytest.approx(width)
    assert half_width([-value for value in values], 0.95, 0.02) == pytest.approx(width)
    assert half_width(values[::-1], 0.95, 0.02) == pytest.approx(width)
