"""--gpu-profile-strict, the flag for a gate: nothing passes by not running."""

from __future__ import annotations

import pytest

from .conftest import BLIND_GPU, GPU, NO_GPU, Runs, text_of
from .test_verdicts import MET, MISSED, NO_READING, SKIPS, TOO_CLOSE, outcome_of

STRICT = "--gpu-profile-strict"


@pytest.mark.parametrize(
    ("budgets", "conftest", "outcome"),
    [
        (MET, GPU, "passed"),
        (MISSED, GPU, "failed"),
        (TOO_CLOSE, GPU, "failed"),
        (NO_READING, BLIND_GPU, "failed"),
        (MET, NO_GPU, "failed"),
        ("max_cpu_time=9", GPU, "passed"),
        ("max_cpu_time=9", NO_GPU, "failed"),
    ],
)
def test_strict_fails_what_cannot_be_judged(runs: Runs, budgets: str, conftest: str, outcome: str) -> None:
    """Under strict both policies fail, and a GPU is required."""
    assert outcome_of(runs, budgets, STRICT, conftest=conftest)[0] == outcome


def test_strict_is_stronger_than_the_policies(runs: Runs) -> None:
    """A policy that is said beside strict does not soften it."""
    args = [STRICT, "--gpu-profile-inconclusive=warn", "--gpu-profile-unavailable=skip"]
    assert outcome_of(runs, f"{TOO_CLOSE}, {NO_READING}", *args, conftest=BLIND_GPU)[0] == "failed"


@pytest.mark.parametrize("devices", ["simulated:0", "any", None])
def test_a_stand_in_is_never_enough(runs: Runs, devices: str | None) -> None:
    """A stand-in fails a gate, also when it is named."""
    source = "@pytest.mark.gpu_budget(min_speedup=5)\ndef test_it(gpu_profile):\n    gpu_profile(fast)\n"
    result = runs(source, STRICT, devices=devices)
    result.assert_outcomes(failed=1)
    assert "simulated:0 is a stand-in (simulated)" in text_of(result)


def test_a_requirement_on_a_stand_in_is_never_enough(runs: Runs) -> None:
    """The same for what is required in the body."""
    result = runs("def test_it(gpu_profile):\n    gpu_profile(fast).require(min_speedup=5)\n", STRICT)
    result.assert_outcomes(failed=1)
    assert "--gpu-profile-strict requires a GPU" in text_of(result)


def test_strict_refuses_a_budgeted_test_that_skips_itself(runs: Runs) -> None:
    """By a mark, in a fixture or in the body: each is a failure. A test without budgets may skip itself."""
    result = runs.on_gpu(SKIPS, STRICT)
    result.assert_outcomes(failed=1, errors=2, skipped=1)
    for reason in ("not today", "not now", "not here"):
        assert f"the test has budgets and skips itself ({reason})" in text_of(result)


def test_budgets_of_the_ini_do_not_make_a_skip_pass(runs: Runs) -> None:
    """A budget of the class or the ini counts as well: the test would have been judged by it."""
    runs.pytester.makeini("[pytest]\ngpu_profile_budgets =\n  *: min_speedup=5\n")
    result = runs.on_gpu("@pytest.mark.skip(reason='no')\ndef test_it(gpu_profile):\n    gpu_profile(fast)\n", STRICT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "the test has budgets and skips itself (no)" in text_of(result)


@pytest.mark.parametrize(
    "source",
    [
        "",
        "def test_it(): pass",
        "def test_it(gpu_profile): gpu_profile(fast)",
        "@pytest.mark.gpu_budget(min_speedup={'H200': 5})\ndef test_it(gpu_profile): gpu_profile(fast)",
        "@pytest.mark.skip\ndef test_it(gpu_profile): gpu_profile(fast)",
    ],
)
def test_a_session_that_judged_nothing_fails(runs: Runs, source: str) -> None:
    """A gate in which no budget was judged exits 1 and says so, whatever the tests did."""
    result = runs.on_gpu(source, STRICT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "FAILED gpuprof: --gpu-profile-strict, and no budget was judged in this session" in text_of(result)


@pytest.mark.parametrize("args", [["-k", "nothing"], ["--deselect=test_it.py::test_it"]])
def test_a_session_whose_budgets_were_deselected_fails(runs: Runs, args: list[str]) -> None:
    """A selection that leaves no budgeted test is no gate."""
    source = (
        "@pytest.mark.gpu_budget(min_speedup=5)\ndef test_it(gpu_profile): gpu_profile(fast)\ndef test_other(): pass"
    )
    assert runs.on_gpu(source, STRICT, *args).ret == pytest.ExitCode.TESTS_FAILED


def test_a_usage_error_stays_one(runs: Runs) -> None:
    """The exit status of a session that could not begin is not replaced."""
    assert runs.on_gpu("", STRICT, "no_such_file.py").ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.parametrize("where", ["command line", "ini"])
def test_strict_refuses_xdist_at_start(runs: Runs, where: str) -> None:
    """Workers load the CPU that is measured, so they are a usage error with the remedy, before any is started."""
    pytest.importorskip("xdist")
    args = [STRICT, "-n2"] if where == "command line" else ["-n2"]
    if where == "ini":
        runs.pytester.makeini("[pytest]\ngpu_profile_strict = true\n")
    result = runs.on_gpu("def test_it(gpu_profile): gpu_profile(fast)", *args, subprocess=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "run the gate with -n0" in result.stderr.str()
    assert "gw0" not in result.stdout.str()


def test_strict_takes_no_workers(runs: Runs) -> None:
    """The remedy works: with -n0 a gate runs."""
    pytest.importorskip("xdist")
    source = "@pytest.mark.gpu_budget(min_speedup=5)\ndef test_it(gpu_profile): gpu_profile(fast)"
    runs.on_gpu(source, STRICT, "-n0").assert_outcomes(passed=1)


def test_the_header_says_strict(runs: Runs) -> None:
    """The header says that this is a gate."""
    runs.on_gpu("", STRICT).stdout.fnmatch_lines(["gpuprof: *, strict"])
