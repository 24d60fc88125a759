"""--gpu-profile-changed-since: only what changed is measured; the rest runs once, and the summary says so."""

from __future__ import annotations

import pytest

from .conftest import GPU, HEAD, Runs, text_of
from .repository import Repository
from .test_options import one_sentence

SINCE = "--gpu-profile-changed-since=main"

BUDGETED = (
    HEAD
    + """
@pytest.mark.gpu_budget(min_speedup=5, max_gpu_time=1)
def test_it(gpu_profile):
    gpu_profile(fast)
"""
)
MISSING = BUDGETED.replace("min_speedup=5", "min_speedup=500")


def run(runs: Runs, *args: str, since: str = SINCE, **how: object) -> pytest.RunResult:
    """Run the repository's tests on a machine with a GPU, those that are there."""
    given = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "--gpu-profile-backend=simulated", since, *args)
    if how.get("subprocess"):
        return runs.pytester.runpytest_subprocess(*given)
    return runs.pytester.runpytest_inprocess(*given)


def measured(runs: Runs, *args: str, **how: object) -> set[str]:
    """Return the files whose tests were measured."""
    run(runs, "--gpu-profile-export=json:out.json", *args, **how)
    return {record["test"].partition("::")[0] for record in runs.exported()["records"]}


@pytest.fixture
def project(repository: Repository) -> Repository:
    """Two test files, one of which imports a kernel through another module; a branch, on which nothing changed yet."""
    repository.write(
        conftest=GPU,
        test_a="import outer\n" + BUDGETED,
        test_b=MISSING,
        outer="from inner import x",
        inner="x = 1",
        unused="",
    )
    (repository.path / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
    repository.commit()
    repository.git("checkout", "--quiet", "-b", "topic")
    return repository


def test_nothing_changed_and_nothing_is_measured(runs: Runs, project: Repository) -> None:
    """Each workload runs once, no budget is judged or missed, and the summary says how many and why."""
    result = run(runs)
    result.assert_outcomes(passed=2)
    shown = text_of(result)
    base = project.git("rev-parse", "--short=7", "main")
    assert (
        f"gpuprof: 2 tests with 4 budgets were not measured, because none of their files changed since main ({base}); "
        "leave out --gpu-profile-changed-since to measure everything" in shown
    )
    assert "budgets: 0 met, 0 missed, 0 inconclusive, 4 not enforced" in shown


@pytest.mark.parametrize("how", ["committed", "staged", "edited"])
@pytest.mark.parametrize(
    ("changed", "files"),
    [
        ("test_b", {"test_b.py"}),
        ("inner", {"test_a.py"}),
        ("unused", set()),
        ("conftest", {"test_a.py", "test_b.py"}),
    ],
)
def test_tests_are_measured_whose_files_changed(
    runs: Runs, project: Repository, how: str, changed: str, files: set[str]
) -> None:
    """Their own, what they import through others, the conftest above; committed or not."""
    path = project.path / f"{changed}.py"
    path.write_text(path.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    if how == "committed":
        project.commit()
    elif how == "staged":
        project.git("add", "--all")
    assert measured(runs) == files


def test_a_new_file_is_measured(runs: Runs, project: Repository) -> None:
    """One that git does not know yet."""
    project.write(test_c=BUDGETED)
    assert measured(runs) == {"test_c.py"}


@pytest.mark.parametrize("how", ["deleted", "renamed"])
def test_what_is_gone_changes_those_who_imported_it(runs: Runs, project: Repository, how: str) -> None:
    """A module that is deleted, or has another name now, which a test can do without."""
    project.write(test_a="try:\n    import outer\nexcept ImportError:\n    pass\n" + BUDGETED)
    project.git("checkout", "--quiet", "main")
    project.commit()
    project.git("checkout", "--quiet", "-B", "topic")
    project.git("rm", "--quiet", "outer.py") if how == "deleted" else project.git("mv", "outer.py", "newer.py")
    project.commit()
    assert measured(runs) == {"test_a.py"}


def test_what_changed_on_the_other_branch_does_not_count(runs: Runs, project: Repository) -> None:
    """Compared is with the commit at which the branches parted."""
    project.git("checkout", "--quiet", "main")
    project.write(test_b=MISSING + "\n# on main\n")
    project.commit()
    project.git("checkout", "--quiet", "topic")
    project.write(inner="x = 2")
    assert measured(runs) == {"test_a.py"}


def test_the_file_that_configures_pytest_changes_everything(runs: Runs, project: Repository) -> None:
    """Everything is measured, and the summary says why."""
    (project.path / "pytest.ini").write_text("[pytest]\naddopts = -q\n", encoding="ascii")
    shown = text_of(run(runs))
    assert "gpuprof: pytest.ini changed since main" in shown
    assert "so every test was measured" in shown
    assert "budgets: 3 met, 1 missed" in shown


def test_a_test_that_is_not_measured_is_one_of_a_plain_run(runs: Runs, project: Repository) -> None:
    """In every form: its workload runs once, what it requires is counted, a figure it asks for skips it."""
    project.write(
        test_c=HEAD
        + """
calls = []

@pytest.mark.gpu_budget(min_speedup=5)
@pytest.mark.gpu_profile(rounds=3)
def test_body(gpu_profile_device):
    return lambda: calls.append("body")

def test_required(gpu_profile):
    assert not gpu_profile.enabled
    result = gpu_profile(lambda device: lambda: calls.append("required") or 42)
    assert result.output == 42
    assert result.require(min_speedup=500, max_energy="1 J").require(max_gpu_time="1 ns").verdicts == ()

def test_figure(gpu_profile):
    gpu_profile(fast).speedup

def test_broken(gpu_profile):
    gpu_profile(lambda device: lambda: 1 / 0)

def test_misspelt(gpu_profile):
    gpu_profile(fast).require(min_spedup=3)

@pytest.mark.gpu_budget(min_spedup=5)
def test_misspelt_mark(gpu_profile):
    gpu_profile(fast)

def test_calls():
    assert calls == ["body", "required"]
"""
    )
    project.commit()
    result = run(runs, "test_c.py", "-rs", since="--gpu-profile-changed-since=HEAD")
    result.assert_outcomes(passed=3, skipped=1, failed=2, errors=1)
    shown = text_of(result)
    assert "speedup is unavailable, because none of the test's files changed since HEAD" in shown
    assert "5 tests with 4 budgets were not measured" in shown
    assert shown.count("did you mean 'min_speedup'?") >= 2


STRICT = "--gpu-profile-strict"


def test_strict_passes_a_session_in_which_nothing_changed(runs: Runs, project: Repository) -> None:
    """It was asked for by name, and the summary says that nothing was measured."""
    result = run(runs, STRICT)
    assert result.ret == pytest.ExitCode.OK
    assert "2 tests with 4 budgets were not measured" in text_of(result)


def test_strict_judges_what_changed(runs: Runs, project: Repository) -> None:
    """A gate of the changed tests is one: a missed budget fails, a skip too; those that did not change may skip."""
    project.write(test_b=MISSING + "\n# changed\n", test_c=BUDGETED.replace("gpu_profile(fast)", "pytest.skip('no')"))
    result = run(runs, STRICT)
    result.assert_outcomes(passed=1, failed=2)
    project.commit()
    run(runs, STRICT, since="--gpu-profile-changed-since=HEAD").assert_outcomes(passed=2, skipped=1)


def test_strict_fails_where_what_changed_has_no_verdict(runs: Runs, project: Repository) -> None:
    """That nothing else changed does not excuse it."""
    project.write(test_b=MISSING.replace("min_speedup=500, max_gpu_time=1", "min_speedup={'H200': 5}"))
    result = run(runs, STRICT)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "no budget was judged in this session" in text_of(result)


def test_strict_fails_a_session_without_any_budget(runs: Runs, project: Repository) -> None:
    """That is no gate, changed or not."""
    assert run(runs, STRICT, "-k", "nothing").ret == pytest.ExitCode.TESTS_FAILED


def test_it_works_in_workers(runs: Runs, project: Repository) -> None:
    """Workers measure what changed when the controller looked, and the controller tells what was not measured."""
    pytest.importorskip("xdist")
    project.write(inner="x = 2")
    result = run(runs, "-n2", "--gpu-profile-export=json:out.json", subprocess=True)
    result.assert_outcomes(passed=2)
    shown = text_of(result)
    assert "gpuprof: 1 test with 2 budgets was not measured, because none of its files changed since main" in shown
    assert {record["test"] for record in runs.exported()["records"]} == {"test_a.py::test_it"}


def test_a_usage_error_is_one_under_xdist(runs: Runs, project: Repository) -> None:
    """Before any worker is started."""
    pytest.importorskip("xdist")
    result = run(runs, "-n2", since="--gpu-profile-changed-since=nowhere", subprocess=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "gw0" not in result.stdout.str()


def test_the_plan_leaves_out_what_did_not_change(runs: Runs, project: Repository) -> None:
    """It shows what would be measured, and that the rest would not."""
    project.write(inner="x = 2")
    shown = text_of(run(runs, "--gpu-profile-plan"))
    assert "test_b.py::test_it nothing: unchanged since main" in shown
    assert "test_a.py::test_it cpu and gpu: rounds" in shown


def test_off_is_off(runs: Runs, project: Repository) -> None:
    """--no-gpu-profile goes before it, and a line of the ini alone measures nothing."""
    assert "profiling is off" in text_of(run(runs, "--no-gpu-profile"))
    (project.path / "pytest.ini").write_text("[pytest]\ngpu_profile_changed_since = main\n", encoding="ascii")
    assert "profiling is off" in text_of(run(runs, since="-v"))
    project.commit()
    since = run(runs, "--gpu-profile", "-o", "gpu_profile_changed_since=HEAD", since="-v")
    assert "2 tests with 4 budgets were not measured" in text_of(since)


@pytest.mark.parametrize("revision", ["nowhere", "--help", "main..topic"])
def test_an_unknown_revision_is_a_usage_error(runs: Runs, project: Repository, revision: str) -> None:
    """With what to do."""
    result = run(runs, since=f"--gpu-profile-changed-since={revision}")
    one_sentence(result, f"git knows no commit {revision!r}")
    assert f"git fetch origin {revision}" in result.stderr.str()


def test_a_revision_without_a_common_commit_is_a_usage_error(runs: Runs, project: Repository) -> None:
    """Nothing has been in common, so nothing can have changed since."""
    project.git("checkout", "--quiet", "--orphan", "other")
    project.commit("A beginning of its own")
    one_sentence(run(runs), "have no commit in common; name a commit of this branch's history")


def test_a_shallow_clone_is_told_to_fetch(runs: Runs, project: Repository) -> None:
    """What CI checks out by itself: one commit, and nothing to compare it with."""
    old = project.git("rev-parse", "HEAD")
    project.write(inner="x = 2")
    project.commit()
    clone = runs.path / "clone"
    project.git("clone", "--quiet", "--depth=1", f"file://{project.path}", str(clone))
    result = run(runs, f"--rootdir={clone}", str(clone), since=f"--gpu-profile-changed-since={old}")
    one_sentence(result, "this clone is shallow: git fetch --unshallow (in GitHub Actions: fetch-depth: 0)")


def test_without_a_repository_it_is_a_usage_error(runs: Runs) -> None:
    """Nobody can tell what changed."""
    runs.pytester.makepyfile(BUDGETED)
    result = run(runs)
    one_sentence(result, "is in no git repository, so nobody can tell what changed; measure without")
