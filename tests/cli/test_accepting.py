"""``accept``: what becomes a baseline, what is left out, and what changes in the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.core.baseline import FILE_NAME

from .conftest import Command, History

A, B = "test_it.py::test_a", "test_it.py::test_b"


def accepted(root: Path, figure: str = "gpu_time") -> dict[tuple[str, str], list[float]]:
    """Return the values of a figure in the file, by test and card."""
    document: dict[str, Any] = json.loads((root / FILE_NAME).read_text())
    return {
        (line["test"], document["machines"][line["machine"]]["gpu"]): line["values"]
        for line in document["figures"]
        if line["figure"] == figure
    }


def test_accept_writes_the_newest_run(history: History, command: Command) -> None:
    """Every figure of it, in a file at the project's root; doing it again changes nothing."""
    history.run({A: 2e-3})
    history.run({A: 1e-3, B: 1e-3})
    assert command("accept") == 0
    assert command.out.startswith("accepted run 2 (commit 0000002 on main of 2026-01-03) into ")
    assert command.out.endswith(" 10 new, 0 changed, 0 unchanged, 0 taken out\n")
    assert {test for test, _ in accepted(history.root)} == {A, B}
    written = (history.root / FILE_NAME).read_text()
    assert command("accept") == 0
    assert "0 new, 0 changed, 10 unchanged" in command.out
    assert (history.root / FILE_NAME).read_text() == written


def test_what_changes_is_shown(history: History, command: Command) -> None:
    """A row per figure, with its card; --dry-run shows the same and writes nothing."""
    history.run({A: 1e-3, B: 1e-3})
    command("accept", "--figures", "gpu_time")
    before = (history.root / FILE_NAME).read_text()
    history.run({A: 1.5e-3, B: 1e-3})
    assert command("accept", "--figures", "gpu_time", "--dry-run") == 0
    (row,) = (line for line in command.out.splitlines() if line.startswith(f"{A} fast"))
    *words, change, card, word = row.split()
    assert words == [A, "fast", "gpu_time", "1", "ms", "1", "1.5", "ms", "1"]
    assert float(change.strip("+%")) == pytest.approx(50, abs=0.5)
    assert (card, word) == ("T4", "(simulated)")
    assert "would accept run 2" in command.out
    assert (history.root / FILE_NAME).read_text() == before
    shown = command.out.replace("would accept", "accepted")
    assert command("accept", "--figures", "gpu_time") == 0
    assert command.out == shown
    assert (history.root / FILE_NAME).read_text() != before


def test_resting_on_fewer_runs_is_told(history: History, command: Command) -> None:
    """One run in place of three makes the gate weaker, which a table alone would not say."""
    for _ in range(3):
        history.run({A: 1e-3})
    assert command("accept", "--runs", "3", "--figures", "gpu_time") == 0
    assert "fewer runs" not in command.err
    history.run({A: 1.01e-3})
    assert command("accept", "--figures", "gpu_time") == 0
    assert "1 figure rests on fewer runs than before" in command.err
    assert "--runs" in command.err


def test_several_runs_and_one_more(history: History, command: Command) -> None:
    """Those before it on its branch and its card; --add keeps what was accepted."""
    for gpu_s in (1e-3, 1.1e-3):
        history.run({A: gpu_s})
        history.run({A: 5e-3}, branch="topic")
        history.run({A: 5e-3}, card="H200")
    history.run({A: 1.2e-3})
    assert command("accept", "--runs", "20") == 0
    assert "accepted 3 runs up to run 7" in command.out
    assert list(accepted(history.root)) == [(A, "T4")]
    values = accepted(history.root)[A, "T4"]
    assert values == pytest.approx([1e-3, 1.1e-3, 1.2e-3], rel=0.01)  # the oldest first
    (history.root / "more.json").write_text(json.dumps(history.document({A: 1.3e-3})))
    assert command("accept", "more.json", "--add") == 0
    assert accepted(history.root)[A, "T4"] == pytest.approx([1e-3, 1.1e-3, 1.2e-3, 1.3e-3], rel=0.01)
    assert command("accept", "latest") == 0
    assert len(accepted(history.root)[A, "T4"]) == 1


def test_other_cards_stay(history: History, command: Command) -> None:
    """One file serves several."""
    history.run({A: 1e-3}, card="H200")
    command("accept")
    history.run({A: 4e-3})
    command("accept")
    assert accepted(history.root).keys() == {(A, "H200"), (A, "T4")}


def test_some_of_it(history: History, command: Command) -> None:
    """-k and --figures choose, and --file names another place."""
    history.run({A: 1e-3, B: 1e-3})
    assert command("accept", "-k", "test_b", "--figures", "gpu_time,speedup", "--file", "ci/base.json") == 0
    assert "2 new" in command.out
    document = json.loads((history.root / "ci" / "base.json").read_text())
    assert {(line["test"], line["figure"]) for line in document["figures"]} == {(B, "gpu_time"), (B, "speedup")}


def test_vanished_workloads_are_dropped_if_that_is_wanted(history: History, command: Command) -> None:
    """And only those that -k means."""
    history.run({A: 1e-3, B: 1e-3, "test_it.py::test_c": 1e-3})
    command("accept")
    history.run({A: 1e-3})
    command("accept")
    assert {test for test, _ in accepted(history.root)} == {A, B, "test_it.py::test_c"}
    assert command("accept", "--drop-vanished", "-k", "test_a or test_b") == 0
    assert f"taken out: {B} fast" in command.out
    assert {test for test, _ in accepted(history.root)} == {A, "test_it.py::test_c"}


def test_what_is_left_out_is_said(history: History, command: Command) -> None:
    """A failed test is no baseline; if nothing is left, the status is 3 and nothing is written."""
    history.run({A: 1e-3}, failed=True)
    assert command("accept") == 3
    assert "test_it.py::test_a fast is left out: its test failed\n" in command.err
    assert "nothing of run 1 " in command.err
    assert not (history.root / FILE_NAME).exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--runs", "21"], "a baseline holds 20 runs at most"),
        (["run.json", "--runs", "2"], "needs a stored run, and run.json is a file"),
        (["--figures", "gpu"], "which is no figure"),
        (["nonsense"], "has no run 'nonsense'"),
    ],
)
def test_what_cannot_be_accepted(arguments: list[str], said: str, history: History, command: Command) -> None:
    """One sentence, and no file."""
    (history.root / "run.json").write_text(json.dumps(history.run()))
    assert command("accept", *arguments) == 2
    assert said in command.err
    assert not (history.root / FILE_NAME).exists()


def test_a_file_with_a_merge_conflict_is_left_alone(history: History, command: Command) -> None:
    """The line is named, and the person decides."""
    history.run()
    (history.root / FILE_NAME).write_text("{\n<<<<<<< HEAD\n")
    assert command("accept") == 2
    assert "has a merge conflict in line 2" in command.err
    assert command("compare", "baseline") == 2
    assert (history.root / FILE_NAME).read_text() == "{\n<<<<<<< HEAD\n"
