"""The size from which the GPU wins: where the truth is known, at the ends of what was measured, and in noise."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.stats.crossover import crossover_of
from pytest_gpuprof.stats.decision import mean_interval

SIZES = [16, 32, 64, 128, 256]
SURE = [0.01] * 5

repeatable = settings(derandomize=True, deadline=None)


def test_a_straight_line_crosses_where_it_is_zero() -> None:
    """In logarithms of both: a speedup that grows like n / 50 is 1 at 50."""
    found = crossover_of(SIZES, [math.log(size / 50) for size in SIZES], [0.0] * 5)
    assert found.size == pytest.approx(50)
    assert (found.low, found.high) == (pytest.approx(50), pytest.approx(50))


def test_the_interval_is_where_the_ends_of_the_speedups_cross() -> None:
    """Of a line of slope 1, as far in logarithms as the speedup's own."""
    found = crossover_of(SIZES, [math.log(size / 50) for size in SIZES], [0.1] * 5)
    assert math.log(found.high / 50) == pytest.approx(0.1)
    assert math.log(50 / found.low) == pytest.approx(0.1)


def test_who_wins_everywhere_crosses_at_or_below_the_smallest() -> None:
    """Where exactly, nobody has measured."""
    found = crossover_of(SIZES, [0.5] * 5, SURE)
    assert (found.size, found.low, found.high) == (16, 0, 16)


def test_who_loses_at_the_end_never_crosses() -> None:
    """Also if it won in between."""
    found = crossover_of(SIZES, [-1.0, 0.5, 0.5, -0.5, -1.0], SURE)
    assert (found.size, found.low, found.high) == (None, 256, math.inf)


def test_the_last_rise_counts() -> None:
    """From that size on it wins, up to the largest."""
    found = crossover_of(SIZES, [-1.0, 0.5, -0.5, 0.5, 1.0], SURE)
    assert found.size is not None
    assert 64 < found.size < 128


def test_noise_at_the_largest_size_leaves_the_end_open() -> None:
    """It may not win even there."""
    found = crossover_of(SIZES, [-1.0, -0.5, -0.3, -0.1, 0.05], [0.1] * 5)
    assert found.size is not None
    assert found.high == math.inf
    assert found.low < found.size


def test_noise_at_the_smallest_size_leaves_the_beginning_open() -> None:
    """It may win below it."""
    found = crossover_of(SIZES, [-0.05, 0.5, 1.0, 1.5, 2.0], [0.1] * 5)
    assert found.low == 0
    assert found.size == pytest.approx(17, abs=1)


@pytest.mark.parametrize("sizes", [[10, 100], [32, 64], [3, 7], [1000, 1_000_003]])
def test_an_end_at_a_measured_size_is_that_size(sizes: list[float]) -> None:
    """Exactly: a limit may be the same, and exp(log(100)) is a little more."""
    found = crossover_of(sizes, [-1.0, 1.0], [0.0, 0.0])
    assert (found.low, found.high) == (sizes[0], sizes[1])


def test_one_round_says_nothing_of_its_noise() -> None:
    """An interval without bounds leaves both ends open."""
    found = crossover_of(SIZES, [math.log(size / 50) for size in SIZES], [math.inf] * 5)
    assert (found.low, found.high) == (0, math.inf)


def test_two_sizes_tell_only_that_it_is_between_them() -> None:
    """How it bends there, nothing tells."""
    found = crossover_of([10, 1000], [-1.0, 1.0], [0.0, 0.0])
    assert found.size == pytest.approx(100)
    assert (found.low, found.high) == (pytest.approx(10), pytest.approx(1000))


def _legs(rng: random.Random, sizes: Sequence[float]) -> tuple[Callable[[float], float], float]:
    """Return the speedup over sizes of a GPU with a fixed cost, and where it is 1."""
    power, fixed, best = rng.choice([1, 2, 3]), 10 ** rng.uniform(-5, -4), 10 ** rng.uniform(0.5, 2)
    crossing = math.exp(rng.uniform(math.log(sizes[0]), math.log(sizes[-1])))
    cost = fixed / (crossing**power * (1 - 1 / best))
    return lambda n: cost * n**power / (fixed + cost / best * n**power), crossing


def test_the_interval_holds_the_truth() -> None:
    """In 95 of 100 sweeps at least, over sizes that double or quadruple, whatever the GPU's fixed cost."""
    rng = random.Random(20261128)
    held = 0
    for _ in range(400):
        sizes = [32 * rng.choice([2, 4]) ** index for index in range(7)]
        sizes = sorted(set(sizes))
        speedup, crossing = _legs(rng, sizes)
        margins, halves = [], []
        for size in sizes:
            mean, _, high = mean_interval([math.log(speedup(size)) + rng.gauss(0, 0.02) for _ in range(4)])
            margins.append(mean)
            halves.append(high - mean)
        found = crossover_of(sizes, margins, halves)
        held += found.low <= crossing <= found.high
    assert held >= 380


@repeatable
@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 3)), min_size=2, max_size=9), st.floats(1.01, 8))
def test_the_estimate_lies_in_its_interval(points: list[tuple[float, float]], ratio: float) -> None:
    """For any speedups with any intervals; and a narrower interval of each speedup widens nothing."""
    sizes = [10 * ratio**index for index in range(len(points))]
    margins, halves = [margin for margin, _ in points], [half for _, half in points]
    wide = crossover_of(sizes, margins, halves)  # a Crossover refuses an estimate outside its interval
    sure = crossover_of(sizes, margins, [0.0] * len(points))
    assert wide.size == sure.size
    assert wide.low <= sure.low * (1 + 1e-9)
    assert wide.high >= sure.high * (1 - 1e-9)


@pytest.mark.parametrize("sizes", [[1], [2, 1], [0, 1], [1, 1]])
def test_sizes_grow(sizes: list[float]) -> None:
    """At least two, above 0."""
    with pytest.raises(ValueError, match=r"two sizes|sizes are above 0 and grow"):
        crossover_of(sizes, [0.0] * len(sizes), [0.0] * len(sizes))
