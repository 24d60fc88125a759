"""``report``: a run as one page that opens in any browser, offline."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gpuprof.cli.arguments import Subcommands, add_command, add_selection, add_store, completes_files
from pytest_gpuprof.cli.output import note
from pytest_gpuprof.cli.referring import REFERENCES, Runs, is_file
from pytest_gpuprof.cli.selecting import selected
from pytest_gpuprof.core.errors import StoreError, UsageError

if TYPE_CHECKING:
    from pytest_gpuprof.storage.store import Store

__all__ = ["add", "with_earlier_runs"]

_NAME = "gpuprof-report.html"


def add(commands: Subcommands) -> None:
    """Add ``report``."""
    report = add_command(
        commands,
        "report",
        _report,
        "write a run as a page for the browser",
        f"{REFERENCES} The page is one file that needs nothing else, no network either. Where the store knows the "
        "workloads, it shows the runs before this one.",
        examples=[
            ("pytest-gpuprof report", f"the newest run, as {_NAME}"),
            ("pytest-gpuprof report 17 -o before.html --open", "another one, and open it"),
            ("pytest-gpuprof report run.json -k matmul -o -", "some workloads of an exported run, to standard output"),
        ],
    )
    completes_files(
        report.add_argument("run_name", metavar="REF", nargs="?", default="latest", help="(default: latest)")
    )
    completes_files(
        report.add_argument(
            "-o", "--output", dest="path", metavar="PATH", default=_NAME, help=f"a file, or - (default: {_NAME})"
        )
    )
    report.add_argument("--open", action="store_true", help="open it in the browser")
    add_selection(report)
    add_store(report)


def _report(chosen: argparse.Namespace) -> int:
    from pytest_gpuprof.reports.page.page import page_text
    from pytest_gpuprof.reports.text import write_text

    if chosen.open and chosen.path == "-":
        raise UsageError("--open opens a file, and -o - writes none; name a file, or leave --open out")
    with Runs(chosen) as runs:
        run = runs.one(chosen.run_name)
        document = with_earlier_runs(selected(run, chosen.selection), runs, chosen)
    try:
        write_text(page_text(document), chosen.path)
    except OSError as error:
        raise UsageError(
            f"{chosen.path} cannot be written ({error.strerror or error}); name a file in a folder you may write to"
        ) from error
    if chosen.path != "-":
        note(f"{run.label} is in {chosen.path}")
    if chosen.open:
        import webbrowser

        webbrowser.open(Path(chosen.path).resolve().as_uri())
    return 0


def with_earlier_runs(document: Mapping[str, Any], runs: Runs, chosen: argparse.Namespace) -> dict[str, Any]:
    """Return a run's document with what the store knows of the runs before it, or why that is not known, for its page.

    Args:
        document: of the run.
        runs: those that can be named from here.
        chosen: the arguments of the command, with ``run_name`` and ``store``.

    Raises:
        UsageError: if a store was named that is not there.
    """
    from pytest_gpuprof.reports.page.history import with_history

    try:
        return with_history(document, _store(runs, chosen))
    except StoreError as error:  # an exported run is shown all the same
        return {**document, "history": {"unavailable": str(error)}}


def _store(runs: Runs, chosen: argparse.Namespace) -> Store | None:
    """Return the store; an exported run may be shown where there is none."""
    try:
        return runs.store
    except UsageError:
        if chosen.store or not is_file(chosen.run_name):
            raise
        return None
