"""Utilization budgets in a test run: met, missed, unavailable; peaks in the ini, and derived by the real pynvml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.simulators import SimulatorUnavailable
from tests.simulators.nvml import build

from .conftest import NO_GPU, Runs, machine, text_of
from .test_energy_by_nvml import CONFTEST

PEAK = machine("name='NVIDIA T4', peak_flops=2e12, peak_bytes_per_s=1e12")
"""A machine with a GPU that tells its peaks; the work below takes 1 ms there."""

BLIND = machine("name='NVIDIA T4'")
"""A machine with a GPU of which no peak is known."""

TESTS = """
@pytest.mark.gpu_budget(min_compute_utilization="40%")
def test_busy(gpu_profile):
    gpu_profile(fast, flops=1e9)

@pytest.mark.gpu_budget(min_bandwidth_utilization={"T4": 0.4}, reason="it was 0.6 in March")
def test_idle(gpu_profile):
    gpu_profile(fast, bytes=1e8)

@pytest.mark.gpu_profile(flops=1e9, precision="fp16")
@pytest.mark.gpu_budget(min_compute_utilization=0.4)
def test_other_precision(gpu_profile_device):
    return lambda: gpu_profile_device.run(1e-3)
"""


def test_met_missed_and_unavailable(runs: Runs) -> None:
    """One of each: the sentence of the missed one has the rate, the peak, and the reason of the limit."""
    result = runs.on_gpu(TESTS, conftest=PEAK)
    result.assert_outcomes(passed=1, failed=2)
    shown = text_of(result)
    assert "bandwidth utilization 10%" in shown
    assert "GB/s over device time, of the simulated peak 1 TB/s (told by the board)]: it was 0.6 in March" in shown
    assert "min_compute_utilization cannot be judged: compute utilization is unavailable, because no board" in shown
    assert "run pytest-gpuprof calibrate" in shown


def test_the_table_has_the_utilization(runs: Runs) -> None:
    """A column each, where there is something to say."""
    shown = text_of(runs.on_gpu(TESTS, conftest=PEAK))
    assert "of peak FLOP [%]" in shown
    assert "of peak bandwidth [%]" in shown


def test_peaks_come_from_the_ini_and_the_command_line_goes_before(runs: Runs) -> None:
    """Several cards, one per line; what is given counts for more than what the board tells."""
    runs.pytester.makeini(
        "[pytest]\ngpu_profile_peaks =\n  H200: fp32=67 TFLOP/s\n  T4: fp32=1.25 TFLOP/s, fp16=2 TFLOP/s, "
        "bandwidth=200 GB/s\n"
    )
    result = runs.on_gpu(TESTS, conftest=PEAK)
    result.assert_outcomes(passed=3)
    again = runs.on_gpu(TESTS, "--gpu-profile-peaks=*: fp32=10 TFLOP/s", conftest=PEAK)
    assert "of the given fp32 peak 10 TFLOP/s (by gpu_profile_peaks)" in text_of(again)


def test_a_gpu_without_a_known_peak_is_an_error_and_no_gpu_is_a_skip(runs: Runs) -> None:
    """As for every reading that is missing."""
    runs.on_gpu(TESTS, conftest=BLIND).assert_outcomes(failed=3)
    runs.on_gpu(TESTS, conftest=NO_GPU).assert_outcomes(skipped=3)


def test_work_that_nobody_declared_fails_the_test(runs: Runs) -> None:
    """On any machine with profiling on: it is a mistake of the test."""
    source = "@pytest.mark.gpu_budget(min_compute_utilization=0.4)\ndef test_a(gpu_profile):\n    gpu_profile(fast)\n"
    for conftest in (PEAK, NO_GPU):
        result = runs.on_gpu(source, conftest=conftest)
        result.assert_outcomes(failed=1)
        assert "min_compute_utilization needs the work of a call; declare it with flops=" in text_of(result)


def test_counted_flops_of_a_test(runs: Runs) -> None:
    """In the record with who counted them; and the plan shows that they would be."""
    source = (
        "@pytest.mark.gpu_budget(min_compute_utilization=0.4)\ndef test_a(gpu_profile):\n"
        "    gpu_profile(lambda device: lambda: device.run(1e-3, flops=1e9), backend='simulated', flops='auto')\n"
    )
    result = runs.on_gpu(source, "--gpu-profile-export=json:out.json", conftest=PEAK)
    result.assert_outcomes(passed=1)
    (record,) = runs.exported()["records"]
    counted = record["legs"]["gpu"]["readings"]["flops"]
    assert (counted["value"], counted["source"]) == (
        1e9,
        "counted by the simulated machine (only what run(flops=) says)",
    )
    assert record["work"]["counts_flops"] is True
    assert record["derived"]["compute_utilization"]["value"] == pytest.approx(0.5, rel=0.02)
    planned = runs.on_gpu(source, "--gpu-profile-plan", conftest=PEAK)
    assert "test_a gpu: device events, flop count, rounds" in text_of(planned)


def test_a_derived_peak_by_the_real_pynvml(pytester: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory) -> None:
    """From the simulated NVML's facts of an H100: 16896 cores at 1980 MHz, and 5120 bits at 2619 MHz."""
    try:
        library = build(tmp_path_factory.mktemp("nvml-limits"))
    except SimulatorUnavailable as error:
        pytest.skip(f"NOT TESTED: derived peaks by the real pynvml: {error}")
    pytester.makepyfile(
        "import pytest\n\n"
        "def work(device):\n    return lambda: device.run(cpu=20e-3, gpu=2e-3)\n\n"
        "@pytest.mark.gpu_budget(min_compute_utilization=0.4, min_bandwidth_utilization=0.4)\n"
        "def test_a(gpu_profile):\n    gpu_profile(work, backend='machine', flops=66.9e9, bytes=3.352e9)\n"
    )
    root = str(Path(__file__).parents[2])
    pytester.makeconftest(CONFTEST.format(root=root, library=str(library), settings=""))
    result = pytester.runpytest_subprocess(
        "--gpu-profile", "--gpu-profile-export=json:out.json", "-p", "no:cacheprovider"
    )
    result.assert_outcomes(passed=1)
    (record,) = json.loads((pytester.path / "out.json").read_text(encoding="utf-8"))["records"]
    peaks = record["work"]["peaks"]
    assert peaks["flops"]["value"] == pytest.approx(66.9e12, rel=0.001)
    assert peaks["flops"]["source"] == "132 SMs × 256 FLOP × 1.98 GHz, the highest clock"
    assert peaks["bytes"]["value"] == pytest.approx(3.352e12, rel=0.001)
    assert {peak["quality"] for peak in peaks.values()} == {"derived"}
    assert record["derived"]["compute_utilization"]["value"] == pytest.approx(0.5, rel=0.02)
