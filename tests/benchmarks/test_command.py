"""The command that runs benchmarks and writes the page, on benchmarks made for these tests."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import CannotRun, command
from benchmarks.page import Section, page
from benchmarks.results import last

DOC = """How fast it is. Simulated.

By :func:`benchmarks.made_up.measure`, with ``quick`` or without.
"""


def made_up(measure: Callable[..., dict[str, Any]] | None, **more: Any) -> types.ModuleType:
    module = types.ModuleType("benchmarks.made_up", DOC)
    content = {
        "NAME": "made_up",
        "TITLE": "Made up",
        "measure": measure,
        "table": lambda results: f"| ratio |\n| --- |\n| {results['ratio']} |",
        **more,
    }
    module.__dict__.update({name: value for name, value in content.items() if value is not None})
    return module


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., int]:
    """Runs the command with one benchmark, in a folder of its own."""
    monkeypatch.setattr(command, "NAMES", ("made_up",))

    def run(module: types.ModuleType, *arguments: str) -> int:
        monkeypatch.setitem(sys.modules, "benchmarks.made_up", module)
        return command.main([*arguments, f"--output={tmp_path}"])

    return run


def two(quick: bool = False) -> dict[str, Any]:
    return {"ratio": 1.5 if quick else 2.0}


def broken(quick: bool = False) -> dict[str, Any]:
    raise CannotRun("it needs a GPU")


def test_a_result_is_stored_with_its_machine(run: Callable[..., int], tmp_path: Path) -> None:
    """The file has the figures, the facts of the machine, and whether it was a quick run."""
    assert run(made_up(two)) == 0
    stored = json.loads((tmp_path / "results" / "made_up.json").read_text(encoding="utf-8"))
    assert stored["measured"] == {"ratio": 2.0}
    assert stored["quick"] is False
    assert {"date", "commit", "cpu", "cpu_threads", "python", "versions"} <= stored["machine"].keys()


def test_the_page_has_text_table_and_machine(run: Callable[..., int], tmp_path: Path) -> None:
    """The docstring is the text, in Markdown; a full run says nothing of being quick."""
    run(made_up(two))
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert (
        "## Made up\n\nHow fast it is. Simulated.\n\nBy `benchmarks.made_up.measure`, with `quick` or without." in text
    )
    assert "| 2.0 |" in text
    assert "Python 3." in text
    assert "quick run" not in text


def test_a_quick_run_says_so(run: Callable[..., int], tmp_path: Path) -> None:
    """On the page and in the file."""
    run(made_up(two), "--quick")
    assert "**A quick run, too short for conclusions.**" in (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert json.loads((tmp_path / "results" / "made_up.json").read_text(encoding="utf-8"))["quick"] is True


def test_a_quick_run_does_not_take_the_place_of_a_real_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --output it is refused."""
    with pytest.raises(SystemExit):
        command.main(["accuracy", "--quick"])
    assert "--output" in capsys.readouterr().err


def test_what_cannot_run_keeps_its_last_result(run: Callable[..., int], tmp_path: Path) -> None:
    """The page has the old figures and says why there are no newer ones."""
    run(made_up(two))
    assert run(made_up(broken)) == 0
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "| 2.0 |" in text
    assert "Not measured again since: it needs a GPU." in text


def test_what_never_ran_says_so(run: Callable[..., int], tmp_path: Path) -> None:
    """There is a section without figures, and asking for that benchmark by name fails."""
    assert run(made_up(broken), "made_up") == 1
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "**No result yet:** it needs a GPU." in text
    assert "| ratio |" not in text


@pytest.mark.parametrize("module", [made_up(two, table=None), made_up(lambda simulations: {}), made_up(None)])
def test_a_module_that_offers_too_little_is_left_out(
    run: Callable[..., int], tmp_path: Path, module: types.ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named on standard error, and the others go on."""
    run(module)
    assert "does not offer measure(quick) and table(results)" in capsys.readouterr().err
    assert "Made up" not in (tmp_path / "benchmarks.md").read_text(encoding="utf-8")


def test_a_table_that_is_no_markdown_is_fenced(run: Callable[..., int], tmp_path: Path) -> None:
    """Columns made of spaces stay columns."""
    run(made_up(two, table=lambda results: "ratio   2.0\nother   3.0"))
    assert "```text\nratio   2.0\nother   3.0\n```" in (tmp_path / "benchmarks.md").read_text(encoding="utf-8")


def test_a_benchmark_may_name_its_file(run: Callable[..., int], tmp_path: Path) -> None:
    """One file per machine; the latest is the one on the page."""
    run(made_up(two, result_name=lambda results: "h200-2026-01-02"))
    assert (tmp_path / "results" / "h200-2026-01-02.json").exists()
    found = last("made_up", tmp_path / "results")
    assert found is not None
    assert found["measured"] == {"ratio": 2.0}


def test_the_latest_result_is_found_by_its_date(tmp_path: Path) -> None:
    """Not by the name of its file, and not another benchmark's."""
    for name, benchmark, date in (("a", "mine", "2026-02"), ("b", "mine", "2026-01"), ("c", "other", "2026-03")):
        text = json.dumps({"benchmark": benchmark, "machine": {"date": date}, "file": name})
        (tmp_path / f"{name}.json").write_text(text, encoding="utf-8")
    found = last("mine", tmp_path)
    assert found is not None
    assert found["file"] == "a"
    assert last("none", tmp_path) is None


def test_a_stored_result_of_an_older_form_does_not_spoil_the_page(run: Callable[..., int], tmp_path: Path) -> None:
    """Its section says what is missing and what to run."""
    run(made_up(lambda quick=False: {"other": 1.0}, table=lambda results: f"| {results['other']} |"))
    run(made_up(two), "--page")
    text = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "lacks 'ratio'; run python -m benchmarks.made_up." in text


def test_page_alone_measures_nothing(run: Callable[..., int], tmp_path: Path) -> None:
    """It is written from what is stored."""
    run(made_up(two))
    (tmp_path / "benchmarks.md").unlink()
    run(made_up(broken), "--page")
    assert "| 2.0 |" in (tmp_path / "benchmarks.md").read_text(encoding="utf-8")


def test_an_unknown_benchmark_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the names there are."""
    with pytest.raises(SystemExit):
        command.main(["acuracy"])
    assert "there is no benchmark 'acuracy'; there are accuracy, " in capsys.readouterr().err


def test_plots_are_on_the_page() -> None:
    """As images beside it."""
    assert "![Made up](images/a.svg)" in page([Section("Made up", "Text.", plots=("images/a.svg",))])


def test_a_plot_is_the_same_each_time(tmp_path: Path) -> None:
    """Byte for byte, so that a page that was written again shows no change."""
    pytest.importorskip("matplotlib", reason="NOT TESTED: plots need matplotlib")
    from benchmarks.drawing import drawing

    for name in ("a", "b"):
        with drawing(tmp_path / f"{name}.svg", title="Title", x="x", y="y") as axes:
            axes.scatter([1, 2], [3, 4])
    first, second = (tmp_path / f"{name}.svg" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert b"Title" in first.read_bytes()
