"""How often the decision rule is wrong, and how many rounds it takes, beside what others do. Simulated.

``python -m benchmarks.decision`` draws rounds whose true ratio lies at a known distance from the budget, lets each rule
decide, and prints how often it says *met* and *missed*, and after how many rounds. At the budget both would be wrong;
away from it, only one of them is. Every rule sees the same draws.

Rules:

* ``gpuprof``: :func:`pytest_gpuprof.stats.decision.decide`, asked at its looks.
* ``bootstrap, peeking``: 95 % percentile bootstrap of the pooled samples after every round, as benchmark tools do.
* ``t-test, 24 rounds``: Student's t on the round means, once, at the end.
* ``known noise``: the best fixed-size test there is: a z-test that knows the noise, with as many rounds as it needs for
  97.5 % power at that distance. No rule that has to estimate the noise can need fewer.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from pytest_gpuprof.stats.decision import LOOKS, MAX_ROUNDS, decide

SAMPLES = 20
"""Samples per round; only the bootstrap looks at them one by one."""

DISTANCES = (0.0, 0.02, 0.05, 0.10, 0.20)
"""True ratio over the budget, less one."""

_Z = float(stats.norm.ppf(0.975))

Noise = Callable[[np.random.Generator], np.ndarray]


def _independent(spread: float) -> Noise:
    return lambda rng: rng.normal(0, spread, (MAX_ROUNDS, SAMPLES))


def _heavy(spread: float) -> Noise:
    return lambda rng: spread * rng.standard_t(3, (MAX_ROUNDS, SAMPLES)) / math.sqrt(3)


def _per_round(spread: float) -> Noise:
    return lambda rng: rng.normal(0, spread, (MAX_ROUNDS, 1)) + rng.normal(0, 0.01, (MAX_ROUNDS, SAMPLES))


def _two_speeds(size: float) -> Noise:
    return lambda rng: size * rng.choice((-1, 1), (MAX_ROUNDS, 1)) + rng.normal(0, 0.01, (MAX_ROUNDS, SAMPLES))


def _correlated(rho: float, spread: float) -> Noise:
    def draw(rng: np.random.Generator) -> np.ndarray:
        state = rng.normal(0, spread)
        series = np.empty(MAX_ROUNDS * SAMPLES)
        shocks = rng.normal(0, spread * math.sqrt(1 - rho**2), series.size)
        for index, shock in enumerate(shocks):
            state = rho * state + shock
            series[index] = state
        return series.reshape(MAX_ROUNDS, SAMPLES)

    return draw


NOISES: dict[str, tuple[Noise, float]] = {
    # name: (draws, standard deviation of a round's mean)
    "independent 1 %": (_independent(0.01), 0.01 / math.sqrt(SAMPLES)),
    "heavy tails 5 %": (_heavy(0.05), 0.05 / math.sqrt(SAMPLES)),
    "per round 2 %": (_per_round(0.02), 0.02),
    "per round 5 %": (_per_round(0.05), 0.05),
    "two speeds ±7 %": (_two_speeds(0.07), 0.07),
    "correlated 0.95": (_correlated(0.95, 0.03), 0.03),
}


def _gpuprof(draws: np.ndarray, margin: float, spread: float) -> tuple[str, int]:
    margins = [float(value) for value in np.median(draws, axis=1) + margin]
    for look in LOOKS:
        decision = decide(margins[:look])
        if decision.outcome != "undecided":
            return decision.outcome, look
    return "undecided", MAX_ROUNDS


def _bootstrap(draws: np.ndarray, margin: float, spread: float) -> tuple[str, int]:
    rng = np.random.default_rng(0)
    for rounds in range(2, MAX_ROUNDS + 1):
        pooled = draws[:rounds].ravel() + margin
        means = pooled[rng.integers(0, pooled.size, (200, pooled.size))].mean(axis=1)
        low, high = np.percentile(means, (2.5, 97.5))
        if low > 0 or high < 0:
            return ("met" if low > 0 else "missed"), rounds
    return "undecided", MAX_ROUNDS


def _t_test(draws: np.ndarray, margin: float, spread: float) -> tuple[str, int]:
    values = draws.mean(axis=1) + margin
    half = float(stats.t.ppf(0.975, MAX_ROUNDS - 1)) * values.std(ddof=1) / math.sqrt(MAX_ROUNDS)
    mean = float(values.mean())
    return ("met" if mean > half else "missed" if mean < -half else "undecided"), MAX_ROUNDS


def _known_noise(draws: np.ndarray, margin: float, spread: float) -> tuple[str, int]:
    wanted = math.ceil((2 * _Z * spread / margin) ** 2) if margin else MAX_ROUNDS
    rounds = max(1, min(MAX_ROUNDS, wanted))
    mean, half = float(draws[:rounds].mean() + margin), _Z * spread / math.sqrt(rounds)
    return ("met" if mean > half else "missed" if mean < -half else "undecided"), rounds


RULES = {
    "gpuprof": _gpuprof,
    "bootstrap, peeking": _bootstrap,
    "t-test, 24 rounds": _t_test,
    "known noise": _known_noise,
}


def measure(simulations: int) -> Iterator[dict[str, Any]]:
    """Yield a row per noise, distance and rule."""
    for noise, (draw, spread) in NOISES.items():
        for distance in DISTANCES:
            margin = math.log1p(distance)
            rng = np.random.default_rng(20)
            found: dict[str, list[tuple[str, int]]] = {rule: [] for rule in RULES}
            for index in range(simulations):
                draws = draw(rng)
                for name, rule in RULES.items():
                    # The bootstrap is a hundred times slower than the others; a tenth of the draws is enough for it.
                    if name != "bootstrap, peeking" or index % 10 == 0:
                        found[name].append(rule(draws, margin, spread))
            for name, outcomes in found.items():
                yield {
                    "noise": noise,
                    "distance": distance,
                    "rule": name,
                    "met": sum(outcome == "met" for outcome, _ in outcomes) / len(outcomes),
                    "missed": sum(outcome == "missed" for outcome, _ in outcomes) / len(outcomes),
                    "mean_rounds": sum(rounds for _, rounds in outcomes) / len(outcomes),
                }


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000, metavar="N", help="draws per cell (default: 1000)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the rows as JSON")
    chosen = parser.parse_args()
    rows = []
    print(f"{'noise':<18}{'distance':>9}  {'rule':<20}{'met':>7}{'missed':>8}{'rounds':>8}")
    for row in measure(chosen.simulations):
        rows.append(row)
        print(
            f"{row['noise']:<18}{row['distance']:>9.0%}  {row['rule']:<20}{row['met']:>7.3f}{row['missed']:>8.3f}"
            f"{row['mean_rounds']:>8.1f}",
            flush=True,
        )
    if chosen.output:
        chosen.output.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
