"""The command itself: its subcommands, what a failure says, and with which status it ends."""

from __future__ import annotations

import argparse
import gc
import io
import os
import sys
from collections.abc import Sequence
from typing import Any

from pytest_gpuprof import __version__
from pytest_gpuprof.cli import accepting, comparing, exporting, judging, keeping, machine, reporting, runs, trends
from pytest_gpuprof.cli.arguments import Parser, epilog
from pytest_gpuprof.core.errors import GpuprofError, StoreError, Unavailable, UsageError

__all__ = ["main", "parser"]

_FAMILIES = (machine, runs, comparing, accepting, trends, reporting, exporting, judging, keeping)
"""Each adds its subcommands. What a subcommand works with (SQLAlchemy, NumPy) is imported when it runs, so that help
and completion answer at once."""

_SHELLS = ("bash", "zsh", "tcsh")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command."""
    whole = Parser(
        prog="pytest-gpuprof",
        description="Look at what pytest --gpu-profile measured: compare runs, keep baselines, follow a workload over "
        "commits.",
        epilog=epilog(
            ("pytest-gpuprof doctor", "what this machine can measure, and what to do where it cannot"),
            ("pytest-gpuprof list", "the runs that are stored"),
            ("pytest-gpuprof compare latest:main", "the newest run against those of a branch"),
            ("pytest-gpuprof accept", "make the newest run the baseline that max_regression judges against"),
            ("pytest-gpuprof history matmul", "one workload over commits"),
            ("pytest-gpuprof report", "the newest run as a page for the browser"),
            ("pytest-gpuprof check run.json", "judge what was measured on another machine"),
        )
        + "\n\nstatus: 0 all well, 1 a budget was missed or --fail-on holds, 2 what was asked cannot be meant or read, "
        "3 nothing to do it with",
    )
    whole.add_argument("--version", action="version", version=f"pytest-gpuprof {__version__}")
    whole.add_argument(
        "--print-completion",
        action=_Completion,
        choices=_SHELLS,
        help="print the completion script of a shell (needs shtab: pip install 'pytest-gpuprof[completion]')",
    )
    commands = whole.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=Parser)
    for family in _FAMILIES:
        family.add(commands)
    return whole


class _Completion(argparse.Action):
    """Print a completion script and end, as ``--help`` does."""

    def __call__(self, whole: argparse.ArgumentParser, namespace: object, shell: Any, option: object = None) -> None:
        try:
            import shtab
        except ImportError:
            raise Unavailable("shell completion needs shtab; pip install 'pytest-gpuprof[completion]'") from None
        print(shtab.complete(whole, shell=shell))
        whole.exit(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what stands behind the command's name; ``None`` for this process's.

    Returns:
        0 if all went well, 1 if a budget was missed or got worse, 2 if what was asked cannot be meant or read, 3 if
        there was nothing to do it with.
    """
    collects = gc.isenabled()
    gc.disable()  # it would look through hundreds of thousands of rows again and again, and there are no cycles in them
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that the stream cannot show is escaped, and ends nothing
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        chosen = parser().parse_args(arguments)
        status = int(chosen.run(chosen))
        sys.stdout.flush()
        return status
    except (UsageError, StoreError) as error:
        # The store's remedies name the option of a test run; here it has another name.
        return _end(f"error: {error}".replace("--gpu-profile-store", "--store"), 2)
    except GpuprofError as error:
        return _end(str(error), 3)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        if collects:
            gc.enable()


def _end(sentence: str, status: int) -> int:
    print(f"pytest-gpuprof: {sentence}", file=sys.stderr)
    return status
