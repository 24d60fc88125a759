"""Where a level changes: against every possible division, and against ruptures."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from pytest_gpuprof.stats.segments import segments


def cost(values: list[float], ends: list[int], penalty: float) -> float:
    """Return what a division costs."""
    total = 0.0
    for start, end in itertools.pairwise([0, *ends]):
        part = values[start:end]
        mean = math.fsum(part) / len(part)
        total += math.fsum((value - mean) ** 2 for value in part)
    return total + penalty * (len(ends) - 1)


def divisions(count: int, least: int) -> list[list[int]]:
    """Return every division of a series into stretches of at least so many."""
    if count < least:
        return []
    found = [[count]]
    for first in range(least, count - least + 1):
        found += [[first, *(first + end for end in rest)] for rest in divisions(count - first, least)]
    return found


@seed(20120315)
@settings(max_examples=200, deadline=None, database=None)
@given(
    st.lists(st.integers(-20, 20), min_size=1, max_size=11),
    st.sampled_from([0.0, 0.7, 5.3, 40.1, 400.9]),
    st.integers(1, 4),
)
def test_no_other_division_costs_less(numbers: list[int], penalty: float, least: int) -> None:
    """What is returned is the best of all divisions, tried one by one."""
    values = [float(number) for number in numbers]
    if len(values) < least:
        with pytest.raises(ValueError, match="at least one stretch"):
            segments(values, penalty=penalty, least=least)
        return
    found = segments(values, penalty=penalty, least=least)
    assert found[-1] == len(values)
    assert all(end - start >= least for start, end in itertools.pairwise([0, *found]))
    best = min(cost(values, each, penalty) for each in divisions(len(values), least))
    assert cost(values, found, penalty) == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("case", range(20))
def test_it_agrees_with_ruptures(case: int) -> None:
    """On noisy series of up to 400 values with changes, division by division."""
    ruptures = pytest.importorskip("ruptures", reason="NOT TESTED: ruptures is not installed")
    numpy = pytest.importorskip("numpy")
    noise = random.Random(case)
    values: list[float] = []
    for _ in range(noise.randint(1, 6)):
        level = noise.uniform(-1, 1)
        values += [noise.gauss(level, 0.2) for _ in range(noise.randint(5, 70))]
    penalty = 4 * math.log(len(values)) * 0.2**2
    search = ruptures.KernelCPD(kernel="linear", min_size=3, jump=1)
    theirs = search.fit(numpy.asarray(values).reshape(-1, 1)).predict(pen=penalty)
    ours = segments(values, penalty=penalty, least=3)
    assert cost(values, ours, penalty) <= cost(values, [int(end) for end in theirs], penalty) + 1e-9
    assert ours == theirs


def test_a_large_offset_loses_no_digits() -> None:
    """Times since an epoch, say: only differences matter."""
    values = [0.0, 0.1, 0.0, 1.0, 1.1, 1.0]
    assert segments([1e9 + value for value in values], penalty=0.2, least=2) == [3, 6]


@pytest.mark.parametrize(("penalty", "least"), [(-1.0, 1), (math.nan, 1), (math.inf, 1), (1.0, 0)])
def test_what_cannot_be_meant_is_refused(penalty: float, least: int) -> None:
    """A penalty that is none, and stretches of nothing."""
    with pytest.raises(ValueError, match="penalty"):
        segments([1.0, 2.0], penalty=penalty, least=least)
