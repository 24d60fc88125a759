"""The journal: every record is on disk before the next test starts, and a full disk stops nothing."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pytest_gpuprof.plugin.journal import Journal

from .conftest import Runs, text_of

TWO = """
import json, pathlib

def test_first(gpu_profile):
    gpu_profile(fast)

def test_second(gpu_profile):
    (file,) = pathlib.Path(".gpuprof/journal").glob("*.jsonl")
    (line,) = file.read_text().splitlines()
    assert json.loads(line)["test"] == "test_it.py::test_first"
    gpu_profile(slow)
"""


def test_a_record_is_on_disk_before_the_next_test(runs: Runs) -> None:
    """The second test of a run finds the first one's record in the journal."""
    runs(TWO).assert_outcomes(passed=2)
    assert [record["name"] for record in runs.journal()] == ["fast", "slow"]


def test_the_journal_is_kept_out_of_version_control(runs: Runs) -> None:
    """Its folder ignores itself, and only its folder."""
    runs("def test_it(gpu_profile): gpu_profile(fast)")
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


def test_old_journals_are_thrown_away(tmp_path: Path) -> None:
    """The journals of the last twenty runs are kept, this one's included."""
    folder = tmp_path / ".gpuprof" / "journal"
    folder.mkdir(parents=True)
    for number in range(30):
        (folder / f"20200101T0000{number:02}-1.jsonl").touch()
    journal = Journal(tmp_path, None)
    journal.append({"name": "new"})
    kept = sorted(folder.glob("*.jsonl"))
    assert len(kept) == 20
    assert kept[0].name == "20200101T000011-1.jsonl"
    assert kept[-1] == journal.path


def test_each_worker_has_a_journal_of_its_own(tmp_path: Path) -> None:
    """The name of a worker's journal tells which worker wrote it."""
    names = {Journal(tmp_path, worker).path.name for worker in (None, "gw0", "gw1")}
    assert len(names) == 3
    assert sum(name.endswith("-gw1.jsonl") for name in names) == 1
