"""Which peak holds: given before calibrated before derived, and the doubt about a profile that is beyond it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.ceilings import Ceilings, beyond_peak
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.storage.calibrations import Calibration, Calibrations, identity_of
from tests.budgets.profiles import leg_of, profile_of

CARD = DeviceInfo(DeviceId("cuda"), "NVIDIA H100", "gpu", "torch", memory_bytes=80 * 2**30)
SLICE = DeviceInfo(DeviceId("cuda"), "NVIDIA H100 MIG 1g.10gb", "gpu", "torch", uuid="MIG-1")
FACTS = {
    "gpu": "NVIDIA H100", "gpu_compute_capability": "9.0", "gpu_cores": 16896, "gpu_max_sm_clock_hz": 1_980_000_000,
    "gpu_max_memory_clock_hz": 2_619_000_000, "gpu_memory_bus_bits": 5120,
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Calibrations:
    """A store in which the card is calibrated, but for bf16."""
    found = Calibrations(tmp_path / "peaks.json")
    rates = {"bandwidth": Reading(3e12, source="a copy by torch"), "fp32": Reading(50e12)}
    found.add(Calibration(identity_of(CARD, FACTS), "2026-07-30", rates))
    return found


def test_given_before_calibrated_before_derived(store: Calibrations, tmp_path: Path) -> None:
    """Each rate by itself, with its word and where it is from."""
    nothing = Calibrations(tmp_path / "none.json")
    derived, _ = Ceilings(calibrations=nothing).of(CARD, FACTS, "fp32")
    assert [peak.quality for peak in derived.values()] == ["derived", "derived"]
    calibrated, _ = Ceilings(calibrations=store).of(CARD, FACTS, "fp32")
    assert (calibrated["flops"].value, calibrated["flops"].source) == (50e12, "on 2026-07-30")
    assert (calibrated["bytes"].value, calibrated["bytes"].source) == (3e12, "on 2026-07-30, a copy by torch")
    given, doubts = Ceilings({"H100": {"fp32": "60 TFLOP/s"}}, store).of(CARD, FACTS, "fp32")
    assert (given["flops"].value, given["flops"].quality) == (60e12, "given")
    assert given["bytes"].value == 3e12
    assert doubts == ()


def test_each_precision_has_its_own_peak(store: Calibrations) -> None:
    """What was not calibrated is derived."""
    peaks, _ = Ceilings(calibrations=store).of(CARD, FACTS, "bf16")
    assert peaks["flops"].quality == "derived"
    assert peaks["flops"].value == pytest.approx(1.07e15, rel=0.01)
    assert peaks["bytes"].quality == "measured"


def test_peaks_are_given_by_device(store: Calibrations) -> None:
    """As limits are: whole words of the name, the longest first, * for the rest but not for a slice."""
    ceilings = Ceilings({"*": {"fp32": 1e12}, "H100": {"fp32": 2e12}, "H1": {"fp32": 3e12}}, store)
    assert ceilings.of(CARD, {}, "fp32")[0]["flops"].value == 2e12
    assert ceilings.of(DeviceInfo(DeviceId("cuda"), "T4", "gpu", "torch"), {}, "fp32")[0]["flops"].value == 1e12
    assert ceilings.of(SLICE, {}, "fp32")[0]["flops"].value is None


def test_a_damaged_file_is_a_doubt_where_it_is_needed(store: Calibrations) -> None:
    """The derived peak is used and says so; who gives both rates does not need the file."""
    store.path.write_text("{", encoding="utf-8")
    peaks, (doubt,) = Ceilings(calibrations=store).of(CARD, FACTS, "fp32")
    assert peaks["flops"].quality == "derived"
    assert doubt.message.endswith("line 1 column 2 (char 1))")
    assert doubt.remedy == "delete it and run pytest-gpuprof calibrate"
    both = {"H100": {"fp32": 1e12, "bandwidth": 1e12}}
    assert Ceilings(both, store).of(CARD, FACTS, "fp32")[1] == ()


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({"flops": 1}, "the peaks of 'H100' have 'flops'; there are bandwidth, fp64"),
        ({"fp32": "60 GB/s"}, "the fp32 peak of 'H100' is '60 GB/s', which has the unit 'GB/s', which does not fit"),
        ({"bandwidth": 0}, "the bandwidth peak of 'H100' is 0"),
        ({"bandwidth": "fast"}, "write '900 GB/s'"),
    ],
)
def test_a_rate_that_cannot_be_meant_is_refused(rates: dict[str, Any], said: str) -> None:
    """At once, and with how to write one."""
    with pytest.raises(UsageError) as error:
        Ceilings({"H100": rates})
    assert said in str(error.value)


def test_more_than_the_peak_is_a_doubt_about_utilization_alone() -> None:
    """Both verdicts on it are spoilt; a limit on time is not."""
    peaks = {"flops": Reading(1e12), "bytes": Reading(1e12)}
    gpu = leg_of("gpu", [0.001] * 3)
    (compute,) = beyond_peak(profile_of(None, gpu, flops=2e9, bytes=1e8, peaks=peaks))
    assert compute.message == "it reached 200% of the peak FLOP rate, more than there is"
    assert "precision=" in compute.remedy
    assert compute.spoils == {("utilization", "met"), ("utilization", "missed")}
    (memory,) = beyond_peak(profile_of(None, gpu, flops=1e8, bytes=2e9, peaks=peaks))
    assert "cache" in memory.remedy


@pytest.mark.parametrize("flops", [0.5e9, 1e9, 1.02e9, None])
def test_at_the_peak_there_is_no_doubt(flops: float | None) -> None:
    """A calibrated peak is known to a few percent."""
    taken = profile_of(None, leg_of("gpu", [0.001] * 3), flops=flops, peaks={"flops": Reading(1e12)})
    assert beyond_peak(taken) == ()
