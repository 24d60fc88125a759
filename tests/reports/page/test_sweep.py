"""A sweep over sizes, as numbers to draw and as sentences."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_gpuprof.reports.page.sweep import sweep

GROWTH = {"fixed_s": 1e-3, "coefficient": 1e-6, "exponent": 2.0, "exponent_interval": [1.9, 2.1]}


def part(value: float) -> dict[str, Any]:
    return {"value": value, "interval": [0.9 * value, 1.1 * value]}


def made(**more: Any) -> dict[str, Any]:
    points = [{"size": size, "cpu": part(1e-6 * size**2), "gpu": part(1e-3), "speedup": part(1e-3 * size**2)}
              for size in (10, 100, 1000)]  # fmt: skip
    return {
        "parameter": "n",
        "points": points,
        "cpu_growth": GROWTH,
        "gpu_growth": {"unavailable": "it does not grow"},
        "crossover": {"value": 31.6, "interval": [28, 35]},
        **more,
    }


def test_points_curves_and_crossover() -> None:
    """All in one unit; the fitted curve goes through what it is the formula of."""
    found = sweep(made(), "derived")
    assert found is not None
    assert found["unit"] == "ms"
    assert found["legs"]["cpu"][1] == [100, 10, 9, 11]
    first, last = found["curves"]["cpu"][0], found["curves"]["cpu"][-1]
    assert (first, last) == ([10, pytest.approx(1.1)], [1000, pytest.approx(1001)])
    assert found["curves"]["gpu"] is None
    assert (found["crossover"], found["band"]) == (31.6, [28, 35])
    assert found["told"] == "the GPU is faster from n = 31.6 on (28 to 35)"
    assert found["growth"] == [
        "the CPU leg grows with exponent 2 (1.9 to 2.1), after a fixed 1 ms",
        "how the GPU leg grows is unavailable, because it does not grow",
    ]


def test_what_is_unavailable_is_told_in_words() -> None:
    """A point, and a crossover; a curve ends where its leg was measured."""
    points = made()["points"]
    points[-1]["cpu"] = points[-1]["speedup"] = {"unavailable": "it takes too long"}
    found = sweep(made(points=points, crossover={"unavailable": "the GPU is always slower"}), "")
    assert found is not None
    assert found["lacking"] == ["CPU at 1000: unavailable, because it takes too long"]
    assert found["curves"]["cpu"][-1][0] == 100
    assert len(found["speedups"]) == 2
    assert "crossover" not in found
    assert found["told"].endswith("is unavailable, because the GPU is always slower")


@pytest.mark.parametrize("nothing", [None, {}, {"parameter": "n", "points": []}])
def test_no_sweep_is_none(nothing: Any) -> None:
    """Most workloads have none."""
    assert sweep(nothing, "") is None
