"""Growth per call: what is a leak, and what only looks like one."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.stats.leak import LEAST_CALLS, growth_per_call

PEAK = 64 * 2**20

repeatable = settings(derandomize=True, deadline=None)

sizes = st.integers(min_value=1, max_value=2**40)
bases = st.integers(min_value=0, max_value=2**40)
lengths = st.integers(min_value=LEAST_CALLS, max_value=24)


@repeatable
@given(bases, lengths)
def test_memory_that_stays_is_no_leak(base: int, calls: int) -> None:
    """Whatever is live."""
    growth = growth_per_call([base] * calls)
    assert (growth.slope, growth.low, growth.high, growth.gained) == (0, 0, 0, 0)
    assert not growth.leaks(0)


@repeatable
@given(bases, sizes, lengths, st.integers(min_value=0, max_value=2**50))
def test_the_same_bytes_at_each_call_are_a_leak(base: int, step: int, calls: int, peak: int) -> None:
    """Down to one byte and however large the peak: nothing else grows so regularly."""
    growth = growth_per_call([base + step * call for call in range(calls)])
    assert growth.leaks(peak)
    assert growth.slope == growth.low == growth.high == step


@repeatable
@given(bases, sizes, lengths, st.data())
def test_a_step_is_no_leak(base: int, size: int, calls: int, data: st.DataObject) -> None:
    """A cache that is filled once, at any call, by any size."""
    at = data.draw(st.integers(min_value=1, max_value=calls - 1))
    growth = growth_per_call([base] * at + [base + size] * (calls - at))
    assert growth.gained == size
    assert not growth.steady


@repeatable
@given(bases, sizes, sizes, st.data())
def test_two_steps_in_eight_calls_are_no_leak(base: int, first: int, second: int, data: st.DataObject) -> None:
    """Two caches, or one that grows once."""
    one, two = sorted(data.draw(st.sets(st.integers(min_value=1, max_value=7), min_size=2, max_size=2)))
    live = [base + first * (call >= one) + second * (call >= two) for call in range(8)]
    assert not growth_per_call(live).steady


@repeatable
@given(bases, sizes, st.integers(min_value=LEAST_CALLS, max_value=24))
def test_memory_that_is_given_back_is_no_leak(base: int, step: int, calls: int) -> None:
    """A falling series has a slope below zero."""
    growth = growth_per_call([base + step * (calls - call) for call in range(calls)])
    assert growth.slope == -step
    assert not growth.leaks(0)


@repeatable
@given(bases, st.integers(min_value=1024, max_value=2**30), lengths, st.randoms(use_true_random=False))
def test_a_leak_under_noise_is_found_with_its_slope(base: int, step: int, calls: int, rng: random.Random) -> None:
    """Noise of a fifth of the step moves no pair of neighbours out of order, and the slope by less than two fifths."""
    growth = growth_per_call([base + step * call + rng.uniform(-step / 5, step / 5) for call in range(calls)])
    assert growth.leaks(0)
    assert abs(growth.slope - step) < 0.4 * step
    assert growth.low <= growth.slope <= growth.high


def test_a_leak_at_every_second_call_is_found() -> None:
    """From both beginnings."""
    for late in (0, 1):
        growth = growth_per_call([4096.0 * ((call + late) // 2) for call in range(8)])
        assert growth.leaks(0)
        assert growth.slope == pytest.approx(2048, rel=0.2)


def test_noise_alone_is_hardly_ever_a_leak() -> None:
    """At most one in 200 of the series of eight independent figures."""
    rng = random.Random(5)
    found = sum(growth_per_call([rng.uniform(0, PEAK) for _ in range(8)]).leaks(PEAK) for _ in range(4000))
    assert found <= 20


@pytest.mark.parametrize(("step", "leaks"), [(0.0009, False), (0.0011, True)])
def test_an_irregular_growth_counts_from_a_thousandth_of_the_peak(step: float, leaks: bool) -> None:
    """Below it is still told: it is steady."""
    live = [PEAK * step * (call + (0.01 if call % 2 else 0.0)) for call in range(8)]
    growth = growth_per_call(live)
    assert growth.steady
    assert not growth.regular
    assert growth.leaks(PEAK) is leaks


def test_an_irregular_growth_counts_from_a_block_of_the_allocator() -> None:
    """Where the peak is nothing."""
    assert not growth_per_call([500.0 * call + call % 2 for call in range(8)]).leaks(0)
    assert growth_per_call([520.0 * call + call % 2 for call in range(8)]).leaks(0)


@pytest.mark.parametrize(
    ("live", "words"),
    [([1.0] * 7, "there are 7 figures: give one for each of at least 8 calls"), ([1.0] * 7 + [math.nan], "not finite")],
)
def test_what_cannot_be_judged_is_refused(live: list[float], words: str) -> None:
    """With what to give."""
    with pytest.raises(ValueError, match=words):
        growth_per_call(live)
