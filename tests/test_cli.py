"""The command: what it prints for people and for programs, and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pytest_gpuprof import __version__, cli
from pytest_gpuprof.doctor import Line


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of which one thing can be had and one cannot."""
    lines = [
        Line("host", "CPU", "two threads"),
        Line("devices", "energy", None, "no driver is loaded; load it"),
    ]
    monkeypatch.setattr(cli, "examine", lambda: iter(lines))


@pytest.mark.usefixtures("found")
def test_doctor_says_yes_or_no_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    """One line per thing under its heading; what is missing has its reason and remedy."""
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "host",
        "  yes  CPU: two threads",
        "devices",
        "  no   energy: no driver is loaded; load it",
    ]


@pytest.mark.usefixtures("found")
def test_doctor_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, standard output is JSON and nothing else."""
    assert cli.main(["doctor", "--json"]) == 0
    captured = capsys.readouterr()
    assert [line["found"] for line in json.loads(captured.out)] == ["two threads", None]
    assert captured.err == ""


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
@pytest.mark.usefixtures("found")
def test_colours_only_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    no_color: str,
    coloured: bool,
) -> None:
    """And not there either if NO_COLOR is set."""
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    cli.main(["doctor"])
    assert ("\x1b[32m" in capsys.readouterr().out) is coloured


@pytest.mark.parametrize("arguments", [[], ["treat"], ["doctor", "--loud"]])
def test_what_cannot_be_meant_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As every command does, with the usage on standard error."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    assert "usage: pytest-gpuprof" in capsys.readouterr().err


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    """A person who asks for help sees commands to copy."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--help"])
    assert exit_.value.code == 0
    assert "pytest-gpuprof doctor " in capsys.readouterr().out


def test_the_module_is_the_command() -> None:
    """``python -m pytest_gpuprof`` is the same command."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest_gpuprof", "--version"], check=True, capture_output=True, text=True
    )
    assert run.stdout == f"pytest-gpuprof {__version__}\n"


def test_a_reader_that_has_seen_enough() -> None:
    """``pytest-gpuprof doctor | head -1`` ends without a traceback."""
    run = subprocess.run(
        f"{sys.executable} -m pytest_gpuprof doctor | head -1", shell=True, check=True, capture_output=True, text=True
    )
    assert run.stdout == "host\n"
    assert run.stderr == ""
