"""Every run is kept in the store, and no verdict depends on it."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.plugin import storing
from pytest_gpuprof.storage import database
from pytest_gpuprof.storage.document import read_document
from pytest_gpuprof.storage.store import Store

from .conftest import HEAD, Runs, text_of

ONE = "def test_one(gpu_profile): gpu_profile(fast).require(min_speedup=5)"

TWO = """
def test_first(gpu_profile):
    gpu_profile(fast).require(min_speedup=5)

def test_second(gpu_profile):
    gpu_profile(slow).require(min_speedup=5)
"""


def stored(runs: Runs, url: str | None = None) -> list[dict[str, Any]]:
    """Return the documents in the store, the oldest first."""
    with Store.open(url, runs.path) as store:
        return [store.document(info) for info in reversed(store.runs())]


def names(document: dict[str, Any]) -> list[str]:
    return sorted(record["test"].partition("::")[2] for record in document["records"])


# -- a run ------------------------------------------------------------------------------------------------------------


def test_a_run_is_stored_as_it_is_exported(runs: Runs) -> None:
    """Every record with the outcome of its test, the head, and the counts."""
    runs(TWO, "--gpu-profile-export=json:out.json").assert_outcomes(passed=1, failed=1)
    (kept,) = stored(runs)
    exported = runs.exported()
    assert {**kept, "duration_s": 0} == {**_with_figures(exported), "duration_s": 0}
    assert kept["counts"] == {"met": 1, "missed": 1, "inconclusive": 0, "not enforced": 0}
    assert [record["outcome"] for record in kept["records"]] == ["passed", "failed"]
    assert len(kept["id"]) == 32
    assert "unavailable" in kept["source"]


def _with_figures(exported: dict[str, Any]) -> dict[str, Any]:
    """Return an export with what the store adds to records that lack it."""
    from pytest_gpuprof.storage.rows import packed, unpacked

    taken = [packed(record) for record in exported["records"]]
    put = [
        unpacked(
            each.test, each.name, each.attempt, each.outcome, each.conditions, each.environment, each.figures,
            each.body, each.samples,
        )
        for each in taken
    ]  # fmt: skip
    return {**exported, "records": put}


def test_the_head_tells_commit_and_branch(runs: Runs) -> None:
    """Of the project as it was when the run began: what tests change afterwards does not make it dirty."""
    (runs.path / "a.txt").write_text("a", encoding="ascii")
    (runs.path / ".gitignore").write_text(".gpuprof\n*.py\n", encoding="ascii")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(runs.path)]
    for command in (["init", "-q", "-b", "trunk"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    for _ in range(2):
        runs(
            "def test_it(gpu_profile):\n    open('made.txt', 'w').close()\n    gpu_profile(fast)",
            "--gpu-profile-export=json:out.json",
        ).assert_outcomes(passed=1)
        (runs.path / "made.txt").unlink()
    (runs.path / "b.txt").touch()
    runs(ONE)
    sources = [kept["source"] for kept in stored(runs)]
    assert [(source["branch"], source["dirty"]) for source in sources] == [
        ("trunk", False), ("trunk", False), ("trunk", True),
    ]  # fmt: skip
    assert len({source["commit"] for source in sources}) == 1


def test_nothing_is_made_where_nothing_is_measured(runs: Runs) -> None:
    """Neither a store nor a folder."""
    runs("def test_it(): pass").assert_outcomes(passed=1)
    assert not (runs.path / ".gpuprof").exists()


def test_nothing_is_kept_where_none_is_said(runs: Runs) -> None:
    """Not now, and not by the next run that keeps its own."""
    runs(ONE, "--gpu-profile-store=none").assert_outcomes(passed=1)
    assert not list(runs.path.rglob("*.sqlite3"))
    shown = text_of(runs("def test_other(gpu_profile): gpu_profile(slow)"))
    assert "earlier run" not in shown
    assert [names(kept) for kept in stored(runs)] == [["test_other"]]


@pytest.mark.parametrize("url", ["kept/here.sqlite3", "sqlite:///kept/here.sqlite3"])
def test_the_store_may_be_elsewhere(runs: Runs, url: str) -> None:
    """As the option or the ini says."""
    runs.pytester.makeini(f"[pytest]\ngpu_profile_store = {url}\n")
    runs(ONE).assert_outcomes(passed=1)
    assert [names(kept) for kept in stored(runs, "kept/here.sqlite3")] == [["test_one"]]
    assert not (runs.path / ".gpuprof" / "history.sqlite3").exists()


def test_a_rerun_is_kept_with_its_attempts(runs: Runs) -> None:
    """The last one counts."""
    pytest.importorskip("pytest_rerunfailures", reason="NOT TESTED: pytest-rerunfailures is not installed")
    runs("def test_it(gpu_profile): gpu_profile(slow).require(min_speedup=5)", "--reruns=1")
    with Store.open(None, runs.path) as store:
        (info,) = store.runs()
        every = store.document(info, every_attempt=True)["records"]
        assert [(each["attempt"], each["outcome"]) for each in every] == [(1, "rerun"), (2, "failed")]
        assert [each["attempt"] for each in store.document(info)["records"]] == [2]


def test_what_fails_nothing_is_counted_of_the_attempt_that_counts(runs: Runs) -> None:
    """The second one measured nothing: the first is stored, and neither of its counts is."""
    pytest.importorskip("pytest_rerunfailures", reason="NOT TESTED: pytest-rerunfailures is not installed")
    runs(
        """
attempts = []

def test_it(gpu_profile):
    attempts.append(1)
    assert len(attempts) == 1, "the second attempt"
    gpu_profile(slow).require(min_speedup=5, enforce=False)
    assert False, "the first attempt"
""",
        "--reruns=1",
    )
    with Store.open(None, runs.path) as store:
        (info,) = store.runs()
    assert (info.records, info.counts["missed"], info.unenforced) == (1, 0, {})


# -- what is wrong with the store -------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["damaged.sqlite3", "mysql://me:s3cret@host/db", "folder"])
def test_a_store_that_cannot_be_opened_is_told_at_once_and_changes_nothing(runs: Runs, url: str) -> None:
    """Verdicts and exit status are those of a run without a store; the records are in a file that is named."""
    (runs.path / "damaged.sqlite3").write_bytes(b"no database" * 1000)
    (runs.path / "folder").mkdir()
    without = runs(TWO, "--gpu-profile-store=none")
    result = runs(TWO, f"--gpu-profile-store={url}")
    assert result.ret == without.ret
    result.assert_outcomes(passed=1, failed=1)
    shown = text_of(result)
    assert shown.index("this run goes on, and its records are kept in a file") < shown.index("collected 2 items")
    assert "budgets: 1 met, 1 missed" in shown
    assert "s3cret" not in shown
    (file,) = (runs.path / ".gpuprof" / "spilled").glob("*.json")
    assert f"are in {file}; store them with pytest-gpuprof import {file}".replace(" ", "") in shown.replace(" ", "")
    assert (file.parent / ".gitignore").read_text(encoding="ascii") == "*\n"
    with Store.open(None, runs.path) as store:
        store.add(read_document(file))
    (kept,) = stored(runs)
    assert (names(kept), kept["id"]) == (["test_first", "test_second"], file.stem)


def test_a_store_that_fails_in_the_middle_spills_everything(runs: Runs) -> None:
    """Also what was stored before; the file of the store is replaced by something else while tests run."""
    result = runs(
        """
from pathlib import Path

def test_a(gpu_profile): gpu_profile(fast)

def test_b(gpu_profile):
    for path in Path(".gpuprof").glob("history*"):
        path.unlink()
    Path(".gpuprof/history.sqlite3").mkdir()
    gpu_profile(fast)

def test_c(gpu_profile): gpu_profile(fast)
""",
        subprocess=True,
    )
    result.assert_outcomes(passed=3)
    (file,) = (runs.path / ".gpuprof" / "spilled").glob("*.json")
    assert names(read_document(file)) == ["test_a", "test_b", "test_c"]


def test_a_store_that_is_deleted_while_tests_run_is_made_again(runs: Runs) -> None:
    """With every record: a test that cleans up too much takes nothing away."""
    result = runs(
        """
import shutil

def test_a(gpu_profile): gpu_profile(fast)

def test_b(gpu_profile):
    shutil.rmtree(".gpuprof")
    gpu_profile(fast)

def test_c(gpu_profile): gpu_profile(fast)
"""
    )
    result.assert_outcomes(passed=3)
    assert [names(kept) for kept in stored(runs)] == [["test_a", "test_b", "test_c"]]


def test_where_nothing_can_be_written_beside_it_goes_to_the_temporary_folder(
    runs: Runs, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And that file is named."""
    folder = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    (runs.path / ".gpuprof").touch()
    shown = text_of(runs(ONE))
    (file,) = folder.glob("pytest-gpuprof-*.json")
    assert f"pytest-gpuprof import {file}".replace(" ", "") in shown.replace(" ", "")
    assert names(read_document(file)) == ["test_one"]

    def full(document: Any, path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storing, "write_document", full)
    result = runs(ONE)
    result.assert_outcomes(passed=1)
    assert "either" in text_of(result)


def test_what_could_not_be_stored_at_first_is_tried_once_more(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end, and only then: a store that is locked holds no test up for long."""
    tried = 0
    append = storing.Store.append

    def locked(self: Store, run_id: str, record: Any) -> None:
        nonlocal tried
        tried += 1
        if tried == 2:
            raise StoreError("the store has been locked by another process")
        append(self, run_id, record)

    monkeypatch.setattr(storing.Store, "append", locked)
    result = runs(
        "import pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_n(gpu_profile, n): gpu_profile(fast)"
    )
    assert tried == 2
    assert "after all" in text_of(result)
    (kept,) = stored(runs)
    assert len(kept["records"]) == 4
    assert not (runs.path / ".gpuprof" / "spilled").exists()


def test_a_locked_store_is_waited_for_twice(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the first record and at the end; then the run is spilled."""
    runs(ONE)
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    other = sqlite3.connect(runs.path / ".gpuprof" / "history.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    result = runs(TWO)
    other.close()
    result.assert_outcomes(passed=1, failed=1)
    assert "has been locked by another process" in text_of(result)
    assert len(list((runs.path / ".gpuprof" / "spilled").glob("*.json"))) == 1


def test_postgresql_may_drop_the_connection(runs: Runs, postgresql: Any) -> None:
    """In mid-run: another one is made, and nothing is lost."""
    url = postgresql.database()
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pytest-gpuprof'"
    runs(
        f"""
import psycopg

@pytest.mark.parametrize("n", range(4))
def test_n(gpu_profile, n):
    with psycopg.connect({url!r}, autocommit=True) as connection:
        assert len(connection.execute({end!r}).fetchall()) == min(n, 1)  # there is none before the first record
    gpu_profile(fast)
""",
        f"--gpu-profile-store={url}",
    ).assert_outcomes(passed=4)
    (kept,) = stored(runs, url)
    assert [record["outcome"] for record in kept["records"]] == ["passed"] * 4


# -- killed sessions --------------------------------------------------------------------------------------------------

KILLED = """
import os, signal

def test_a(gpu_profile): gpu_profile(fast)

def test_b(gpu_profile): gpu_profile(slow)

def test_c(gpu_profile): os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_is_taken_in_by_the_next(runs: Runs) -> None:
    """Said in one line, done once; here its store could not be opened while it ran."""
    place = runs.path / ".gpuprof" / "history.sqlite3"
    place.mkdir(parents=True)
    runs(KILLED, subprocess=True)
    place.rmdir()
    shown = text_of(runs(ONE))
    assert "the store now has what 1 earlier run measured and could not store" in shown
    assert [names(kept) for kept in stored(runs)] == [["test_a", "test_b"], ["test_one"]]
    with Store.open(None, runs.path) as store:
        assert [info.finished for info in store.runs()] == [True, False]
    assert "earlier run" not in text_of(runs(ONE))
    assert len(stored(runs)) == 3


def test_a_run_that_ended_without_its_store_is_taken_in_whole(runs: Runs) -> None:
    """It was spilled, so it is known that nothing is missing: "latest" means it, and its budgets are counted."""
    place = runs.path / ".gpuprof" / "history.sqlite3"
    place.mkdir(parents=True)
    runs(ONE)
    place.rmdir()
    assert "the store now has what 1 earlier run measured and could not store" in text_of(runs(ONE))
    with Store.open(None, runs.path) as store:
        assert [info.finished for info in store.runs()] == [True, True]
        assert sum(store.runs()[1].counts.values()) == 1


def test_a_killed_run_is_in_the_store_as_far_as_it_came(runs: Runs) -> None:
    """What the next run finds is there already, and it says nothing."""
    runs(KILLED, subprocess=True)
    assert [names(kept) for kept in stored(runs)] == [["test_a", "test_b"]]
    assert "earlier run" not in text_of(runs(ONE))
    assert [names(kept) for kept in stored(runs)] == [["test_a", "test_b"], ["test_one"]]


def test_a_journal_of_a_stored_run_does_not_bring_back_what_was_pruned(runs: Runs) -> None:
    """Its name says that it is stored."""
    runs(ONE)
    with Store.open(None, runs.path) as store:
        store.prune(keep_samples=0, keep_runs=0)
    runs(ONE)
    assert len(stored(runs)) == 1


def test_a_journal_can_be_read_like_an_export(runs: Runs) -> None:
    """So that it can be imported by name."""
    runs(KILLED, "--gpu-profile-store=none", subprocess=True)
    (journal,) = (runs.path / ".gpuprof" / "journal").glob("*.jsonl")
    document = read_document(journal)
    assert names(document) == ["test_a", "test_b"]
    with Store.open(None, runs.path) as store:
        assert store.add(document, finished=False)
        assert not store.add(document, finished=False)


# -- xdist and several sessions ---------------------------------------------------------------------------------------

MANY = """
@pytest.mark.parametrize("n", range(24))
def test_n(gpu_profile, n):
    gpu_profile(fast)
"""


@pytest.fixture
def _xdist() -> None:
    pytest.importorskip("xdist", reason="NOT TESTED: pytest-xdist is not installed")


@pytest.mark.usefixtures("_xdist")
def test_eight_workers_lose_nothing(runs: Runs) -> None:
    """The controller stores what all of them measured; every journal is of this run, and is stored."""
    result = runs(MANY, "-n8", "--gpu-profile-export=json:out.json", subprocess=True)
    result.assert_outcomes(passed=24)
    (kept,) = stored(runs)
    assert names(kept) == sorted(f"test_n[{n}]" for n in range(24))
    assert kept["id"] == runs.exported()["id"]
    journals = list((runs.path / ".gpuprof" / "journal").glob("*.jsonl"))
    assert {path.name.split("-")[1] for path in journals} == {kept["id"][:8]}
    assert [path for path in journals if not path.name.endswith(".stored.jsonl")] == []


@pytest.mark.usefixtures("_xdist")
def test_a_worker_that_dies_loses_nothing_that_was_measured(runs: Runs) -> None:
    """Not even what it could not report any more."""
    result = runs(
        """
def test_a(gpu_profile): gpu_profile(fast)

def test_b(gpu_profile): gpu_profile(slow)
""",
        "-n1",
        conftest="""
import os, pytest

@pytest.hookimpl
def pytest_runtest_logreport(report):
    if report.when == "call" and "test_b" in report.nodeid and "PYTEST_XDIST_WORKER" in os.environ:
        os._exit(1)  # before xdist reports it, and after the journal has it
""",
        subprocess=True,
    )
    assert "crashed" in result.stdout.str()
    (kept,) = stored(runs)
    assert names(kept) == ["test_a", "test_b"]


def test_two_sessions_at_once_lose_nothing(runs: Runs) -> None:
    """Each has its run, in a store that both find missing."""
    runs.pytester.makepyfile(test_it=HEAD + MANY.replace("24", "8"))
    command = [
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--gpu-profile", "--gpu-profile-devices=simulated:0",
        "--gpu-profile-backend=simulated",
    ]  # fmt: skip
    sessions = [subprocess.Popen(command, cwd=runs.path, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for session in sessions:
        said, _ = session.communicate(timeout=120)
        assert session.returncode == 0, said
        assert "spilled" not in said
    assert [len(kept["records"]) for kept in stored(runs)] == [8, 8]


def test_no_store_is_loaded_where_nothing_is_measured(runs: Runs) -> None:
    """Neither SQLAlchemy nor Alembic, nor the modules that need them."""
    result = runs(
        """
import sys

def test_it():
    heavy = ("sqlalchemy", "alembic", "psycopg", "pytest_gpuprof.storage", "pytest_gpuprof.plugin.run")
    assert [name for name in sys.modules if name.startswith(heavy)] == []
""",
        on=False,
        devices=None,
        subprocess=True,
    )
    result.assert_outcomes(passed=1)


def test_a_spilled_file_is_whole(runs: Runs) -> None:
    """It is JSON of our schema, whatever the store said."""
    runs(ONE, "--gpu-profile-store=mysql://x/y")
    (file,) = Path(runs.path / ".gpuprof" / "spilled").glob("*.json")
    assert json.loads(file.read_text(encoding="utf-8"))["schema"] == "pytest-gpuprof/1"
