"""Distances from a limit, as people read them."""

from __future__ import annotations

import math

import pytest

from pytest_gpuprof.stats.distance import exceed, span


@pytest.mark.parametrize(
    ("near", "far", "text"),
    [
        (0.0, 0.05, "under 0.01 % to 5.1 %"),
        (0.05, 0.05, "5.1 %"),
        (math.log(1.1), math.log(1.99), "10 % to 99 %"),
        (math.log(1.1), math.log(2), "1.10x to 2.00x"),
        (math.log(9.99), math.log(10), "9.99x to 10x"),
        (1.0, math.inf, "2.72x to over 1000x"),
    ],
)
def test_a_span_has_one_unit(near: float, far: float, text: str) -> None:
    """Per cent, or factors as soon as the far end is a factor of two."""
    assert span(near, far) == text


@pytest.mark.parametrize(("logarithm", "fraction"), [(0.0, 0.0), (math.log(1.25), 0.25), (710.0, math.inf)])
def test_a_logarithm_is_the_fraction_by_which_one_is_exceeded(logarithm: float, fraction: float) -> None:
    """And infinite where no float holds it."""
    assert exceed(logarithm) == pytest.approx(fraction)
