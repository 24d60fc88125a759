"""``--gpu-profile-html``: the report page of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Runs, text_of

ONE = "@pytest.mark.gpu_budget(min_speedup=5)\ndef test_it(gpu_profile):\n    gpu_profile(fast)\n"
HTML = "--gpu-profile-html=out/page.html"


def page(runs: Runs) -> str:
    return (runs.path / "out" / "page.html").read_text(encoding="utf-8")


def test_a_run_writes_its_page_and_says_where(runs: Runs) -> None:
    """With its budgets and its figures."""
    result = runs(ONE, HTML)
    result.stdout.fnmatch_lines(["budgets: 1 met*", "report page: out/page.html"])
    assert "min_speedup" in page(runs)
    assert "simulated" in page(runs)


def test_the_next_page_shows_the_run_before(runs: Runs) -> None:
    """As the store has it; without a store there is no history, and the page says why."""
    runs(ONE, HTML)
    assert '"this run' not in page(runs)
    runs(ONE, HTML)
    assert '"run 1' in page(runs)
    assert '"this run' in page(runs)
    assert '"run 2' not in page(runs)
    runs(ONE, HTML, "--gpu-profile-store=none")
    assert '"this run' not in page(runs)
    assert "there is no store with earlier runs" in page(runs)


def test_a_store_that_cannot_be_read_costs_the_history_only(runs: Runs) -> None:
    """The page says why there is none, and the run passes."""
    runs(ONE)
    (runs.path / ".gpuprof" / "history.sqlite3").write_bytes(b"no database" * 1000)
    result = runs(ONE, HTML)
    result.assert_outcomes(passed=1)
    assert "history.sqlite3" in page(runs)


def test_the_ini_and_the_export_mean_the_same(runs: Runs) -> None:
    """The option is the short form of the format ``html``."""
    runs.pytester.makeini("[pytest]\ngpu_profile_html = out/page.html\n")
    assert "report page: out/page.html" in text_of(runs(ONE))
    (runs.path / "out" / "page.html").unlink()
    runs.pytester.makeini("[pytest]\n")
    assert "report page: out/page.html" in text_of(runs(ONE, "--gpu-profile-export=html:out/page.html"))
    assert page(runs)


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_measured(runs: Runs) -> None:
    """By the name of the option that was given."""
    (runs.path / "file").touch()
    result = runs(ONE, "--gpu-profile-html=file/page.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    told = result.stderr.str()
    assert "--gpu-profile-html=file/page.html cannot be written" in told
    assert "Traceback" not in told


def test_names_with_markup_are_text(runs: Runs) -> None:
    """Through pytest's own ids, too."""
    source = "@pytest.mark.parametrize('x', ['</script><script>alert(1)</script>'])\ndef test_it(gpu_profile, x):\n"
    runs(f"{source}    gpu_profile(fast)\n", HTML)
    assert "alert(1)" in page(runs)
    assert "<script>alert" not in page(runs)
    assert "</script><script>alert" not in page(runs)


def test_a_run_without_workloads_has_a_page(runs: Runs) -> None:
    """It says that there is nothing."""
    runs("def test_a(): pass\n", HTML)
    assert Path(runs.path / "out" / "page.html").stat().st_size > 10_000
