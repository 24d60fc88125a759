"""The journal: every record is on disk before the next test starts, and a full disk stops nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pytest_gpuprof.plugin.journal import Journal, leftovers, mark_stored
from pytest_gpuprof.storage.document import SCHEMA, read_document

from .conftest import Runs, text_of

TWO = """
import json, pathlib

def test_first(gpu_profile):
    gpu_profile(fast)

def test_second(gpu_profile):
    (file,) = pathlib.Path(".gpuprof/journal").glob("*.jsonl")
    head, line = file.read_text().splitlines()
    assert json.loads(head)["journal"]["records"] == []
    assert json.loads(line)["test"] == "test_it.py::test_first"
    gpu_profile(slow)
"""


def test_a_record_is_on_disk_before_the_next_test(runs: Runs) -> None:
    """The second test of a run finds the first one's record in the journal."""
    runs(TWO).assert_outcomes(passed=2)
    assert [record["name"] for record in runs.journal()] == ["fast", "slow"]


def test_the_journal_is_kept_out_of_version_control(runs: Runs) -> None:
    """Its folder ignores itself, also where there is no store."""
    runs("def test_it(gpu_profile): gpu_profile(fast)", "--gpu-profile-store=none")
    assert (runs.path / ".gpuprof" / "journal" / ".gitignore").read_text(encoding="ascii") == "*\n"
    assert not (runs.path / ".gpuprof" / ".gitignore").exists()


def test_a_run_without_records_leaves_no_journal(runs: Runs) -> None:
    """Where nothing is measured nothing is written."""
    runs("def test_it(): pass")
    assert not (runs.path / ".gpuprof").exists()


def test_a_full_disk_is_told_once_and_stops_nothing(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the journal cannot be written the run goes on, and the summary says so, once."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    result = runs(
        """
def test_a(gpu_profile):
    gpu_profile(fast).require(min_speedup=5)

def test_b(gpu_profile):
    gpu_profile(fast)
"""
    )
    result.assert_outcomes(passed=2)
    shown = text_of(result)
    assert shown.count("cannot be written (No space left on device)") == 1
    assert "free some space, or allow writing there" in shown
    assert "budgets: 1 met" in shown


def test_a_folder_that_cannot_be_made_is_told(runs: Runs) -> None:
    """Something else called ``.gpuprof`` is told like a full disk."""
    (runs.path / ".gpuprof").touch()
    result = runs("def test_a(gpu_profile): gpu_profile(fast)")
    result.assert_outcomes(passed=1)
    assert "cannot be written" in text_of(result)


HEAD = {"id": "0123456789abcdef" * 2, "created": "2026-11-28T07:00:00Z", "records": []}


def test_old_journals_are_thrown_away(tmp_path: Path) -> None:
    """The journals of the last twenty runs are kept, this one's included, those of all workers of a run."""
    folder = tmp_path / ".gpuprof" / "journal"
    folder.mkdir(parents=True)
    for number in range(30):
        for worker in ("gw0", "gw1"):
            (folder / f"20200101T0000{number:02}-{number:08x}-{worker}.stored.jsonl").touch()
    mine = [Journal(tmp_path, worker, HEAD, "none") for worker in ("gw0", "gw1")]
    for journal in mine:
        journal.append({"name": "new"})
        journal.close()
    kept = sorted(folder.glob("*.jsonl"))
    assert len(kept) == 40
    assert kept[0].name == "20200101T000011-0000000b-gw0.stored.jsonl"
    assert kept[-2:] == [journal.path for journal in mine]


def test_each_worker_has_a_journal_of_its_own(tmp_path: Path) -> None:
    """The name of a worker's journal tells which worker wrote it."""
    names = {Journal(tmp_path, worker, HEAD, "none").path.name for worker in (None, "gw0", "gw1")}
    assert len(names) == 3
    assert sum(name.endswith("-gw1.jsonl") for name in names) == 1


def test_a_journal_begins_with_its_run(tmp_path: Path) -> None:
    """It can be read as a document, also when its last line is torn."""
    journal = Journal(tmp_path, None, {"schema": SCHEMA, **HEAD}, "none")
    journal.append({"test": "t", "name": "n", "legs": {}})
    journal.close()
    with journal.path.open("a", encoding="utf-8") as file:
        file.write('{"test": "t", "na')
    document = read_document(journal.path)
    assert document["id"] == HEAD["id"]
    assert [record["name"] for record in document["records"]] == ["n"]


def test_the_journal_of_a_living_session_is_left_alone(tmp_path: Path) -> None:
    """It is taken in only when its session is gone."""
    journal = Journal(tmp_path, None, {"schema": SCHEMA, **HEAD}, "here")
    journal.append({"test": "t", "name": "n", "legs": {}})
    assert list(leftovers(tmp_path, "here")) == []
    journal.close()
    assert [each.path for each in leftovers(tmp_path, "here")] == [journal.path]


def test_only_journals_for_this_store_are_taken_in(tmp_path: Path) -> None:
    """What was to be kept elsewhere or nowhere stays there; what is stored is not looked at again."""
    journal = Journal(tmp_path, None, {"schema": SCHEMA, **HEAD}, "here")
    journal.append({"test": "t", "name": "n", "legs": {}})
    journal.close()
    assert list(leftovers(tmp_path, "there")) == []
    mark_stored(journal.path)
    assert list(leftovers(tmp_path, "here")) == []
    assert [path.name for path in journal.path.parent.glob("*.jsonl")] == ["20261128T070000-01234567.stored.jsonl"]


def test_what_is_no_journal_is_passed_over(tmp_path: Path) -> None:
    """A file of an older version, an empty one and one of something else."""
    folder = tmp_path / ".gpuprof" / "journal"
    folder.mkdir(parents=True)
    for name, text in {"old": '{"test": "t", "name": "n"}\n', "empty": "", "other": "[1]\n", "torn": '{"jour'}.items():
        (folder / f"{name}.jsonl").write_text(text, encoding="ascii")
    assert list(leftovers(tmp_path, "here")) == []
