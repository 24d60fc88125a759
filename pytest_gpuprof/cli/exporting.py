"""``export``: a run in another format, by the same writers as ``--gpu-profile-export``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_gpuprof.cli.arguments import Subcommands, add_command, add_selection, add_store, completes_files
from pytest_gpuprof.cli.output import note
from pytest_gpuprof.cli.referring import REFERENCES, Runs
from pytest_gpuprof.cli.reporting import with_earlier_runs
from pytest_gpuprof.cli.selecting import selected
from pytest_gpuprof.core.errors import UsageError

__all__ = ["add", "formatted"]


def add(commands: Subcommands) -> None:
    """Add ``export``."""
    export = add_command(
        commands,
        "export",
        _export,
        "write a run in another format",
        f"{REFERENCES} The formats are those of pytest --gpu-profile-export, also those that installed plugins bring.",
        examples=[
            ("pytest-gpuprof export latest --format json -o run.json", "to carry it to another machine"),
            ("pytest-gpuprof export 17 --format pytest-benchmark -o b.json", "for pytest-benchmark compare"),
            ("pytest-gpuprof export latest:main --format csv", "to standard output"),
        ],
    )
    completes_files(export.add_argument("run_name", metavar="REF", help="the run"))
    export.add_argument("--format", metavar="F", required=True, help="e.g. json, pytest-benchmark, csv, markdown")
    completes_files(
        export.add_argument("-o", dest="path", metavar="PATH", default="-", help="a file (default: standard output)")
    )
    add_selection(export)
    add_store(export)


def _export(chosen: argparse.Namespace) -> int:
    report = _report(chosen.format)
    with Runs(chosen) as runs:
        run = runs.one(chosen.run_name)
        document = selected(run, chosen.selection)
        if chosen.format == "html":
            document = with_earlier_runs(document, runs, chosen)
    if chosen.path == "-":
        sys.stdout.write(_text(report, document))
        return 0
    try:
        report.write(document, chosen.path)
    except OSError as error:
        raise UsageError(
            f"{chosen.path} cannot be written ({error.strerror or error}); name a file in a folder you may write to"
        ) from error
    note(f"{run.label} is in {chosen.path}")
    return 0


def formatted(document: Mapping[str, Any], name: str) -> str:
    """Return a document in a format.

    Raises:
        UsageError: if there is no such format.
    """
    return _text(_report(name), document)


def _report(name: str) -> Any:
    from pytest_gpuprof.extensions import Extensions

    reports = Extensions.standalone().reports
    if name not in reports:
        raise UsageError(f"--format {name!r} is unknown; there are {', '.join(reports)}")
    return reports[name]


def _text(report: Any, document: Mapping[str, Any]) -> str:
    """Return what a writer writes; writers, an outsider's too, write to a path."""
    with tempfile.TemporaryDirectory(prefix="pytest-gpuprof-") as folder:
        path = Path(folder) / "report"
        report.write(document, str(path))
        return path.read_text(encoding="utf-8")
