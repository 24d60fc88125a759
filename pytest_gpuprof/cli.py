"""The command ``pytest-gpuprof``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TextIO

from pytest_gpuprof import __version__
from pytest_gpuprof.doctor import Line, examine

__all__ = ["main"]

_EXAMPLES = """examples:
  pytest-gpuprof doctor              what this machine can measure, and what to do where it cannot
  pytest-gpuprof doctor --json       the same for a program
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what stands behind the command's name; ``None`` for this process's.

    Returns:
        0 if all went well, 2 if the arguments cannot be meant.
    """
    parser = argparse.ArgumentParser(
        prog="pytest-gpuprof",
        description="Measure GPU workloads against the CPU. Measuring itself is done by pytest --gpu-profile.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pytest-gpuprof {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    doctor = commands.add_parser(
        "doctor",
        help="show devices, backends and readings, each available or why not and what to do",
        description="Show devices, backends and readings, each available or why not and what to do.",
    )
    doctor.add_argument("--json", action="store_true", help="print a JSON list instead of text")
    doctor.set_defaults(run=_doctor)
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _doctor(chosen: argparse.Namespace) -> int:
    if chosen.json:
        print(json.dumps([asdict(line) for line in examine()], indent=2))
        return 0
    colours = _has_colours(sys.stdout)
    for text in _texts(examine(), colours):
        print(text, flush=True)
    return 0


def _texts(lines: Iterator[Line], colours: bool) -> Iterator[str]:
    section = ""
    for line in lines:
        if line.section != section:
            section = line.section
            yield _coloured(f"{section}", "1", colours)
        if line.found is not None:
            yield f"  {_coloured('yes', '32', colours)}  {line.what}: {line.found}"
        else:
            yield f"  {_coloured('no', '33', colours)}   {line.what}: {line.reason}"


def _has_colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _coloured(text: str, code: str, colours: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colours else text
