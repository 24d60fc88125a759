"""Summary of one series: centre, spread, quantiles, and intervals that hold."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.stats.decision import decide
from pytest_gpuprof.stats.summary import (
    Summary,
    mean_interval_of_logs,
    needed_for_quantile,
    quantile,
    quantile_interval,
    summarize,
)

repeatable = settings(derandomize=True, deadline=None)
sample = st.floats(-1e12, 1e12)
series = st.lists(sample, min_size=1, max_size=40)
ratio = st.floats(1e-6, 1e6)


def test_summary_of_a_small_series() -> None:
    """Median and noise ignore one wild sample; mean and maximum show it."""
    summary = summarize([1.0, 3.0, 2.0, 4.0, 100.0])
    assert summary == Summary(count=5, median=3.0, mean=22.0, minimum=1.0, maximum=100.0, noise=1.4826 / 3)


def test_noise_estimates_the_relative_standard_deviation_of_normal_samples() -> None:
    """For normal noise of 2 % the robust spread is 2 %."""
    rng = random.Random(3)
    assert summarize([rng.gauss(5.0, 0.1) for _ in range(20_000)]).noise == pytest.approx(0.02, rel=0.03)


def test_identical_samples_have_no_noise() -> None:
    """No spread is a noise of 0, for a median of 0 as well."""
    assert summarize([2.5]).noise == 0
    assert summarize([0.1] * 7).noise == 0
    assert summarize([0.0, 0.0, 0.0]).noise == 0


def test_noise_around_a_median_of_zero_is_not_defined() -> None:
    """A spread is no fraction of zero: the noise is None, not infinite."""
    assert summarize([-1.0, 0.0, 1.0]).noise is None
    assert summarize([-1e9, 1e-300, 1e9]).noise is None


def test_noise_of_negative_samples_is_positive() -> None:
    """The spread is relative to the size of the median, whatever its sign."""
    assert summarize([-1.0, -2.0, -3.0]).noise == summarize([1.0, 2.0, 3.0]).noise == pytest.approx(0.7413)


@repeatable
@given(series)
def test_centres_lie_within_the_range(samples: list[float]) -> None:
    """Median and mean are between the extremes, and equal samples have themselves as both."""
    summary = summarize(samples)
    assert summary.minimum == min(samples) <= summary.median <= max(samples) == summary.maximum
    assert summary.minimum <= summary.mean <= summary.maximum
    assert summarize([samples[0]] * 6).mean == samples[0]


@repeatable
@given(series, st.sampled_from([0.125, 0.5, 2.0, 1024.0]))
def test_changing_the_unit_scales_everything_but_the_noise(samples: list[float], scale: float) -> None:
    """Seconds or milliseconds: the same noise, the same picture."""
    before, after = summarize(samples), summarize([scale * value for value in samples])
    assert after.median == pytest.approx(scale * before.median)
    assert after.mean == pytest.approx(scale * before.mean)
    assert after.noise == (before.noise if before.noise is None else pytest.approx(before.noise))


@repeatable
@given(series, st.randoms(use_true_random=False))
def test_order_of_the_samples_does_not_matter(samples: list[float], rng: random.Random) -> None:
    """A summary is of the set of samples."""
    assert summarize(rng.sample(samples, len(samples))) == summarize(samples)


@repeatable
@given(series, st.floats(0, 1))
def test_quantile_is_type_7(samples: list[float], q: float) -> None:
    """The quantile is that of numpy's default, an independent implementation of type 7."""
    size = max(abs(value) for value in samples)
    assert quantile(samples, q) == pytest.approx(float(np.quantile(samples, q)), rel=1e-9, abs=1e-9 * size)


@repeatable
@given(series, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_are_ordered(samples: list[float], one: float, other: float) -> None:
    """A higher quantile is never smaller than a lower one, beyond the rounding of one interpolation."""
    low, high = quantile(samples, min(one, other)), quantile(samples, max(one, other))
    assert low <= high or low == pytest.approx(high)


def test_quantile_ends_are_the_extremes() -> None:
    """Q 0 and 1 are the minimum and the maximum."""
    assert (quantile([3.0, 1.0, 2.0], 0), quantile([3.0, 1.0, 2.0], 1)) == (1.0, 3.0)


@pytest.mark.parametrize(("q", "smallest"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368)])
def test_quantile_interval_needs_enough_samples(q: float, smallest: int) -> None:
    """Below the size where q**n falls under 2.5 %, no sample bounds the quantile from above."""
    assert q**smallest <= 0.025 < q ** (smallest - 1)
    assert quantile_interval(list(range(smallest - 1)), q) is None
    interval = quantile_interval(list(range(smallest)), q)
    assert interval is not None
    assert interval[1] == smallest - 1


def test_quantile_interval_of_textbook_median() -> None:
    """Twenty samples bound the median by the 6th and the 15th, as tables of the sign test do."""
    assert quantile_interval([float(value) for value in range(1, 21)], 0.5) == (6.0, 15.0)


def test_quantile_interval_of_no_sample_is_none() -> None:
    """Nothing bounds a quantile without samples; that is no error."""
    assert quantile_interval([], 0.5) is None


@pytest.mark.parametrize(("q", "count"), [(0.5, 10), (0.5, 25), (0.9, 60), (0.1, 60)])
def test_quantile_interval_holds_the_true_quantile(q: float, count: int) -> None:
    """Over 2000 seeded series of a skewed distribution each side misses in at most 2.5 %, give or take 0.7 %."""
    rng = random.Random(f"{q} {count}")
    truth = -math.log(1 - q)
    above = below = 0
    for _ in range(2000):
        interval = quantile_interval([rng.expovariate(1) for _ in range(count)], q)
        assert interval is not None
        above += interval[0] > truth
        below += interval[1] < truth
    assert max(above, below) / 2000 <= 0.032


@repeatable
@given(st.lists(sample, min_size=6, max_size=40))
def test_quantile_interval_encloses_the_sample_median(samples: list[float]) -> None:
    """The interval is made of two samples, around the median they have."""
    interval = quantile_interval(samples, 0.5)
    assert interval is not None
    low, high = interval
    assert low in samples
    assert high in samples
    assert low <= quantile(samples, 0.5) <= high


@pytest.mark.parametrize(
    ("q", "needed"),
    [(0.5, 20), (0.75, 40), (0.9, 100), (0.95, 200), (0.99, 1000), (0.999, 10_000), (0.97, 334), (0.1, 100)],
)
def test_needed_samples_leave_ten_beyond_the_quantile(q: float, needed: int) -> None:
    """p95 needs 200 samples, p99 1000; binary rounding of q adds none, and low quantiles count their own side."""
    assert needed_for_quantile(q) == needed


def test_geometric_mean_interval_is_that_of_the_decision() -> None:
    """What is displayed and what was decided are one arithmetic."""
    ratios = [1.31, 1.28, 1.35, 1.30, 1.33, 1.29]
    decision = decide([math.log(value) for value in ratios[:3]])
    assert decision.estimate is not None
    assert decision.interval is not None
    shown = mean_interval_of_logs(ratios[: decision.rounds])
    assert shown == pytest.approx([math.exp(value) for value in (decision.estimate, *decision.interval)])


@repeatable
@given(st.lists(ratio, min_size=1, max_size=24))
def test_geometric_mean_is_the_same_whichever_way_the_ratio_is_written(ratios: list[float]) -> None:
    """CPU over GPU or GPU over CPU: the interval is inverted, nothing else."""
    estimate, low, high = mean_interval_of_logs(ratios)
    inverse, inverse_low, inverse_high = mean_interval_of_logs([1 / value for value in ratios])
    assert low <= estimate <= high
    assert math.log(inverse) == pytest.approx(-math.log(estimate), abs=1e-9)
    if low > 1e-300 and high < 1e300:
        assert math.log(inverse_low) == pytest.approx(-math.log(high))
        assert math.log(inverse_high) == pytest.approx(-math.log(low))


def test_one_ratio_is_not_bounded() -> None:
    """One round gives an estimate and every positive number as its interval."""
    estimate, low, high = mean_interval_of_logs([2.0])
    assert estimate == pytest.approx(2.0)
    assert (low, high) == (0.0, math.inf)


def test_very_wide_interval_is_infinite_not_an_error() -> None:
    """Two wildly different rounds overflow the upper end to infinity."""
    assert mean_interval_of_logs([1e-300, 1e300])[1:] == (0.0, math.inf)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_samples_that_are_not_finite_are_refused(bad: float) -> None:
    """Missing readings are left out by the caller."""
    for call in (summarize, lambda samples: quantile(samples, 0.5), lambda samples: quantile_interval(samples, 0.5)):
        with pytest.raises(ValueError, match=r"sample 2 is .*: leave out"):
            call([1.0, bad, 2.0])


def test_empty_series_is_refused() -> None:
    """There is no summary of nothing."""
    for call in (summarize, lambda samples: quantile(samples, 0.5), mean_interval_of_logs):
        with pytest.raises(ValueError, match="at least one"):
            call([])


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_ratios_that_are_not_positive_are_refused(bad: float) -> None:
    """A ratio of zero or below has no logarithm."""
    with pytest.raises(ValueError, match=r"value 1 is .*positive finite ratio"):
        mean_interval_of_logs([bad, 1.0])


@pytest.mark.parametrize("q", [-0.1, 1.1, 95.0, math.nan])
def test_quantile_out_of_range_is_refused(q: float) -> None:
    """Q is a fraction, so 95 for p95 is told so."""
    for call in (
        lambda: quantile([1.0], q),
        lambda: quantile_interval([1.0], q),
        lambda: needed_for_quantile(q),
    ):
        with pytest.raises(ValueError, match=r"such as 0\.95 for p95"):
            call()


@pytest.mark.parametrize("q", [0.0, 1.0])
def test_extremes_have_no_interval(q: float) -> None:
    """No number of samples bounds the minimum or the maximum of what they come from."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        quantile_interval([1.0], q)
    with pytest.raises(ValueError, match="between 0 and 1"):
        needed_for_quantile(q)


def test_confidence_of_a_quantile_interval_is_checked() -> None:
    """The same range as everywhere."""
    with pytest.raises(ValueError, match="confidence is 1"):
        quantile_interval([1.0], 0.5, 1.0)


@pytest.mark.parametrize(
    "parts",
    [
        (0, 1.0, 1.0, 1.0, 1.0, 0.0),
        (1, 1.0, 1.0, 2.0, 0.0, 0.0),
        (1, 1.0, 1.0, 1.0, math.inf, 0.0),
        (1, 3.0, 1.0, 1.0, 2.0, 0.0),
        (1, 1.0, math.nan, 1.0, 2.0, 0.0),
        (1, 1.0, 1.0, 1.0, 2.0, -0.1),
        (1, 1.0, 1.0, 1.0, 2.0, math.nan),
    ],
)
def test_summary_that_contradicts_itself_cannot_be_made(parts: tuple[int, float, float, float, float, float]) -> None:
    """A summary is valid at birth."""
    with pytest.raises(ValueError, match=": "):
        Summary(*parts)
