"""The sequential three-way rule: is a budget met, is it missed, or can these rounds not tell?

Every round gives one number, its *margin*: the natural logarithm of observed/limit, signed so that a positive margin
meets the budget. Logarithms make twice as fast and half as fast equally far from the limit, and turn the common factor
of a ratio into a sum.

The rules of this module:

* A round counts once, however many samples it holds. Samples within one round share its clock, its cache and its
  neighbours; treating them as independent makes wrong verdicts common (simulated with a 5 % effect shared within the
  round, looking after every round: 46 % on either side).
* The series is looked at after every round from the third on, and what all looks together may err by is what was asked
  for (`boundary` says how). Stopping at the first decision is therefore honest; so is running out of time at any round.
* The answer is a function of the margins alone: no random number, no bootstrap, so a stored series can be judged again.
* Undecided is an answer. Nothing rounds it to met or missed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_gpuprof.stats.boundary import LOOKS, MAX_ROUNDS, half_width, hidden
from pytest_gpuprof.stats.distance import exceed, span

__all__ = [
    "DEFAULT_CONFIDENCE",
    "DEFAULT_FLOOR",
    "LOOKS",
    "MAX_ROUNDS",
    "Decision",
    "Outcome",
    "check_confidence",
    "decide",
    "mean_interval",
    "smallest_decidable_margin",
]

Outcome = Literal["met", "missed", "undecided"]

DEFAULT_CONFIDENCE = 0.95
"""At most 2.5 % wrong on each side over all looks together: the convention, and what the simulations were run with. It
holds for independent rounds whose noise is not too skewed (`boundary` and `benchmarks.decision` say how far)."""

DEFAULT_FLOOR = 0.02
"""Noise of a round taken for granted, 2 %. Without it three lucky identical rounds of a clock that jumps between two
speeds (+-7 %) decide wrongly 12.5 % of the time per side; with it, 2.3 % over all looks together (simulated)."""

_LARGEST_MARGIN = 1500.0  # ln(largest float / smallest float) is 1454: no ratio of two readings has a larger logarithm


@dataclass(frozen=True, slots=True)
class Decision:
    """What a series of margins says about its budget.

    Attributes:
        outcome: ``"met"``, ``"missed"`` or ``"undecided"``.
        estimate: Mean margin of the rounds used, a natural logarithm; `None` when there is no round.
        interval: Lowest and highest plausible margin, in the same unit, at the confidence that was asked for and valid
            over all looks together. ``(-inf, inf)`` after one round; `None` when there is no round.
        rounds: How many rounds, from the first on, were used.
        reason: One sentence fragment for people.

    Raises:
        ValueError: The parts contradict each other.

    Example:
        >>> Decision("undecided", None, None, 0, "too few rounds").outcome
        'undecided'
    """

    outcome: Outcome
    estimate: float | None
    interval: tuple[float, float] | None
    rounds: int
    reason: str

    def __post_init__(self) -> None:
        if self.outcome not in ("met", "missed", "undecided"):
            raise ValueError(f"outcome is {self.outcome!r}: use 'met', 'missed' or 'undecided'")
        if self.rounds < 0:
            raise ValueError(f"rounds is {self.rounds}: give the number of rounds used, 0 or more")
        if not self.reason:
            raise ValueError("reason is empty: say in a few words why the outcome is what it is")
        if self.estimate is None or self.interval is None:
            if self.estimate is not None or self.interval is not None or self.rounds or self.outcome != "undecided":
                raise ValueError("estimate or interval is None: leave both out, for 0 rounds and 'undecided' only")
            return
        low, high = self.interval
        if not self.rounds or not low <= self.estimate <= high:
            raise ValueError(f"{self.rounds} rounds, {self.estimate} in {self.interval}: give low <= estimate <= high")
        if self.outcome != _outcome(low, high):
            raise ValueError(f"outcome {self.outcome!r} contradicts {self.interval}: met is above 0, missed below 0")


def decide(
    margins: Sequence[float],
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    floor: float = DEFAULT_FLOOR,
    bias: float = 0.0,
) -> Decision:
    """Decide whether a budget is met, from the margins of its rounds in the order they were run.

    Goes through the looks, one after every round from the third to the twenty-fourth, and returns the first decision,
    using only the rounds up to that look. The budget is met when ``mean - h > 0`` and missed when ``mean + h < 0``; the
    half-width ``h`` is that of `boundary.half_width`, plus the bias. Rounds beyond `MAX_ROUNDS` are not looked at.

    A decision never changes when rounds are added, so it makes no difference whether this is called after every round,
    once at the end, or both. A series of two rounds is judged as if it ended there, and decides only beyond a factor of
    two; that look is not one of a running series, and a third round replaces it.

    Args:
        margins: Natural logarithm of observed/limit per round, positive where the budget is met.
        confidence: Probability of not deciding wrongly, both sides and all looks together; between 0.5 and 1.
            The default 0.95 allows 2.5 % on each side.
        floor: Least noise of a round to assume, as a natural logarithm (0.02 is 2 %). 0 for exact quantities such as
            bytes, which then decide on any difference that all rounds agree on.
        bias: Systematic error to allow for in either direction, as a natural logarithm: it does not average out, so it
            is added to the half-width as it is. Default 0.

    Returns:
        The `Decision`. Fewer than two rounds are undecided: ``"too few rounds"``.

    Raises:
        ValueError: A margin is not finite or too large to be a logarithm of a ratio; confidence is not between 0.5
            and 1; floor or bias is negative or not finite.

    Source: as `boundary.half_width`.

    Example:
        >>> from math import log
        >>> speedups, limit = [4.9, 5.0, 5.1], 4.0
        >>> decision = decide([log(speedup / limit) for speedup in speedups])
        >>> decision.outcome, decision.rounds, decision.reason
        ('met', 3, 'the interval lies 13 % to 38 % inside the budget after 3 rounds')
    """
    values = _checked_margins(margins)
    _check_settings(confidence, floor, bias)
    if not values:
        return Decision("undecided", None, None, 0, "too few rounds")
    end = min(len(values), MAX_ROUNDS)
    for rounds in (*(look for look in LOOKS if look < end), end):
        mean, low, high = _mean_interval(values[:rounds], confidence, floor, bias)
        outcome = _outcome(low, high)
        if outcome != "undecided":
            break
    return Decision(outcome, mean, (low, high), rounds, _reason(outcome, low, high, rounds))


def mean_interval(
    values: Sequence[float],
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    floor: float = DEFAULT_FLOOR,
    bias: float = 0.0,
) -> tuple[float, float, float]:
    """Mean of per-round logarithms and the interval that `decide` gives it when it looks at exactly these rounds.

    Args:
        values: Natural logarithms, one per round, in the order they were run.
        confidence: As in `decide`; default 0.95.
        floor: As in `decide`; default 0.02.
        bias: As in `decide`; default 0.

    Returns:
        ``(mean, low, high)``, all natural logarithms. One value is bounded by ``(-inf, inf)``.

    Raises:
        ValueError: There is no value, or an argument is out of the range that `decide` accepts.

    Source: as `decide`.

    Example:
        >>> mean, low, high = mean_interval([0.1, 0.1, 0.1])
        >>> round(mean, 3), round(low, 3), round(high, 3)
        (0.1, 0.005, 0.195)
    """
    checked = _checked_margins(values)
    _check_settings(confidence, floor, bias)
    if not checked:
        raise ValueError("there is no value to average: give at least one round")
    return _mean_interval(checked, confidence, floor, bias)


def smallest_decidable_margin(
    rounds: int,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
    floor: float = DEFAULT_FLOOR,
) -> float:
    """Margin that this many rounds without any visible noise can just decide: what more rounds would buy at best.

    Args:
        rounds: Number of rounds, 0 or more. Beyond `MAX_ROUNDS` they count as `MAX_ROUNDS`, as in `decide`.
        confidence: As in `decide`; default 0.95.
        floor: As in `decide`; default 0.02.

    Returns:
        The margin as a fraction of the limit (0.108 is 10.8 %). ``inf`` for fewer than two rounds: no margin is enough.

    Raises:
        ValueError: rounds is negative, or confidence or floor is out of the range that `decide` accepts.

    Source: `boundary.hidden`.

    Example:
        >>> [round(100 * smallest_decidable_margin(rounds), 1) for rounds in (3, 6, 12, 24)]
        [10.0, 3.6, 2.1, 1.6]
    """
    _check_settings(confidence, floor, 0.0)
    if rounds < 0:
        raise ValueError(f"rounds is {rounds}: give 0 or more")
    if rounds < 2:
        return math.inf
    return exceed(hidden(min(rounds, MAX_ROUNDS), confidence) * floor)


def check_confidence(confidence: float) -> None:
    """Refuse a confidence that is not strictly between 0.5 and 1, where an interval means something.

    Args:
        confidence: A probability; 0.95 is 95 %.

    Raises:
        ValueError: It is out of range, or NaN.

    Source: at 0.5 an interval is as often wrong as right; at 1 it is always infinite.

    Example:
        >>> check_confidence(0.95)
    """
    if not 0.5 < confidence < 1:
        raise ValueError(f"confidence is {confidence}: give a probability between 0.5 and 1, such as 0.95")


def _check_settings(confidence: float, floor: float, bias: float) -> None:
    check_confidence(confidence)
    for name, value in (("floor", floor), ("bias", bias)):
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value}: give 0 or a positive natural logarithm, such as 0.02 for 2 %")


def _checked_margins(margins: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(margin) for margin in margins)
    for number, value in enumerate(values, start=1):
        if not math.isfinite(value):
            raise ValueError(f"margin {number} is {value}: leave out rounds whose readings are missing or zero")
        if abs(value) > _LARGEST_MARGIN:
            raise ValueError(f"margin {number} is {value}: give the natural logarithm of a ratio, not a reading")
    return values


def _outcome(low: float, high: float) -> Outcome:
    if low > 0:
        return "met"
    return "missed" if high < 0 else "undecided"


def _mean_interval(
    values: tuple[float, ...], confidence: float, floor: float, bias: float
) -> tuple[float, float, float]:
    mean = math.fsum(values) / len(values)
    width = half_width(values, confidence, floor) + bias
    return mean, mean - width, mean + width


def _reason(outcome: Outcome, low: float, high: float, rounds: int) -> str:
    if rounds < 2:
        return "too few rounds"
    if outcome == "undecided":
        return f"the budget lies within the noise after {rounds} rounds"
    near, far, where = (low, high, "inside") if outcome == "met" else (-high, -low, "outside")
    return f"the interval lies {span(near, far)} {where} the budget after {rounds} rounds"
