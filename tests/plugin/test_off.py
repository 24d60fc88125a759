"""A run without --gpu-profile: each workload runs once, unmeasured, and nothing else of ours happens."""

from __future__ import annotations

import pytest

from .conftest import GPU, NO_GPU, Runs, text_of


def test_each_workload_runs_exactly_once(runs: Runs) -> None:
    """One build and one call per workload, on the best device there is."""
    runs(
        """
log = []

def logged(device):
    log.append(f"build on {device.info.id}")
    yield lambda: log.append("call")
    log.append("clean up")

def test_fixture(gpu_profile):
    gpu_profile(logged, reset=lambda: log.append("reset"))

def test_log():
    assert log == ["build on simulated:0", "reset", "call", "clean up"]
    log.clear()

def test_body(gpu_profile_device):
    log.append(f"build on {gpu_profile_device.info.id}")
    return lambda: log.append("call")

def test_log_again():
    assert log == ["build on simulated:0", "call"]
""",
        on=False,
    ).assert_outcomes(passed=4)


def test_the_output_comes_back(runs: Runs) -> None:
    """The profile has the output of the call and no figure, and says so."""
    runs(
        """
def test_it(gpu_profile):
    result = gpu_profile(lambda device: lambda: "computed")
    assert result.output == "computed" and result.verdicts == ()
    with pytest.raises(Unavailable, match="profiling is off"):
        result.speedup
""",
        on=False,
    ).assert_outcomes(passed=1)


def test_without_a_gpu_the_cpu_builder_takes_its_place(runs: Runs) -> None:
    """Where a GPU builder cannot run, ``cpu=`` runs; without one, the builder itself runs on the CPU."""
    runs(
        """
from conftest import CPU

ran = []

def only_gpu(device):
    raise AssertionError("there is no GPU")

def sequential():
    return lambda: ran.append("cpu")

def test_cpu(gpu_profile):
    gpu_profile(only_gpu, cpu=sequential)
    assert ran == ["cpu"]

def test_same(gpu_profile):
    gpu_profile(lambda device: lambda: ran.append(device.info.id.type))
    assert ran == ["cpu", "cpu"]
""",
        on=False,
        conftest=NO_GPU,
        devices=None,
    ).assert_outcomes(passed=2)


def test_a_builder_that_fails_is_the_users_failure(runs: Runs) -> None:
    """What a workload raises is shown as it is, in a plain run too."""
    result = runs(
        """
def broken(device):
    return lambda: 1 / 0

def test_it(gpu_profile):
    gpu_profile(broken)
""",
        on=False,
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *ZeroDivisionError: division by zero"])


def test_outputs_are_not_compared(runs: Runs) -> None:
    """``check=`` needs both legs, so a plain run does not check."""
    runs("def test_it(gpu_profile): gpu_profile(fast, check=lambda cpu, gpu: False)", on=False).assert_outcomes(
        passed=1
    )


BUDGETS = """
pytestmark = pytest.mark.gpu_budget(max_gpu_time=1)

@pytest.mark.gpu_budget(min_speedup=5)
def test_a(gpu_profile):
    gpu_profile(slow)

@pytest.mark.parametrize("n", [1, 2])
def test_b(gpu_profile_device, n):
    return lambda: None

def test_c(gpu_profile):
    gpu_profile(slow).require(max_energy=1, max_power=1)

def test_d():
    pass
"""


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_budgets_that_are_not_judged_are_counted(runs: Runs, workers: list[str]) -> None:
    """The summary says how many budgets a plain run did not judge, also those of xdist workers."""
    if workers:
        pytest.importorskip("xdist")
    result = runs(BUDGETS, *workers, on=False, subprocess=bool(workers))
    result.assert_outcomes(passed=5)
    assert "gpuprof: 7 budgets were not judged, because profiling is off: run with --gpu-profile" in text_of(result)


def test_one_budget_is_one_budget(runs: Runs) -> None:
    """The sentence has its grammar."""
    result = runs("@pytest.mark.gpu_budget(min_speedup=5)\ndef test_a(gpu_profile): gpu_profile(slow)", on=False)
    assert "gpuprof: 1 budget was not judged" in text_of(result)


@pytest.mark.parametrize("source", ["", "def test_a(): pass", "def test_a(gpu_profile): gpu_profile(fast)"])
@pytest.mark.parametrize("args", [[], ["-v"]])
def test_there_is_no_word_of_us_where_nothing_is_to_say(runs: Runs, source: str, args: list[str]) -> None:
    """Without budgets a plain run shows nothing of ours: no header, no table, no count."""
    shown = runs(source, *args, on=False).stdout.str()
    lines = [line for line in shown.splitlines() if not line.startswith("plugins:")]
    assert "gpuprof" not in "\n".join(lines)
    assert not (runs.path / ".gpuprof").exists()


HOOKS = """
def _ours(config):
    hooks = ["pytest_runtest_protocol", "pytest_runtest_setup", "pytest_runtest_call", "pytest_runtest_teardown",
             "pytest_runtest_makereport", "pytest_runtest_logreport", "pytest_pyfunc_call", "pytest_report_header",
             "pytest_collection_modifyitems", "pytest_terminal_summary", "pytest_sessionfinish"]
    callers = [getattr(config.pluginmanager.hook, name) for name in hooks]
    return [each.plugin_name for caller in callers for each in caller.get_hookimpls()
            if "gpuprof" in each.plugin_name or "gpuprof" in type(each.plugin).__module__]

def pytest_sessionfinish(session):
    print("OURS", len(_ours(session.config)))
"""


@pytest.mark.parametrize(
    ("source", "args", "ours"),
    [
        ("def test_a(): pass", [], False),
        ("@pytest.mark.gpu_budget(min_speedup=5)\ndef test_a(): pass", [], False),
        ("def test_a(gpu_profile): pass", [], True),
        ("def test_a(): pass", ["--gpu-profile"], True),
        ("def test_a(): pass", ["--gpu-profile", "--collect-only"], False),
    ],
)
def test_a_run_that_does_not_use_us_has_no_hook_of_ours(runs: Runs, source: str, args: list[str], ours: bool) -> None:
    """No hook of ours is called for tests unless one of them uses a fixture of ours, or profiling is on."""
    shown = runs(source, "-s", *args, on=False, conftest=HOOKS).stdout.str()
    none_of_ours = "OURS 0" in shown
    assert none_of_ours is not ours


def test_the_plugin_can_be_left_out(runs: Runs) -> None:
    """``-p no:gpuprof`` takes everything of ours away."""
    result = runs.pytester.runpytest_inprocess("-p", "no:gpuprof", "-p", "no:hypothesispytest", "--gpu-profile")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "unrecognized arguments: --gpu-profile" in result.stderr.str()


@pytest.mark.parametrize("conftest", [GPU, NO_GPU])
def test_a_rerun_of_a_plain_run_runs_the_workload_again(runs: Runs, conftest: str) -> None:
    """Each attempt runs the workload once."""
    pytest.importorskip("pytest_rerunfailures")
    result = runs(
        """
def test_it(gpu_profile, calls=[]):
    gpu_profile(lambda device: lambda: calls.append(1))
    assert len(calls) == 3
""",
        "--reruns=5",
        on=False,
        conftest=conftest,
        devices=None,
    )
    result.assert_outcomes(passed=1)
    assert result.parseoutcomes()["rerun"] == 2
