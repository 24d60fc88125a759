"""What rounds can look like: models of noise, drawn with a seed. Every one has a true margin of 0.

A draw has the shape (series, rounds, samples); a round's figure is the median of its samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.signal import lfilter

from pytest_gpuprof.stats.decision import MAX_ROUNDS

__all__ = ["NOISES", "SAMPLES", "Noise"]

SAMPLES = 20
"""Samples per round; only the pooled bootstrap looks at them one by one."""

_SAMPLE = 0.01  # noise of a sample where the round is what varies
_DWELL = 10  # rounds for which a sticky clock keeps its speed on average

Draw = Callable[[np.random.Generator, int], Any]


@dataclass(frozen=True, slots=True)
class Noise:
    """A model.

    Args:
        draw: returns the samples of so many series.
        independent: whether rounds are, which is what the rule's error rate is promised for.
    """

    draw: Draw
    independent: bool = True


def _samples(spread: float) -> Draw:
    return lambda rng, series: rng.normal(0, spread, (series, MAX_ROUNDS, SAMPLES))


def _heavy_samples(spread: float) -> Draw:
    return lambda rng, series: spread * rng.standard_t(3, (series, MAX_ROUNDS, SAMPLES)) / math.sqrt(3)


def _per_round(effect: Callable[[np.random.Generator, tuple[int, int, int]], Any]) -> Draw:
    def draw(rng: np.random.Generator, series: int) -> Any:
        return effect(rng, (series, MAX_ROUNDS, 1)) + rng.normal(0, _SAMPLE, (series, MAX_ROUNDS, SAMPLES))

    return draw


def _normal(spread: float) -> Draw:
    return _per_round(lambda rng, shape: rng.normal(0, spread, shape))


def _two_speeds(size: float, spread: float = 0.0) -> Draw:
    return _per_round(lambda rng, shape: size * rng.choice((-1.0, 1.0), shape) + rng.normal(0, spread, shape))


def _correlated(rho: float, spread: float) -> Draw:
    def draw(rng: np.random.Generator, series: int) -> Any:
        shocks = rng.normal(0, spread * math.sqrt(1 - rho**2), (series, MAX_ROUNDS * SAMPLES))
        shocks[:, 0] = rng.normal(0, spread, series)  # as if it had been running for long
        return lfilter([1], [1, -rho], shocks, axis=1).reshape(series, MAX_ROUNDS, SAMPLES)

    return draw


def _sticky(size: float) -> Draw:
    def draw(rng: np.random.Generator, series: int) -> Any:
        changes = rng.random((series, MAX_ROUNDS * SAMPLES)) < 1 / (_DWELL * SAMPLES)
        state = (np.cumsum(changes, axis=1) + rng.integers(0, 2, (series, 1))) % 2
        samples = size * (2.0 * state - 1) + rng.normal(0, _SAMPLE, state.shape)
        return samples.reshape(series, MAX_ROUNDS, SAMPLES)

    return draw


def _drift(size: float) -> Draw:
    # Starts at the truth and leaves it evenly, as a card does that grows warm.
    course = np.linspace(0, size, MAX_ROUNDS)[:, None]
    return _per_round(lambda rng, shape: course + rng.normal(0, 0.01, shape))


NOISES: dict[str, Noise] = {
    "1 % per sample": Noise(_samples(0.01)),
    "5 % per sample, heavy tails": Noise(_heavy_samples(0.05)),
    "1.5 % per round": Noise(_normal(0.015)),
    "2 % per round": Noise(_normal(0.02)),
    "3 % per round": Noise(_normal(0.03)),
    "5 % per round": Noise(_normal(0.05)),
    "5 % per round, heavy tails": Noise(
        _per_round(lambda rng, shape: 0.05 * rng.standard_t(3, shape) / math.sqrt(3)),
    ),
    "two speeds ±7 %, anew each round": Noise(_two_speeds(0.07)),
    "the same, and 3 % per round": Noise(_two_speeds(0.07, 0.03)),
    "one round in ten 14 % slower": Noise(
        _per_round(lambda rng, shape: 0.014 - 0.14 * (rng.random(shape) < 0.1)),
    ),
    "one round in ten 20 % slower": Noise(
        _per_round(lambda rng, shape: 0.02 - 0.2 * (rng.random(shape) < 0.1)),
    ),
    "correlated, 0.95 per sample": Noise(_correlated(0.95, 0.03), independent=False),
    "two speeds ±7 %, kept for ten rounds": Noise(_sticky(0.07), independent=False),
    "drift to 10 % over 24 rounds": Noise(_drift(0.1), independent=False),
}
