"""Work, rates and limits: what follows from the work of one call, and what is said when a part of it is missing."""

from __future__ import annotations

import pytest

from pytest_gpuprof.core.efficiency import FIGURES, Efficiency
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.profile import DERIVED
from pytest_gpuprof.core.results import Measurement, Reading
from tests.budgets.profiles import leg_of, profile_of

PEAKS = {
    "flops": Reading(10e12, quality="derived", source="2 SMs × 5 FLOP × 1 THz"),
    "bytes": Reading(1e12, quality="measured", source="on 2026-07-30"),
}
"""10 TFLOP/s and 1 TB/s: the two meet at 10 FLOP per byte."""


def gpu(device: bool = True) -> Measurement:
    """A leg whose calls take 2 ms of wall time, 1 ms of device time, and half a joule."""
    return leg_of(
        "gpu",
        [0.002] * 3,
        [0.001] * 3 if device else (),
        readings={"energy": Reading(0.5, interval=(0.4, 0.6)), "device_time": Reading.unavailable("no events")}
        if not device
        else {"energy": Reading(0.5, interval=(0.4, 0.6))},
    )


def efficiency(leg: Measurement | None = None, **amounts: float) -> Efficiency:
    """Return the efficiency of a leg for these amounts, with both peaks."""
    return Efficiency(leg or gpu(), {what: Reading(each, quality="given") for what, each in amounts.items()}, PEAKS)


EVERYTHING = {"items": 8.0, "flops": 4e9, "bytes": 2e8}


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("throughput", 8 / 0.002),
        ("device_throughput", 8 / 0.001),
        ("flop_rate", 4e9 / 0.002),
        ("device_flop_rate", 4e9 / 0.001),
        ("bandwidth", 2e8 / 0.002),
        ("device_bandwidth", 2e8 / 0.001),
        ("items_per_joule", 8 / 0.5),
        ("flops_per_joule", 4e9 / 0.5),
        ("energy_delay", 0.5 * 0.002),
        ("intensity", 20.0),
        ("compute_utilization", 0.4),
        ("bandwidth_utilization", 0.2),
        ("roofline", 0.4),
    ],
)
def test_each_figure_is_its_formula(figure: str, value: float) -> None:
    """Rates over either time, work per joule, and parts of the peaks over device time; all of them derived."""
    reading = efficiency(**EVERYTHING).reading(figure)
    assert reading.value == pytest.approx(value)
    assert reading.quality == "derived"


def test_every_figure_is_in_the_test_above() -> None:
    """And in what a record stores."""
    mark = test_each_figure_is_its_formula.pytestmark[0]  # type: ignore[attr-defined]  # put there by parametrize
    assert {figure for figure, _ in mark.args[1]} == FIGURES.keys()
    assert set(DERIVED) >= FIGURES.keys()


def test_a_utilization_without_events_is_over_wall_time_and_says_so() -> None:
    """Half as much here, because the host is half of the wall time."""
    reading = efficiency(gpu(device=False), **EVERYTHING).reading("compute_utilization")
    assert reading.value == pytest.approx(0.2)
    assert "2 TFLOP/s over wall time" in reading.source


def test_a_utilization_says_of_which_peak() -> None:
    """The rate, the time, the peak with its word and its facts; a measured peak is called calibrated."""
    found = efficiency(**EVERYTHING)
    assert found.reading("compute_utilization").source == (
        "4 TFLOP/s over device time, of the derived fp32 peak 10 TFLOP/s (2 SMs × 5 FLOP × 1 THz)"
    )
    assert found.reading("bandwidth_utilization").source == (
        "200 GB/s over device time, of the calibrated peak 1 TB/s (on 2026-07-30)"
    )


def test_counted_flops_are_told_beside_the_utilization() -> None:
    """Who counted, because a counter does not know every operator."""
    counted = {"flops": Reading(4e9, quality="estimated", source="counted by the abacus")}
    assert Efficiency(gpu(), counted, PEAKS).basis("compute_utilization").endswith(", FLOPs counted by the abacus")


@pytest.mark.parametrize(
    ("flops", "moved", "said"),
    [
        (4e9, 2e8, "compute-bound: 40% of the peak FLOP rate"),
        (1e9, 5e8, "memory-bound: 50% of the peak bandwidth"),
    ],
)
def test_the_roofline_tells_what_binds(flops: float, moved: float, said: str) -> None:
    """More operations per byte than the device has are bound by compute, fewer by memory."""
    reading = efficiency(flops=flops, bytes=moved).reading("roofline")
    assert reading.source == said


@pytest.mark.parametrize(
    ("figure", "interval"),
    [
        ("items_per_joule", (8 / 0.6, 8 / 0.4)),
        ("flops_per_joule", (4e9 / 0.6, 4e9 / 0.4)),
        ("energy_delay", (0.4 * 0.002, 0.6 * 0.002)),
    ],
)
def test_an_interval_of_the_energy_is_an_interval_of_the_figure(figure: str, interval: tuple[float, float]) -> None:
    """It turns over where joules are below the line."""
    assert efficiency(**EVERYTHING).reading(figure).interval == pytest.approx(interval)


@pytest.mark.parametrize(
    ("amounts", "figure", "reason"),
    [
        ({}, "flop_rate", "the workload does not declare flops="),
        ({}, "compute_utilization", "the workload does not declare flops="),
        ({"flops": 1.0}, "intensity", "the workload does not declare bytes="),
        ({"flops": 1.0}, "roofline", "the workload does not declare bytes="),
        ({}, "profit", "there is no figure 'profit'"),
    ],
)
def test_a_missing_amount_is_named(amounts: dict[str, float], figure: str, reason: str) -> None:
    """Never 0."""
    reading = efficiency(**amounts).reading(figure)
    assert reading.value is None
    assert reading.reason.startswith(reason)


def test_a_missing_part_is_told_as_it_is() -> None:
    """A counter that failed, a leg that was not run, an energy that cannot be read, a peak that nobody knows."""
    counted = Reading.unavailable("the abacus counted nothing")
    absent = Measurement.absent("gpu", "no GPU here", "no device")
    work = {"flops": Reading(1e9)}
    assert Efficiency(gpu(), {"flops": counted}, PEAKS).reading("compute_utilization") is counted
    assert Efficiency(absent, work, PEAKS).reading("compute_utilization").cause == "no device"
    assert Efficiency(leg_of("gpu", [1.0]), work, PEAKS).reading("flops_per_joule").cause == "not asked for"
    unknown = {"flops": Reading.unavailable("no peak is known for compute capability 8.7")}
    assert Efficiency(gpu(), work, unknown).reading("compute_utilization") is unknown["flops"]
    assert "nobody looked" in Efficiency(gpu(), work).reading("compute_utilization").reason
    assert Efficiency(gpu(), work, unknown).basis("compute_utilization") == ""


def test_a_profile_offers_its_figures() -> None:
    """As floats, and those that are missing with the reason."""
    taken = profile_of(None, gpu(), flops=4e9, peaks=PEAKS)
    assert (taken.flop_rate, taken.compute_utilization) == (pytest.approx(2e12), pytest.approx(0.4))
    for figure in ("bandwidth", "bandwidth_utilization"):
        with pytest.raises(Unavailable, match="does not declare bytes="):
            getattr(taken, figure)
    assert "compute utilization: 40% (4 TFLOP/s over device time" in str(taken)


def test_counted_flops_are_those_of_a_leg() -> None:
    """The GPU leg's; where nothing was counted there, the CPU leg's."""
    on_gpu = leg_of("gpu", [0.002] * 3, readings={"flops": Reading(4e9)})
    on_cpu = leg_of("cpu", [0.02] * 3, readings={"flops": Reading(2e9)})
    assert profile_of(on_cpu, on_gpu, counts_flops=True).flop_rate == pytest.approx(2e12)
    assert profile_of(on_cpu, [0.002] * 3, counts_flops=True).flop_rate == pytest.approx(1e12)
    with pytest.raises(Unavailable, match="nothing asked for it"):
        assert profile_of(None, [0.002] * 3, counts_flops=True).flop_rate
