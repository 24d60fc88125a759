"""Under xdist: records arrive whatever happens to a worker, and what contention spoils is not believed."""

from __future__ import annotations

from typing import Any

import pytest

from .conftest import Runs, text_of

pytest.importorskip("xdist")

EXPORT = "--gpu-profile-export=json:out.json"


def run(runs: Runs, source: str, *args: str, workers: int = 2, **how: Any) -> pytest.RunResult:
    """Run an inner test file with workers, in a process of its own."""
    return runs(source, f"-n{workers}", *args, subprocess=True, **how)


def test_records_arrive_and_ratios_are_doubted(runs: Runs) -> None:
    """Figures of the workers arrive everywhere; contention spoils a speedup, and no limit on the GPU."""
    result = run(
        runs,
        """
@pytest.mark.gpu_budget(min_speedup=5)
def test_met(gpu_profile):
    gpu_profile(fast)

@pytest.mark.gpu_budget(min_speedup=50)
def test_missed(gpu_profile):
    gpu_profile(fast)

@pytest.mark.gpu_budget(max_gpu_time="1.5 ms")
def test_time(gpu_profile):
    gpu_profile(fast)

@pytest.mark.gpu_budget(max_gpu_time="1.5 ms")
def test_too_long(gpu_profile):
    gpu_profile(slow)

@pytest.mark.gpu_budget(max_gpu_memory="1 KiB")
def test_memory(gpu_profile):
    gpu_profile(hungry)

@pytest.mark.gpu_budget(min_spedup=5)
def test_wrong(gpu_profile):
    gpu_profile(fast)

@pytest.mark.skip
@pytest.mark.gpu_budget(min_speedup=5)
def test_skipped(gpu_profile):
    gpu_profile(fast)
""",
        EXPORT,
        "--junitxml=junit.xml",
    )
    result.assert_outcomes(passed=3, failed=2, errors=1, skipped=1)
    shown = text_of(result)
    assert (
        "2 xdist workers load the CPU, which slows the CPU leg and makes the speedup too good; measure with -n0"
        in shown
    )
    assert "misses max_gpu_memory 1 KiB" in shown
    assert "did you mean 'min_speedup'?" in shown
    assert "budgets: 1 met, 2 missed, 2 inconclusive, 1 not enforced" in shown
    assert "INTERNALERROR" not in shown
    names = {f"test_it.py::test_{name}" for name in ("met", "missed", "time", "too_long", "memory")}
    assert {record["test"] for record in runs.exported()["records"]} == names
    assert {record["test"] for record in runs.journal()} == names
    assert "gpuprof.gpu_time_s" in (runs.path / "junit.xml").read_text(encoding="utf-8")


def test_a_worker_that_dies_takes_nothing_of_the_others(runs: Runs) -> None:
    """A test that ends its process is a failure; what was measured before it, there and elsewhere, is kept."""
    result = run(
        runs,
        """
import os

def dying(device):
    def work():
        os._exit(9)
    return work

def test_a(gpu_profile):
    gpu_profile(fast).require(max_gpu_time=1)

def test_b(gpu_profile):
    gpu_profile(dying)

def test_c(gpu_profile):
    gpu_profile(fast).require(max_gpu_time=1)

def test_d(gpu_profile):
    gpu_profile(fast).require(max_gpu_time=1)
""",
        EXPORT,
    )
    result.assert_outcomes(passed=3, failed=1)
    assert "budgets: 3 met" in text_of(result)
    assert len(runs.exported()["records"]) == 3
    assert {record["test"] for record in runs.journal()} == {f"test_it.py::test_{name}" for name in "acd"}


def test_numbers_of_numpy_cross_to_the_controller(runs: Runs) -> None:
    """NumPy scalars as limits, parameters, items and tolerances kill no worker."""
    result = run(
        runs,
        """
import numpy as np

@pytest.mark.gpu_profile(items=np.float64(50), params={"n": np.int64(3), "x": np.float32(2), "a": np.ones(3)})
@pytest.mark.gpu_budget(max_gpu_time=np.float64(1), min_throughput=np.float64(5))
@pytest.mark.parametrize("size", [np.int64(7), np.float32(1.5)])
def test_it(gpu_profile, size):
    def build(device, n, x, a):
        def work():
            device.run(cpu=20e-3, gpu=1e-3)
            return np.float32(1)
        return work
    gpu_profile(build, check=dict(rtol=np.float64(0.1)))
""",
        EXPORT,
        workers=1,
    )
    result.assert_outcomes(passed=2)
    assert "budgets: 4 met" in text_of(result)
    assert {type(value) for value in runs.exported()["records"][0]["params"].values()} == {int, float, str}


def test_one_worker_loads_the_cpu_with_nothing_else(runs: Runs) -> None:
    """With a single worker there is no contention, so a speedup is judged."""
    source = "@pytest.mark.gpu_budget(min_speedup=5)\ndef test_it(gpu_profile):\n    gpu_profile(fast)\n"
    assert "budgets: 1 met" in text_of(run(runs, source, workers=1))


def test_xdist_off_runs_each_workload_once(runs: Runs) -> None:
    """``--gpu-profile-xdist=off`` measures nothing in workers, and the budgets are counted with the remedy."""
    result = run(
        runs,
        """
@pytest.mark.gpu_budget(min_speedup=5, max_gpu_time=1)
@pytest.mark.parametrize("n", [1, 2])
def test_it(gpu_profile, n):
    calls = []
    gpu_profile(lambda device: lambda: calls.append(1)).require(min_speedup=5)
    assert len(calls) == 1
""",
        "--gpu-profile-xdist=off",
    )
    result.assert_outcomes(passed=2)
    shown = text_of(result)
    assert "not measuring under xdist (--gpu-profile-xdist=off)" in shown
    assert "gpuprof: 6 budgets were not judged, because --gpu-profile-xdist=off measures nothing" in shown
    assert "run with -n0" in shown
    assert "profiling is off" not in shown


def test_xdist_off_measures_without_workers(runs: Runs) -> None:
    """The option is about workers only."""
    source = "@pytest.mark.gpu_budget(min_speedup=5)\ndef test_it(gpu_profile):\n    gpu_profile(fast)\n"
    assert "budgets: 1 met" in text_of(runs(source, "--gpu-profile-xdist=off"))


TWO_CARDS = """
from pytest_gpuprof import hookimpl
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend

@hookimpl
def pytest_gpuprof_backends():
    return [SimulatedBackend([Card(), Card()])]
"""


def test_each_worker_has_a_device_of_its_own(runs: Runs) -> None:
    """With ``--gpu-profile-xdist=assign`` worker N measures on the N-th of the named devices."""
    result = run(
        runs,
        """
import os

@pytest.mark.parametrize("n", range(4))
def test_it(gpu_profile, n):
    gpu_profile(lambda device, worker: fast(device), params={"worker": os.environ["PYTEST_XDIST_WORKER"]})
""",
        "--gpu-profile-xdist=assign",
        EXPORT,
        conftest=TWO_CARDS,
        devices="simulated:0,simulated:1",
    )
    result.assert_outcomes(passed=4)
    pairs = {
        (record["params"]["worker"], record["legs"]["gpu"]["device"]["id"]) for record in runs.exported()["records"]
    }
    assert pairs == {("gw0", "simulated:0"), ("gw1", "simulated:1")}


def test_a_strict_ini_leaves_plain_workers_alone(runs: Runs) -> None:
    """A project with a strict gate in its ini runs its functional tests under xdist as ever."""
    runs.pytester.makeini("[pytest]\ngpu_profile_strict = true\n")
    source = "@pytest.mark.gpu_budget(min_speedup=5)\ndef test_it(gpu_profile):\n    gpu_profile(fast)\n"
    result = run(runs, source, on=False)
    result.assert_outcomes(passed=1)
    assert "1 budget was not judged" in text_of(result)


@pytest.mark.parametrize("arg", ["--gpu-profile-metrics=colour", "--gpu-profile-export=json:."])
def test_a_usage_error_is_one_under_xdist(runs: Runs, arg: str) -> None:
    """What cannot be meant is told before any worker is started."""
    result = run(runs, "def test_it(gpu_profile): gpu_profile(fast)", arg)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    assert "gw0" not in result.stdout.str()


def test_only_and_reruns_work_in_workers(runs: Runs) -> None:
    """Deselection and reruns happen in the workers; the last attempt counts once."""
    pytest.importorskip("pytest_rerunfailures")
    result = run(
        runs,
        """
@pytest.mark.gpu_budget(max_gpu_memory="1 KiB")
def test_flaky(gpu_profile, attempts=[]):
    attempts.append(1)
    gpu_profile(fast if len(attempts) > 1 else hungry)

def test_other():
    assert False
""",
        "--gpu-profile-only",
        "--reruns=1",
        EXPORT,
    )
    result.assert_outcomes(passed=1)
    assert "budgets: 1 met, 0 missed" in text_of(result)
    assert [record["attempt"] for record in runs.exported()["records"]] == [2]
