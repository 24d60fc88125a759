"""``prune`` and ``import``: making the store smaller, and taking in what was written beside it."""

from __future__ import annotations

import argparse
from datetime import date, timedelta
from pathlib import Path

from pytest_gpuprof.cli.arguments import Subcommands, add_command, add_store, at_least, completes_files
from pytest_gpuprof.cli.referring import Runs
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.core.quantities import format_quantity

__all__ = ["add"]

_SAMPLES_OF = 50
"""Runs that keep every sample. Samples are needed to judge a run again, which is about recent ones, and take most
of the space."""


def add(commands: Subcommands) -> None:
    """Add ``prune`` and ``import``."""
    prune = add_command(
        commands,
        "prune",
        _prune,
        "make the store smaller",
        "Without options, the samples of all but the newest runs are thinned: the figures stay, so a thinned run can "
        "be shown and compared, but not judged again. Runs are taken away only if an option says so.",
        examples=[
            ("pytest-gpuprof prune --dry-run", "what would be done"),
            ("pytest-gpuprof prune --keep-samples 20", "every sample of the newest 20 runs only"),
            ("pytest-gpuprof prune --keep-runs 1000 --older-than 365", "take away old runs"),
        ],
    )
    prune.add_argument(
        "--keep-samples", metavar="N", type=at_least(0), default=_SAMPLES_OF,
        help=f"keep every sample of the newest N runs (default: {_SAMPLES_OF})",
    )  # fmt: skip
    prune.add_argument("--keep-runs", metavar="N", type=at_least(1), help="keep the newest N runs (default: all)")
    prune.add_argument(
        "--older-than", metavar="DAYS", type=at_least(1), help="take away runs that are older (default: none)"
    )
    prune.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    add_store(prune)
    take = add_command(
        commands,
        "import",
        _import,
        "add exported runs, and what was written to a file because the store could not be used",
        "Importing a file twice adds nothing. Journals below .gpuprof/journal can be imported too.",
        examples=[
            ("pytest-gpuprof import run.json", "an export, or a file that pytest named"),
            ("pytest-gpuprof import .gpuprof/journal/*.jsonl", "what a killed session left"),
        ],
    )
    completes_files(take.add_argument("files", metavar="FILE", nargs="+", help="a file, or - for standard input"))
    add_store(take)


def _prune(chosen: argparse.Namespace) -> int:
    before = None if chosen.older_than is None else date.today() - timedelta(days=chosen.older_than)
    with Runs(chosen) as runs:
        done = runs.store.prune(
            keep_samples=chosen.keep_samples,
            keep_runs=chosen.keep_runs,
            older_than=before,
            dry_run=chosen.dry_run,
        )
    would = "would be " if chosen.dry_run else ""
    print(
        f"{_runs(done.thinned)} {would}thinned, {_runs(done.deleted)} {would}taken away "
        f"({done.records} records, {format_quantity(done.freed_bytes, 'B')})"
    )
    return 0


def _runs(number: int) -> str:
    return f"{number} run{'s' if number != 1 else ''}"


def _import(chosen: argparse.Namespace) -> int:
    from pytest_gpuprof.storage.document import read_document

    wrong: list[str] = []
    with Runs(chosen) as runs:
        for file in chosen.files:
            try:
                document = read_document(file)
            except UsageError as error:  # the other files are good, and are wanted all the more
                wrong.append(str(error))
                continue
            # A journal is what a killed run left: it is kept, and "latest" does not mean it.
            added = runs.made_store().add(document, finished=not file.endswith(".jsonl"))
            records = len(document["records"])
            what = f"{records} record{'s' if records != 1 else ''}"
            print(f"{Path(file).name}: {what} added" if added else f"{Path(file).name}: there already, nothing added")
    if wrong:
        raise UsageError("; ".join(wrong))
    return 0
