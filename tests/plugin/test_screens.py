"""The table on terminals of several widths, with and without colours, and in a pipe."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios

import pytest

from pytest_gpuprof.reports.screen import width

from .conftest import HEAD, Runs

SOURCE = """
@pytest.mark.gpu_budget(min_speedup=5)
@pytest.mark.parametrize("what", ["a_first_one_of_many", "another_one_of_many"])
def test_of_something_that_has_a_rather_long_name(gpu_profile, what):
    gpu_profile(fast)

@pytest.mark.gpu_budget(min_speedup=5, max_gpu_time="1 s")
def test_slow(gpu_profile):
    gpu_profile(slow)

@pytest.mark.gpu_budget(min_energy_ratio=2)
def test_unavailable(gpu_profile):
    gpu_profile(fast)
"""

CODE = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(runs: Runs, columns: int, *args: str, **environment: str) -> list[str]:
    """Return what a run shows of the table, on a pseudo terminal of so many columns."""
    runs.pytester.makepyfile(test_it=HEAD + SOURCE)
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    unset = ("COLUMNS", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "CI")
    started = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tb=no", "-rN", "--gpu-profile",
         "--gpu-profile-backend=simulated", "--gpu-profile-devices=simulated:0", "--gpu-profile-unavailable=warn",
         *args],
        cwd=runs.path,
        stdout=theirs,
        stderr=theirs,
        env={**{name: each for name, each in os.environ.items() if name not in unset}, "TERM": "xterm", **environment},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # on Linux, that the other end was closed is an error
        pass
    finally:
        os.close(ours)
        started.wait()
    return section(shown.decode())


def section(shown: str) -> list[str]:
    """Return the lines of the table, from what was compared to the last row."""
    lines = shown.replace("\r\n", "\n").splitlines()
    (begin,) = [number for number, line in enumerate(lines) if " gpuprof ==" in line]
    (end,) = [number for number, line in enumerate(lines) if "missed: speedup" in line]
    return lines[begin + 1 : end]


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_table_fits_the_terminal(runs: Runs, columns: int) -> None:
    """Below 72 columns a test takes several lines; in all forms each test can be told from the others."""
    lines = on_terminal(runs, columns, "--color=no")
    assert max(map(width, lines)) <= columns
    text = "\n".join(lines)
    assert ("-----" in text) is (columns > 72)
    for part in ("first_one_of_many]", "another_one_of_many]", "test_slow", "missed", "met", "unavailable", "▕!!!!!!▏"):
        assert part in text


def test_colours_are_those_of_pytest(runs: Runs) -> None:
    """``--color`` and ``NO_COLOR`` are obeyed, and every row is where it is without them."""
    coloured = on_terminal(runs, 80, "--color=yes", NO_COLOR="1")
    plain = on_terminal(runs, 80, NO_COLOR="1")
    assert plain == on_terminal(runs, 80, "--color=no")
    assert not [line for line in plain if "\x1b" in line]
    assert [CODE.sub("", line) for line in coloured] == plain
    text = "\n".join(coloured)
    assert "\x1b[31mmissed" in text
    assert "\x1b[32mmet\x1b[0m" in text
    assert "\x1b[33munavailable\x1b[0m" in text
    assert "\x1b[31m▕!!!!!!▏" in text


def test_a_pipe_has_no_width(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was cut from a log cannot be looked for there; ``COLUMNS`` is about terminals."""
    monkeypatch.setenv("COLUMNS", "60")
    shown = runs(SOURCE, "--tb=no", "-rN", "--gpu-profile-unavailable=warn", subprocess=True).stdout.str()
    lines = section(shown)
    assert "test_it.py::test_of_something_that_has_a_rather_long_name[a_first_one_of_many]" in shown
    assert all(head in lines[1] for head in ("CPU [ms]", "GPU [ms]", "speedup (95%)", "budgets", "headroom"))
    assert len([line for line in lines if line.startswith("test_it.py::")]) == 4
