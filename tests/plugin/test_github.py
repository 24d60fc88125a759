"""GitHub Actions: the step's summary and the annotations of real inner runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import has

from .conftest import GPU, NO_GPU, Runs, text_of

SOURCE = """
@pytest.mark.gpu_budget(min_speedup=50)
def test_slow(gpu_profile):
    gpu_profile(fast)

@pytest.mark.gpu_budget(min_speedup=50, enforce=False)
def test_watched(gpu_profile):
    gpu_profile(fast)

@pytest.mark.gpu_budget(min_speedup=5)
def test_fine(gpu_profile):
    gpu_profile(fast)
"""
LINE = 1 + next(n for n, line in enumerate(SOURCE.splitlines()) if "gpu_budget(min_speedup=50)" in line)
"""Of the first test in :data:`SOURCE`: pytest's line of a test is that of its first decorator."""

NO_OTHER = ("-p", "no:pytest_github_actions_annotate_failures")


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch, runs: Runs) -> Path:
    """A step of GitHub Actions, whose summary is this file."""
    path = runs.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(runs.path.parent))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


def commands(result: pytest.RunResult) -> list[str]:
    """Return the workflow commands: only what begins a line is one."""
    return [line for line in result.stdout.lines if line.startswith("::")]


def test_a_run_is_summed_up_and_annotated(runs: Runs, summary: Path) -> None:
    """The summary is appended to, and each missed budget is at its test."""
    summary.write_text("before\n", encoding="utf-8")
    result = runs.on_gpu(SOURCE, *NO_OTHER)
    told = summary.read_text(encoding="utf-8")
    assert told.startswith("before\n### GPU budgets: 1 met, 2 missed, 0 inconclusive, 0 not enforced\n")
    assert "| test_it.py::test_fine |" in told
    error, warning = commands(result)
    (head,) = [number for number, line in enumerate((runs.path / "test_it.py").read_text().splitlines(), 1)
               if line == SOURCE.splitlines()[LINE - 1]]  # fmt: skip
    assert error.startswith(
        f"::error file={runs.path.name}/test_it.py,line={head},title=min_speedup missed%3A test_it.py"
    )
    assert "misses min_speedup 50x" in error
    assert warning.startswith(f"::warning file={runs.path.name}/test_it.py,")


def test_the_summary_names_the_report_page(runs: Runs, summary: Path) -> None:
    """If the run wrote one; what could not be written is not named."""
    result = runs.on_gpu(SOURCE, *NO_OTHER, "--gpu-profile-html=out/page.html")
    assert "report page: out/page.html" in text_of(result)
    assert "\nReport page: `out/page.html`\n" in summary.read_text(encoding="utf-8")
    summary.unlink()
    taken = f"{SOURCE}\ndef test_takes_the_name(pytestconfig):\n    (pytestconfig.rootpath / 'taken.html').mkdir()\n"
    broken = runs.on_gpu(taken, *NO_OTHER, "--gpu-profile-html=taken.html")
    assert "could not be written" in text_of(broken)
    assert "Report page" not in summary.read_text(encoding="utf-8")


def test_another_plugin_that_annotates_failures_is_not_repeated(runs: Runs, summary: Path) -> None:
    """What failed a test is its business; what failed none is ours."""
    if not has("pytest_github_actions_annotate_failures"):
        pytest.skip("NOT TESTED: pytest-github-actions-annotate-failures is not installed to be told apart")
    result = runs.on_gpu(SOURCE)
    (warning,) = commands(result)
    assert "test_watched" in warning
    assert "GpuBudgetMissed" in result.stderr.str() + result.stdout.str()
    assert "::error" in result.stderr.str()


def test_only_the_process_that_talks_to_the_person_tells(runs: Runs, summary: Path) -> None:
    """With xdist the summary is written once."""
    pytest.importorskip("xdist")
    result = runs.on_gpu(SOURCE, "-n2", *NO_OTHER)
    told = summary.read_text(encoding="utf-8")
    assert told.count("### GPU budgets: ") == told.count("| test_it.py::test_fine |") == 1
    assert len(commands(result)) == len(set(commands(result))) >= 2


def test_a_project_outside_the_workspace_has_no_places(
    runs: Runs, summary: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """GitHub could not show them."""
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path_factory.mktemp("elsewhere")))
    assert commands(runs.on_gpu(SOURCE, *NO_OTHER))[0].startswith("::error title=min_speedup missed")


def test_a_summary_that_cannot_be_written_is_a_warning(runs: Runs, summary: Path) -> None:
    """One line, no failure: in a container the file may not be mounted."""
    summary.mkdir()
    result = runs.on_gpu("def test_it(gpu_profile):\n    gpu_profile(fast)\n", *NO_OTHER)
    assert result.ret == pytest.ExitCode.OK
    assert f"the step's summary {summary} could not be written (Is a directory), so GitHub shows none" in text_of(
        result
    )


def test_a_full_summary_is_left_alone(runs: Runs, summary: Path) -> None:
    """More would cost the step all of it."""
    summary.write_bytes(b"x" * 1024 * 1023)
    result = runs.on_gpu(SOURCE, *NO_OTHER)
    assert summary.stat().st_size == 1024 * 1023
    assert "the step's summary is full" in text_of(result)


@pytest.mark.parametrize("variable", ["GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"])
def test_without_its_variables_the_rest_is_told(
    runs: Runs, summary: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """They may be missing in a container."""
    monkeypatch.delenv(variable)
    assert len(commands(runs.on_gpu(SOURCE, *NO_OTHER))) == 2
    assert summary.exists() == (variable != "GITHUB_STEP_SUMMARY")


def test_a_run_that_measured_nothing_has_no_summary(runs: Runs, summary: Path) -> None:
    """There is nothing to tell."""
    assert commands(runs.on_gpu("def test_it(): pass", *NO_OTHER)) == []
    assert not summary.exists()


def test_it_can_be_switched_off(runs: Runs, summary: Path) -> None:
    """And is off outside GitHub Actions, and in a run that does not measure."""
    assert commands(runs.on_gpu(SOURCE, "--gpu-profile-github=off", *NO_OTHER)) == []
    assert commands(runs.on_gpu(SOURCE, *NO_OTHER, on=False)) == []
    assert not summary.exists()


def test_elsewhere_nothing_is_written(runs: Runs, summary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the other variables say."""
    monkeypatch.setenv("GITHUB_ACTIONS", "false")
    assert commands(runs.on_gpu(SOURCE, *NO_OTHER)) == []
    assert not summary.exists()


def test_a_missing_gpu_is_a_warning(runs: Runs, summary: Path) -> None:
    """A gate that did not run must not look green."""
    result = runs.on_gpu(SOURCE, *NO_OTHER, conftest=NO_GPU)
    (line,) = commands(result)
    assert line.startswith("::warning title=GPU budgets not judged::3 budgets were not judged: ")
    assert "0 met, 0 missed, 0 inconclusive, 3 not enforced" in summary.read_text(encoding="utf-8")


def test_inner_runs_of_this_suite_do_not_write_into_its_own_summary() -> None:
    """In this project's own CI the variables are really set."""
    import os

    assert not [name for name in os.environ if name.startswith("GITHUB_")]


def test_a_record_tells_where_its_test_is(runs: Runs) -> None:
    """The file below the project's folder, and the line from 1."""
    (record,) = runs.records("\n\ndef test_it(gpu_profile):\n    gpu_profile(fast)\n", conftest=GPU, devices=None)
    assert record["location"]["file"] == "test_it.py"
    lines = (runs.path / "test_it.py").read_text(encoding="utf-8").splitlines()
    assert lines[record["location"]["line"] - 1] == "def test_it(gpu_profile):"
