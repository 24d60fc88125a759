"""Derived peaks: the figures of public datasheets come out at the datasheets' clocks, and nothing is guessed."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_gpuprof.core.quantities import PRECISIONS
from pytest_gpuprof.stats.peaks import _CORES_PER_MULTIPROCESSOR, _PER_CLOCK, derived_peaks

H100 = {
    "gpu": "NVIDIA H100 80GB HBM3",
    "gpu_compute_capability": "9.0",
    "gpu_cores": 16896,
    "gpu_max_sm_clock_hz": 1_980_000_000,
    "gpu_max_memory_clock_hz": 2_619_000_000,
    "gpu_memory_bus_bits": 5120,
    "gpu_mig": False,
}


def facts(capability: str, cores: int, mhz: float, name: str = "NVIDIA card") -> dict[str, Any]:
    """What the driver tells of a card at a datasheet's clock."""
    return {"gpu": name, "gpu_compute_capability": capability, "gpu_cores": cores, "gpu_max_sm_clock_hz": mhz * 1e6}


@pytest.mark.parametrize(
    ("capability", "cores", "mhz", "precision", "tflops"),
    [
        ("7.0", 5120, 1530, "fp16", 125),  # V100 SXM2
        ("7.0", 5120, 1530, "fp32", 15.7),
        ("7.0", 5120, 1530, "fp64", 7.8),
        ("7.5", 2560, 1590, "fp16", 65),  # T4
        ("7.5", 2560, 1590, "fp32", 8.1),
        ("7.5", 2560, 1590, "int8", 130),
        ("8.0", 6912, 1410, "fp16", 312),  # A100
        ("8.0", 6912, 1410, "tf32", 156),
        ("8.0", 6912, 1410, "fp64", 19.5),
        ("8.0", 6912, 1410, "fp32", 19.5),
        ("8.0", 6912, 1410, "int8", 624),
        ("8.6", 9216, 1695, "bf16", 125),  # A10
        ("8.6", 9216, 1695, "fp32", 31.2),
        ("8.6", 9216, 1695, "tf32", 62.5),
        ("8.9", 7424, 2040, "fp16", 121),  # L4
        ("8.9", 7424, 2040, "fp8", 242),
        ("9.0", 16896, 1830, "fp16", 989),  # H100 SXM: tensor cores are given at 1830 MHz
        ("9.0", 16896, 1830, "tf32", 494),
        ("9.0", 16896, 1830, "fp8", 1979),
        ("9.0", 16896, 1980, "fp32", 67),  # … and the others at 1980 MHz
        ("9.0", 16896, 1980, "fp64", 67),
        ("10.0", 18944, 1850, "bf16", 2250),  # B200
    ],
)
def test_a_datasheet_comes_out_at_its_clock(
    capability: str, cores: int, mhz: float, precision: str, tflops: float
) -> None:
    """Dense rates, as the vendor publishes them, within the rounding of the published figures."""
    peak = derived_peaks(facts(capability, cores, mhz), precision)["flops"]
    assert peak.value == pytest.approx(tflops * 1e12, rel=0.015)
    assert peak.quality == "derived"


@pytest.mark.parametrize(
    ("mhz", "bits", "gb_per_s"),
    [
        (1593, 5120, 2039),  # A100 80 GB
        (2619, 5120, 3352),  # H100 SXM
        (5001, 256, 320),  # T4
        (6251, 384, 600),  # A10
        (10501, 384, 1008),  # RTX 4090
    ],
)
def test_bandwidth_is_twice_the_memory_clock_times_the_bus(mhz: float, bits: int, gb_per_s: float) -> None:
    """For HBM and for GDDR, as the driver counts their clocks."""
    told: dict[str, Any] = {"gpu_max_memory_clock_hz": mhz * 1e6, "gpu_memory_bus_bits": bits}
    peak = derived_peaks(told, "fp32")["bytes"]
    assert peak.value == pytest.approx(gb_per_s * 1e9, rel=0.01)
    assert "the highest memory clock" in peak.source


def test_the_clock_is_told() -> None:
    """The driver's highest clock of an H100 makes its tensor cores 8 % faster than the datasheet says."""
    peak = derived_peaks(H100, "fp16")["flops"]
    assert peak.value == pytest.approx(1.07e15, rel=0.01)
    assert peak.source == "132 SMs × 4096 FLOP × 1.98 GHz, the highest clock"


@pytest.mark.parametrize(
    ("precision", "factor"), [("fp16", 2), ("bf16", 2), ("fp8", 2), ("tf32", 2), ("int8", 1), ("fp32", 1)]
)
def test_geforce_cards_sum_in_fp32_at_half_the_rate(precision: str, factor: int) -> None:
    """The same chip is faster as a professional card, for products whose sums are in fp32."""
    professional = derived_peaks(facts("8.9", 16384, 2520, "NVIDIA L40"), precision)["flops"].value
    geforce = derived_peaks(facts("8.9", 16384, 2520, "NVIDIA GeForce RTX 4090"), precision)["flops"].value
    assert professional is not None
    assert geforce == pytest.approx(professional / factor)


@pytest.mark.parametrize(
    ("change", "precision", "reason"),
    [
        ({"gpu_compute_capability": "8.7"}, "fp32", "no peak is known for compute capability 8.7; say it in"),
        ({"gpu_compute_capability": "7.5"}, "bf16", "no bf16 peak is known for compute capability 7.5"),
        ({"gpu_mig": True}, "fp32", "the peak of a part of a card (MIG) is not derived"),
        ({"gpu_cores": "unavailable: not supported"}, "fp32", "without cores (not supported)"),
        ({"gpu_max_sm_clock_hz": None}, "fp32", "without max sm clock hz (no board tells it)"),
        ({"gpu_cores": True}, "fp32", "without cores"),
    ],
)
def test_what_is_not_known_is_not_guessed(change: dict[str, Any], precision: str, reason: str) -> None:
    """With the reason, and what to do."""
    told = {key: value for key, value in {**H100, **change}.items() if value is not None}
    peak = derived_peaks(told, precision)["flops"]
    assert peak.value is None
    assert reason in peak.reason
    assert peak.reason.endswith("say it in gpu_profile_peaks, or run pytest-gpuprof calibrate")


def test_a_device_without_a_board_has_no_peak() -> None:
    """A stand-in, or a card of another vendor."""
    for peak in derived_peaks({}, "fp32").values():
        assert peak.value is None
        assert "no board tells the facts" in peak.reason
    assert derived_peaks({**H100, "gpu_mig": True}, "fp32")["bytes"].value is None


def test_a_board_may_tell_its_own_peaks() -> None:
    """They go before what could be derived; a simulated board's are simulated."""
    told = derived_peaks({**H100, "gpu_peak_fp32_flops": 1e12, "gpu_peak_bytes_per_s": 2e11, "simulated": True}, "fp32")
    assert (told["flops"].value, told["flops"].quality) == (1e12, "simulated")
    assert (told["bytes"].value, told["bytes"].source) == (2e11, "told by the board")
    assert derived_peaks({**H100, "gpu_peak_fp32_flops": 1e12}, "fp16")["flops"].quality == "derived"


def test_the_table_is_complete() -> None:
    """Every capability has its cores, every precision is one that can be named, and fp32 is twice the cores."""
    assert _PER_CLOCK.keys() == _CORES_PER_MULTIPROCESSOR.keys()
    assert all(set(rates) <= set(PRECISIONS) for rates in _PER_CLOCK.values())
    assert {cc: rates["fp32"] for cc, rates in _PER_CLOCK.items()} == {
        cc: 2 * cores for cc, cores in _CORES_PER_MULTIPROCESSOR.items()
    }
