"""What can be wrong with a store is told in one sentence with a remedy, and without a password."""

from __future__ import annotations

import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage import database
from pytest_gpuprof.storage.address import Address
from pytest_gpuprof.storage.database import Database
from pytest_gpuprof.storage.store import Store

Make = Callable[..., dict[str, Any]]


@contextmanager
def told(*words: str) -> Iterator[None]:
    """Expect a StoreError of one line that has all ``words`` and no password."""
    with pytest.raises(StoreError) as error:
        yield
    text = str(error.value)
    assert "\n" not in text
    assert "s3cret" not in text
    assert [word for word in words if word not in text] == [], text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a SQLite store."""
    return tmp_path / "history.sqlite3"


# -- addresses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    ["mysql://me:s3cret@host/db", "sqlite://", "sqlite:///", "postgresql+psycopg2://me:s3cret@host/db", "http://host/x",
     "postgresql://", "oracle://host?password=s3cret"],
)  # fmt: skip
def test_an_address_that_means_nothing(url: str, tmp_path: Path) -> None:
    """It is told with both kinds there are."""
    with told("is no store; name a SQLite file", "postgresql://user@host/database"):
        Store.open(url, tmp_path)


@pytest.mark.parametrize(
    "url", ["postgresql://me@host:port/db", "postgresql://me:s3cret@host:99999999/db?connect_timeout=x"]
)
def test_an_address_that_is_misspelt(url: str, tmp_path: Path) -> None:
    """It is told before anything is tried, or when it cannot be reached."""
    with told("the store postgresql://me"):
        Store.open(url, tmp_path)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:s3cret@host/db", "postgresql://me:***@host/db"),
        ("postgres://me:s3@cret/@host/db", "postgresql://me:***@host/db"),
        ("postgresql+psycopg://host/db?password=s3cret&sslmode=require", "postgresql://host/db?password=***&sslmode=require"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("some where/x.db", "some where/x.db"),
        (None, str(Path(".gpuprof") / "history.sqlite3")),
    ],
)  # fmt: skip
def test_a_password_is_never_shown(url: str | None, shown: str, tmp_path: Path) -> None:
    """In whatever place of the address it stands."""
    assert Address.of(url, tmp_path).shown == shown


@pytest.mark.parametrize(
    ("url", "place"),
    [("x.db", "x.db"), ("sqlite:///a/x.db", "a/x.db"), ("{root}/b/x.db", "b/x.db"), ("sqlite:///{root}/x.db", "x.db")],
)
def test_a_path_is_relative_to_the_project(url: str, place: str, tmp_path: Path) -> None:
    """Or absolute; its folder is made, and not taken for ours."""
    Store.open(url.format(root=tmp_path), tmp_path).close()
    assert (tmp_path / place).exists()
    assert not list(tmp_path.rglob(".gitignore"))


def test_the_default_store_keeps_itself_out_of_version_control(tmp_path: Path) -> None:
    """With what else we write there; a file that is there stays as it is."""
    Store.open(None, tmp_path).close()
    assert (tmp_path / ".gpuprof" / ".gitignore").read_text(encoding="ascii") == "*\n"
    (tmp_path / ".gpuprof" / ".gitignore").write_text("mine\n", encoding="ascii")
    Store.open(None, tmp_path).close()
    assert (tmp_path / ".gpuprof" / ".gitignore").read_text(encoding="ascii") == "mine\n"


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_something_else(path: Path, tmp_path: Path) -> None:
    """It is left as it is."""
    path.write_bytes(b"not a database at all" * 1000)
    for opening in (Store.open, Store.existing):
        with told("is damaged, or is no SQLite file; move it away", "pytest-gpuprof import"):
            opening(str(path), tmp_path)
    assert path.read_bytes().startswith(b"not a database")


def test_a_torn_page(path: Path, tmp_path: Path, record: Make, document: Make) -> None:
    """Whatever page it is, it is told as damage when it is met, and nothing else happens."""
    with Store.open(str(path), tmp_path) as store:
        store.add(document(*(record(f"t::{number}", "n") for number in range(50))))
    whole = path.read_bytes()
    met = 0
    for start in range(4096, len(whole), 4096):
        path.write_bytes(whole[:start] + b"\xa5" * 4096 + whole[start + 4096 :])
        try:
            with Store.open(str(path), tmp_path) as store:
                (info,) = store.runs()
                store.document(info)
                store.figures(info)
                store.history("t::1", "n", figure="gpu_time")
        except StoreError as error:
            assert "is damaged" in str(error), error  # noqa: PT017  # what is not met is not told
            met += 1
        except ValueError as error:  # the row of the run itself is gone
            assert "not enough values" in str(error)  # noqa: PT017
    assert met > 10


def test_a_file_that_is_locked(
    path: Path, tmp_path: Path, record: Make, document: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another program that does not let go of it; reading goes on."""
    Store.open(str(path), tmp_path).close()
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    other = sqlite3.connect(path, isolation_level=None)
    with Store.open(str(path), tmp_path) as store:
        other.execute("BEGIN IMMEDIATE")
        with told("has been locked by another process", "end that process"):
            store.add(document(record()))
        assert store.runs() == []
        other.execute("ROLLBACK")
        assert store.add(document(record()))
    other.close()


@contextmanager
def nobody() -> Iterator[None]:
    """Be somebody without rights; who runs the tests as root may write everywhere."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may look into."""
    with tempfile.TemporaryDirectory(prefix="gpuprof-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


def test_a_folder_that_cannot_be_written(open_folder: Path) -> None:
    """No store can be made there."""
    open_folder.chmod(0o555)
    with nobody(), told("cannot be made (Permission denied); allow writing there", "--gpu-profile-store"):
        Store.open("below/history.sqlite3", open_folder)
    with nobody(), told("cannot be opened; allow reading and writing in its folder"):
        Store.open("history.sqlite3", open_folder)


def test_a_file_that_is_read_only(open_folder: Path, record: Make, document: Make) -> None:
    """It can be read where its folder lets SQLite work, and writing is told."""
    made = document(record())
    with Store.open("history.sqlite3", open_folder) as store:
        store.add(made)
    (open_folder / "history.sqlite3").chmod(0o444)
    open_folder.chmod(0o777)
    with nobody(), Store.open("history.sqlite3", open_folder) as store:
        assert store.document(store.runs()[0]) == made
        with told("is read-only; allow writing there"):
            store.add(document(record()))


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system of 2 MB there."""
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "gpuprof", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("NOT TESTED: a full disk, because no small one can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk; the test below limits a file's size")
def test_a_full_disk(tmp_path: Path, record: Make, document: Make) -> None:
    """What was stored before stays, and the store goes on when there is space again."""
    with small_disk(tmp_path), Store.open("history.sqlite3", tmp_path) as store:
        filler = tmp_path / "filler"
        filler.write_bytes(b"x" * 1_000_000)
        kept = []
        with told("the disk is full", "free some space"):
            for _ in range(1000):
                made = document(*(record(f"t::{number}", "n") for number in range(20)))
                store.add(made)
                kept.append(made)
        assert kept
        filler.unlink()
        assert [store.document(info) for info in reversed(store.runs())] == kept
        assert store.add(document(record()))


def test_what_waiting_does_not_mend_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making a file waits for whoever makes the same one, and not for a full disk."""
    tried = []

    def full(self: Database, *statements: str) -> None:
        tried.append(statements)
        raise StoreError("full") from sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Database, "_outside", full)
    with pytest.raises(StoreError):
        Store.open("new.sqlite3", tmp_path)
    assert len(tried) == 1


FULL = """
import json, resource, sys
from pathlib import Path
from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage.store import Store

document = json.loads(sys.stdin.read())
with Store.open("history.sqlite3", Path()) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    for number in range(1000):
        try:
            store.add({**document, "id": f"{number:032x}"})
        except StoreError as error:
            print(error)
            break
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert len(store.runs()) == number > 0
    assert all(len(store.document(info)["records"]) == 20 for info in store.runs())
"""


def test_a_file_that_may_not_grow(tmp_path: Path, record: Make, document: Make) -> None:
    """As with a quota: it is told as a full disk, and what was stored before stays."""
    import json

    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    made = document(*(record(f"t::{number}", "n") for number in range(20)))
    done = subprocess.run(
        [sys.executable, "-c", FULL], input=json.dumps(made), capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "cannot be written, because the disk is full or does not work" in done.stdout


# -- servers ----------------------------------------------------------------------------------------------------------


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    """Nothing listens there."""
    pytest.importorskip("psycopg", reason="NOT TESTED: psycopg is not installed")
    with told("postgresql://me:***@127.0.0.1:1/db cannot be reached", "refused", "start the server"):
        Store.open("postgresql://me:s3cret@127.0.0.1:1/db", tmp_path)


def test_a_driver_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told with what to install."""
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with told("needs psycopg, which is not installed; pip install 'pytest-gpuprof[postgresql]'"):
        Store.open("postgresql://me:s3cret@127.0.0.1:1/db", tmp_path)


def test_a_wrong_password(postgresql: Any, tmp_path: Path) -> None:
    """What the server says is passed on, without it."""
    url = postgresql.database().replace(":s3cret-of-tests@", ":s3cret-but-wrong@")
    with told("password authentication failed"):
        Store.open(url, tmp_path)


def test_a_database_without_rights(postgresql: Any, tmp_path: Path) -> None:
    """A user who may not create tables is told by whom they are refused."""
    url = postgresql.database()
    postgresql.sql("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN PASSWORD 's3cret-guest'")
    with told("permission denied", "see to it in PostgreSQL"):
        Store.open(url.replace("tests:s3cret-of-tests@", "guest:s3cret-guest@"), tmp_path)
