"""A pseudo terminal, and what a person sees on it: tests assert the screen, not the codes that made it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from types import TracebackType

import pyte

MARK = b"\x1b]777;stopped\x07"
"""What a stopped workload writes to the terminal: nothing is seen of it, and all that was written before has come."""

STOPPING = """
import os
from pathlib import Path

def stop():
    terminal = os.open(os.environ["TTY"], os.O_WRONLY | os.O_NOCTTY)
    os.write(terminal, b"\\x1b]777;stopped\\x07")
    os.close(terminal)
    Path(os.environ["GATE"]).read_bytes()  # ends when the test has looked

def stopping(at, then=lambda: None, cpu=20e-3, gpu=1e-3):
    # Work that is looked at in its calls of these numbers, counted over all legs, and does something after the first.
    made = []
    def build(device):
        def work():
            made.append(1)
            device.run(cpu=cpu, gpu=gpu)
            if len(made) in at:
                stop()
                if len(made) > 1:
                    then()
        return work
    return build
"""
"""For inner test files: a workload that stops in the middle of a call, so that the screen can be looked at."""

AT_ONCE = """
from pytest_gpuprof.reports import transient
transient._HELD_BACK_S = transient._EVERY_S = 0.0
"""
"""For a conftest: everything is shown, however fast a simulated machine is."""

_SECONDS = 60
"""No test waits that long; a run that hangs is ended."""


class Screen:
    """A process on a terminal.

    Args:
        command: to run.
        folder: to run it in.
        columns, lines: size of the terminal.
        environment: further variables.
    """

    def __init__(self, command: list[str], folder: Path, columns: int, lines: int, **environment: str):
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._terminal, theirs = pty.openpty()
        self._gate = folder / "gate"
        self._gate.unlink(missing_ok=True)
        os.mkfifo(self._gate)
        self.written = b""
        self.resize(columns, tell=False)
        name = os.ttyname(theirs)
        keep = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
        # The first terminal that the leader of a session opens is its controlling one: Ctrl-C works.
        self._process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" <"$TTY" >"$TTY" 2>&1', "sh", *command],
            cwd=folder, start_new_session=True,
            env={**keep, "TTY": name, "GATE": str(self._gate), "TERM": "xterm-256color", **environment},
        )  # fmt: skip
        self._open = theirs  # kept until the process has ended, or its last words could be lost

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for each in (self._terminal, self._open):
            os.close(each)

    def resize(self, columns: int, *, tell: bool = True) -> None:
        """Make the window so wide."""
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", self._screen.lines, columns, 0, 0))
        if tell:
            self._screen.resize(columns=columns)

    def until_stopped(self) -> list[str]:
        """Return the rows that are seen when the workload stops next."""
        assert self._read(MARK), "\n".join(self.rows)
        return self.rows

    def go_on(self) -> None:
        """Let the stopped workload go on."""
        self._gate.write_bytes(b"")

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._terminal, keys)

    def until_end(self) -> list[str]:
        """Return all rows when the process has ended."""
        self._read(None)
        return self.rows

    @property
    def status(self) -> int:
        """How the process ended."""
        return self._process.wait(_SECONDS)

    @property
    def rows(self) -> list[str]:
        """What is on the screen, down to the last row with something in it."""
        return "\n".join(row.rstrip() for row in self._screen.display).rstrip().split("\n")

    @property
    def above(self) -> list[str]:
        """What is on the screen down to the row of the cursor, and the column of the cursor there."""
        rows = self._screen.display[: self._screen.cursor.y + 1]
        return [*(row.rstrip() for row in rows), f"column {self._screen.cursor.x}"]

    def _read(self, mark: bytes | None) -> bool:
        """Read up to a mark, or to the end; return whether the mark came."""
        pending, deadline_s = b"", time.monotonic() + _SECONDS
        poll = select.poll()  # select() knows no descriptor above 1024, and a long run of tests may have as many open
        poll.register(self._terminal, select.POLLIN)
        while time.monotonic() < deadline_s:
            ended = self._process.poll() is not None
            ready = poll.poll(0 if ended else 100)
            if ready:
                pending += os.read(self._terminal, 65536)
            elif ended:
                self._show(pending)
                return False
            if mark is not None and mark in pending:
                self._show(pending.partition(mark)[0])
                assert not pending.partition(mark)[2]
                return True
        raise TimeoutError(f"nothing more came in {_SECONDS} s: {pending!r}")

    def _show(self, written: bytes) -> None:
        self.written += written
        self._stream.feed(written.replace(MARK, b""))


_NOT_INHERITED = {"CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "COLUMNS", "LINES", "PYTEST_ADDOPTS", "NO_COLOR"}
"""What would change what is shown."""


def pytest_on(folder: Path, *args: str, columns: int = 100, lines: int = 60, **environment: str) -> Screen:
    """Return pytest, without other plugins, measuring on the simulated machine, on a terminal."""
    command = [
        sys.executable, "-m", "pytest", "-p", "gpuprof", "-p", "no:cacheprovider", "--gpu-profile",
        "--gpu-profile-devices=simulated:0", "--gpu-profile-backend=simulated", "--gpu-profile-store=none", *args,
    ]  # fmt: skip
    return Screen(command, folder, columns, lines, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", **environment)
