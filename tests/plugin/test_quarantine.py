"""Quarantine: a flaky gate stays visible without failing, until its day; and the list cannot go stale in silence."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.plugin import quarantine, settings, starting
from pytest_gpuprof.plugin.quarantine import Quarantined, quarantined

from .conftest import BLIND_GPU, GPU, NO_GPU, Runs, text_of
from .test_options import one_sentence
from .test_verdicts import MISSED, NO_READING, TIE, TOO_CLOSE

DAY = date(2026, 12, 1)
STRICT = "--gpu-profile-strict"

SOURCE = f"""
{TIE}
@pytest.mark.gpu_budget(BUDGETS)
def test_it(gpu_profile):
    gpu_profile(tie)
"""


@pytest.fixture(autouse=True)
def _fixed_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Today is 1 December 2026, in this process; runs with workers are in others."""
    for module in (quarantine, settings, starting):
        monkeypatch.setattr(module, "today", lambda: DAY)


def listed(runs: Runs, *lines: str) -> None:
    """Write the list into the ini."""
    text = "\n  ".join(lines)
    runs.pytester.makeini(f"[pytest]\ngpu_profile_quarantine =\n  {text}\n")


def run(runs: Runs, budgets: str, *args: str, conftest: str = GPU, until: str = "2026-12-10") -> pytest.RunResult:
    listed(runs, f"test_it.py::test_it: reason=noisy runner, until={until}")
    return runs.on_gpu(SOURCE.replace("BUDGETS", budgets), *args, conftest=conftest)


@pytest.mark.parametrize(
    ("budgets", "conftest", "args", "counted"),
    [
        (MISSED, GPU, [], "0 met, 1 missed"),
        (MISSED, GPU, [STRICT], "0 met, 1 missed"),
        (TOO_CLOSE, GPU, ["--gpu-profile-inconclusive=fail"], "1 inconclusive"),
        (NO_READING, BLIND_GPU, [], "1 not enforced"),
        (NO_READING, BLIND_GPU, ["--gpu-profile-unavailable=fail"], "1 not enforced"),
    ],
)
def test_a_gate_in_quarantine_is_shown_and_fails_nothing(
    runs: Runs, budgets: str, conftest: str, args: list[str], counted: str
) -> None:
    """Missed, inconclusive or unavailable, whatever the policy: it is judged and counted, and the test passes."""
    result = run(runs, budgets, *args, conftest=conftest)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    shown = text_of(result)
    assert counted in shown
    assert "gpuprof: 1 test in quarantine, 1 of which would have failed" in shown
    keyword = budgets.partition("=")[0]
    assert f"quarantined: test_it.py::test_it ({keyword}): noisy runner; 9 days left, until 2026-12-10" in shown


def test_it_is_visible_in_the_record_and_in_junit(runs: Runs) -> None:
    """The verdict is there and not enforced, with the reason and the day."""
    result = run(runs, MISSED, "--gpu-profile-export=json:out.json", "--junitxml=junit.xml")
    assert "test_it.py::test_it missed, not enforced: speedup" in text_of(result)
    document = runs.exported()
    (record,) = document["records"]
    assert [(each["outcome"], each["enforce"]) for each in record["verdicts"]] == [("missed", False)]
    assert record["quarantine"] == {"reason": "noisy runner", "until": "2026-12-10", "would_fail": ["min_speedup"]}
    assert document["unenforced"] == {"missed": 1}
    (journaled,) = runs.journal()
    assert journaled["quarantine"] == record["quarantine"]
    junit = (runs.path / "junit.xml").read_text(encoding="utf-8")
    assert 'name="gpuprof.min_speedup" value="missed"' in junit
    assert 'name="gpuprof.quarantine" value="until 2026-12-10: noisy runner"' in junit


def test_a_gate_in_quarantine_that_holds_is_counted_too(runs: Runs) -> None:
    """So that somebody sees when it could be let out."""
    shown = text_of(run(runs, "min_speedup=0.1"))
    assert "gpuprof: 1 test in quarantine, none of which would have failed" in shown
    assert "quarantined:" not in shown


def test_what_was_not_enforced_anyway_would_not_have_failed(runs: Runs) -> None:
    """``enforce=False`` fails nothing, with and without quarantine."""
    assert "none of which would have failed" in text_of(run(runs, f"{MISSED}, enforce=False"))


@pytest.mark.parametrize(("until", "outcome"), [("2026-12-01", "passed"), ("2026-11-30", "failed")])
def test_it_holds_until_and_on_its_day_and_fails_after(runs: Runs, until: str, outcome: str) -> None:
    """On the last day nothing fails; on the next it does, and the summary says that the quarantine is over."""
    result = run(runs, MISSED, until=until)
    result.assert_outcomes(**{outcome: 1})
    shown = text_of(result)
    assert ("ends today, 2026-12-01" in shown) is (outcome == "passed")
    over = "the quarantine of test_it.py::test_it (noisy runner) expired on 2026-11-30, and its budgets fail again"
    assert (over in shown) is (outcome == "failed")


def test_a_requirement_in_the_body_is_in_quarantine_too(runs: Runs) -> None:
    """``require()`` returns in place of raising; the record says what would have been."""
    listed(runs, "test_it.py: reason=noisy, until=2026-12-10")
    result = runs.on_gpu(
        """
reached = []

@pytest.mark.gpu_budget(max_gpu_time="1 us")
def test_it(gpu_profile):
    result = gpu_profile(fast).require(min_speedup=500).require(max_gpu_time="1 ns")
    assert [verdict.enforce for verdict in result.verdicts] == [False] * 3
    reached.append(1)

def test_reached():
    assert reached
"""
    )
    result.assert_outcomes(passed=2)
    assert "test_it.py::test_it (max_gpu_time, min_speedup, max_gpu_time): noisy" in text_of(result)


def test_a_workload_that_raises_fails(runs: Runs) -> None:
    """Quarantine is about budgets: a broken workload, and an assertion of the test, are what they are."""
    listed(runs, "*: reason=noisy, until=2026-12-10")
    result = runs.on_gpu(
        """
def broken(device):
    return lambda: 1 / 0

@pytest.mark.gpu_budget(min_speedup=5)
def test_broken(gpu_profile):
    gpu_profile(broken)

@pytest.mark.gpu_budget(min_speedup=5)
def test_wrong(gpu_profile):
    gpu_profile(fast)
    assert False

@pytest.mark.gpu_budget(min_speedup=5)
def test_measures_nothing(gpu_profile):
    pass
"""
    )
    result.assert_outcomes(failed=3)


@pytest.mark.parametrize("how", ["mark", "budget", "figure"])
def test_strict_takes_what_a_test_in_quarantine_does_not_judge(runs: Runs, how: str) -> None:
    """It may skip itself and lack its figures, and nothing of that fails it, with no GPU either."""
    listed(runs, "*test_it: reason=noisy, until=2026-12-10")
    source = f"""
@pytest.mark.gpu_budget(max_cpu_time=9, min_speedup=5)
{"@pytest.mark.skip(reason='not now')" if how == "mark" else ""}
def test_it(gpu_profile):
    gpu_profile(fast){".speedup" if how == "figure" else ""}
"""
    result = runs.on_gpu(source, STRICT, conftest=NO_GPU)
    result.assert_outcomes(**{"passed" if how == "budget" else "skipped": 1})


def test_strict_still_fails_a_session_that_judged_nothing(runs: Runs) -> None:
    """A gate of which everything is in quarantine and nothing could be judged did not run."""
    result = run(runs, NO_READING, STRICT, conftest=BLIND_GPU)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "no budget was judged in this session" in text_of(result)


def test_of_several_lines_the_one_that_lasts_longest_holds(runs: Runs) -> None:
    """Whatever their order."""
    lines = [f"{pattern}: reason={day}, until=2026-12-{day}" for pattern, day in (("*", 24), ("test_it.py", 10))]
    for order in (lines, lines[::-1]):
        listed(runs, *order)
        assert "23 days left, until 2026-12-24" in text_of(runs.on_gpu(SOURCE.replace("BUDGETS", MISSED)))


def test_only_the_tests_of_the_list_are_spared(runs: Runs) -> None:
    """The patterns are those of the budgets: a parameter can be named."""
    listed(runs, "test_it.py::test_it[a]: reason='noisy, since driver 580', until=2026-12-10")
    result = runs.on_gpu(
        """
@pytest.mark.gpu_budget(min_speedup=500)
@pytest.mark.parametrize("x", ["a", "b"])
def test_it(gpu_profile, x):
    gpu_profile(fast)
"""
    )
    result.assert_outcomes(passed=1, failed=1)
    assert "test_it.py::test_it[a] (min_speedup): noisy, since driver 580; 9 days" in text_of(result)


GONE = "names test_gone.py, which matches no test that measures; take the line out"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], True),
        (["."], True),
        (["-k", "nothing"], True),
        (["test_it.py"], False),
        (["test_it.py::test_it"], False),
        (["--ignore=other"], False),
    ],
)
def test_a_line_that_means_no_test_is_said(runs: Runs, args: list[str], said: bool) -> None:
    """Where all tests were collected; a run of one file has not shown that another is gone."""
    listed(runs, "test_it.py: reason=noisy, until=2026-12-10", "test_gone.py: reason=noisy, until=2026-12-10")
    result = runs.on_gpu(SOURCE.replace("BUDGETS", MISSED), *args)
    assert (GONE in text_of(result)) is said
    assert "names test_it.py" not in text_of(result)


def test_a_file_that_cannot_be_collected_is_not_gone(runs: Runs) -> None:
    """Nobody knows what tests it has."""
    listed(runs, "test_gone.py: reason=noisy, until=2026-12-10")
    runs.pytester.makepyfile(test_gone="import nothing_of_this_name")
    result = runs.on_gpu(SOURCE.replace("BUDGETS", MISSED), "--continue-on-collection-errors")
    assert "names test_gone.py" not in text_of(result)


def test_a_rerun_tells_of_its_last_attempt(runs: Runs) -> None:
    """What an earlier attempt missed is over."""
    pytest.importorskip("pytest_rerunfailures")
    listed(runs, "test_it.py: reason=noisy, until=2026-12-10")
    result = runs.on_gpu(
        """
@pytest.mark.gpu_budget(min_speedup=5)
def test_it(gpu_profile, attempts=[]):
    attempts.append(1)
    gpu_profile(fast if len(attempts) > 1 else slow)
    assert len(attempts) > 1
""",
        "--reruns=1",
    )
    result.assert_outcomes(passed=1)
    assert "none of which would have failed" in text_of(result)


def test_it_works_in_workers(runs: Runs) -> None:
    """The records cross to the controller, which collects no tests and still knows a stale line."""
    pytest.importorskip("xdist")
    until = date.today() + timedelta(days=30)
    listed(
        runs,
        f"test_it.py::test_it: reason=noisy, until={until}",
        f"test_gone.py: reason=noisy, until={until}",
        "test_it.py::test_over: reason=slow, until=2020-02-29",
    )
    source = """
@pytest.mark.gpu_budget(max_gpu_time="1 us")
def test_it(gpu_profile): gpu_profile(fast)

@pytest.mark.gpu_budget(max_gpu_time="1 us")
def test_over(gpu_profile): gpu_profile(fast)
"""
    result = runs(source, "-n2", subprocess=True)
    result.assert_outcomes(passed=1, failed=1)
    shown = text_of(result)
    assert "gpuprof: 1 test in quarantine, 1 of which would have failed" in shown
    assert "quarantined: test_it.py::test_it (max_gpu_time): noisy" in shown
    assert "the quarantine of test_it.py::test_over (slow) expired on 2020-02-29" in shown
    assert GONE in shown


WRONG = {
    "x: until=2026-12-10": "gpu_profile_quarantine for 'x' gives no reason; say why",
    "x: reason=, until=2026-12-10": "gives no reason",
    "x: reason=true, until=2026-12-10": "gives no reason",
    "x: reason=noisy": "has no end; add until=YYYY-MM-DD",
    "x: reason=noisy, until=": "has no end",
    "x: reason=noisy, until=soon": "has until=soon, which is no day; write YYYY-MM-DD",
    "x: reason=noisy, until=2026-02-30": "has until=2026-02-30, which is no day",
    "x: reason=noisy, until=20261210": "has until=20261210, which is no day",
    "x: reason=noisy, until=2027-12-03": "lasts until 2027-12-03, more than a year from today (2026-12-01)",
    "x: reason=noisy, until=2026-12-10, owner=me": "has 'owner'; it takes reason= and until=",
    "x: noisy": "write PATTERN: keyword=value, e.g. tests/kernels/test_fft.py: reason=",
    "x: reason=noisy, since driver 580, until=2026-12-10": "quote a value that has a comma",
}


@pytest.mark.parametrize("line", WRONG)
def test_a_line_that_cannot_be_meant_is_a_usage_error(runs: Runs, line: str) -> None:
    """At the start, in one sentence with a remedy: a gate is not switched off by a slip."""
    listed(runs, line)
    one_sentence(runs("def test_a(): pass"), WRONG[line])


def test_a_year_is_allowed() -> None:
    """The longest quarantine ends a year from today; an issue's number is a reason."""
    (entry,) = quarantined([("x", {"reason": 4711, "until": "2027-12-02"})], DAY)
    assert entry == Quarantined("x", "4711", date(2027, 12, 2))
    with pytest.raises(UsageError, match="more than a year"):
        quarantined([("x", {"reason": "noisy", "until": "2027-12-03"})], DAY)


def test_a_plain_run_says_nothing_of_quarantine(runs: Runs) -> None:
    """Nothing is judged there."""
    listed(runs, "test_it.py: reason=noisy, until=2026-12-10")
    result = runs.on_gpu(SOURCE.replace("BUDGETS", MISSED), on=False)
    result.assert_outcomes(passed=1)
    assert "in quarantine" not in result.stdout.str()
