"""What one series of samples looks like: its centre, its spread, its quantiles, and how far each can be trusted.

The rules of this module:

* Every sample counts. Nothing is dropped as an outlier: a slow sample is a fact about the workload, and dropping by
  value biases what is left. Robust statistics (median, MAD) keep a few of them from ruling the summary.
* What cannot be known from the samples is `None`, never 0 and never NaN.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from pytest_gpuprof.stats.decision import DEFAULT_CONFIDENCE, DEFAULT_FLOOR, check_confidence, mean_interval

_NORMAL_MAD = 1.4826  # 1 / 0.6745, the upper quartile of the standard normal: MAD times this estimates its deviation
_BEYOND = 10  # samples wanted beyond a quantile: their number then varies by about a third (1/sqrt(10)), not wholly


@dataclass(frozen=True, slots=True)
class Summary:
    """One series in a few numbers, in the unit of its samples.

    Attributes:
        count: Number of samples, at least 1.
        median: Type-7 quantile at 0.5.
        mean: Arithmetic mean.
        minimum: Smallest sample.
        maximum: Largest sample.
        noise: Relative robust spread, ``1.4826 * MAD / |median|``, a fraction (0.01 is 1 %) that equals the relative
            standard deviation for normal noise. 0 when MAD is 0, whatever the median; `None` when the median is 0 (or
            so close to it that the fraction overflows) and MAD is not: no fraction of zero describes that spread.

    Raises:
        ValueError: The numbers contradict each other or are not finite.

    Example:
        >>> Summary(count=2, median=1.5, mean=1.5, minimum=1.0, maximum=2.0, noise=0.5).count
        2
    """

    count: int
    median: float
    mean: float
    minimum: float
    maximum: float
    noise: float | None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}: summarize at least one sample")
        if not -math.inf < self.minimum <= self.maximum < math.inf:
            raise ValueError(f"minimum {self.minimum}, maximum {self.maximum}: give finite values in this order")
        for name, value in (("median", self.median), ("mean", self.mean)):
            if not self.minimum <= value <= self.maximum:
                raise ValueError(f"{name} {value} is not within {self.minimum} and {self.maximum}: recompute it")
        if self.noise is not None and not 0 <= self.noise < math.inf:
            raise ValueError(f"noise is {self.noise}: give a fraction of at least 0, or None when it is not defined")


def summarize(samples: Sequence[float]) -> Summary:
    """Summarize one series.

    Args:
        samples: At least one finite number, any unit, any order.

    Returns:
        The `Summary`, in the unit of the samples.

    Raises:
        ValueError: There is no sample, or one is not finite.

    Source: MAD and its normal factor: Hampel, "The influence curve and its role in robust estimation", JASA 69 (1974).

    Example:
        >>> summary = summarize([1.00, 1.01, 0.99, 1.02, 7.00])
        >>> summary.median, summary.maximum, round(summary.noise, 4)
        (1.01, 7.0, 0.0147)
    """
    ordered = _ordered(samples)
    count = len(ordered)
    median = _quantile(ordered, 0.5)
    mad = _quantile(sorted(abs(sample - median) for sample in ordered), 0.5)
    noise: float | None = 0.0
    if mad:
        noise = _NORMAL_MAD * mad / abs(median) if median else math.inf
        noise = noise if noise < math.inf else None
    # The division may round the mean of equal samples just out of their range.
    mean = min(max(math.fsum(ordered) / count, ordered[0]), ordered[-1])
    return Summary(count, median, mean, ordered[0], ordered[-1], noise)


def quantile(samples: Sequence[float], q: float) -> float:
    """Quantile of a series, between order statistics by straight lines (type 7, the default of R and numpy).

    Args:
        samples: At least one finite number, any unit, any order.
        q: Which quantile, a fraction from 0 (the minimum) to 1 (the maximum).

    Returns:
        The quantile, in the unit of the samples.

    Raises:
        ValueError: There is no sample, one is not finite, or q is not within 0 and 1.

    Source: Hyndman & Fan, "Sample quantiles in statistical packages", The American Statistician 50 (1996), type 7.

    Example:
        >>> quantile([4.0, 1.0, 2.0, 3.0], 0.5)
        2.5
    """
    if not 0 <= q <= 1:
        raise ValueError(f"q is {q}: give a fraction from 0 to 1, such as 0.95 for p95")
    return _quantile(_ordered(samples), q)


def quantile_interval(
    samples: Sequence[float], q: float, confidence: float = DEFAULT_CONFIDENCE
) -> tuple[float, float] | None:
    """Interval for a quantile of what the samples come from, whatever their distribution.

    The bounds are two of the samples: the number of samples below the true quantile is binomial, so the order
    statistics that enclose it with the asked probability are known in advance. Each side gets half of the error.

    Args:
        samples: Finite numbers, any unit, any order, independent of one another. Samples of one round share its clock
            and its neighbours, so give one number per round where that matters.
        q: Which quantile, a fraction between 0 and 1, both excluded.
        confidence: Least probability that the interval holds the quantile, between 0.5 and 1; default 0.95.

    Returns:
        ``(low, high)`` in the unit of the samples, or `None` when there are too few samples to bound both sides (the
        median needs 6 of them at 0.95).

    Raises:
        ValueError: A sample is not finite, or q or confidence is out of range.

    Source: David & Nagaraja, Order Statistics, 3rd ed. (2003), section 7.1.

    Example:
        >>> quantile_interval([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.5)
        (1.0, 6.0)
        >>> quantile_interval([1.0, 2.0, 3.0, 4.0, 5.0], 0.5) is None
        True
    """
    _check_inner(q)
    check_confidence(confidence)
    if len(samples) == 0:
        return None
    from scipy.special import bdtr, bdtrc  # type: ignore[import-untyped, unused-ignore]

    ordered = _ordered(samples)
    count = len(ordered)
    tail = (1 - confidence) / 2

    def at_most(below: int) -> float:
        return float(bdtr(below, count, q))

    def more_than(below: int) -> float:
        return float(bdtrc(below, count, q))

    # The lower bound is the largest order statistic l with P(fewer than l samples below the quantile) <= tail;
    # the upper one the smallest u with P(at least u below) <= tail. Both are counted from 1.
    low = bisect_right(range(count), tail, key=at_most)
    high = bisect_left(range(count), -tail, key=lambda below: -more_than(below)) + 1
    if low < 1 or high > count:
        return None
    return ordered[low - 1], ordered[high - 1]


def needed_for_quantile(q: float) -> int:
    """Samples needed before a quantile is worth reporting: ten of them beyond it.

    Args:
        q: Which quantile, a fraction between 0 and 1, both excluded. It is taken as the decimal it is written as, so
            0.9 asks for 100 and not for 101.

    Returns:
        ``ceil(10 / (1 - q))`` for the median and above; ``ceil(10 / q)`` below, where the thin side is the lower one.

    Raises:
        ValueError: q is out of range.

    Source: the number of samples beyond the quantile is binomial; with a mean of 10 its relative deviation is about
    ``1 / sqrt(10)``, a third.

    Example:
        >>> [needed_for_quantile(q) for q in (0.5, 0.9, 0.95, 0.99)]
        [20, 100, 200, 1000]
    """
    _check_inner(q)
    fraction = Fraction(repr(float(q)))
    return math.ceil(_BEYOND / min(fraction, 1 - fraction))


def mean_interval_of_logs(
    values: Sequence[float],
    confidence: float = DEFAULT_CONFIDENCE,
    floor: float = DEFAULT_FLOOR,
) -> tuple[float, float, float]:
    """Geometric mean of positive per-round ratios and its interval, for display beside a decision.

    It is the arithmetic of `decision.decide` on the logarithms: given the rounds that a decision used, the limit lies
    outside this interval exactly when the decision is met or missed. A geometric mean is the same whichever way round
    the ratio is written.

    Args:
        values: Positive finite numbers (a speedup, a time), one per round, in the order they were run.
        confidence: As in `decide`; default 0.95.
        floor: As in `decide`; default 0.02.

    Returns:
        ``(estimate, low, high)`` in the unit of the values. One value is bounded by ``(0, inf)``.

    Raises:
        ValueError: There is no value, one is not positive and finite, or confidence or floor is out of range.

    Source: as `decision.decide`.

    Example:
        >>> estimate, low, high = mean_interval_of_logs([4.9, 5.0, 5.1])
        >>> round(estimate, 2), round(low, 2), round(high, 2)
        (5.0, 4.51, 5.54)
    """
    for number, value in enumerate(values, start=1):
        if not 0 < value < math.inf:
            raise ValueError(f"value {number} is {value}: leave out rounds without a positive finite ratio")
    logs = [math.log(value) for value in values]
    mean, low, high = mean_interval(logs, confidence=confidence, floor=floor)
    return _exp(mean), _exp(low), _exp(high)


def _check_inner(q: float) -> None:
    if not 0 < q < 1:
        raise ValueError(f"q is {q}: give a fraction between 0 and 1, such as 0.95 for p95")


def _ordered(samples: Sequence[float]) -> list[float]:
    ordered = [float(sample) for sample in samples]
    if not ordered:
        raise ValueError("there is no sample: give at least one")
    for number, sample in enumerate(ordered, start=1):
        if not math.isfinite(sample):
            raise ValueError(f"sample {number} is {sample}: leave out samples that are missing or not finite")
    ordered.sort()
    return ordered


def _quantile(ordered: Sequence[float], q: float) -> float:
    place = (len(ordered) - 1) * q
    below = math.floor(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return min(low + (place - below) * (high - low), high)  # rounding may step just past the upper neighbour


def _exp(logarithm: float) -> float:
    """exp(x), and inf where that overflows."""
    try:
        return math.exp(logarithm)
    except OverflowError:
        return math.inf
