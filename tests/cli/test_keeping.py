"""``prune`` and ``import``: what is thinned, what is taken away, and what comes in once."""

from __future__ import annotations

import json

import pytest

from .conftest import Command, History


def numbers(command: Command) -> list[int]:
    """The runs that are stored."""
    command("list", "--format", "json")
    return [run["number"] for run in json.loads(command.out)]


def test_prune_thins_and_takes_away(history: History, command: Command) -> None:
    """A dry run says the same and does nothing; a thinned run can still be compared and shown."""
    for _ in range(5):
        history.run()
    assert command("prune", "--keep-samples", "1", "--keep-runs", "3", "--dry-run") == 0
    assert command.out.startswith("2 runs would be thinned, 2 runs would be taken away (4 records")
    assert numbers(command) == [5, 4, 3, 2, 1]
    assert command("prune", "--keep-samples", "1", "--keep-runs", "3") == 0
    assert command.out.startswith("2 runs thinned, 2 runs taken away (4 records")
    assert numbers(command) == [5, 4, 3]
    assert command("compare", "3", "4", "--fail-on", "regressed") == 0
    assert command("show", "3") == 0


def test_prune_by_age(history: History, command: Command) -> None:
    """Runs of January 2026 are older than a day, and not older than a thousand years."""
    history.run()
    history.run()
    command("prune", "--older-than", "365000")
    assert numbers(command) == [2, 1]
    command("prune", "--older-than", "1")
    assert command("list") == 3


@pytest.mark.parametrize("argument", ["--keep-samples=-1", "--keep-runs=0", "--older-than=x"])
def test_what_cannot_be_pruned(argument: str, command: Command) -> None:
    """Told by the parser."""
    with pytest.raises(SystemExit) as exit_:
        command("prune", argument)
    assert exit_.value.code == 2


def test_import_is_idempotent(history: History, command: Command) -> None:
    """It makes the store if there is none."""
    (history.root / "run.json").write_text(json.dumps(history.document(["t.py::test_a", "t.py::test_b"])))
    assert command("import", "run.json") == 0
    assert command.out == "run.json: 2 records added\n"
    assert command("import", "run.json") == 0
    assert command.out == "run.json: there already, nothing added\n"
    assert numbers(command) == [1]


def test_a_bad_file_does_not_keep_the_good_ones_out(history: History, command: Command) -> None:
    """Each problem is told in the end, with status 2."""
    (history.root / "good.json").write_text(json.dumps(history.document()))
    (history.root / "bad.json").write_text("[]")
    assert command("import", "bad.json", "gone.json", "good.json") == 2
    assert "bad.json is not of pytest-gpuprof" in command.err
    assert "there is no file gone.json" in command.err
    assert command.out == "good.json: 1 record added\n"
    assert numbers(command) == [1]


def test_a_journal_of_a_killed_session(history: History, command: Command) -> None:
    """Its records are kept, a torn last line aside; it is listed, and ``latest`` does not mean it."""
    whole = history.run()
    killed = history.document(["t.py::test_a", "t.py::test_b"])
    head = {key: value for key, value in killed.items() if key != "records"}
    lines = [json.dumps({"journal": head}), json.dumps(killed["records"][0]), json.dumps(killed["records"][1])[:50]]
    (history.root / "killed.jsonl").write_text("\n".join(lines))
    assert command("import", "killed.jsonl") == 0
    assert command.out == "killed.jsonl: 1 record added\n"
    assert numbers(command) == [2, 1]
    command("export", "latest", "--format", "json")
    assert json.loads(command.out)["id"] == whole["id"]
    command("list")
    assert "(not finished)" in command.out
