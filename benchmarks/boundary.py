"""Where the constants of the decision rule's boundary come from: how often normal noise crosses it. Simulated.

The looks of :mod:`pytest_gpuprof.stats.boundary` see mostly the same rounds, so their error rates may sum to more than
the whole. By how much depends on the error rate; this simulates series of normal noise far above the floor, and gives
per confidence the sum that the rule uses, the share of the error rate that is then spent, and the sum that would spend
all of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.decision import Rounds
from pytest_gpuprof.stats.boundary import CORRELATED_FROM, LOOKS, MAX_ROUNDS, student

__all__ = ["NAME", "TITLE", "measure", "table"]

NAME = "boundary"
TITLE = "What the looks of a decision spend (simulated)"

CONFIDENCES = (0.5002, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9998)
SIMULATIONS, QUICK = 3_000_000, 50_000

_AT_ONCE = 50_000


def measure(quick: bool = False, simulations: int | None = None) -> dict[str, Any]:
    """Return a row per confidence."""
    count = simulations or (QUICK if quick else SIMULATIONS)
    rng = np.random.default_rng(1)
    # The largest sum at which a series does not cross, as the least of its looks' error rates per share.
    least = np.sort(np.concatenate([_least(rng, _AT_ONCE) for _ in range(-(-count // _AT_ONCE))]))
    rows = []
    for confidence in CONFIDENCES:
        side = (1 - confidence) / 2
        overlap = float(_nominal(confidence).sum()) / side
        rows.append(
            {
                "confidence": confidence,
                "overlap": overlap,
                "spent": float(np.searchsorted(least, overlap * side)) / len(least) / 2 / side,
                "overlap_that_spends_all": float(least[int(2 * side * len(least))]) / side,
            }
        )
    return {"simulated": True, "simulations": len(least), "rows": rows}


def _nominal(confidence: float) -> Any:
    """Return the error rate on one side of each look by itself."""
    return np.array([stats.t.sf(student(look, confidence), look - 1) for look in LOOKS])


def _least(rng: np.random.Generator, series: int) -> Any:
    rounds = Rounds.of(rng.normal(0, 1, (series, MAX_ROUNDS, 1)))
    counts = np.array(LOOKS)
    t = np.abs(rounds.mean / rounds.deviation / rounds.widening(CORRELATED_FROM))[:, LOOKS[0] - 1 :] * np.sqrt(counts)
    shares = _nominal(0.95) / _nominal(0.95).sum()  # the same at every confidence
    return (stats.t.sf(t, counts - 1) / shares).min(axis=1)


def table(results: Mapping[str, Any]) -> str:
    """Return the rows as Markdown."""
    lines = [
        f"Of {results['simulations']} series of normal noise:",
        "",
        "| confidence | sum over the looks | spent of the error rate | sum that spends all |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for row in results["rows"]:
        figures = (row[name] for name in ("overlap", "spent", "overlap_that_spends_all"))
        lines.append(f"| {row['confidence']} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |")
    return "\n".join(lines)


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, metavar="N", help=f"series (default: {SIMULATIONS})")
    print(table(measure(simulations=parser.parse_args().simulations)))


if __name__ == "__main__":
    main()
