"""From verdicts to outcomes: which wins, what the policies do, and that no gate passes by not running."""

from __future__ import annotations

import pytest

from .conftest import BLIND_GPU, GPU, NO_GPU, Runs, text_of

TIE = """
def tie(device):
    return lambda: device.run(cpu=10e-3, gpu=10e-3)
"""
"""A workload as fast on both legs, so that ``min_speedup=1`` lies within the noise."""

MET, MISSED, TOO_CLOSE, NO_READING = "min_speedup=0.1", "min_speedup=50", "min_speedup=1", "max_energy='1 J'"


def outcome_of(runs: Runs, budgets: str, *args: str, conftest: str = GPU, extra: str = "") -> tuple[str, str]:
    """Return what becomes of a test with these budgets, and what is shown."""
    result = runs.on_gpu(
        f"""
{TIE}
@pytest.mark.gpu_budget({budgets})
{extra}
def test_it(gpu_profile):
    gpu_profile(tie)
""",
        "-rsxX",
        *args,
        conftest=conftest,
    )
    (outcome,) = {name for name in result.parseoutcomes() if name not in ("warnings", "warning")}
    return outcome, text_of(result)


@pytest.mark.parametrize(
    ("budgets", "conftest", "outcome", "counted"),
    [
        (MET, GPU, "passed", "1 met, 0 missed, 0 inconclusive, 0 not enforced"),
        (MISSED, GPU, "failed", "0 met, 1 missed, 0 inconclusive, 0 not enforced"),
        (TOO_CLOSE, GPU, "passed", "0 met, 0 missed, 1 inconclusive, 0 not enforced"),
        (NO_READING, BLIND_GPU, "failed", "0 met, 0 missed, 0 inconclusive, 1 not enforced"),
        (MET, NO_GPU, "skipped", "0 met, 0 missed, 0 inconclusive, 1 not enforced"),
        (NO_READING, NO_GPU, "skipped", "0 met, 0 missed, 0 inconclusive, 1 not enforced"),
    ],
)
def test_each_verdict_has_its_outcome(runs: Runs, budgets: str, conftest: str, outcome: str, counted: str) -> None:
    """Met passes, missed fails, inconclusive warns; no GPU skips, and a GPU without the reading is an error."""
    found, shown = outcome_of(runs, budgets, conftest=conftest)
    assert found == outcome
    assert f"budgets: {counted}" in shown


@pytest.mark.parametrize(
    ("budgets", "conftest", "args", "outcome"),
    [
        # inconclusive
        (TOO_CLOSE, GPU, ["--gpu-profile-inconclusive=warn"], "passed"),
        (TOO_CLOSE, GPU, ["--gpu-profile-inconclusive=fail"], "failed"),
        (TOO_CLOSE, GPU, ["--gpu-profile-inconclusive=skip"], "skipped"),
        # unavailable
        (NO_READING, BLIND_GPU, ["--gpu-profile-unavailable=warn"], "passed"),
        (NO_READING, BLIND_GPU, ["--gpu-profile-unavailable=fail"], "failed"),
        (NO_READING, BLIND_GPU, ["--gpu-profile-unavailable=skip"], "skipped"),
        (MET, NO_GPU, ["--gpu-profile-unavailable=warn"], "passed"),
        (MET, NO_GPU, ["--gpu-profile-unavailable=fail"], "failed"),
        (MET, NO_GPU, ["--gpu-profile-unavailable=skip"], "skipped"),
        # the policy of one says nothing about the other
        (TOO_CLOSE, GPU, ["--gpu-profile-unavailable=fail"], "passed"),
        (NO_READING, BLIND_GPU, ["--gpu-profile-inconclusive=skip"], "failed"),
        # nor about what is judged
        (MISSED, GPU, ["--gpu-profile-inconclusive=skip", "--gpu-profile-unavailable=skip"], "failed"),
        (MET, GPU, ["--gpu-profile-inconclusive=fail", "--gpu-profile-unavailable=fail"], "passed"),
    ],
)
def test_the_policies_decide_what_cannot_be_judged(
    runs: Runs, budgets: str, conftest: str, args: list[str], outcome: str
) -> None:
    """Each policy decides about its own verdicts only."""
    assert outcome_of(runs, budgets, *args, conftest=conftest)[0] == outcome


@pytest.mark.parametrize(
    ("budgets", "args", "outcome", "first"),
    [
        # missed > unavailable-error
        (f"{MISSED}, {NO_READING}", [], "failed", "misses min_speedup"),
        # unavailable-error > inconclusive
        (f"{TOO_CLOSE}, {NO_READING}", ["--gpu-profile-inconclusive=skip"], "failed", "max_energy cannot be judged"),
        (f"{TOO_CLOSE}, {NO_READING}", ["--gpu-profile-inconclusive=fail"], "failed", "max_energy cannot be judged"),
        # inconclusive > unavailable-skip
        (f"{TOO_CLOSE}, {NO_READING}", ["--gpu-profile-unavailable=skip"], "passed", "is too close to call"),
        (
            f"{TOO_CLOSE}, {NO_READING}",
            ["--gpu-profile-unavailable=skip", "--gpu-profile-inconclusive=fail"],
            "failed",
            "is too close to call",
        ),
        # unavailable-error > met; what could be judged keeps a test from being skipped
        (f"{MET}, {NO_READING}", [], "failed", "max_energy cannot be judged"),
        (f"{MET}, {NO_READING}", ["--gpu-profile-unavailable=skip"], "passed", "budgets: 1 met"),
        (f"{MISSED}, {NO_READING}", ["--gpu-profile-unavailable=skip"], "failed", "misses min_speedup"),
    ],
)
def test_the_worst_verdict_decides(runs: Runs, budgets: str, args: list[str], outcome: str, first: str) -> None:
    """Over several budgets of a test: missed > unavailable-error > inconclusive > unavailable-skip > met."""
    found, shown = outcome_of(runs, budgets, *args, conftest=BLIND_GPU)
    assert found == outcome
    assert first in shown


def test_a_miss_that_is_not_enforced_was_judged(runs: Runs) -> None:
    """A test of which one budget was judged, though not enforced, is not skipped for another."""
    extra = f"@pytest.mark.gpu_budget({MISSED}, enforce=False)"
    found, shown = outcome_of(runs, NO_READING, "--gpu-profile-unavailable=skip", conftest=BLIND_GPU, extra=extra)
    assert found == "passed"
    assert "budgets: 0 met, 1 missed, 0 inconclusive, 1 not enforced" in shown


@pytest.mark.parametrize("budgets", [MISSED, TOO_CLOSE, NO_READING])
def test_what_is_not_enforced_fails_nothing(runs: Runs, budgets: str) -> None:
    """``enforce=False`` judges, tells and counts, and fails no test under any policy."""
    args = ["--gpu-profile-inconclusive=fail", "--gpu-profile-unavailable=fail"]
    assert outcome_of(runs, f"{budgets}, enforce=False", *args, conftest=BLIND_GPU)[0] == "passed"


def test_the_worst_profile_decides(runs: Runs) -> None:
    """Over several profiles of a test the same order holds: a miss of the last is told before a doubt of the first."""
    result = runs.on_gpu(
        f"""
{TIE}
@pytest.mark.gpu_budget({TOO_CLOSE}, profile="tie")
@pytest.mark.gpu_budget({NO_READING}, profile="fast")
@pytest.mark.gpu_budget({MISSED}, profile="slow")
def test_it(gpu_profile):
    gpu_profile(tie), gpu_profile(fast), gpu_profile(slow)

@pytest.mark.gpu_budget({TOO_CLOSE}, profile="tie")
@pytest.mark.gpu_budget({NO_READING}, profile="fast")
def test_without_a_miss(gpu_profile):
    gpu_profile(tie), gpu_profile(fast)
""",
        "--gpu-profile-inconclusive=fail",
        conftest=BLIND_GPU,
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "FAILED test_it.py::test_it - GpuBudgetMissed: speedup *",
            "FAILED test_it.py::test_without_a_miss - GpuBudgetUnjudged: max_energy *",
        ]
    )


def test_the_message_of_a_miss_is_a_sentence_without_a_traceback(runs: Runs) -> None:
    """A missed budget tells figure, limit and where, and shows no code."""
    found, shown = outcome_of(runs, f"{MISSED}, reason='users wait for it'")
    assert found == "failed"
    assert "misses min_speedup 50x" in shown
    assert "users wait for it" in shown
    assert "measured again" in shown
    assert "('tie' on simulated:0 NVIDIA T4, the CPU leg with" in shown
    assert "Traceback" not in shown
    assert "def test_it" not in shown


def test_verdicts_are_applied_after_the_body(runs: Runs) -> None:
    """The body runs to its end, and a failure of its own comes first; its numbers and verdicts are kept."""
    source = f"""
import pathlib
@pytest.mark.gpu_budget({MISSED})
def test_it(gpu_profile):
    gpu_profile(fast)
    pathlib.Path("reached").touch()
    assert 1 == 2, "of its own"
"""
    result = runs.on_gpu(source, "--gpu-profile-export=json:out.json")
    result.assert_outcomes(failed=1)
    assert (runs.path / "reached").exists()
    assert "AssertionError: of its own" in text_of(result)
    (record,) = runs.exported()["records"]
    assert record["outcome"] == "failed"
    assert record["derived"]["speedup"]["value"] == pytest.approx(20, rel=0.05)
    assert [verdict["outcome"] for verdict in record["verdicts"]] == ["missed"]


def test_a_test_that_measures_nothing_does_not_pass_its_own_budget(runs: Runs) -> None:
    """A function's own budget fails a test that measured nothing; those of class, module and ini do not."""
    runs.pytester.makeini("[pytest]\ngpu_profile_budgets =\n  *: max_cpu_time=9\n")
    result = runs.on_gpu(
        """
pytestmark = pytest.mark.gpu_budget(max_gpu_time=9)

@pytest.mark.gpu_budget(min_speedup=5)
def test_own():
    pass

@pytest.mark.gpu_budget(min_speedup=5)
def test_own_with_fixture(gpu_profile):
    pass

@pytest.mark.parametrize("n", [pytest.param(1, marks=pytest.mark.gpu_budget(min_speedup=5)), 2])
def test_param(n, gpu_profile):
    pass

@pytest.mark.gpu_budget(min_speedup=5)
class TestClass:
    def test_class(self, gpu_profile):
        pass

def test_module(gpu_profile):
    pass

@pytest.mark.gpu_budget(min_speedup=None)
def test_cancelled():
    pass
"""
    )
    result.assert_outcomes(failed=3, passed=4)
    assert "the test has budgets (max_cpu_time, max_gpu_time, min_speedup) and measured nothing" in text_of(result)


SKIPS = """
@pytest.mark.skipif(True, reason="not today")
@pytest.mark.gpu_budget(min_speedup=5, max_gpu_time=1)
def test_mark(gpu_profile):
    gpu_profile(fast)

@pytest.fixture
def unwilling():
    pytest.skip("not now")

@pytest.mark.gpu_budget(min_speedup=5)
def test_fixture(gpu_profile, unwilling):
    gpu_profile(fast)

@pytest.mark.gpu_budget(min_speedup=5)
def test_body(gpu_profile):
    pytest.skip("not here")

@pytest.mark.skip(reason="without budgets")
def test_other(gpu_profile):
    gpu_profile(fast)
"""


def test_budgets_of_skipped_tests_are_counted(runs: Runs) -> None:
    """A test that skips itself leaves its budgets unjudged, and the summary counts them."""
    result = runs.on_gpu(SKIPS)
    result.assert_outcomes(skipped=4)
    assert "budgets: 0 met, 0 missed, 0 inconclusive, 4 not enforced" in text_of(result)


def test_budgets_of_broken_tests_are_counted(runs: Runs) -> None:
    """So are those of a test that fails before it measures, in a fixture or in its body."""
    result = runs.on_gpu(
        """
@pytest.fixture
def broken():
    raise RuntimeError

@pytest.mark.gpu_budget(min_speedup=5)
def test_fixture(gpu_profile, broken):
    gpu_profile(fast)

@pytest.mark.gpu_budget(min_speedup=5)
def test_body(gpu_profile):
    assert False
"""
    )
    result.assert_outcomes(errors=1, failed=1)
    assert "budgets: 0 met, 0 missed, 0 inconclusive, 2 not enforced" in text_of(result)


@pytest.mark.parametrize(
    ("budgets", "strict", "outcome"),
    [(MISSED, False, "xfailed"), (MISSED, True, "xfailed"), (MET, False, "xpassed"), (MET, True, "failed")],
)
def test_an_expected_miss_is_an_expected_failure(runs: Runs, budgets: str, strict: bool, outcome: str) -> None:
    """A missed budget is a failure like any other to xfail, and a met one passes unexpectedly."""
    found, shown = outcome_of(runs, budgets, extra=f"@pytest.mark.xfail(strict={strict})")
    assert found == outcome
    assert ("1 missed" if budgets == MISSED else "1 met") in shown


def test_out_of_time_is_inconclusive(runs: Runs) -> None:
    """When the session's time is used up, the rest is not run, and its budgets are inconclusive: out of time."""
    found, shown = outcome_of(runs, MET, "--gpu-profile-session-time=1e-9")
    assert found == "passed"
    assert "min_speedup is inconclusive: out of time" in shown
    assert "budgets: 0 met, 0 missed, 1 inconclusive" in shown


def test_a_stand_in_that_nobody_named_is_not_judged(runs: Runs) -> None:
    """Without --gpu-profile-devices a stand-in is measured and labelled, and its budgets are not enforced."""
    source = "@pytest.mark.gpu_budget(min_speedup=50)\ndef test_it(gpu_profile):\n    gpu_profile(fast{options})\n"
    for options in ("", ", devices='simulated:0'"):
        result = runs(source.format(options=options), devices=None)
        result.assert_outcomes(passed=1)
        shown = text_of(result)
        assert "simulated:0 is a stand-in (simulated); name it in --gpu-profile-devices to have it judged" in shown
        assert "budgets: 0 met, 0 missed, 0 inconclusive, 1 not enforced" in shown


def test_a_rerun_replaces_what_it_repeats(runs: Runs) -> None:
    """With --reruns each attempt measures anew; the table, the counts and the export have the last one."""
    pytest.importorskip("pytest_rerunfailures")
    result = runs.on_gpu(
        """
@pytest.mark.gpu_budget(min_speedup=5)
def test_flaky(gpu_profile, attempts=[]):
    attempts.append(1)
    gpu_profile(fast if len(attempts) > 2 else slow, name="it")

@pytest.mark.gpu_budget(min_speedup=5)
def test_hopeless(gpu_profile):
    gpu_profile(slow)
""",
        "--reruns=2",
        "--gpu-profile-export=json:out.json",
    )
    result.assert_outcomes(passed=1, failed=1)
    assert result.parseoutcomes()["rerun"] == 4
    assert "budgets: 1 met, 1 missed, 0 inconclusive, 0 not enforced" in text_of(result)
    assert [(record["attempt"], record["outcome"]) for record in runs.exported()["records"]] == [
        (3, "passed"),
        (3, "failed"),
    ]
    assert [record["attempt"] for record in runs.journal()] == [1, 2, 3, 1, 2, 3]


def test_reruns_of_a_miss_can_be_chosen_by_its_name(runs: Runs) -> None:
    """``--only-rerun`` sees the exception, so that noise can be repeated and a bug not."""
    pytest.importorskip("pytest_rerunfailures")
    result = runs.on_gpu(
        """
@pytest.mark.gpu_budget(min_speedup=5)
def test_missed(gpu_profile):
    gpu_profile(slow)

def test_bug(gpu_profile):
    gpu_profile(fast)
    assert False
""",
        "--reruns=1",
        "--only-rerun=GpuBudgetMissed",
    )
    result.assert_outcomes(failed=2)
    assert result.parseoutcomes()["rerun"] == 1


@pytest.mark.skipif(pytest.version_tuple < (9, 0), reason="subtests came with pytest 9.0")
def test_a_miss_is_told_once_beside_subtests(runs: Runs) -> None:
    """A miss fails the test and none of its subtests, and is counted and kept once."""
    result = runs.on_gpu(
        """
@pytest.mark.gpu_budget(min_speedup=5)
def test_it(gpu_profile, subtests):
    gpu_profile(slow)
    for n in range(3):
        with subtests.test(n=n):
            pass
""",
        "--gpu-profile-export=json:out.json",
    )
    shown = text_of(result)
    assert shown.count("GpuBudgetMissed") == 1
    assert "SUBFAILED" not in shown
    assert "budgets: 0 met, 1 missed" in shown
    assert len(runs.exported()["records"]) == len(runs.journal()) == 1


LEAKING = """
import pytest

KEPT = []

@pytest.mark.gpu_profile
@pytest.mark.gpu_budget(max_leak="0 B")
def test_leaking(gpu_profile_device):
    def run():
        KEPT.append(gpu_profile_device.allocate(2**20))
        gpu_profile_device.run(1e-3)
    return run

@pytest.mark.gpu_profile
@pytest.mark.gpu_budget(max_leak="0 B")
def test_tight(gpu_profile_device):
    def run():
        gpu_profile_device.allocate(2**20)
        gpu_profile_device.run(1e-3)
    return run
"""


def test_a_leak_fails_its_test(runs: Runs) -> None:
    """And no other; the table can show it."""
    result = runs.on_gpu(LEAKING, "--gpu-profile-columns=leak")
    result.assert_outcomes(passed=1, failed=1)
    shown = text_of(result)
    assert "GPU memory gained per call 1 MiB misses max_leak 0 B [exact]" in shown
    assert "budgets: 1 met, 1 missed, 0 inconclusive, 0 not enforced" in shown
    assert "GPU leak [" in shown
