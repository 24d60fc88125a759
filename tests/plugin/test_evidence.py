"""--gpu-profile-from: what was measured elsewhere is judged here, if it is about the same sources."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import GPU, HEAD, MACHINE, Runs, text_of
from .repository import Repository
from .test_options import one_sentence

FROM = "--gpu-profile-from=run.json"
STRICT = "--gpu-profile-strict"

KERNELS = """
import os

def guarded(device):
    assert "ELSEWHERE" not in os.environ, "a workload was built"
    def work():
        assert "ELSEWHERE" not in os.environ, "a workload was called"
        device.run(cpu=20e-3, gpu=1e-3)
        return 42
    return work
"""

TESTS = (
    HEAD
    + """
from kernels import guarded

@pytest.mark.gpu_budget(min_speedup=5, max_gpu_time="1.5 ms")
def test_met(gpu_profile):
    result = gpu_profile(guarded)
    assert result.speedup > 5

@pytest.mark.gpu_budget(min_speedup=5)
def test_body(gpu_profile_device):
    return guarded(gpu_profile_device)
"""
)

MISSED = """
@pytest.mark.gpu_budget(min_speedup=500)
def test_missed(gpu_profile):
    gpu_profile(guarded)
"""


def run(runs: Runs, *args: str, subprocess: bool = False) -> pytest.RunResult:
    given = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--gpu-profile-backend=simulated", *args)
    return runs.pytester.runpytest_subprocess(*given) if subprocess else runs.pytester.runpytest_inprocess(*given)


@pytest.fixture
def measure(runs: Runs, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Commit tests and measure them on a machine with a GPU; from then on no workload may run."""

    def measured(tests: str = TESTS, *args: str, conftest: str = GPU, ini: str = "") -> pytest.RunResult:
        repository.write(conftest=conftest, kernels=KERNELS, test_it=tests)
        (repository.path / "pytest.ini").write_text(f"[pytest]\n{ini}\n", encoding="ascii")
        repository.commit()
        result = run(runs, "--gpu-profile", "--gpu-profile-export=json:run.json", *args)
        monkeypatch.setenv("ELSEWHERE", "1")
        return result

    return measured


Measure = Callable[..., pytest.RunResult]


def edited(runs: Runs, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what the evidence says."""
    document = runs.exported("run.json")
    change(document)
    (runs.path / "run.json").write_text(json.dumps(document), encoding="utf-8")


def test_records_are_judged_and_no_workload_runs(runs: Runs, measure: Measure) -> None:
    """In both forms; the header says what is judged, and from where."""
    measure().assert_outcomes(passed=2)
    result = run(runs, FROM)
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.OK
    shown = text_of(result)
    assert "budgets: 3 met, 0 missed" in shown
    document = runs.exported("run.json")
    commit = document["source"]["commit"][:7]
    assert f"judging run.json: measured {document['created']} at {commit} on NVIDIA T4, 2 records" in shown
    assert "the CPU against" not in shown


def test_strict_takes_evidence_of_a_gpu(runs: Runs, measure: Measure) -> None:
    """It is a gate on a machine without one."""
    measure()
    assert run(runs, FROM, STRICT).ret == pytest.ExitCode.OK


def test_a_missed_budget_fails(runs: Runs, measure: Measure) -> None:
    """With its sentence, as when it was measured."""
    measure(TESTS + MISSED)
    result = run(runs, FROM)
    result.assert_outcomes(passed=2, failed=1)
    assert "misses min_speedup 500x" in text_of(result)


def test_the_budgets_are_those_of_the_tests_as_they_are_now(
    runs: Runs, measure: Measure, repository: Repository
) -> None:
    """With evidence paths that leave the tests out, a limit may change after measuring."""
    measure(ini="gpu_profile_evidence_paths = kernels.py")
    repository.write(test_it=TESTS.replace("min_speedup=5", "min_speedup=500", 1))
    result = run(runs, FROM)
    result.assert_outcomes(passed=1, failed=1)
    repository.write(kernels=KERNELS + "# changed\n")
    one_sentence(run(runs, FROM), "kernels.py changed here and is not committed")
    repository.commit()
    one_sentence(run(runs, FROM), "kernels.py changed since run.json was measured at")


def test_requirements_are_judged_as_far_as_they_were_measured(runs: Runs, measure: Measure) -> None:
    """A further limit on a measured figure is judged; one on another figure cannot be any more."""
    measure(
        HEAD
        + """
import os
from kernels import guarded

def test_known(gpu_profile):
    result = gpu_profile(guarded).require(min_speedup=5)
    assert [verdict.outcome for verdict in result.verdicts] == ["met"]

def test_unknown(gpu_profile):
    result = gpu_profile(guarded)
    if "ELSEWHERE" in os.environ:
        result.require(max_gpu_memory="1 GiB")
"""
    )
    result = run(runs, FROM)
    result.assert_outcomes(passed=1, failed=1)
    assert "it was measured elsewhere (run.json), where nothing asked for it: measure again" in text_of(result)


def test_a_test_without_a_record_is_unavailable(runs: Runs, measure: Measure) -> None:
    """It is skipped with the reason, and fails a strict run."""
    measure()
    edited(runs, lambda document: document["records"].pop(0))
    result = run(runs, FROM, "-rs")
    result.assert_outcomes(passed=1, skipped=1)
    assert "cannot be judged: run.json has no record of this test: measure again" in text_of(result)
    result = run(runs, FROM, STRICT)
    result.assert_outcomes(passed=1, failed=1)
    assert "on the CPU only)" in text_of(result)


def test_evidence_has_its_speedups_at_v(runs: Runs, measure: Measure) -> None:
    """What was measured elsewhere is shown as what is measured here."""
    measure()
    run(runs, FROM, "-v").stdout.re_match_lines([r"test_it.py::test_met PASSED \([\d.]+x\) +\[ 50%\]"])


def test_evidence_is_compared_with_what_was(runs: Runs, measure: Measure) -> None:
    """Also for a test without budgets, of which nothing is measured."""
    measure(HEAD + "from kernels import guarded\ndef test_it(gpu_profile): gpu_profile(guarded)\n")
    result = run(runs, FROM, "--gpu-profile-compare=latest")
    result.assert_outcomes(passed=1)
    assert "compared with the newest runs: 1 same" in text_of(result)


def test_records_of_tests_that_are_gone_are_said(runs: Runs, measure: Measure, repository: Repository) -> None:
    """Unless the run did not look for them."""
    measure(TESTS + MISSED, ini="gpu_profile_evidence_paths = kernels.py")
    repository.write(test_it=TESTS)
    said = "run.json has records of tests that are no longer there: test_it.py::test_missed"
    assert said in text_of(run(runs, FROM))
    assert said not in text_of(run(runs, FROM, "test_it.py::test_met"))


def test_the_evidence_may_be_committed(runs: Runs, measure: Measure, repository: Repository) -> None:
    """It changes the tree, and is no change; neither is what we keep in .gpuprof."""
    measure()
    repository.git("add", "--force", "run.json")
    repository.commit()
    assert repository.git("show", "--name-only", "--format=").splitlines() == ["run.json"]
    (runs.path / ".gitignore").unlink()
    (runs.path / ".gpuprof" / "journal" / ".gitignore").unlink(missing_ok=True)
    repository.git("update-index", "--assume-unchanged", ".gitignore")
    run(runs, FROM).assert_outcomes(passed=2)


def test_accepting_what_was_measured_is_no_change(runs: Runs, measure: Measure, repository: Repository) -> None:
    """Baselines follow a measurement, and say nothing about what was measured."""
    measure()
    kept = '{"schema": "pytest-gpuprof-baselines/1", "figures": [], "machines": {}}'
    (runs.path / "kept.txt").write_text(kept, encoding="ascii")
    one_sentence(run(runs, FROM), "kept.txt changed here and is not committed")
    run(runs, FROM, "--gpu-profile-baselines=kept.txt").assert_outcomes(passed=2)
    repository.commit()
    run(runs, FROM, "--gpu-profile-baselines=kept.txt").assert_outcomes(passed=2)


def test_changes_here_are_refused(runs: Runs, measure: Measure, repository: Repository) -> None:
    """Committed, edited, or new."""
    measure()
    repository.write(new="", kernels=KERNELS + "# changed\n")
    one_sentence(
        run(runs, FROM), "kernels.py, new.py changed here and are not committed; commit them, or take them away"
    )
    repository.commit()
    one_sentence(run(runs, FROM), "(kernels.py, new.py); measure again")


def test_changes_there_are_refused(runs: Runs, measure: Measure, repository: Repository) -> None:
    """What was measured with an uncommitted change is about nobody knows what."""
    measure()
    edited(runs, lambda document: document["source"].update(dirty=True, dirty_paths=["."]))
    one_sentence(run(runs, FROM), "run.json was measured with uncommitted changes in .; commit them and measure again")


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "empty": (lambda d: d["records"].clear(), "run.json has no records; measure again"),
    "killed": (lambda d: d.update(duration_s=0.0), "run.json is incomplete, for the session that wrote it did not"),
    "newer": (lambda d: d.update(schema="pytest-gpuprof/99"), "upgrade pytest-gpuprof"),
    "damaged": (lambda d: d["records"][0].pop("verdicts"), "the record is damaged"),
    "no git": (
        lambda d: d.update(source={"unavailable": "git is not installed"}),
        "run.json does not tell from which sources it was measured, because git is not installed; measure in a git",
    ),
    "other project": (
        lambda d: d["source"].update(project="theirs", commit="1" * 40, trees={".": "2" * 40}),
        "run.json was measured on another project, 'theirs' at 1111111; measure this one",
    ),
    "other clone": (
        lambda d: d["source"].update(commit="1" * 40, trees={".": "2" * 40}),
        "at 1111111, which this clone does not have; measure again, or get the whole history",
    ),
    "other paths": (
        lambda d: d["source"].update(trees={"src": "2" * 40}),
        "run.json does not tell what the project was",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_evidence_is_refused_at_start(runs: Runs, measure: Measure, what: str) -> None:
    """In one sentence with a remedy."""
    measure()
    change, sentence = REFUSED[what]
    edited(runs, change)
    one_sentence(run(runs, FROM), sentence)


def test_a_path_that_is_not_there_is_refused(runs: Runs, measure: Measure) -> None:
    """A list that names nothing would accept everything."""
    measure(ini="gpu_profile_evidence_paths = src")
    one_sentence(
        run(runs, FROM),
        "gpu_profile_evidence_paths names 'src', which git does not have here; name what it has, one path a line",
    )


def test_without_a_repository_here_it_is_refused(runs: Runs, measure: Measure) -> None:
    """Nobody can tell whether it is about these sources."""
    measure()
    (runs.path / ".git").rename(runs.path / "gone")
    one_sentence(run(runs, FROM), "nobody can tell whether run.json is about these sources, because the project is not")


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--gpu-profile-from=none.json"], "there is no file"),
        (["--gpu-profile-from=-"], "--gpu-profile-from takes a file, not standard input"),
        ([FROM, "--gpu-profile-plan"], "nothing for --gpu-profile-plan to choose; leave one out"),
        ([FROM, "--gpu-profile-changed-since=HEAD"], "nothing for --gpu-profile-changed-since to choose"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(runs: Runs, measure: Measure, args: list[str], sentence: str) -> None:
    """At start."""
    measure()
    one_sentence(run(runs, *args), sentence)


def test_a_miss_that_was_not_confirmed_stays_inconclusive(runs: Runs, measure: Measure) -> None:
    """Measured again it was no miss: the record's own verdict on the very same budget holds."""
    measure(TESTS + MISSED)

    def unconfirmed(document: dict[str, Any]) -> None:
        (record,) = [each for each in document["records"] if each["test"].endswith("test_missed")]
        record["verdicts"][0] |= {"outcome": "inconclusive", "sentence": "too noisy when measured again"}

    edited(runs, unconfirmed)
    result = run(runs, FROM)
    result.assert_outcomes(passed=3)
    assert "too noisy when measured again" in text_of(result)


def test_a_test_that_failed_there_by_something_else_fails_here(runs: Runs, measure: Measure) -> None:
    """What it computed was wrong, and a body that is not called cannot find that out."""
    measure()

    def failed(document: dict[str, Any]) -> None:
        (record,) = [each for each in document["records"] if each["test"].endswith("test_body")]
        record["outcome"] = "failed"

    edited(runs, failed)
    result = run(runs, FROM)
    result.assert_outcomes(passed=1, failed=1)
    assert "the test failed where run.json was measured, and not by a budget" in text_of(result)


def test_the_output_is_not_stored_and_says_so(runs: Runs, measure: Measure) -> None:
    """A test that looks at it is skipped, but a missed budget fails it first."""
    looks = """
@pytest.mark.gpu_budget(min_speedup=LIMIT)
def test_NAME(gpu_profile):
    assert gpu_profile(guarded).output == 42
"""
    both = "".join(looks.replace("NAME", name).replace("LIMIT", limit) for name, limit in (("a", "5"), ("b", "500")))
    measure(HEAD + "from kernels import guarded\n" + both)
    result = run(runs, FROM, "-rs")
    result.assert_outcomes(skipped=1, failed=1)
    assert "the output of the workload is unavailable, because run.json holds figures only" in text_of(result)
    assert "misses min_speedup 500x" in text_of(result)
    run(runs, FROM, STRICT).assert_outcomes(failed=2)


STAND_IN = MACHINE.format(facts="{}", cards="Card()")


def test_stand_ins_are_what_they_are_when_measured(runs: Runs, measure: Measure) -> None:
    """Judged if they are named, now; never enough for a strict run."""
    measure(TESTS, "--gpu-profile-devices=simulated:0", conftest=STAND_IN)
    shown = text_of(run(runs, FROM))
    assert "is a stand-in (simulated); name it in --gpu-profile-devices to have it judged" in shown
    assert "budgets: 0 met, 0 missed, 0 inconclusive, 3 not enforced" in shown
    for named in ("simulated:0", "any", "simulated"):
        assert "budgets: 3 met" in text_of(run(runs, FROM, f"--gpu-profile-devices={named}"))
    run(runs, FROM, STRICT, "--gpu-profile-devices=any").assert_outcomes(failed=2)


def test_several_devices_are_judged_each(runs: Runs, measure: Measure) -> None:
    """A budget binds to the profile of each."""
    conftest = MACHINE.format(facts='dict(kind="gpu", why_stand_in=None)', cards="Card(), Card()")
    measure(TESTS, "--gpu-profile-devices=simulated:0,simulated:1", conftest=conftest)
    assert "budgets: 6 met" in text_of(run(runs, FROM))


def test_it_works_in_workers(runs: Runs, measure: Measure) -> None:
    """Nothing is measured, so workers are welcome to a gate; the file is accepted once, by the controller."""
    pytest.importorskip("xdist")
    measure(TESTS + MISSED)
    result = run(runs, FROM, STRICT, "-n2", subprocess=True)
    result.assert_outcomes(passed=2, failed=1)
    shown = text_of(result)
    assert "budgets: 3 met, 1 missed" in shown
    assert "no longer there" not in shown
    edited(runs, lambda document: document["records"].clear())
    refused = run(runs, FROM, "-n2", subprocess=True)
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert "gw0" not in refused.stdout.str()


def test_a_quarantine_holds_here_too(runs: Runs, measure: Measure) -> None:
    """By the list as it is now."""
    measure(TESTS + MISSED)
    line = "gpu_profile_quarantine=*test_missed: reason=noisy, until="
    day = pytest.importorskip("pytest_gpuprof.plugin.quarantine").today()
    result = run(runs, FROM, "-o", f"{line}{day}")
    result.assert_outcomes(passed=3)
    assert "quarantined: test_it.py::test_missed (min_speedup): noisy; ends today" in text_of(result)


def test_what_is_written_again_says_where_it_was_measured(runs: Runs, measure: Measure) -> None:
    """Exports carry the run that measured; the journal and the store keep nothing, for this was no measurement."""
    measure()
    journals, kept = runs.journal(), (runs.path / ".gpuprof" / "history.sqlite3").read_bytes()
    run(runs, FROM, "--gpu-profile-export=json:again.json")
    measured, again = runs.exported("run.json"), runs.exported("again.json")
    for record in again["records"]:
        assert record["evidence"] == {
            "file": "run.json",
            **{key: measured[key] for key in ("id", "created", "machine")},
        }
    assert runs.journal() == journals
    assert (runs.path / ".gpuprof" / "history.sqlite3").read_bytes() == kept


def test_no_gpu_profile_goes_before_it(runs: Runs, measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain run is one."""
    measure()
    monkeypatch.delenv("ELSEWHERE")
    assert "profiling is off" in text_of(run(runs, FROM, "--no-gpu-profile", "-k", "body"))


def test_a_file_elsewhere_is_found_from_where_pytest_was_called(runs: Runs, measure: Measure, tmp_path: Path) -> None:
    """As every path on the command line."""
    measure()
    (runs.path / "run.json").rename(tmp_path / "far.json")
    assert "budgets: 3 met" in text_of(run(runs, f"--gpu-profile-from={tmp_path / 'far.json'}"))


SWEPT = """
@pytest.mark.gpu_budget(max_crossover=64)
def test_swept(gpu_profile):
    def sized(device, n):
        work = guarded(device)
        return lambda: (work(), device.run(cpu=1e-9 * n**3, gpu=1e-4))

    found = gpu_profile.sweep(sized, n=[16, 32, 64, 512])
    found.require(max_crossover=100)
"""


def test_a_sweep_is_judged_by_what_it_was(runs: Runs, measure: Measure) -> None:
    """Its sizes are records, and what they told together is with the largest."""
    measure(TESTS + SWEPT).assert_outcomes(passed=3)
    result = run(runs, FROM)
    result.assert_outcomes(passed=3)
    assert "budgets: 5 met, 0 missed" in text_of(result)


def test_a_sweep_that_was_measured_at_other_sizes_fails(runs: Runs, measure: Measure) -> None:
    """The largest has no record, so nothing is known of it."""
    measure(TESTS + SWEPT)
    edited(runs, lambda document: document["records"].pop())
    run(runs, FROM).assert_outcomes(passed=2, skipped=1)


def test_a_sweep_that_missed_its_crossover_is_judged(runs: Runs, measure: Measure) -> None:
    """The verdict is with the largest size, and the outcome of the test with each."""
    measure(TESTS + SWEPT.replace("gpu=1e-4", "gpu=0.5")).assert_outcomes(passed=2, failed=1)
    result = run(runs, FROM)
    result.assert_outcomes(passed=2, failed=1)
    assert "misses max_crossover 64" in text_of(result)
