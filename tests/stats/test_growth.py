"""How a time grows: known curves found again, with an interval that holds the truth."""

from __future__ import annotations

import random

import pytest

from pytest_gpuprof.stats.growth import FEWEST, growth_of

SIZES = [16, 32, 64, 128, 256, 512]


def times(fixed: float, coefficient: float, exponent: float) -> list[float]:
    return [fixed + coefficient * size**exponent for size in SIZES]


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0, 3.0])
def test_a_curve_without_noise_is_found_again(exponent: float) -> None:
    """Its fixed part, its coefficient and its exponent."""
    largest = 1e-3 / 512**exponent
    found = growth_of(SIZES, times(2e-5, largest, exponent), [0.01] * 6)
    assert found.exponent == pytest.approx(exponent, rel=1e-3)
    assert found.fixed_s == pytest.approx(2e-5, rel=0.02)
    assert found.coefficient == pytest.approx(largest, rel=0.02)
    assert found.misfit < 1e-3
    assert found.at(512) == pytest.approx(2e-5 + 1e-3, rel=1e-3)


def test_a_fixed_part_too_small_to_tell_is_left_out() -> None:
    """It would be made of noise."""
    assert growth_of(SIZES, times(1e-12, 1e-9, 2), [0.01] * 6).fixed_s == 0


def test_a_constant_time_has_no_exponent_that_is_known() -> None:
    """Any would fit."""
    found = growth_of(SIZES, [1e-4] * 6, [0.01] * 6)
    assert found.interval[1] - found.interval[0] > 1
    assert found.at(16) == pytest.approx(1e-4, rel=0.01)
    assert "?" in found.told("n")


def test_what_is_no_power_says_how_far_it_is_off() -> None:
    """A cache that no longer holds the data makes a step."""
    stepped = [time * (1 if size < 128 else 3) for size, time in zip(SIZES, times(0, 1e-9, 2), strict=True)]
    found = growth_of(SIZES, stepped, [0.01] * 6)
    assert found.misfit > 0.1
    assert "off by up to" in found.told("n")


def test_the_interval_holds_the_exponent() -> None:
    """In 90 of 100 series with 1 % noise at least: it is a profile likelihood of few points."""
    rng = random.Random(20261128)
    held = 0
    for _ in range(200):
        exponent, share = rng.choice([1.0, 2.0, 3.0]), rng.uniform(0.5, 20)
        exact = times(share * 1e-9 * 64**exponent, 1e-9, exponent)
        found = growth_of(SIZES, [time * (1 + rng.gauss(0, 0.01)) for time in exact], [0.01] * 6)
        held += found.interval[0] <= exponent <= found.interval[1]
    assert held >= 180


def test_too_few_sizes_are_refused() -> None:
    """Three numbers are fitted."""
    with pytest.raises(ValueError, match=f"{FEWEST} sizes at least"):
        growth_of([1, 2, 3], [1.0, 2.0, 3.0], [0.01] * 3)


@pytest.mark.parametrize(("sizes", "taken"), [([0, 1, 2, 3], [1.0] * 4), ([1, 2, 3, 4], [0.0, 1.0, 1.0, 1.0])])
def test_sizes_and_times_are_above_zero(sizes: list[float], taken: list[float]) -> None:
    """Neither has a logarithm otherwise."""
    with pytest.raises(ValueError, match="above 0"):
        growth_of(sizes, taken, [0.01] * 4)
