"""Quantiles of the two distributions that every verdict on time rests on, and the tail of one.

SciPy has both, but importing it takes 0.1 to 0.2 s, as long as warming up a leg; the tests compare the two.
"""

from __future__ import annotations

import math
from statistics import NormalDist

__all__ = ["normal_quantile", "student_quantile", "student_tail"]

_TINY = 1e-300  # stands for a denominator of zero in a continued fraction (Lentz)
_PRECISION = 1e-15
_MOST_TERMS = 500  # of the continued fraction, which takes 10 to 50; it is there so that no mistake can hang a test run
_MOST_STEPS = 100  # of Newton's method, which takes 5 to 10


def normal_quantile(tail: float) -> float:
    """Value that a standard normal number exceeds with a probability of ``tail``.

    Example:
        >>> round(normal_quantile(0.025), 4)
        1.96
    """
    return -NormalDist().inv_cdf(tail)


def student_quantile(tail: float, dof: int) -> float:
    """Value that Student's t exceeds with a probability of ``tail``.

    Newton's method on the logarithm of the tail against the logarithm of t. That curve is concave, since the density of
    the logarithm of a positive t is log-concave; so from the second step on it comes from above and cannot overshoot.

    Args:
        tail: Above 0, below 0.5.
        dof: Degrees of freedom, 1 or more.

    Example:
        >>> [round(student_quantile(0.025, dof), 3) for dof in (1, 2, 23)]
        [12.706, 4.303, 2.069]
    """
    log_t = math.log(normal_quantile(tail))
    for _ in range(_MOST_STEPS):
        t = math.exp(log_t)
        found = student_tail(t, dof)
        step = math.log(found / tail) * found / (t * _student_density(t, dof))
        log_t += step
        if abs(step) < _PRECISION * max(1.0, abs(log_t)):
            break
    return math.exp(log_t)


def student_tail(t: float, dof: int) -> float:
    """Probability that Student's t exceeds ``t``: half the regularized incomplete beta function of dof/2 and 1/2.

    Args:
        t: 0 or more.
        dof: Degrees of freedom, 1 or more.

    Example:
        >>> [round(student_tail(t, 4), 4) for t in (0.0, 2.776, 7.173)]
        [0.5, 0.025, 0.001]
    """
    square = t * t / dof
    a, b, x = dof / 2, 0.5, 1 / (1 + square)
    rest = square * x  # and not 1 - x, of which little is left for a small t
    if x == 0 or rest == 0:  # beyond what a number can tell
        return 0.0 if x == 0 else 0.5
    if x < (a + 1) / (a + b + 2):
        return _beta(a, b, x, rest) / 2
    return (1 - _beta(b, a, rest, x)) / 2


def _student_density(t: float, dof: int) -> float:
    log_factor = math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - math.log(dof * math.pi) / 2
    return math.exp(log_factor - (dof + 1) / 2 * math.log1p(t * t / dof))


def _beta(a: float, b: float, x: float, rest: float) -> float:
    """Return the regularized incomplete beta function, where its continued fraction converges fast.

    Source: Press et al., Numerical Recipes, 3rd ed. (2007), section 6.4, evaluated by Lentz's method.
    """
    log_factor = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(rest)
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, _MOST_TERMS):
        change = 1.0
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + term * d)
            c = _not_zero(1 + term / c)
            change = c * d
            fraction *= change
        if abs(change - 1) < _PRECISION:
            break
    return math.exp(log_factor) * fraction / a


def _not_zero(value: float) -> float:
    return value or _TINY
