"""How far from its limit a mean of some rounds has to lie before it decides, when every round is looked at.

Looking again and again gives luck many chances, so each look may spend only a share of the error rate. Splitting the
rate into equal parts wastes much of it: the looks see mostly the same rounds and err together, and not all of them are
equally useful. Here the shares are chosen by what they buy, and are stretched by how much the looks overlap.

Two kinds of noise are bounded:

* *Visible* noise, the standard deviation of the rounds. At a look with ``r`` rounds, Student's t of ``r - 1`` degrees
  of freedom is taken at ``a * share * overlap``, where ``a = (1 - confidence) / 2`` is the error rate of one side.
* *Hidden* noise, which these rounds happen not to show. A clock that picks one of two speeds for every round shows
  nothing while it picks the same: three rounds do so with a probability of 1/8 per side. So the distance is never less
  than a multiple of the *floor*, however well the rounds agree.

From `CORRELATED_FROM` rounds on, both are widened when neighbouring rounds resemble each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from pytest_gpuprof.stats.quantiles import normal_quantile, student_quantile

LOOKS: tuple[int, ...] = tuple(range(3, 25))
"""Rounds after which a running series is looked at: every one from three on. Three is the first count at which
Student's t is usable (with two rounds it asks for a factor of two)."""

MAX_ROUNDS: int = LOOKS[-1]
"""Rounds that can count, 24: after them the error rate is spent."""

CORRELATED_FROM = 8
"""Rounds from which neighbours are compared; the autocorrelation of fewer is mostly its own scatter (+-0.4), and paying
for it at six rounds would cost noise without correlation half a round on average."""

# Shares of the error rate per look; they sum to 1. Found by a random search over simulated series, for few rounds at 2
# to 5 % noise, 5 % from the budget, without deciding less often in the end; `benchmarks.decision` shows the outcome.
# Much goes to six rounds, the first look at which a clock of two speeds is unlikely to have shown one only (1.6 %);
# little to the two looks before, where only a large margin decides; and a good part to the last, as none follows it.
_SHARES = {3: 0.18, 4: 0.04, 5: 0.04, 6: 0.25, MAX_ROUNDS: 0.15}
_OTHER_SHARE = (1 - math.fsum(_SHARES.values())) / (len(LOOKS) - len(_SHARES))
_SHARE_OF_TWO = 0.25  # of a series that ends after two rounds, its only look: decides beyond a factor of 2.05

# The looks err together, so their error rates may sum to more than the whole: to 1 + 0.38 * (a / 0.025)**0.18 times it.
# Normal noise alone would allow 1.87 times (`benchmarks.boundary`, 3 million simulated series): for a of 0.25 to 0.0001
# it crosses in 0.68 to 0.79 * a on either side (1.9 % for 2.5 %). The rest is for what is harder than normal noise:
# flat noise of 5 % errs in 1.8 %, two speeds +-7 % with 3 % around each in 2.6 % (with 0.45, in 2.65 %). For
# ever smaller a the sum approaches 1, Bonferroni's: rare errors do not overlap. What no share pays for: flat noise of
# 10 % (2.8 % per side), two speeds further apart than the hidden noise below (+-8 %: up to 3.1 %; +-10 %: 13 %), and
# noise more skewed than that (one round in ten 20 % slower: 20 %; exponential noise of 3 %: 0.4 %, but of 5 %: 6.5 %).
_OVERLAP, _OVERLAP_EXPONENT = 0.38, 0.18

# Hidden noise in multiples of the floor. While the rounds may well have shown one of two speeds only: 4.75 (9.5 % for a
# floor of 2 %, so that speeds 7 % off do not decide). From then on: 1.75 (3.5 %) at six rounds, falling somewhat faster
# than a standard error does. A slower fall would help against clocks that keep their speed for longer than a round, a
# faster one where the budget is 2 % away; with this one, noise with a correlation of 0.95 errs as often as it did with
# four looks at Bonferroni's level. It ends at 0.8 (1.6 %, from 18 rounds on), since some noise hides for all 24 rounds:
# where one in ten is 14 % slower, 8 % of the series show none that is, and lie 1.4 % off. Without that end 6.5 % erred;
# what it costs is paid 2 % from the budget, where 84 % are decided in place of 95 % (1.5 % of noise per round).
_HIDDEN_EARLY, _HIDDEN_AT_SIX, _HIDDEN_EXPONENT, _HIDDEN_LEAST = 4.75, 1.75, 0.72, 0.8
_SHARE_OF_HIDDEN = 0.65  # of the error rate, for r rounds that all show one of two speeds: 2**-r; six rounds at 0.025
_USUAL_Z = 1.96  # the multiples are meant for 95 %; more confidence widens them like a quantile of normal noise

_HIGHEST_CORRELATION = 0.8  # widens by 3; above, the even 24 rounds are worth fewer than three (24/9)
_NO_SPREAD = 1e-9  # far below any clock: what is left is the rounding of the logarithms, and its pattern is no noise


def half_width(values: Sequence[float], confidence: float, floor: float) -> float:
    """Distance from zero at which the mean of these rounds decides.

    Args:
        values: Natural logarithms, one per round, in the order they were run; at least one.
        confidence: Probability of not deciding wrongly, both sides and all looks together; between 0.5 and 1.
        floor: Noise of a round to take for granted, a natural logarithm, 0 or more.

    Returns:
        ``max(t * s / sqrt(r), hidden) * w`` with the standard deviation ``s``, ``student`` for ``t`` and ``w``, from
        `CORRELATED_FROM` rounds on, ``sqrt((1 + rho) / (1 - rho))``: ``rho`` is the lag-1 autocorrelation plus ``1/r``
        (its bias in short series), within 0 and 0.8. ``inf`` for one round.

    Source: Student's t at several looks: Jennison & Turnbull, Group Sequential Methods (1999), chapter 11; the widening
    is the variance of the mean of a first-order autoregression, and the bias that of Marriott & Pope, Biometrika 41
    (1954).

    Example:
        >>> round(half_width([0.1, 0.2, 0.3], 0.95, floor=0.02), 3)
        0.513
    """
    rounds = len(values)
    if rounds < 2:
        return math.inf
    mean = math.fsum(values) / rounds
    deviations = [value - mean for value in values]
    squares = math.fsum(deviation * deviation for deviation in deviations)
    deviation = math.sqrt(squares / (rounds - 1))
    width = max(student(rounds, confidence) * deviation / math.sqrt(rounds), hidden(rounds, confidence) * floor)
    if rounds >= CORRELATED_FROM and deviation > _NO_SPREAD:
        neighbours = math.fsum(left * right for left, right in pairwise(deviations))
        rho = min(max(neighbours / squares + 1 / rounds, 0.0), _HIGHEST_CORRELATION)
        width *= math.sqrt((1 + rho) / (1 - rho))
    return width


@lru_cache(maxsize=256)  # a run asks for a handful of (rounds, confidence) pairs, thousands of times
def student(rounds: int, confidence: float) -> float:
    """Standard errors that bound the visible noise at one look.

    Args:
        rounds: 2 or more.
        confidence: As in `half_width`.

    Example:
        >>> [round(student(rounds, 0.95), 2) for rounds in (3, 6, 12, 24)]
        [8.89, 3.5, 4.24, 2.79]
    """
    side = (1 - confidence) / 2
    share = _SHARES.get(rounds, _OTHER_SHARE) * (1 + _OVERLAP * (side / 0.025) ** _OVERLAP_EXPONENT)
    return student_quantile(side * (share if rounds >= LOOKS[0] else _SHARE_OF_TWO), rounds - 1)


@lru_cache(maxsize=256)
def hidden(rounds: int, confidence: float) -> float:
    """Half-width of rounds without visible noise, in multiples of the floor. It never grows with rounds.

    Args:
        rounds: 2 or more.
        confidence: As in `half_width`.

    Example:
        >>> [round(hidden(rounds, 0.95), 2) for rounds in (3, 6, 12, 24)]
        [4.75, 1.75, 1.06, 0.8]
    """
    if rounds < LOOKS[0]:
        return student(rounds, confidence) / math.sqrt(rounds)
    side = (1 - confidence) / 2
    early = 2.0**-rounds > _SHARE_OF_HIDDEN * side
    multiple = _HIDDEN_EARLY if early else max(_HIDDEN_LEAST, _HIDDEN_AT_SIX * (6 / rounds) ** _HIDDEN_EXPONENT)
    return multiple * max(1.0, normal_quantile(side) / _USUAL_Z)
