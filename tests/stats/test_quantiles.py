"""Quantiles of the normal distribution and of Student's t, and its tail: those of SciPy, without importing it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri, stdtr, stdtrit

from pytest_gpuprof.stats.quantiles import normal_quantile, student_quantile, student_tail

TAILS = (0.49, 0.3, 0.25, 0.1, 0.025, 1e-3, 1e-6, 1e-12)


@pytest.mark.parametrize("tail", TAILS)
def test_normal_quantiles_are_those_of_scipy(tail: float) -> None:
    """From the middle to far out."""
    assert normal_quantile(tail) == pytest.approx(-ndtri(tail), rel=1e-12)


@pytest.mark.parametrize("dof", [*range(1, 24), 60, 1000])
@pytest.mark.parametrize("tail", TAILS)
def test_quantiles_of_student_are_those_of_scipy(tail: float, dof: int) -> None:
    """For as few rounds as decide anything, for as many as count, and beyond."""
    assert student_quantile(tail, dof) == pytest.approx(-stdtrit(dof, tail), rel=1e-9)


@settings(derandomize=True, deadline=None)
@given(st.floats(1e-9, 0.49), st.integers(1, 50))
def test_the_tail_beyond_the_quantile_is_the_one_asked_for(tail: float, dof: int) -> None:
    """By SciPy's distribution."""
    assert stdtr(dof, -student_quantile(tail, dof)) == pytest.approx(tail, rel=1e-9)


@pytest.mark.parametrize("dof", [2, 4, 5, 8, 23, 24, 100])
@pytest.mark.parametrize("t", [0.0, 1e-200, 1e-9, 1e-4, 0.3, 1.0, 2.0, 7.2, 40.0, 1e6, 1e200])
def test_tails_of_student_are_those_of_scipy(t: float, dof: int) -> None:
    """From the middle to beyond what a number can tell."""
    assert student_tail(t, dof) == pytest.approx(stdtr(dof, -t), rel=1e-12, abs=1e-300)
