"""How often the decision rule is wrong, and how many rounds it takes, beside what others do. Simulated.

Series of up to 24 rounds are drawn from models of noise (``benchmarks/noise.py``), with a true ratio that lies at a
known distance from the budget. At the budget both *met* and *missed* are wrong; away from it, one of them is. Every
rule sees the same draws.

* ``gpuprof``: :func:`pytest_gpuprof.stats.decision.decide`, looking after every round from the third on.
* ``four looks``: what it replaced, looking after 3, 6, 12 and 24 rounds, a quarter of the error rate for each.
* ``bootstrap, peeking``: 95 % percentile bootstrap of the pooled samples after every round, as benchmark tools do it.
* ``t-test, 24 rounds``: Student's t on the figures of 24 rounds, once.
* ``t-test, fixed size``: the same with as many rounds as it needs for 97.5 % power at that distance, told the noise.
* ``known noise``: the limit. A z-test that knows the noise, with as many rounds as it needs for 97.5 % power; and with
  as many as it needs to decide as often as ``gpuprof`` does, 99.9 % at most.

The goal: at most 2.6 % wrong on either side where rounds are independent. What 24 rounds cannot tell is noise that many
series never show, if it moves the mean by more than the 1.6 % that the rule takes for granted at the end: one round in
ten 20 % slower is such a case. For a clock of two speeds that goal takes six rounds: all of five have the same speed in
3.1 % of the series, on either side, so a rule that decides a budget 5 % away sooner breaks it. Noise that outlives a
round cannot be told from the truth by so few rounds.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.drawing import COLOURS, drawing
from benchmarks.noise import NOISES, SAMPLES
from pytest_gpuprof.stats.boundary import CORRELATED_FROM, hidden, student
from pytest_gpuprof.stats.decision import DEFAULT_CONFIDENCE, DEFAULT_FLOOR, LOOKS, MAX_ROUNDS, decide

__all__ = ["NAME", "TITLE", "Rounds", "measure", "table"]

NAME = "decision"
TITLE = "Decisions: errors and rounds (simulated)"

DISTANCES = (0.0, 0.02, 0.05, 0.10, 0.20)
"""True ratio over the budget, less one."""

SIMULATIONS, QUICK = 20_000, 500
POWER, MOST_POWER = 0.975, 0.999

_SIDE = 0.025
_BOOTSTRAPPED, _RESAMPLES = 2000, 200  # series and resamples: a hundred times the work of the other rules
_COMPARED = 40  # series per cell on which our rule, vectorized here, is compared with itself
_PREVIOUS = (3, 6, 12, 24)
_COUNTS = np.arange(1, MAX_ROUNDS + 1)


@dataclass(frozen=True)
class Rounds:
    """Series of rounds, and what is known of them after each round: arrays of the shape (series, rounds)."""

    samples: Any
    figures: Any
    mean: Any
    deviation: Any
    correlation: Any

    @classmethod
    def of(cls, samples: Any) -> Rounds:
        """Return what is known of samples of the shape (series, rounds, samples)."""
        figures = np.median(samples, axis=2)
        total = np.cumsum(figures, axis=1)
        mean = total / _COUNTS
        squares = np.maximum(np.cumsum(figures**2, axis=1) - _COUNTS * mean**2, 1e-300)
        products = np.cumsum(np.pad(figures[:, 1:] * figures[:, :-1], ((0, 0), (1, 0))), axis=1)
        neighbours = products - mean * (2 * total - figures[:, :1] - figures) + (_COUNTS - 1) * mean**2
        deviation = np.sqrt(squares / np.maximum(_COUNTS - 1, 1))
        return cls(samples, figures, mean, deviation, neighbours / squares + 1 / _COUNTS)

    def widening(self, first: int) -> Any:
        """Return the factor for neighbours that resemble each other, from so many rounds on."""
        rho = np.where(first <= _COUNTS, np.clip(self.correlation, 0, 0.8), 0)
        return np.sqrt((1 + rho) / (1 - rho))

    def around_mean(self, width: Any) -> tuple[Any, Any]:
        """Return the ends of an interval of this half-width."""
        return self.mean - width, self.mean + width


Rule = Callable[[Rounds], tuple[Any, Any]]
"""Returns the ends of the interval after each round, infinite where the rule does not look."""


def _gpuprof(rounds: Rounds) -> tuple[Any, Any]:
    before = [math.inf] * (LOOKS[0] - 1)
    t, least = (np.array(before + [bound(look, DEFAULT_CONFIDENCE) for look in LOOKS]) for bound in (student, hidden))
    width = np.maximum(t * rounds.deviation / np.sqrt(_COUNTS), least * DEFAULT_FLOOR)
    return rounds.around_mean(width * rounds.widening(CORRELATED_FROM))


def _four_looks(rounds: Rounds) -> tuple[Any, Any]:
    looks = np.isin(_COUNTS, _PREVIOUS)
    t = np.where(looks, stats.t.isf(_SIDE / len(_PREVIOUS), np.maximum(_COUNTS - 1, 1)), math.inf)
    spread = np.maximum(rounds.deviation, 0.02) * rounds.widening(6)
    return rounds.around_mean(t * spread / np.sqrt(_COUNTS))


def _bootstrap(rounds: Rounds) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    samples = rounds.samples[:_BOOTSTRAPPED]
    low, high = np.full((2, len(samples), MAX_ROUNDS), math.inf) * [[[-1]], [[1]]]
    for count in range(2, MAX_ROUNDS + 1):
        pooled = samples[:, :count].reshape(len(samples), -1)
        size = pooled.shape[1]
        # How often each sample is drawn; the same for all series, which are still resampled as they should be.
        weights = rng.multinomial(size, np.full(size, 1 / size), _RESAMPLES)
        means = pooled @ weights.T / size
        low[:, count - 1], high[:, count - 1] = np.percentile(means, (2.5, 97.5), axis=1)
    return low, high


def _t_interval(rounds: Rounds) -> tuple[Any, Any]:
    t = np.where(_COUNTS > 1, stats.t.isf(_SIDE, np.maximum(_COUNTS - 1, 1)), math.inf)
    return rounds.around_mean(t * rounds.deviation / np.sqrt(_COUNTS))


def _z_interval(rounds: Rounds) -> tuple[Any, Any]:
    return rounds.around_mean(stats.norm.isf(_SIDE) * rounds.figures.std() / np.sqrt(_COUNTS))


SEQUENTIAL: dict[str, Rule] = {"gpuprof": _gpuprof, "four looks": _four_looks, "bootstrap, peeking": _bootstrap}


def _only(interval: tuple[Any, Any], count: int) -> tuple[Any, Any]:
    """Return an interval that is looked at after so many rounds only."""
    there = count == _COUNTS
    return np.where(there, interval[0], -math.inf), np.where(there, interval[1], math.inf)


def _row(rule: str, interval: tuple[Any, Any], margin: float, last: int = MAX_ROUNDS) -> dict[str, Any]:
    """Return how a rule did: the first interval that excludes the budget decides, the last round ends it."""
    met, missed = interval[0] + margin > 0, interval[1] + margin < 0
    decided = met | missed
    first = np.where(decided.any(axis=1), decided.argmax(axis=1), last - 1)
    series = np.arange(len(first))
    rates = {"met": float(met[series, first].mean()), "missed": float(missed[series, first].mean())}
    count = len(first)
    return {
        "rule": rule,
        **rates,
        **{f"{name}_error": math.sqrt(rate * (1 - rate) / count) for name, rate in rates.items()},
        "rounds": float(first.mean()) + 1,
        "rounds_error": float(first.std()) / math.sqrt(count),
        "simulations": count,
    }


def _z_size(deviation: float, margin: float, power: float) -> int:
    """Return the rounds that a test knowing the noise needs, with 2.5 % error on its side."""
    return max(1, math.ceil(((stats.norm.isf(_SIDE) + stats.norm.ppf(power)) * deviation / margin) ** 2))


def _t_size(deviation: float, margin: float) -> int:
    """Return the rounds that Student's t needs, at most as many as there are."""
    for count in range(2, MAX_ROUNDS):
        effect = margin / deviation * math.sqrt(count)
        if stats.nct.sf(stats.t.isf(_SIDE, count - 1), count - 1, effect) >= POWER:
            return count
    return MAX_ROUNDS


def _compare(rounds: Rounds, interval: tuple[Any, Any], margin: float) -> None:
    """Check that the vectorized rule is the rule.

    Raises:
        RuntimeError: if they differ.
    """
    for figures, low, high in zip(rounds.figures[:_COMPARED], *interval, strict=False):
        wanted = _row("", (low[None], high[None]), margin)
        decision = decide([float(figure) + margin for figure in figures])
        found = (decision.outcome == "met", decision.outcome == "missed", decision.rounds)
        if found != (wanted["met"], wanted["missed"], wanted["rounds"]):
            raise RuntimeError(f"decide() says {decision}, its vectorized form {wanted}: bring them together")


def _of_noise(name: str, simulations: int) -> list[dict[str, Any]]:
    """Return the rows of one noise: per distance one per rule."""
    rounds = Rounds.of(NOISES[name].draw(np.random.default_rng(20), simulations))
    sequential = {rule: interval(rounds) for rule, interval in SEQUENTIAL.items()}
    t_interval, z_interval = _t_interval(rounds), _z_interval(rounds)
    deviation = float(rounds.figures.std())
    rows = []
    for distance in DISTANCES:
        margin = math.log1p(distance)
        _compare(rounds, sequential["gpuprof"], margin)
        found = [_row(rule, interval, margin) for rule, interval in sequential.items()]
        found.append(_row("t-test, 24 rounds", _only(t_interval, MAX_ROUNDS), margin))
        if NOISES[name].independent and distance:
            size = _t_size(deviation, margin)
            found.append(_row("t-test, fixed size", _only(t_interval, size), margin, size))
            size = _z_size(deviation, margin, POWER)
            if size <= MAX_ROUNDS:
                found.append(_row("known noise", _only(z_interval, size), margin, size))
            reached = min(max(found[0]["met"], 0.5), MOST_POWER)
            found[0] |= {"limit": size, "limit_at_same_power": _z_size(deviation, margin, reached)}
        same = {"noise": name, "independent": NOISES[name].independent, "deviation": deviation, "distance": distance}
        rows += [{**same, **row} for row in found]
    return rows


def measure(quick: bool = False, simulations: int | None = None) -> dict[str, Any]:
    """Return a row per noise, distance and rule, and with how many series it was simulated."""
    count = simulations or (QUICK if quick else SIMULATIONS)
    rows = [row for name in NOISES for row in _of_noise(name, count)]
    return {"simulated": True, "simulations": count, "samples": SAMPLES, "power": POWER, "rows": rows}


def table(results: Mapping[str, Any]) -> str:
    """Return the errors at the budget, and the mean rounds away from it, as two tables in Markdown."""
    rows = {(row["noise"], row["distance"], row["rule"]): row for row in results["rows"]}
    noises = list(dict.fromkeys(row["noise"] for row in results["rows"]))
    rules = [*SEQUENTIAL, "t-test, 24 rounds"]
    lines = [
        "Per cent of wrong verdicts, on the worse side, where the truth is the budget itself "
        f"({results['simulations']} series per noise):",
        "",
        "| noise | " + " | ".join(rules) + " |",
        "| --- |" + " ---: |" * len(rules),
    ]
    for noise in noises:
        lines.append(f"| {noise} | " + " | ".join(_wrong(rows[noise, 0.0, rule]) for rule in rules) + " |")
    lines += [
        "",
        "Mean rounds of gpuprof / four looks / known noise at 97.5 % power / and at the power of gpuprof; in brackets "
        "the share of series that gpuprof and four looks decide, where one of them decides less than 99 %:",
        "",
        "| noise | " + " | ".join(f"{100 * distance:.0f} % away" for distance in DISTANCES[1:]) + " |",
        "| --- |" + " ---: |" * len(DISTANCES[1:]),
    ]
    for noise in noises:
        cells = (_taken(*(rows[noise, distance, rule] for rule in rules[:2])) for distance in DISTANCES[1:])
        lines.append(f"| {noise} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _wrong(row: Mapping[str, Any]) -> str:
    side = max("met", "missed", key=lambda name: row[name])
    return f"{100 * row[side]:.1f} ± {100 * row[side + '_error']:.1f}"


def _taken(ours: Mapping[str, Any], previous: Mapping[str, Any]) -> str:
    limits = [str(ours[name]) if name in ours else "–" for name in ("limit", "limit_at_same_power")]
    text = " / ".join([f"{ours['rounds']:.1f}", f"{previous['rounds']:.1f}", *limits])
    share = min(ours["met"], previous["met"])
    return text if share >= 0.99 else f"{text} ({100 * ours['met']:.0f} %, {100 * previous['met']:.0f} %)"


def plots(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the mean number of rounds against the distance from the budget, for 2 % of noise per round."""
    path = folder / "benchmark-decision.svg"
    rows = [row for row in results["rows"] if row["noise"] == "2 % per round" and row["distance"]]
    with drawing(
        path,
        title="Rounds until a decision, 2 % of noise per round (simulated)",
        x="distance from the budget, %",
        y="mean rounds",
    ) as axes:
        for rule, colour in zip(dict.fromkeys(row["rule"] for row in rows), COLOURS, strict=False):
            points = [(100 * row["distance"], row["rounds"]) for row in rows if row["rule"] == rule]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, color=colour, label=rule)
        axes.set(ylim=(0, None))
        axes.legend(fontsize=8, frameon=False)
    return [path]


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, metavar="N", help=f"series per cell (default: {SIMULATIONS})")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the results as JSON")
    chosen = parser.parse_args()
    results = measure(simulations=chosen.simulations)
    print(table(results))
    if chosen.output:
        chosen.output.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
