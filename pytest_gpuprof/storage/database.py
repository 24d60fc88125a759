"""The database under the store: opening it, transactions, and what went wrong in one sentence with a remedy."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import RLock
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage import migration
from pytest_gpuprof.storage.address import Address

__all__ = ["Database"]

T = TypeVar("T")

BUSY_S = 30.0
"""How long to wait for another writer. Each of ours takes milliseconds; the longest is one run thinned by ``prune``."""

_CONNECT_S = 10
"""How long to wait for a server. A firewall that drops packets would otherwise hold a run for two minutes."""

_LOCK = 0x67707566
"""The advisory lock under which tables are created and changed in PostgreSQL: any number that others will not take."""

_WRITING = "gpuprof_writing"


class Database:
    """An open database whose tables are up to date.

    Args:
        address: where it is.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._busy = RLock()
        self._file: tuple[int, int] | None = None
        self._engine = self._made()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.address.path is not None

    def open(self) -> None:
        """Connect, and create or migrate the tables where that is due.

        Raises:
            StoreError: if it cannot be used.
        """
        path = self.address.path
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                ignore = path.parent / ".gitignore"
                if self.address.is_default and not ignore.exists():
                    ignore.write_text("*\n", encoding="ascii")
        except OSError as error:
            raise StoreError(
                f"the store {self.address.shown} cannot be made ({error.strerror or error}); allow writing there, or "
                "name another place with --gpu-profile-store"
            ) from error
        try:
            self._file = None
            self._open()
            self._file = self._file_now()
        except SQLAlchemyError as error:
            self.close()
            raise self._told(error) from error
        except StoreError:
            self.close()
            raise

    def exists(self) -> bool:
        """Whether it has any tables; it is not made by asking.

        Raises:
            StoreError: if it cannot be read.
        """
        if self.address.path is not None and not self.address.path.exists():
            return False
        try:
            return self.asked(migration.revision_of) is not None
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Close it; SQLite then takes its write-ahead log into the file."""
        self._engine.dispose()

    def asked(self, question: Callable[[Connection], T]) -> T:
        """Return what ``question`` reads, asked a second time over a new connection if the server dropped the first.

        Raises:
            StoreError: if it cannot be read.
        """
        return self._twice(question, writing=False)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do ``work`` in one transaction, which keeps other writers of a file out.

        It is done a second time, over a new connection, if the server dropped the first one: it has to be such that
        this does no harm, for nobody knows whether the first was committed.

        Raises:
            StoreError: if it cannot be written.
        """
        return self._twice(work, writing=True)

    def file_bytes(self) -> int | None:
        """Return the size of the file, its log taken into it; ``None`` if it is none.

        Raises:
            StoreError: if it cannot be written.
        """
        if self.address.path is None:
            return None
        self._outside("PRAGMA wal_checkpoint(TRUNCATE)")
        return self.address.path.stat().st_size

    def give_back(self) -> None:
        """Give space that is not used any more back to the file system. PostgreSQL does so itself, by and by.

        Raises:
            StoreError: if it cannot be written.
        """
        if self.is_sqlite:
            self._outside("PRAGMA incremental_vacuum")

    # -- how ----------------------------------------------------------------------------------------------------------

    def _made(self) -> Engine:
        try:
            url = make_url(self.address.url)
            if self.is_sqlite:
                engine = create_engine(url, connect_args={"timeout": BUSY_S}, pool_size=1)
                event.listen(engine, "connect", _prepare_file)
                event.listen(engine, "begin", _begin_file)
                return engine
            return create_engine(
                url,
                connect_args={"connect_timeout": _CONNECT_S, "application_name": "pytest-gpuprof"},
                pool_size=1,
                isolation_level="READ COMMITTED",
            )
        except ImportError as error:
            raise StoreError(
                f"the store {self.address.shown} needs {error.name or 'psycopg'}, which is not installed; "
                "pip install 'pytest-gpuprof[postgresql]'"
            ) from error
        except (SQLAlchemyError, ValueError) as error:
            raise StoreError(
                f"the store {self.address.shown} has an address that cannot be read; write "
                "postgresql://user@host:5432/database"
            ) from error

    def _open(self) -> None:
        with self._engine.connect() as connection:
            revision = migration.revision_of(connection)
        if revision == migration.REVISIONS[-1]:
            return
        if revision is None and self.is_sqlite:
            self._make_file()
        self.write(self._migrate)

    def _make_file(self) -> None:
        """Set what SQLite keeps in the file: it can be read while it is written, and gives space back."""
        deadline = time.monotonic() + BUSY_S
        while True:
            try:
                self._outside("PRAGMA auto_vacuum = INCREMENTAL", "PRAGMA journal_mode = WAL")
                return
            except StoreError as error:  # SQLite does not wait for a lock here; another process may be doing the same
                if "locked" not in str(error.__cause__) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def _file_now(self) -> tuple[int, int] | None:
        """Return which file has the store's name, ``None`` if none has."""
        try:
            status = None if self.address.path is None else self.address.path.stat()
        except OSError:
            return None
        return None if status is None else (status.st_dev, status.st_ino)

    def _follow(self) -> None:
        """Open the store anew where its file was taken away: SQLite would go on writing to a file without a name."""
        if self._file is not None and self._file != self._file_now():
            self.close()
            self.open()

    def _outside(self, *statements: str) -> None:
        """Execute statements of SQLite outside any transaction, to their end: each step of a vacuum frees one page."""
        assert self._engine.dialect.dbapi is not None
        try:
            with self._busy, self._engine.connect() as connection:
                raw: Any = connection.connection.dbapi_connection
                for statement in statements:
                    raw.executescript(statement)
        except (SQLAlchemyError, self._engine.dialect.dbapi.Error) as error:
            raise self._told(error) from error

    def _migrate(self, connection: Connection) -> None:
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        revision = migration.revision_of(connection)  # another process may just have done it
        if revision is not None and revision not in migration.REVISIONS:
            raise StoreError(
                f"the store {self.address.shown} was written by a newer pytest-gpuprof (its tables are revision "
                f"{revision}, and this version knows {migration.REVISIONS[-1]}); upgrade pytest-gpuprof, or name "
                "another store with --gpu-profile-store"
            )
        if revision != migration.REVISIONS[-1]:
            migration.migrate(connection)

    def _twice(self, work: Callable[[Connection], T], *, writing: bool) -> T:
        with self._busy:
            self._follow()
            for again in (True, False):
                try:
                    options = {_WRITING: writing}
                    with self._engine.connect().execution_options(**options) as connection, connection.begin():
                        return work(connection)
                except SQLAlchemyError as error:
                    if not (again and _may_pass(error)):
                        raise self._told(error) from error
        raise AssertionError("unreachable")

    def _told(self, error: Exception) -> StoreError:
        """Return what happened in one sentence, with what to do."""
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        lines = str(cause).strip().splitlines()
        reason = lines[0] if lines else type(cause).__name__
        password = make_url(self.address.url).password
        if password:
            reason = reason.replace(str(password), "***")
        shown = self.address.shown
        if not self.is_sqlite:
            if isinstance(error, DBAPIError) and (error.connection_invalidated or "connection" in reason):
                return StoreError(
                    f"the store {shown} cannot be reached ({reason}); start the server, correct the address, or name "
                    "another store with --gpu-profile-store"
                )
            return StoreError(
                f"the store {shown} cannot be used ({reason}); see to it in PostgreSQL, or name another store with "
                "--gpu-profile-store"
            )
        for words, sentence in _OF_FILES:
            if any(word in reason for word in words):
                return StoreError(f"the store {shown} {sentence}")
        return StoreError(f"the store {shown} cannot be used ({reason}); name another with --gpu-profile-store")


_OF_FILES = (
    (
        ("not a database", "malformed", "corrupt"),
        "is damaged, or is no SQLite file; move it away and a new one is made, import what you have exported with "
        "pytest-gpuprof import FILE",
    ),
    (
        ("full", "disk I/O"),
        "cannot be written, because the disk is full or does not work; free some space, or name another place with "
        "--gpu-profile-store",
    ),
    (
        ("locked", "busy"),
        f"has been locked by another process for {BUSY_S:.0f} s; end that process, or name another store with "
        "--gpu-profile-store",
    ),
    (
        ("readonly", "read-only"),
        "is read-only; allow writing there, or name another place with --gpu-profile-store",
    ),
    (
        ("unable to open",),
        "cannot be opened; allow reading and writing in its folder, or name another place with --gpu-profile-store",
    ),
)


def _may_pass(error: SQLAlchemyError) -> bool:
    """Whether doing it again may go well: the connection was dropped, two writers crossed, or a row was just pruned."""
    if not isinstance(error, DBAPIError):
        return False
    crossed = getattr(error.orig, "sqlstate", None) in ("40P01", "40001")  # deadlock, serialization failure
    return error.connection_invalidated or crossed or isinstance(error, IntegrityError)


def _prepare_file(connection: Any, record: object) -> None:
    connection.isolation_level = None  # the driver's own transactions begin too late and without a lock
    cursor = connection.cursor()
    # In WAL mode NORMAL loses nothing when a process dies; after a power failure the newest records may be missing, and
    # the journal, which is synchronized after each, has them.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_file(connection: Connection) -> None:
    writing = connection.get_execution_options().get(_WRITING, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
