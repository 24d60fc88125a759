"""The command as a whole: help, completion, status, and what it must not load."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_gpuprof import __version__, cli
from pytest_gpuprof.cli.command import parser

from .conftest import Command, History

COMMANDS = (
    "doctor",
    "calibrate",
    "list",
    "show",
    "compare",
    "accept",
    "history",
    "report",
    "export",
    "check",
    "prune",
    "import",
)


def in_a_process(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )


def test_the_module_is_the_command() -> None:
    """``python -m pytest_gpuprof`` is the same command."""
    assert in_a_process("-m", "pytest_gpuprof", "--version").stdout == f"pytest-gpuprof {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["treat"], ["doctor", "--loud"], ["compare", "latest", "--fail", "new"]])
def test_what_cannot_be_meant_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """As every command does, with the usage on standard error; abbreviations are none."""
    with pytest.raises(SystemExit) as exit_:
        cli.main(arguments)
    assert exit_.value.code == 2
    assert "usage: pytest-gpuprof" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_are_commands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A person who asks for help sees commands to copy, and each of them is understood."""
    with pytest.raises(SystemExit) as exit_:
        cli.main([name, "--help"])
    assert exit_.value.code == 0
    examples = capsys.readouterr().out.partition("examples:\n")[2].strip().splitlines()
    assert examples
    for example in examples:
        words = shlex.split(example.strip().partition("   ")[0].partition("  ")[0])
        assert words[:2] == ["pytest-gpuprof", name]
        parser().parse_args(words[1:])


def test_the_help_of_the_whole_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """And the meaning of each status."""
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    assert all(f"\n    {name} " in shown for name in COMMANDS)
    assert "status: 0 all well, 1 " in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_help_where_the_stream_knows_ascii_only(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As under ``LC_ALL=C``: an ellipsis is three dots there, and nothing ends in a traceback."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    with pytest.raises(SystemExit) as exit_:
        cli.main([name, "--help"])
    assert exit_.value.code == 0


def test_a_name_that_the_stream_cannot_show_is_escaped(history: History) -> None:
    """As under ``LC_ALL=C``; a script gets its rows, and no traceback."""
    history.run(["test_it.py::test_a größe"])
    for arguments in (["export", "latest", "--format", "csv"], ["show", "latest", "--format", "csv"]):
        environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2]), "PYTHONIOENCODING": "ascii"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest_gpuprof", *arguments],
            capture_output=True, text=True, cwd=history.root, env=environment, check=False,
        )  # fmt: skip
        assert (done.returncode, "gr\\xf6\\xdfe" in done.stdout) == (0, True), done.stderr


def test_help_loads_nothing_heavy() -> None:
    """It is what a shell's completion and a hurried person wait for."""
    code = (
        "import sys\nfrom pytest_gpuprof.cli import main\n"
        "try:\n    main(['compare', '--help'])\nexcept SystemExit: pass\n"
        "heavy = {'sqlalchemy', 'alembic', 'numpy', 'scipy', 'tabulate', 'torch', 'pynvml', 'shtab'}\n"
        "print('loaded:', *sorted(heavy & set(sys.modules)))"
    )
    assert in_a_process("-c", code).stdout.splitlines()[-1] == "loaded:"


def test_doctor_does_without_the_store() -> None:
    """What keeps records is of no interest to it."""
    code = (
        "import sys\nfrom pytest_gpuprof.cli import main\nmain(['doctor'])\n"
        "print('loaded:', *sorted({'sqlalchemy', 'alembic', 'scipy'} & set(sys.modules)))"
    )
    assert in_a_process("-c", code).stdout.splitlines()[-1] == "loaded:"


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_for_a_shell(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A script that knows the subcommands."""
    pytest.importorskip("shtab", reason="NOT TESTED: shtab is not installed, so there is no completion")
    with pytest.raises(SystemExit) as exit_:
        cli.main(["--print-completion", shell])
    assert exit_.value.code == 0
    script = capsys.readouterr().out
    assert "compare" in script
    assert "fail-on" in script


def test_completion_without_its_library(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert command("--print-completion", "bash") == 3
    assert command.err == "pytest-gpuprof: shell completion needs shtab; pip install 'pytest-gpuprof[completion]'\n"


def test_a_reader_that_has_seen_enough(history: History) -> None:
    """``pytest-gpuprof list | head -1`` ends without a traceback, however long the list is."""
    history.run([f"test_it.py::test_{number}" for number in range(2000)])
    run = subprocess.run(
        f"{sys.executable} -m pytest_gpuprof export latest --format csv | head -1",
        shell=True, check=True, capture_output=True, text=True, cwd=history.root,
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])},
    )  # fmt: skip
    assert run.stdout.startswith("test,profile,")
    assert run.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["show"], ["compare", "latest~1"], ["accept"], ["history", "a"], ["export", "latest", "--format", "csv"],
     ["prune"]],
    ids=lambda arguments: arguments[0],
)  # fmt: skip
def test_without_a_store_each_says_so_and_makes_none(arguments: list[str], history: History, command: Command) -> None:
    """One sentence with a remedy; a folder in which nobody measured stays as it was."""
    assert command(*arguments) == 2
    assert command.out == ""
    assert command.err.startswith("pytest-gpuprof: error: there is no store ")
    assert "measure something with pytest --gpu-profile" in command.err
    assert [path.name for path in history.root.iterdir()] == ["pytest.ini"]


def test_a_store_that_is_none(history: History, command: Command) -> None:
    """A damaged file is told as what it is."""
    (history.root / "bad.sqlite3").write_text("this is no database, and longer than a page header" * 30)
    assert command("list", "--store", "bad.sqlite3") == 2
    assert "error: the store bad.sqlite3 is damaged" in command.err
    assert command("list", "--store", "none") == 2
    assert "none is no store to read" in command.err


def test_the_store_can_be_named_by_the_environment(
    history: History, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And from a folder below the project's the default one is found."""
    history.run()
    (history.root / "src" / "deep").mkdir(parents=True)
    monkeypatch.chdir(history.root / "src" / "deep")
    assert command("list") == 0
    monkeypatch.setenv("GPUPROF_STORE", str(history.root / "other.sqlite3"))
    assert command("list") == 2
    assert "there is no store" in command.err
    assert command("list", "--store", str(history.root / ".gpuprof" / "history.sqlite3")) == 0
