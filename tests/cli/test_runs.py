"""``list``, ``show`` and ``export``: which runs there are, and what one of them measured."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from typing import Any

import pytest

from pytest_gpuprof.cli.output import screen_of
from pytest_gpuprof.reports.screen import Screen
from pytest_gpuprof.storage.document import unenforced

from .conftest import Command, History


def test_list_shows_runs_newest_first(history: History, command: Command) -> None:
    """Number, day, commit, branch, device with its word, records, verdicts."""
    history.run()
    history.run(["test_it.py::test_a", "test_it.py::test_b"], branch="topic", dirty=True, card="H200", failed=True)
    assert command("list") == 0
    head, _, newest, oldest = command.out.splitlines()
    assert head.split() == ["run", "when", "(UTC)", "commit", "branch", "device", "records", "budgets"]
    assert newest.split() == [
        "2", "2026-01-03", "07:00", "0000002+", "topic", "H200", "(simulated)", "2", "1", "met,", "2", "missed",
    ]  # fmt: skip
    assert oldest.split()[:5] == ["1", "2026-01-02", "07:00", "0000001", "main"]
    assert command.err == ""


def test_list_can_be_limited(history: History, command: Command) -> None:
    """To the newest, and to a branch; a branch without runs is nothing to work with."""
    for branch in ("main", "topic", "main"):
        history.run(branch=branch)
    assert command("list", "--limit", "1", "--format", "json") == 0
    assert [run["number"] for run in json.loads(command.out)] == [3]
    assert command("list", "--branch", "main", "--format", "csv") == 0
    assert [row["number"] for row in csv.DictReader(io.StringIO(command.out))] == ["3", "1"]
    assert command("list", "--branch", "gone") == 3
    assert "has no run on the branch gone; measure something" in command.err


def in_quarantine(history: History) -> dict[str, Any]:
    """Return a run with three budgets: one of a test in quarantine is missed, one is met, one is met and enforced."""
    document = history.document([f"test_it.py::test_{name}" for name in "abc"], budget="max_gpu_time")
    first, second, _ = document["records"]
    first["verdicts"][0] |= {"outcome": "missed", "sentence": "GPU time 9 ms misses it", "enforce": False}
    second["verdicts"][0]["enforce"] = False
    note = {"reason": "noisy runner", "until": "2026-12-10"}
    first["quarantine"] = {**note, "would_fail": ["max_gpu_time"]}
    second["quarantine"] = {**note, "would_fail": []}
    return document | {"counts": {"met": 2, "missed": 1}, "unenforced": unenforced(document)}


def test_list_tells_what_fails_nothing(history: History, command: Command) -> None:
    """Beside what it is counted as; a run of a version that did not keep it tells nothing."""
    older = history.document()
    del older["unenforced"]
    history.add(in_quarantine(history), older)
    assert command("list") == 0
    assert "  2 met (1 not enforced), 1 missed (1 not enforced)\n" in command.out
    assert command("list", "--format", "json") == 0
    assert sorted(str(run["unenforced"]) for run in json.loads(command.out)) == ["None", "{'met': 1, 'missed': 1}"]
    assert command("list", "--format", "csv") == 0
    words = ("met_unenforced", "missed_unenforced", "inconclusive_unenforced")
    rows = {row["missed"]: [row[word] for word in words] for row in csv.DictReader(io.StringIO(command.out))}
    assert rows == {"1": ["1", "1", "0"], "0": ["", "", ""]}


def test_show_tells_what_fails_nothing_and_why(history: History, command: Command) -> None:
    """As the summary of a run does, with the day; a gate in quarantine that holds is told too."""
    history.add(in_quarantine(history))
    assert command("show") == 0
    missed, first, second, counted = command.out.splitlines()[-4:]
    assert missed == "test_it.py::test_a missed, not enforced: GPU time 9 ms misses it"
    assert first == "quarantined: test_it.py::test_a (max_gpu_time): noisy runner; until 2026-12-10"
    assert second == "quarantined: test_it.py::test_b: noisy runner; until 2026-12-10"
    assert counted.startswith("budgets: 2 met, 1 missed")
    assert command("show", "-k", "test_c") == 0
    assert "quarantine" not in command.out


def test_list_for_programs(history: History, command: Command) -> None:
    """JSON has what the table cuts; CSV has the verdicts as columns."""
    document = history.run(dirty=True)
    command("list", "--format", "json")
    (run,) = json.loads(command.out)
    assert (run["id"], run["commit"], run["dirty"]) == (document["id"], document["source"]["commit"], True)
    assert run["devices"] == ["T4 (simulated)"]
    command("list", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(command.out))
    assert (row["met"], row["not_enforced"], row["dirty"], row["devices"]) == ("1", "0", "true", "T4 (simulated)")


@pytest.mark.parametrize("reference", ["latest", "2", "#2", "0000002", "latest:topic", "run.json", "-"])
def test_a_run_is_named_in_many_ways(
    reference: str, history: History, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the store's words, by a file, by standard input: all mean the same run."""
    history.run(["test_it.py::test_old"])
    document = history.run(["test_it.py::test_new"], branch="topic")
    text = json.dumps(document)
    (history.root / "run.json").write_text(text)
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    assert command("show", reference) == 0
    assert "test_it.py::test_new" in command.out
    assert "test_old" not in command.out


def test_show_is_the_table_that_pytest_shows(history: History, command: Command) -> None:
    """On standard output; which run it is stands on standard error."""
    history.run(["test_it.py::test_a one", "test_it.py::test_a two", "test_it.py::test_b"])
    assert command("show") == 0
    lines = command.out.splitlines()
    assert re.fullmatch(r"on simulated:0 \(simulated\) vs \d+ threads, compute only", lines[0])
    assert lines[1].split()[:3] == ["test", "CPU", "[ms]"]
    assert [line.partition("  ")[0] for line in lines[3:6]] == [
        "test_it.py::test_a one", "test_it.py::test_a two", "test_it.py::test_b",
    ]  # fmt: skip
    assert lines[-1].startswith("budgets: ")
    assert command.err == "run 1 (commit 0000001 on main of 2026-01-02)\n"


def test_the_screen_is_that_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal has its width, and colours unless somebody is against them; a pipe has neither."""

    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    screen = screen_of(Terminal(io.BytesIO(), encoding="utf-8"))
    assert (screen.room, screen.ascii_only) == (60, False)
    assert screen.paint is not None
    assert screen.paint("missed", "red") == "\x1b[31mmissed\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert screen_of(Terminal(io.BytesIO(), encoding="ascii")) == Screen(60, ascii_only=True)
    assert screen_of(io.TextIOWrapper(io.BytesIO(), encoding="utf-8")) == Screen()


def test_show_of_some(history: History, command: Command) -> None:
    """-k chooses; nothing chosen is nothing to work with."""
    history.run(["test_it.py::test_a", "test_it.py::test_b"])
    assert command("show", "-k", "not test_a", "--format", "json") == 0
    assert [record["test"] for record in json.loads(command.out)["records"]] == ["test_it.py::test_b"]
    assert command("show", "-k", "test_z") == 3
    assert "has nothing that -k 'test_z' means" in command.err
    assert command("show", "-k", "(") == 2
    assert "-k '(' cannot be read" in command.err


@pytest.mark.parametrize("name", ["csv", "markdown", "json"])
def test_show_in_other_formats_is_an_export(name: str, history: History, command: Command) -> None:
    """The same writers make both."""
    history.run()
    assert command("show", "--format", name) == 0
    shown = command.out
    assert command("export", "latest", "--format", name) == 0
    assert command.out == shown
    assert command.err == ""


def test_export_to_a_file(history: History, command: Command) -> None:
    """Every format of the hooks; the JSON is the document that was stored."""
    document = history.run()
    for name in ("json", "pytest-benchmark", "csv", "markdown", "openmetrics", "bencher"):
        assert command("export", "1", "--format", name, "-o", f"out/{name}") == 0
        assert command.out == ""
        assert (history.root / "out" / name).stat().st_size > 100
    written = json.loads((history.root / "out" / "json").read_text())
    assert written["id"] == document["id"]
    assert written["records"][0]["legs"] == document["records"][0]["legs"]


def test_what_cannot_be_exported(history: History, command: Command) -> None:
    """An unknown format, and a place that is none."""
    history.run()
    assert command("export", "latest", "--format", "xml") == 2
    assert "--format 'xml' is unknown; there are json, " in command.err
    assert command("export", "latest", "--format", "csv", "-o", "pytest.ini/out.csv") == 2
    assert "pytest.ini/out.csv cannot be written" in command.err


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("99", "has no run '99'"),
        ("latest~7", "has fewer than 8 finished runs"),
        ("latest:gone", "has no finished run on the branch gone"),
        ("nonsense", "has no run 'nonsense'"),
        ("gone.json", "there is no file gone.json"),
        ("pytest.ini", "pytest.ini is not JSON"),
        ("bad.json", "bad.json is not of pytest-gpuprof"),
        ("new.json", "upgrade pytest-gpuprof"),
    ],
)
def test_a_name_that_means_no_run(reference: str, said: str, history: History, command: Command) -> None:
    """One sentence with a remedy, whether it is a run or a file."""
    document: dict[str, Any] = history.run()
    (history.root / "bad.json").write_text('{"benchmarks": []}')
    (history.root / "new.json").write_text(json.dumps({**document, "schema": "pytest-gpuprof/9"}))
    assert command("show", reference) == 2
    assert said in command.err
    assert command.err.startswith("pytest-gpuprof: error: ")
    assert command.err.count("\n") == 1
    assert command.out == ""
