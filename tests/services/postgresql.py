"""A real PostgreSQL server in a temporary folder, on a port of its own."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Postgresql", "PostgresqlUnavailable", "running"]

PASSWORD = "s3cret-of-tests"
_STARTS_S = 60


class PostgresqlUnavailable(Exception):
    """There is no server to start here, and why."""


class Postgresql:
    """A server that runs.

    Args:
        programs: folder of its programs.
        data: its folder.
        port: on 127.0.0.1.
        user: who runs it, ``None`` for whoever runs the tests.
    """

    def __init__(self, programs: Path, data: Path, port: int, user: str | None) -> None:
        self._programs = programs
        self._data = data
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self.port = port

    def run(self, program: str, *args: str) -> str:
        """Run one of PostgreSQL's programs and return what it says."""
        command = [str(self._programs / program), *args]
        environment = {**os.environ, "LC_ALL": "C", "PGPASSWORD": PASSWORD}
        try:
            done = subprocess.run(
                command, user=self._user, capture_output=True, text=True, timeout=120, cwd="/", env=environment
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PostgresqlUnavailable(f"{program} cannot be run ({error})") from error
        if done.returncode:
            raise PostgresqlUnavailable(f"{program} failed ({done.stderr.strip()})")
        return done.stdout

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Execute a statement as the server's owner."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "tests", "-d", database]
        return self.run("psql", *where, "-v", "ON_ERROR_STOP=1", "-Atc", statement)

    def database(self) -> str:
        """Make an empty database and return its URL."""
        self._made += 1
        name = f"gpuprof_{self._made}"
        self.sql(f"CREATE DATABASE {name}")
        return f"postgresql://tests:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def drop_connections(self) -> int:
        """End every connection of the program under test; return how many there were."""
        answer = self.sql(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'pytest-gpuprof'"
        )
        return int(answer)

    def start(self) -> None:
        """Start it and wait until it answers."""
        log = (self._data.parent / "log").open("ab")
        options = ["-p", str(self.port), "-k", str(self._data.parent), "-c", "listen_addresses=127.0.0.1"]
        with log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._data), *options, "-c", "fsync=off"],
                user=self._user,
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + _STARTS_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                self.sql("SELECT 1")
                return
            except PostgresqlUnavailable:
                time.sleep(0.05)
        said = (self._data.parent / "log").read_text(encoding="utf-8", errors="replace")[-500:]
        self.stop()
        raise PostgresqlUnavailable(f"the server did not start ({said.strip()})")

    def stop(self) -> None:
        """Stop it; whoever is connected is disconnected."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)  # at once, as a crash would
            self._process.wait(timeout=60)
            self._process = None


@contextmanager
def running(folder: Path) -> Iterator[Postgresql]:
    """Start a server for as long as the block lasts.

    Args:
        folder: empty, and not below one that is closed to others; as root it is given to the user of the server.

    Raises:
        PostgresqlUnavailable: if there is none to start.
    """
    if importlib.util.find_spec("psycopg") is None:
        raise PostgresqlUnavailable("psycopg is not installed")
    server = Postgresql(_programs(), folder / "data", _free_port(), _user())
    if server._user is not None:
        shutil.chown(folder, server._user)
    password = folder / "password"
    password.write_text(PASSWORD, encoding="ascii")
    server.run(
        "initdb", "-D", str(folder / "data"), "-U", "tests", "-E", "UTF8", "--no-sync", "--auth=scram-sha-256",
        f"--pwfile={password}",
    )  # fmt: skip
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _programs() -> Path:
    folders = [Path(found).resolve().parent for name in ("initdb", "pg_ctl") if (found := shutil.which(name))]
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres", "psql")):
            return folder
    raise PostgresqlUnavailable("PostgreSQL is not installed")


def _user() -> str | None:
    """Return who runs it: PostgreSQL refuses to be run by root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
        except KeyError:
            continue
        return name
    raise PostgresqlUnavailable("it does not run as root, and there is no other user")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
