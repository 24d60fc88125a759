"""``list`` and ``show``: the runs that are stored, and what one of them measured."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_gpuprof.cli.arguments import (
    Subcommands,
    add_command,
    add_format,
    add_selection,
    add_store,
    at_least,
    completes_files,
)  # fmt: skip
from pytest_gpuprof.cli.exporting import formatted
from pytest_gpuprof.cli.output import as_csv, as_json, cell, coloured, note, plain, screen_of, short_of_characters
from pytest_gpuprof.cli.referring import REFERENCES, Runs
from pytest_gpuprof.cli.selecting import wanted
from pytest_gpuprof.core.errors import Unavailable

if TYPE_CHECKING:
    from pytest_gpuprof.reports.rows import Row
    from pytest_gpuprof.storage.runs import RunInfo

__all__ = ["add"]

_LISTED = 20
"""A screenful; ``--limit`` shows more."""

_COUNTED = ("met", "missed", "inconclusive", "not enforced")
"""The verdicts that a run counts."""

_IN_COLUMNS = ("counts", "unenforced")
"""What CSV spreads over columns."""

_JUDGED = _COUNTED[:3]
"""Those that need not be enforced."""


def add(commands: Subcommands) -> None:
    """Add ``list`` and ``show``."""
    listed = add_command(
        commands,
        "list",
        _list,
        "show the stored runs, the newest first",
        "A commit with a + was measured with changes that were not committed.",
        examples=[
            ("pytest-gpuprof list", f"the newest {_LISTED}"),
            ("pytest-gpuprof list --branch main --limit 100", "more of one branch"),
            ("pytest-gpuprof list --format json", "the same for a program"),
        ],
    )
    listed.add_argument(
        "--limit", metavar="N", type=at_least(1), default=_LISTED, help=f"so many at most (default: {_LISTED})"
    )
    listed.add_argument("--branch", metavar="NAME", help="only runs on this branch")
    add_format(listed)
    add_store(listed)
    show = add_command(
        commands,
        "show",
        _show,
        "show what a run measured, as pytest showed it",
        REFERENCES,
        examples=[
            ("pytest-gpuprof show", "the newest run"),
            ("pytest-gpuprof show 17 -k 'matmul and not fp16'", "some of another one's workloads"),
            ("pytest-gpuprof show run.json --format markdown", "an exported run for a pull request"),
        ],
    )
    completes_files(show.add_argument("run_name", metavar="REF", nargs="?", default="latest", help="(default: latest)"))
    add_selection(show)
    add_format(show, ("table", "markdown", "json", "csv"))
    add_store(show)


# -- list -------------------------------------------------------------------------------------------------------------


def _list(chosen: argparse.Namespace) -> int:
    with Runs(chosen) as runs:
        infos = runs.store.runs(limit=chosen.limit, branch=chosen.branch)
        if not infos:
            where = f" on the branch {chosen.branch}" if chosen.branch else ""
            raise Unavailable(
                f"the store {runs.store.url_shown} has no run{where}; measure something with pytest --gpu-profile"
            )
        conditions = runs.store.conditions_of(infos)
    devices = {
        number: sorted({str(facts.get("device", "unknown")) for facts in found.values()})
        for number, found in conditions.items()
    }
    if chosen.format == "json":
        print(as_json([_data(info, devices[info.number]) for info in infos]))
    elif chosen.format == "csv":
        rows = [_data(info, devices[info.number]) for info in infos]
        head = [*(key for key in rows[0] if key not in _IN_COLUMNS), *(word.replace(" ", "_") for word in _COUNTED),
                *(f"{word}_unenforced" for word in _JUDGED)]  # fmt: skip
        print(as_csv(head, [_line(row) for row in rows]))
    else:
        print(plain(_table(infos, devices), short_of_characters(sys.stdout)))
    return 0


def _data(info: RunInfo, devices: Sequence[str]) -> dict[str, Any]:
    return {
        "number": info.number,
        "id": info.id,
        "created": info.created,
        "commit": info.commit,
        "dirty": info.dirty,
        "branch": info.branch,
        "devices": list(devices),
        "records": info.records,
        "finished": info.finished,
        "samples": info.has_samples,
        "machine": info.machine,
        "version": info.version,
        "duration_s": info.duration_s,
        "counts": dict(info.counts),
        "unenforced": None if info.unenforced is None else dict(info.unenforced),
    }


def _line(row: Mapping[str, Any]) -> list[object]:
    plain_values = [cell(value) for key, value in row.items() if key not in _IN_COLUMNS]
    counts, unenforced = (row[key] for key in _IN_COLUMNS)
    spared = [None if unenforced is None else unenforced.get(word, 0) for word in _JUDGED]
    return [*plain_values, *(counts.get(word, 0) for word in _COUNTED), *map(cell, spared)]


def _table(infos: Sequence[RunInfo], devices: Mapping[int, Sequence[str]]) -> str:
    from tabulate import tabulate

    rows = [
        (
            str(info.number),
            info.created.replace("T", " ")[:16],
            f"{info.commit[:7]}{'+' if info.dirty else ''}" if info.commit else "-",
            info.branch or "-",
            ", ".join(devices[info.number]) or "-",
            str(info.records),
            _verdicts(info),
        )
        for info in infos
    ]
    text: str = tabulate(
        rows,
        headers=["run", "when (UTC)", "commit", "branch", "device", "records", "budgets"],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("right", "left", "left", "left", "left", "right", "left"),
    )
    return text


def _verdicts(info: RunInfo) -> str:
    told = ", ".join(f"{info.counts[word]} {word}{_spared(info, word)}" for word in _COUNTED if info.counts.get(word))
    return told or "-" if info.finished else f"{told or '-'} (not finished)"


def _spared(info: RunInfo, word: str) -> str:
    spared = (info.unenforced or {}).get(word)
    return f" ({spared} not enforced)" if spared else ""


# -- show -------------------------------------------------------------------------------------------------------------


def _show(chosen: argparse.Namespace) -> int:
    is_wanted = wanted(chosen.selection)
    with Runs(chosen) as runs:
        run = runs.one(chosen.run_name)
        document = run.document()
    records = [each for each in document["records"] if is_wanted(f"{each['test']} {each['name']}")]
    if not records:
        lacks = f"nothing that -k {chosen.selection!r} means" if document["records"] else "no record"
        raise Unavailable(f"{run.label} has {lacks}; pytest-gpuprof list shows the runs")
    if chosen.format != "table":
        print(formatted({**document, "records": records}, chosen.format), end="")
        return 0
    note(run.label)
    quarantined = {each["test"]: each["quarantine"] for each in records if "quarantine" in each}
    _print_table(_rows(records), quarantined)
    return 0


def _rows(records: Sequence[Mapping[str, Any]]) -> list[Row]:
    from pytest_gpuprof.reports.rows import Row
    from pytest_gpuprof.storage.codec import profile_from

    tests = [each["test"] for each in records]
    many = {test for test in set(tests) if tests.count(test) > 1} if len(set(tests)) < len(tests) else set()
    return [
        Row(each["test"] or each["name"], each.get("outcome", ""), profile_from(each), each["test"] in many)
        for each in records
    ]


def _print_table(rows: Sequence[Row], quarantined: Mapping[str, Mapping[str, Any]]) -> None:
    from pytest_gpuprof.reports.remarks import Remark, counts, describe_counts, describe_quarantine, remarks
    from pytest_gpuprof.reports.screen import escaped
    from pytest_gpuprof.reports.table import tables

    screen = screen_of(sys.stdout)
    for _, text in tables(rows, screen=screen):
        print(text)
    below = remarks(rows, screen.ascii_only)
    for test, why in quarantined.items():
        told = describe_quarantine(test, why, f"until {why['until']}")
        below.append(Remark(plain(escaped(told), screen.ascii_only), "yellow"))
    for remark in below:
        print(coloured(remark.text, remark.colour, screen.paint is not None))
    print(describe_counts(counts(rows, 0)))
