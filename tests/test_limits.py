"""Work and limits from end to end, on a simulated machine: counted FLOPs, peaks, and verdicts on utilization."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof import Budget, Plan, Profile, Profiler, UsageError, WorkloadError, hookimpl, profile
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend, SimulatedDevice
from pytest_gpuprof.core.errors import Unavailable

PEAK = Card(peak_flops=2e12, peak_bytes_per_s=1e12)
"""A card that tells its peaks: 2 TFLOP/s in fp32, and 1 TB/s."""


class Machine:
    """Brings a simulated machine with one card."""

    def __init__(self, card: Card = PEAK) -> None:
        self.backend = SimulatedBackend([card], seed=1)

    @hookimpl
    def pytest_gpuprof_backends(self) -> list[SimulatedBackend]:
        return [self.backend]


class Work:
    """A builder of calls of 1 ms that do 1 GFLOP, which counts how often it was built."""

    def __init__(self, flops: float = 1e9) -> None:
        self.flops = flops
        self.built = 0

    def __call__(self, device: SimulatedDevice) -> Callable[[], None]:
        self.built += 1
        return lambda: device.run(cpu=20e-3, gpu=1e-3, flops=self.flops)


def measure(work: Any, *budgets: Budget, card: Card = PEAK, devices: str = "simulated:0", **options: Any) -> Profile:
    peaks = options.pop("peaks", None)
    run = Profiler(plugins=[Machine(card)], devices=[devices], plan=Plan(warmup_s=0.05), peaks=peaks)
    return profile(work, name="work", backend="simulated", budgets=budgets, profiler=run, **options)


@pytest.mark.parametrize(("limit", "outcome"), [("40%", "met"), (0.4, "met"), (0.8, "missed"), (0.5, "inconclusive")])
def test_a_utilization_is_judged_against_the_peak(limit: Any, outcome: str) -> None:
    """1 TFLOP/s of 2 is half of it; the sentence has the rate, the time it is over, and the peak."""
    (verdict,) = measure(Work(), Budget("min_compute_utilization", limit), flops=1e9).verdicts
    assert verdict.outcome == outcome
    assert verdict.observed == pytest.approx(0.5, rel=0.02)
    assert "over device time, of the simulated fp32 peak 2 TFLOP/s (told by the board)" in verdict.sentence


@pytest.mark.parametrize(("moved", "outcome"), [(5e8, "met"), (1e8, "missed")])
def test_a_bandwidth_is_judged_against_the_peak(moved: float, outcome: str) -> None:
    """500 and 100 GB/s, of 1 TB/s."""
    (verdict,) = measure(Work(), Budget("min_bandwidth_utilization", "30%"), bytes=moved).verdicts
    assert (verdict.outcome, verdict.observed) == (outcome, pytest.approx(moved * 1e3 / 1e12, rel=0.02))


def test_a_missed_utilization_is_measured_again() -> None:
    """As every missed budget is."""
    (verdict,) = measure(Work(), Budget("min_compute_utilization", 0.8), flops=1e9).verdicts
    assert verdict.sentence.rpartition("; measured again: ")[2].startswith("50")


def test_without_a_peak_the_budget_is_unavailable_with_the_remedy() -> None:
    """A stand-in has none, unless somebody gives or measures it."""
    (verdict,) = measure(Work(), Budget("min_compute_utilization", 0.4), flops=1e9, card=Card()).verdicts
    assert (verdict.outcome, verdict.cause) == ("unavailable", "no reading")
    assert verdict.sentence.endswith("say it in gpu_profile_peaks, or run pytest-gpuprof calibrate")


def test_a_peak_that_was_given_goes_before_the_boards() -> None:
    """By the name of the device."""
    peaks = {"Simulated GPU": {"fp32": "4 TFLOP/s"}}
    taken = measure(Work(), Budget("min_compute_utilization", 0.4), flops=1e9, peaks=peaks)
    assert taken.verdicts[0].outcome == "missed"
    assert "of the given fp32 peak 4 TFLOP/s (by gpu_profile_peaks)" in taken.verdicts[0].sentence
    with pytest.raises(UsageError, match="have 'fast'"):
        measure(Work(), peaks={"*": {"fast": 1}})


def test_a_precision_has_a_peak_of_its_own() -> None:
    """The board tells that of fp32 only."""
    taken = measure(Work(), flops=1e9, precision="bf16", peaks={"*": {"bf16": 10e12}})
    assert taken.compute_utilization == pytest.approx(0.1, rel=0.02)
    assert "bf16 peak" in taken.ratio("compute_utilization").source
    with pytest.raises(Unavailable, match="no board tells the facts"):
        assert measure(Work(), flops=1e9, precision="bf16").compute_utilization


@pytest.mark.parametrize("precision", ["float16", "FP16", 16])
def test_a_precision_that_there_is_not_is_refused(precision: Any) -> None:
    """With those that there are."""
    with pytest.raises(WorkloadError, match="it takes one of fp64, fp32, tf32, bf16, fp16, fp8, int8"):
        measure(Work(), precision=precision)


def test_more_than_the_peak_spoils_the_verdict() -> None:
    """Somebody is wrong about the work or the peak, so neither met nor missed can be trusted; a time can."""
    taken = measure(Work(), Budget("min_compute_utilization", 0.4), Budget("max_gpu_time", 1), flops=5e9)
    assert [verdict.outcome for verdict in taken.verdicts] == ["inconclusive", "met"]
    assert "of the peak FLOP rate, more than there is; check flops=" in taken.verdicts[0].sentence
    assert [caution.code for caution in taken.cautions] == ["beyond peak"]


@pytest.mark.parametrize(
    ("keyword", "said"),
    [
        ("min_compute_utilization", "declare it with flops=, or flops='auto' to have them counted"),
        ("min_bandwidth_utilization", "declare it with bytes=$"),
    ],
)
def test_a_budget_on_work_that_nobody_declared_is_an_error(keyword: str, said: str) -> None:
    """Of the test, on any machine; not a reading that is missing."""
    with pytest.raises(WorkloadError, match=f"{keyword} needs the work of a call; {said}"):
        measure(Work(), Budget(keyword, 0.4))


# -- counted FLOPs ----------------------------------------------------------------------------------------------------


def test_counted_flops_are_judged_as_declared_ones() -> None:
    """In a pass of their own, before the rounds that are decided by them; so no timed call was the first."""
    work = Work()
    taken = measure(work, Budget("min_compute_utilization", 0.4), flops="auto")
    assert taken.verdicts[0].outcome == "met"
    assert "FLOPs counted by the simulated machine" in taken.verdicts[0].sentence
    assert taken.gpu.figure("flops") == 1e9
    assert (taken.flops, taken.counts_flops) == (None, True)
    assert work.built == 2  # to be counted, and to be timed
    with pytest.raises(Unavailable, match="counted before the rounds, so no timed call was the first"):
        assert taken.gpu.first_call_s


def test_rounds_are_taken_until_a_counted_utilization_is_decided() -> None:
    """The rule knows work and peaks: close to the limit it goes on, far from it three rounds are enough."""
    far = measure(Work(), Budget("min_compute_utilization", 0.4), flops="auto")
    near = measure(Work(), Budget("min_compute_utilization", 0.5), flops="auto")
    assert (len(far.gpu.rounds), len(near.gpu.rounds)) == (3, 24)


def test_without_a_budget_on_them_flops_are_counted_after_the_rounds() -> None:
    """The first call stays the first; where nobody looks at time, nothing is counted."""
    taken = measure(Work(), flops="auto")
    assert taken.flop_rate == pytest.approx(1e12, rel=0.05)
    assert taken.gpu.first_call_s > 0
    work = Work()
    assert measure(work, flops="auto", metrics=["memory"]).gpu.reading("flops").cause == "not asked for"


def test_a_later_limit_has_flops_counted_then() -> None:
    """What require() needs is measured; what was the first call stays what it was."""
    taken = measure(Work(), flops="auto", metrics=["memory"])
    after = taken.require(min_compute_utilization=0.4)
    assert after.verdicts[-1].outcome == "met"
    timed = measure(Work(), flops="auto")
    assert timed.require(min_compute_utilization=0.5 + 1e-9).gpu.first_call_s == timed.gpu.first_call_s


def test_a_later_limit_on_something_else_keeps_the_peaks() -> None:
    """What is measured then has no GPU leg, and no peak to look for."""
    taken = measure(Work(), flops=1e9)
    assert taken.require(max_cpu_memory="1 TiB").compute_utilization == taken.compute_utilization


def test_a_count_of_nothing_is_unavailable() -> None:
    """Never 0: with what the counter knows, and what to do."""
    (verdict,) = measure(Work(flops=0), Budget("min_compute_utilization", 0.4), flops="auto").verdicts
    assert verdict.outcome == "unavailable"
    assert verdict.sentence.endswith("counted nothing: it knows what run(flops=) says; give flops= yourself")


def test_a_device_without_a_counter_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A third-party device need not have the attribute at all."""

    def bare(self: SimulatedBackend, device: Any) -> Any:
        opened = opened_before(self, device)
        if hasattr(opened, "flop_counter"):
            opened.flop_counter = None
        return opened

    opened_before = SimulatedBackend.open
    monkeypatch.setattr(SimulatedBackend, "open", bare)
    (verdict,) = measure(Work(), Budget("min_compute_utilization", 0.4), flops="auto").verdicts
    assert verdict.sentence.endswith("nothing counts the FLOPs of simulated; give flops= yourself")


def test_without_a_gpu_flops_are_counted_on_the_cpu() -> None:
    """So that a record has them; a rate of the GPU leg is still missing for want of a GPU."""

    class NoCard(Machine):
        def __init__(self) -> None:
            self.backend = SimulatedBackend([], seed=1)

    run = Profiler(plugins=[NoCard()], plan=Plan(warmup_s=0.05))
    taken = profile(Work(), backend="simulated", flops="auto", profiler=run)
    assert taken.cpu.figure("flops") == 1e9
    assert taken.ratio("flop_rate").cause == "no device"
    (verdict,) = profile(
        Work(), backend="simulated", flops="auto", profiler=run, budgets=Budget("min_compute_utilization", 0.4)
    ).verdicts
    assert (verdict.outcome, verdict.cause) == ("unavailable", "no device")


# -- a calibrated peak ------------------------------------------------------------------------------------------------


def test_a_calibration_is_picked_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What calibrate keeps, the next measurement on the same device uses, and says so; a damaged file is a doubt."""
    from pytest_gpuprof.calibration import Calibrating, calibration_of, targets
    from pytest_gpuprof.extensions import Extensions
    from pytest_gpuprof.storage.calibrations import Calibrations

    monkeypatch.setenv("GPUPROF_PEAKS", str(tmp_path / "peaks.json"))
    parts = Extensions.standalone([Machine()])
    (device,) = targets(parts, ["simulated:0"])
    rates = list(Calibrating(parts, device, seconds=2).rates())
    Calibrations().add(calibration_of(parts, device, rates, "2026-07-30"))
    taken = measure(Work(), flops=1e9, bytes=1e8)
    assert taken.peaks["flops"].source.startswith("on 2026-07-30, a product of order ")
    assert taken.compute_utilization == pytest.approx(0.5, rel=0.05)
    (tmp_path / "peaks.json").write_text("{", encoding="utf-8")
    damaged = measure(Work(), flops=1e9)
    assert damaged.peaks["flops"].source == "told by the board"
    assert [caution.code for caution in damaged.cautions] == ["calibration"]


# -- on real torch ----------------------------------------------------------------------------------------------------


def test_torch_counts_and_calibrates_an_accelerator(
    simgpu: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its own counter, its own copies and products, on the accelerator that the real torch drives."""
    import torch

    from pytest_gpuprof.calibration import Calibrating, Sizes, calibration_of, targets
    from pytest_gpuprof.extensions import Extensions
    from pytest_gpuprof.storage.calibrations import Calibrations

    monkeypatch.setenv("GPUPROF_PEAKS", str(tmp_path / "peaks.json"))
    simgpu.launch_seconds = 0.0
    monkeypatch.setattr("pytest_gpuprof.calibration.allowed_threads", lambda: 1)
    parts = Extensions.standalone()
    (device,) = targets(parts, ["simgpu:0"])
    brief = Sizes(host_copy_bytes=4096, orders=(16,))  # too small for several threads
    device.yardsticks.precisions = ("fp32",)  # type: ignore[attr-defined]  # all of them take their time
    rates = list(Calibrating(parts, device, seconds=20, sizes=brief).rates())
    Calibrations().add(calibration_of(parts, device, rates, "2026-07-30"))
    assert {rate.what for rate in rates if rate.reading.value} == {"bandwidth", "fp32"}

    def product(device: Any) -> Callable[[], Any]:
        a = torch.ones(16, 16, device=device)
        return lambda: a @ a

    run = Profiler(devices=["simgpu:0"], plan=Plan(min_rounds=3, max_rounds=3, warmup_s=0.01, sample_s=0.001))
    taken = profile(product, backend="torch", flops="auto", cpu_threads=1, profiler=run)
    counted = taken.gpu.reading("flops")
    assert (counted.value, counted.quality) == (2 * 16**3, "estimated")
    assert counted.source == ("counted by torch's FlopCounterMode (only matrix products, convolutions and attention)")
    assert taken.peaks["flops"].source == "on 2026-07-30, a product of order 16 by torch"
    assert taken.compute_utilization > 0
