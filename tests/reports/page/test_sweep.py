"""A sweep over sizes, as numbers to draw and as sentences."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.core.scaling import Crossover, Growth, Point, Scaling
from pytest_gpuprof.reports.page.sweep import sweep

SQUARE = Growth(1e-3, 1e-6, 2.0, (1.9, 2.1), 0.01)


def near(value: float) -> Reading:
    return Reading(value, interval=(0.9 * value, 1.1 * value))


def made(**parts: Any) -> Scaling:
    given = {
        "parameter": "n",
        "points": tuple(Point(n, near(1e-6 * n**2), near(1e-3), near(1e-3 * n**2)) for n in (10, 100, 1000)),
        "crossover": Crossover(31.6, 28.0, 35.0, 10, 1000),
        "growth": {"cpu": SQUARE, "gpu": Reading.unavailable("it does not grow")},
        **parts,
    }
    return Scaling(**given)


def test_points_curves_and_crossover() -> None:
    """All in one unit; the fitted curve goes through what it is the formula of."""
    found = sweep(made(), "")
    assert found is not None
    assert found["unit"] == "ms"
    assert found["legs"]["cpu"][1] == [100, 10, 9, 11]
    first, last = found["curves"]["cpu"][0], found["curves"]["cpu"][-1]
    assert (first, last) == ([10, pytest.approx(1.1)], [1000, pytest.approx(1001)])
    assert found["curves"]["gpu"] is None
    assert (found["crossover"], found["band"]) == (31.6, [28, 35])
    assert found["told"].startswith("the GPU wins from n = 31.6 (28 to 35); CPU time grows as ")
    assert found["lacking"] == ["how the GPU leg grows is unavailable, because it does not grow"]


def test_what_is_unavailable_is_told_in_words() -> None:
    """A point, and a crossover; a curve ends where its leg was measured."""
    missing = Reading.unavailable("it takes too long")
    points = (*made().points[:2], Point(1000, missing, near(1e-3), missing))
    found = sweep(made(points=points, crossover=Reading.unavailable("the CPU is too slow")), "")
    assert found is not None
    assert found["lacking"][0] == "the CPU at n = 1000 is unavailable, because it takes too long"
    assert found["curves"]["cpu"][-1][0] == 100
    assert len(found["speedups"]) == 2
    assert "crossover" not in found
    assert "the crossover is unavailable, because the CPU is too slow" in found["told"]


def test_a_crossover_reaches_no_further_than_the_sizes() -> None:
    """Its ends may be 0 or infinite; a GPU that never wins has none."""
    open_ = sweep(made(crossover=Crossover(31.6, 0.0, math.inf, 10, 1000)), "")
    never = sweep(made(crossover=Crossover(None, 1000.0, math.inf, 10, 1000)), "")
    assert open_ is not None
    assert never is not None
    assert open_["band"] == [10, 1000]
    assert "band" not in never
    assert "the GPU does not win at n = 1000" in never["told"]


def test_no_sweep_is_none() -> None:
    """Most workloads have none."""
    assert sweep(None, "") is None


def test_whole_sizes_are_exact() -> None:
    """They are what people gave, however many digits they have."""
    points = tuple(Point(float(n), near(1e-9 * n), near(1e-3), near(1e-6 * n)) for n in (131072, 262144))
    missing = Reading.unavailable("it takes too long")
    found = sweep(made(points=(*points, Point(1048577.0, missing, near(1e-3), missing))), "")
    assert found is not None
    assert [each[0] for each in found["legs"]["gpu"]] == [131072, 262144, 1048577]
    assert found["lacking"][0].startswith("the CPU at n = 1048577 is unavailable")


def test_each_chart_has_the_words_of_its_own_figures() -> None:
    """A ratio is derived, a time is not; the stand-in is told with both."""
    points = tuple(replace(each, speedup=replace(each.speedup, quality="derived")) for each in made().points)
    plain, other = sweep(made(points=points), ""), sweep(made(points=points), "OpenCL on the CPU")
    assert plain is not None
    assert other is not None
    assert "words" not in plain
    assert plain["speedup_words"] == "derived"
    assert (other["words"], other["speedup_words"]) == ("OpenCL on the CPU", "derived, OpenCL on the CPU")
