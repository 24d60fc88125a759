"""--gpu-profile-plan: what would be measured, and that nothing is."""

from __future__ import annotations

import pytest

from .conftest import Runs, text_of

PLANNED = """
def touch(name):
    import pathlib
    pathlib.Path(name).touch()

@pytest.fixture
def set_up():
    touch("fixture")

@pytest.mark.gpu_budget(min_speedup=5)
def test_ratio(gpu_profile, set_up):
    touch("test")

@pytest.mark.gpu_budget(max_gpu_time=5)
@pytest.mark.gpu_profile(max_time=7)
def test_time(gpu_profile_device):
    touch("test")

@pytest.mark.gpu_budget(max_energy=5)
def test_energy(gpu_profile):
    touch("test")

def test_default(gpu_profile):
    touch("test")

@pytest.mark.gpu_budget(min_spedup=5)
def test_wrong(gpu_profile):
    touch("test")

def test_other():
    touch("test")
"""

BACKEND = """
from pytest_gpuprof import hookimpl

@hookimpl
def pytest_gpuprof_backends():
    raise AssertionError("asked for backends")
"""


@pytest.mark.parametrize("on", [True, False])
def test_the_plan_is_shown_and_nothing_is_run(runs: Runs, on: bool) -> None:
    """Each test has a row with the legs and what is measured on them; no test, fixture or backend is touched."""
    result = runs(PLANNED, "--gpu-profile-plan", conftest=BACKEND, on=on)
    assert result.ret == pytest.ExitCode.OK
    shown = text_of(result)
    assert "gpuprof: showing the plan, measuring nothing" in shown
    assert "test_it.py::test_ratio cpu and gpu: rounds 34 s" in shown
    assert "test_it.py::test_time gpu: rounds 11 s" in shown
    assert "test_it.py::test_energy gpu: energy 29 s" in shown
    assert "test_it.py::test_default cpu and gpu: device events, rounds 34 s" in shown
    assert "test_it.py::test_wrong error: 'min_spedup' is no budget; did you mean 'min_speedup'?" in shown
    assert "test_other" not in shown
    assert "5 tests, at most 108 s" in shown
    assert not any((runs.path / name).exists() for name in ("test", "fixture"))


def test_the_options_are_planned_with(runs: Runs) -> None:
    """Metrics, times and the ini's budgets change the plan."""
    runs.pytester.makeini("[pytest]\ngpu_profile_budgets =\n  *test_default: max_gpu_memory=1 GiB\n")
    args = ["--gpu-profile-plan", "--gpu-profile-metrics=energy", "--gpu-profile-max-time=1", "-k", "default"]
    shown = text_of(runs(PLANNED, *args))
    assert "cpu and gpu: energy, memory, package energy 58 s and 9 calls" in shown
    assert (
        "gpuprof: energy of 1 test takes about 43 s (standard: 5 s to settle and 3 windows of 5 s on each leg)" in shown
    )


PASSES = """
@pytest.mark.gpu_budget(max_gpu_time="1 s", max_cpu_time="1 s", stat="p95")
def test_latency(gpu_profile): ...

@pytest.mark.gpu_budget(max_gpu_memory="1 GiB")
def test_memory(gpu_profile): ...

@pytest.mark.gpu_budget(max_leak="1 KiB")
def test_leak(gpu_profile): ...
"""


def test_passes_of_their_own_are_in_the_plan(runs: Runs) -> None:
    """Latency takes as long as rounds may, after its warm-up; memory and leaks take calls, of whatever length."""
    shown = text_of(runs(PASSES, "--gpu-profile-plan", "--gpu-profile-max-time=10"))
    assert "test_it.py::test_latency cpu and gpu: latency 24 s" in shown
    assert "test_it.py::test_memory gpu: memory 9 calls" in shown
    assert "test_it.py::test_leak gpu: leak 5 s and 19 calls" in shown
    assert "3 tests, at most 29 s and 28 calls with one profile each, without compilation" in shown
    asked = text_of(runs(PASSES, "--gpu-profile-plan", "--gpu-profile-metrics=memory", "-k", "latency"))
    assert "cpu and gpu: latency, memory 69 s and 37 calls" in asked  # 32 s of latency per leg, and a look for leaks


SWEEPS = """
def wider(device, n): ...

def test_body(gpu_profile):
    gpu_profile.sweep(wider, n=[1, 2, 4])

@pytest.mark.gpu_budget(max_crossover=512, max_gpu_memory="1 GiB")
def test_budget(gpu_profile):
    measured_elsewhere(gpu_profile)

def test_single(gpu_profile):
    gpu_profile(fast)
"""


def test_a_sweep_is_planned_per_size(runs: Runs) -> None:
    """Sizes are in the body, which is not run; the total says what it holds."""
    shown = text_of(runs(SWEEPS, "--gpu-profile-plan"))
    assert "test_it.py::test_body cpu and gpu: device events, rounds 34 s per size" in shown
    assert "test_it.py::test_budget cpu and gpu: memory, rounds 34 s and 9 calls per size" in shown
    assert "test_it.py::test_single cpu and gpu: device events, rounds 34 s 3 tests" in shown
    assert "3 tests, at most 102 s and 9 calls with one profile each" in shown
    assert "2 tests that sweep are counted with one size: how many there are is known when a test runs" in shown
    one = text_of(runs(SWEEPS, "--gpu-profile-plan", "-k", "body"))
    assert "1 test that sweeps is counted with one size" in one
    assert "one size" not in text_of(runs(SWEEPS, "--gpu-profile-plan", "-k", "single"))


def test_the_seconds_of_energy_are_shown_before_they_are_spent(runs: Runs) -> None:
    """After the collection, for the tests that were selected; in the header, where every test measures it."""
    source = """
@pytest.mark.gpu_budget(max_energy="1 J")
def test_gross(gpu_profile): gpu_profile(fast)

@pytest.mark.gpu_budget(max_net_energy="1 J")
def test_net(gpu_profile): gpu_profile(fast)

@pytest.mark.gpu_budget(min_spedup=5)
def test_wrong(gpu_profile): gpu_profile(fast)

def test_time(gpu_profile): gpu_profile(fast)
"""
    line = "gpuprof: energy of 2 tests takes about 23 s (quick: 2 s to settle and 3 windows of 2 s on each leg)"
    result = runs.on_gpu(source, "--gpu-profile-energy=quick")
    result.assert_outcomes(passed=3, errors=1)
    shown = text_of(result)
    assert shown.index("collected 4 items") < shown.index(line) < shown.index("test_it.py ")
    assert "energy (about" not in shown
    assert "energy of" not in text_of(runs.on_gpu(source, "-k", "time"))
    asked = text_of(runs.on_gpu(source, "--gpu-profile-metrics=energy", "--gpu-profile-energy=quick", "-k", "time"))
    assert "quick energy (about 10 s per leg)" in asked


def test_energy_that_does_not_fit_into_the_session_is_not_measured(runs: Runs) -> None:
    """Its windows would outlast what the session may take; times that were measured are judged all the same."""
    source = """
@pytest.mark.gpu_budget(min_speedup=2, max_energy="1 J")
def test_it(gpu_profile): gpu_profile(fast)
"""
    shown = text_of(runs.on_gpu(source, "--gpu-profile-session-time=20"))
    assert "max_energy is inconclusive: out of time, as energy takes up to 29 s on the gpu leg on simulated:0" in shown
    assert "budgets: 1 met, 0 missed, 1 inconclusive" in shown
    assert "budgets: 2 met" in text_of(runs.on_gpu(source, "--gpu-profile-session-time=600"))


def test_reading_the_plan_of_energy_counts_as_no_attempt(runs: Runs) -> None:
    """The markers are read once more when the test runs."""
    records = runs.records("@pytest.mark.gpu_budget(max_energy=1)\ndef test_it(gpu_profile): gpu_profile(fast)")
    assert [record["attempt"] for record in records] == [1]


def test_no_test_measures_anything(runs: Runs) -> None:
    """A project without our fixtures is told so."""
    assert "no test measures anything" in text_of(runs("def test_a(): pass", "--gpu-profile-plan"))


def test_an_error_of_collection_stops_the_plan(runs: Runs) -> None:
    """A plan of half the tests would be wrong."""
    result = runs("import no_such_module", "--gpu-profile-plan")
    assert result.ret == pytest.ExitCode.INTERRUPTED


def test_no_plan_means_no_plan(runs: Runs) -> None:
    """``--no-gpu-profile`` goes before a plan in the ini."""
    runs.pytester.makeini("[pytest]\ngpu_profile_plan = true\n")
    result = runs("def test_a(gpu_profile): gpu_profile(fast)", "--no-gpu-profile", on=False)
    result.assert_outcomes(passed=1)


def test_workers_have_no_plan(runs: Runs) -> None:
    """With xdist workers the plan is a usage error with the remedy."""
    pytest.importorskip("xdist")
    result = runs("def test_a(gpu_profile): gpu_profile(fast)", "--gpu-profile-plan", "-n2", subprocess=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "run it with -n0" in result.stderr.str()
