"""``report``: a run as a page."""

from __future__ import annotations

import json
import webbrowser
from pathlib import Path
from typing import Any

import pytest

from .conftest import Command, History


def page(path: str = "gpuprof-report.html") -> str:
    return Path(path).read_text(encoding="utf-8")


def test_the_newest_run_with_those_before_it(history: History, command: Command) -> None:
    """In a file whose name is told; nothing goes to standard output."""
    history.run({"test_it.py::test_a": 2e-3})
    history.run({"test_it.py::test_a": 1e-3})
    assert command("report") == 0
    assert command.out == ""
    assert "is in gpuprof-report.html" in command.err
    text = page()
    assert "test_a" in text
    assert '"run 1, 0000001"' in text
    assert '"this run, 0000002"' in text


def test_another_run_some_workloads_and_standard_output(history: History, command: Command) -> None:
    """The page of a run knows nothing of later ones, and a page on standard output is nothing but the page."""
    for _ in range(2):
        history.run(["t.py::test_a", "t.py::test_b"])
    assert command("report", "1", "-k", "test_b", "-o", "-") == 0
    assert command.out.startswith("<!DOCTYPE html>")
    assert command.err == ""
    assert "test_b" in command.out
    assert "test_a" not in command.out
    assert "run 2" not in command.out
    assert not Path("gpuprof-report.html").exists()


def test_the_head_counts_what_is_shown(history: History, command: Command) -> None:
    """Of a part of a run it tells nothing that is true of the whole only."""
    made = history.document(["t.py::test_a", "t.py::test_b"], budget="max_gpu_time")
    told = {"reference": "before.json", "changes": {"same": 2}, "gone": []}
    whole = {**made, "comparison": told, "counts": {**made["counts"], "met": 2}}
    Path("run.json").write_text(json.dumps(whole), encoding="utf-8")
    assert command("report", "run.json", "-o", "-") == 0
    assert "compared with before.json" in command.out
    assert "</svg>met</dt><dd>2</dd>" in command.out
    assert command("report", "run.json", "-k", "test_b", "-o", "-") == 0
    assert "compared with" not in command.out
    assert "</svg>met</dt><dd>1</dd>" in command.out


def test_an_exported_run_needs_no_store(history: History, command: Command) -> None:
    """It has no history then, and says so."""
    Path("run.json").write_text(json.dumps(history.document()), encoding="utf-8")
    assert command("report", "run.json", "--output", "sub/page.html") == 0
    assert "test_a" in page("sub/page.html")
    assert "there is no store with earlier runs" in page("sub/page.html")
    assert not Path(".gpuprof").exists()


def test_an_exported_run_with_the_history_of_the_store(history: History, command: Command) -> None:
    """By its workloads, wherever it was measured."""
    history.run()
    Path("run.json").write_text(json.dumps(history.document()), encoding="utf-8")
    assert command("report", "run.json") == 0
    assert '"run 1, 0000001"' in page()


@pytest.mark.parametrize("reference", ["latest", "run.json"])
def test_the_export_is_the_same_page(reference: str, history: History, command: Command) -> None:
    """With the runs before it, and of what ``-k`` means."""
    history.run({"t.py::test_a": 2e-3, "t.py::test_b": 2e-3})
    document = history.run({"t.py::test_a": 1e-3, "t.py::test_b": 1e-3})
    Path("run.json").write_text(json.dumps(document), encoding="utf-8")
    assert command("report", reference, "-k", "test_b", "-o", "-") == 0
    reported = command.out
    assert command("export", reference, "--format", "html", "-k", "test_b") == 0
    assert '"run 1, 0000001"' in command.out
    assert command.out == reported


def test_an_export_needs_a_store_where_a_report_does(history: History, command: Command) -> None:
    """An exported run has none to need; a store that was named has to be there."""
    Path("run.json").write_text(json.dumps(history.document()), encoding="utf-8")
    assert command("export", "run.json", "--format", "html") == 0
    assert "there is no store with earlier runs" in command.out
    assert command("export", "run.json", "--format", "html", "--store", "gone.sqlite3") == 2
    assert "there is no store" in command.err
    assert command("export", "run.json", "--format", "csv", "--store", "gone.sqlite3") == 0


def test_a_store_that_is_damaged_leaves_an_exported_run(history: History, command: Command) -> None:
    """The page says why it has no history."""
    Path("run.json").write_text(json.dumps(history.document()), encoding="utf-8")
    Path(".gpuprof").mkdir()
    Path(".gpuprof/history.sqlite3").write_bytes(b"no database" * 1000)
    assert command("report", "run.json") == 0
    assert "history.sqlite3" in page()


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["report"], 2, "there is no store"),
        (["report", "gone.json"], 2, "there is no file gone.json"),
        (["report", "run.json", "-k", "nothing"], 3, "has no record that is meant"),
        (["report", "run.json", "-o", "run.json/page.html"], 2, "run.json/page.html cannot be written"),
        (["report", "run.json", "-o", "-", "--open"], 2, "--open opens a file"),
        (["report", "run.json", "--store", "gone.sqlite3"], 2, "there is no store"),
    ],
)
def test_what_cannot_be_meant(
    arguments: list[str], status: int, sentence: str, history: History, command: Command
) -> None:
    """One sentence, and no half of a page."""
    Path("run.json").write_text(json.dumps(history.document()), encoding="utf-8")
    assert command(*arguments) == status
    assert sentence in command.err
    assert command.err.count("\n") == 1
    assert command.out == ""
    assert not list(Path().rglob("*.html"))


def test_a_full_disk_leaves_the_page_that_was_there(
    history: History, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page is written whole or not at all."""
    history.run()
    Path("page.html").write_text("before", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    assert command("report", "-o", "page.html") == 2
    assert "page.html cannot be written (No space left on device)" in command.err
    assert page("page.html") == "before"
    assert [each.name for each in Path().glob("*page*")] == ["page.html"]


def test_it_is_opened_on_request(history: History, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the address that a browser takes."""
    opened: list[Any] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    history.run()
    assert command("report", "--open", "-o", "a page.html") == 0
    assert opened == [(history.root / "a page.html").as_uri()]
