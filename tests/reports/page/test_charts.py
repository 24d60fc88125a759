"""What the charts show: the numbers that they are drawn from."""

from __future__ import annotations

import math
import random
import statistics
from typing import Any

import pytest

from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.core.results import Caution, Measurement, Reading, Round
from pytest_gpuprof.reports.page.charts import charts_of
from pytest_gpuprof.reports.workloads import Workload, workloads
from pytest_gpuprof.storage.codec import record_of

from ...budgets.profiles import CARD, leg_of, profile_of
from ..documents import document, verdict
from .made import LOW_HZ, one, run_of, swept


def workload(**parts: Any) -> Workload:
    """Return a workload of a profile made by hand."""
    (found,) = workloads(document({**record_of(profile_of(**parts), test="t"), "outcome": "passed"}))
    return found


def test_the_times_are_those_of_the_rounds() -> None:
    """Every sample comes back within the step that it is told in, and the box is that of all of them."""
    samples = [(1.00e-3, 1.02e-3), (1.04e-3, 0.99e-3), (1.01e-3, 1.015e-3)]
    rounds = tuple(Round(n, 0, 1, {"wall_time": each}) for n, each in enumerate(samples))
    (lane,) = charts_of(workload(gpu=Measurement("gpu", CARD, rounds)))["times"]["lanes"]
    every = sorted(each for pair in samples for each in pair)
    back = [lane["value"] * (1 + part * lane["step"]) for each in lane["rounds"] for part in each]
    assert sorted(back) == pytest.approx([each * 1e3 for each in every], rel=lane["step"])
    assert lane["value"] == pytest.approx(statistics.median(map(statistics.median, samples)) * 1e3)
    box = [lane["value"] * (1 + part * lane["step"]) for part in lane["box"]]
    assert (box[0], box[4]) == pytest.approx((every[0] * 1e3, every[-1] * 1e3), rel=lane["step"])


def test_dots_are_not_drawn_in_a_comb() -> None:
    """Samples that differ by less than any chart shows otherwise are still apart."""
    samples = [1 + each * 1e-5 for each in range(20)]
    rounds = tuple(Round(n, 0, 1, {"wall_time": (each,)}) for n, each in enumerate(samples))
    (lane,) = charts_of(workload(gpu=Measurement("gpu", CARD, rounds)))["times"]["lanes"]
    assert len({part for each in lane["rounds"] for part in each}) == len(samples)
    assert max(abs(part) for each in lane["rounds"] for part in each) <= 210


def test_legs_that_differ_widely_are_drawn_on_a_logarithmic_axis() -> None:
    """From a factor of four on."""
    assert charts_of(workload(cpu=[5.0] * 3, gpu=[1.0] * 3))["times"]["log"] is True
    assert "log" not in charts_of(workload(cpu=[3.0] * 3, gpu=[1.0] * 3))["times"]


def test_a_limit_far_away_squeezes_nothing() -> None:
    """The axis is logarithmic for it as for a leg."""
    far = (verdict("met", "max_gpu_time", limit=1.0),)
    assert charts_of(workload(gpu=[5e-3] * 3, verdicts=far))["times"]["log"] is True


def test_a_limit_says_which_statistic_it_is_on() -> None:
    """A percentile is of single calls, and does not stand among samples of many."""
    budgets = tuple(Budget("max_gpu_time", 2.0, stat=each).as_written for each in ("median", "mean", "p95"))
    verdicts = tuple(verdict("met", "max_gpu_time", limit=limit) for limit in (2.0, 3.0, 4.0))
    chart = charts_of(workload(gpu=[1.0] * 3, verdicts=verdicts, budgets=budgets))["times"]
    assert [each["text"] for each in chart["limits"]] == ["max_gpu_time 2 s", "max_gpu_time 3 s (mean)"]


def test_a_sweep_that_was_given_up_at_its_largest_size_keeps_its_words() -> None:
    """The profiles of its other sizes say what they were measured on."""
    record = {**one(2, random.Random(2), has_gpu=False), "sweep": swept(random.Random(2))}
    small = {**one(2, random.Random(2)), "test": record["test"], "name": "small"}
    for each in record["sweep"]["points"]:
        for part in ("cpu", "gpu", "speedup"):
            each[part] |= {"quality": "measured"} if "quality" in each[part] else {}
    largest, other = workloads(run_of([record, small]))
    assert charts_of(largest, [largest, other])["sweep"]["words"] == "simulated"


def test_of_many_samples_the_extremes_and_the_median_are_drawn() -> None:
    """The page says of how many."""
    rounds = tuple(Round(n, 0, 1, {"wall_time": tuple(1 + part / 100 for part in range(21))}) for n in range(3))
    (lane,) = charts_of(workload(gpu=Measurement("gpu", CARD, rounds)))["times"]["lanes"]
    assert [len(each) for each in lane["rounds"]] == [3, 3, 3]
    assert lane["of"] == 21


def test_rounds_at_a_low_clock_are_marked() -> None:
    """By their number, from the clock that was read in each."""
    record = one(4, random.Random(2))
    (found,) = workloads(run_of([record]))
    clock = charts_of(found)["times"]["clock"]
    low = [each.index for each in found.profile.gpu.rounds if each.samples["sm_clock"][0] == LOW_HZ]
    assert clock["slow"] == low != []
    assert "throttled" in clock["doubt"]
    assert clock["words"] == "simulated"


def test_throttling_without_a_clock_per_round_is_told() -> None:
    """Nobody guesses which rounds it was."""
    throttled = Caution("throttled", "the GPU was throttled", "let it cool")
    clock = charts_of(workload(gpu=[1.0] * 3, cautions=(throttled,)))["times"]["clock"]
    assert clock == {"unit": "Hz", "doubt": "the GPU was throttled"}


def test_a_ratio_has_its_rounds_its_interval_and_its_limits() -> None:
    """The interval is that of the figure, over all rounds."""
    limits = (verdict("met", "min_speedup", limit=5.0), verdict("missed", "min_speedup", limit=50.0, enforce=False))
    chart = charts_of(workload(cpu=[20.0, 21.0, 19.0], gpu=[1.0, 1.0, 1.0], verdicts=limits))["ratios"]
    (row,) = chart["rows"]
    back = [row["value"] * (1 + part * row["step"]) for part in row["rounds"]]
    assert back == pytest.approx([20, 21, 19], rel=1e-3)
    assert row["interval"][0] < 20 < row["interval"][1]
    assert row["words"] == "derived"
    assert [each["text"] for each in chart["limits"]] == ["min_speedup 5x", "min_speedup 50x (not enforced)"]


def test_energies_have_intervals_and_words_and_memory_its_limit() -> None:
    """In one unit per chart."""
    gpu = leg_of(
        "gpu",
        [1.0] * 3,
        readings={
            "energy": Reading(0.2, interval=(0.19, 0.21)),
            "net_energy": Reading(0.1, quality="estimated"),
            "power": Reading(200.0),
            "memory": Reading(2.0**30),
        },
    )
    charts = charts_of(workload(gpu=gpu, verdicts=(verdict("met", "max_gpu_memory", limit=2.0**31),)))
    board, net = charts["energy"]["rows"]
    assert (charts["energy"]["unit"], board["value"], board["interval"]) == ("mJ", 200, [190, 210])
    assert net["words"] == "estimated"
    assert charts["energy"]["power"] == "200 W"
    assert charts["memory"]["limits"] == [
        {"row": "GPU peak above the builder", "value": 2, "text": "max_gpu_memory 2 GiB"}
    ]


def test_nothing_is_a_figure_too() -> None:
    """A workspace of 0 bytes was measured, and is not missing."""
    gpu = leg_of("gpu", [1.0] * 3, readings={"workspace": 0.0})
    (row,) = charts_of(workload(gpu=gpu))["memory"]["rows"]
    assert (row["value"], row["text"]) == (0, "0 B")


def test_the_roofline_needs_work_and_peaks() -> None:
    """What is missing is said; what nobody declared is left out."""
    peaks = {"flops": Reading(1e12, quality="given"), "bytes": Reading(1e11, source="calibrated")}
    work = {"gpu": [1e-3] * 3, "flops": 5e8, "bytes": 1e7}
    chart = charts_of(workload(**work, peaks=peaks))["roofline"]
    assert chart["point"] == [50, 5e11]
    assert chart["roof"][1] == [10, 1e12]
    assert chart["ceiling"] == 1e12
    assert chart["labels"] == ["100 GB/s peak (calibrated)", "1 TFLOP/s fp32 peak (given)"]
    assert chart["bound"].startswith("compute-bound: 50%")
    assert charts_of(workload(**work))["roofline"]["unavailable"].startswith("no roofline: the peak FLOP rate")
    assert "roofline" not in charts_of(workload(gpu=[1e-3] * 3))


def test_a_time_of_zero_is_not_drawn() -> None:
    """Coarse events may tell one."""
    lanes = charts_of(workload(gpu=leg_of("gpu", [1.0] * 3, [0.0] * 3)))["times"]["lanes"]
    assert [each["name"] for each in lanes] == ["GPU"]


def test_every_number_of_every_chart_is_finite() -> None:
    """Infinite ends of intervals are open, and nothing is NaN."""

    def leaves(value: Any) -> list[Any]:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return [value] if parts is None else [leaf for part in parts for leaf in leaves(part)]

    for number in range(12):
        for count in (1, 2, 24):
            (found,) = workloads(run_of([one(number, random.Random(number), count=count)]))
            numbers = [each for each in leaves(charts_of(found)) if isinstance(each, float)]
            assert all(map(math.isfinite, numbers))
