"""Arguments that several subcommands share, and how their help is laid out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pytest_gpuprof.cli.output import plain, short_of_characters

__all__ = [
    "FORMATS",
    "Parser",
    "Subcommands",
    "add_command",
    "add_format",
    "add_selection",
    "add_store",
    "at_least",
    "completes_files",
    "epilog",
]

FORMATS = ("table", "json", "csv")

Subcommands = Any
"""What ``add_subparsers`` returns; argparse's own name of it is private."""

_FILES = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}
"""What shtab calls the completion of file names; its own constant would need it imported."""


class _Layout(argparse.HelpFormatter):
    """Wraps paragraphs, and leaves those that have lines of their own (the examples) as they are."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = (part if "\n" in part else super(_Layout, self)._fill_text(part, width, indent)
                 for part in text.split("\n\n"))  # fmt: skip
        return "\n\n".join(parts)


class Parser(argparse.ArgumentParser):
    """A parser that lays its help out as above, and takes no abbreviation: ``--fail`` may come to mean two."""

    def __init__(self, **how: Any) -> None:
        super().__init__(formatter_class=_Layout, allow_abbrev=False, **how)

    def _print_message(self, message: str, file: Any = None) -> None:
        stream = file or sys.stderr  # argparse writes help, usage and errors through here
        super()._print_message(plain(message, short_of_characters(stream)), stream)


def epilog(*examples: tuple[str, str]) -> str:
    """Return examples of a command, each with what it is for."""
    width = max(len(command) for command, _ in examples)
    return "\n".join(["examples:", *(f"  {command:{width}}  {what}" for command, what in examples)])


def add_command(
    commands: Subcommands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,  # noqa: A002  # as argparse calls it
    more: str = "",
    examples: Sequence[tuple[str, str]] = (),
) -> argparse.ArgumentParser:
    """Add a subcommand.

    Args:
        commands: the subcommands so far.
        name: how it is called.
        run: what it does; it returns the exit status.
        help: one line, which the list of commands shows.
        more: what its own help says beyond that.
        examples: commands to copy, each with what it is for.
    """
    description = "\n\n".join(filter(None, (f"{help[0].upper()}{help[1:]}.", more)))
    made: argparse.ArgumentParser = commands.add_parser(
        name, help=help, description=description, epilog=epilog(*examples) if examples else None
    )
    made.set_defaults(run=run)
    return made


def add_store(command: argparse.ArgumentParser) -> None:
    """Add ``--store``."""
    command.add_argument(
        "--store",
        metavar="URL",
        help="the store: a SQLite file or postgresql://… (default: $GPUPROF_STORE, else .gpuprof/history.sqlite3 in "
        "the project's folder)",
    )


def add_format(command: argparse.ArgumentParser, formats: Sequence[str] = FORMATS) -> None:
    """Add ``--format``."""
    command.add_argument("--format", choices=formats, default="table", help="how to print it (default: table)")


def add_selection(command: argparse.ArgumentParser) -> None:
    """Add ``-k``."""
    command.add_argument(
        "-k",
        dest="selection",
        metavar="EXPR",
        default="",
        help="only workloads whose test id or name matches, as pytest's -k: parts of it with and, or, not",
    )


def at_least(least: int) -> Callable[[str], int]:
    """Return a type for arguments: a whole number that is not below ``least``."""

    def whole(text: str) -> int:
        number = int(text) if text.strip().lstrip("+-").isdigit() else None
        if number is None or number < least:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {least}")
        return number

    return whole


def completes_files(argument: argparse.Action) -> argparse.Action:
    """Let a shell complete an argument with file names."""
    argument.complete = _FILES  # type: ignore[attr-defined]  # shtab looks for it
    return argument
