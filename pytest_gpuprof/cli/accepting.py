"""``accept``: what was measured becomes what ``max_regression`` judges against."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gpuprof.cli.arguments import (
    Subcommands,
    add_command,
    add_selection,
    add_store,
    at_least,
    completes_files,
)  # fmt: skip
from pytest_gpuprof.cli.figures import figure_names, kinds
from pytest_gpuprof.cli.output import note, plain, short_of_characters
from pytest_gpuprof.cli.referring import REFERENCES, Named, Runs
from pytest_gpuprof.cli.selecting import wanted
from pytest_gpuprof.core.baseline import FILE_NAME, MOST_RUNS
from pytest_gpuprof.core.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from pytest_gpuprof.budgets.kinds import Kind
    from pytest_gpuprof.storage.baselines import Accepted, Baselines
    from pytest_gpuprof.storage.entries import Entry
    from pytest_gpuprof.storage.matching import Workload

__all__ = ["add"]

_SHOWN = 40
"""Changed figures that are shown; version control shows all of them."""


def add(commands: Subcommands) -> None:
    """Add ``accept``."""
    accept = add_command(
        commands,
        "accept",
        _accept,
        "make what was measured the baseline that max_regression is judged against",
        f"{REFERENCES} What was measured on other machines stays in the file. A test that failed "
        "for more than a regression and a figure in doubt are left out, and it is said why. Baselines of several runs "
        "show smaller changes than those of one.",
        examples=[
            ("pytest-gpuprof accept", f"the newest run, into {FILE_NAME}"),
            ("pytest-gpuprof accept --runs 20", "the newest 20 runs of its branch, measured under the same conditions"),
            ("pytest-gpuprof accept run.json --add", "one more run beside those that were accepted before"),
            ("pytest-gpuprof accept -k matmul --dry-run", "what accepting some of it would change"),
        ],
    )
    completes_files(
        accept.add_argument("run_name", metavar="REF", nargs="?", default="latest", help="the run (default: latest)")
    )
    add_selection(accept)
    accept.add_argument("--figures", metavar="LIST", help="accept only these, e.g. gpu_time (default: all measured)")
    completes_files(
        accept.add_argument(
            "--file", "--baselines", dest="baselines", metavar="PATH",
            help=f"the file (default: {FILE_NAME} in the project's folder)",
        )
    )  # fmt: skip
    accept.add_argument(
        "--runs", metavar="N", type=at_least(1), default=1,
        help=f"accept N runs, REF and those before it on its branch (default: 1, at most {MOST_RUNS})",
    )  # fmt: skip
    accept.add_argument("--add", action="store_true", help="add to the accepted runs, of which the newest 20 stay")
    accept.add_argument("--drop-vanished", action="store_true", help="take out workloads that the run does not have")
    accept.add_argument("--dry-run", action="store_true", help="show what would change, and write nothing")
    add_store(accept)


def _accept(chosen: argparse.Namespace) -> int:
    if chosen.runs > MOST_RUNS:
        raise UsageError(f"--runs is {chosen.runs}; a baseline holds {MOST_RUNS} runs at most")
    from pytest_gpuprof.storage.accepting import entries_of

    known = kinds()
    figures = figure_names("--figures", chosen.figures, known) or None
    is_wanted = wanted(chosen.selection)
    with Runs(chosen) as runs:
        file = runs.baselines(chosen.baselines)
        file.check()
        named = _named(runs, chosen.run_name, chosen.runs)
        records = [_records(each, is_wanted) for each in reversed(named)]
    offer = entries_of(records, figures=figures, kinds=known.values())
    for sentence in offer.left_out:
        note(sentence)
    measured = {(record["test"], record["name"]) for record in records[-1]}
    gone = (
        {each for each in file.workloads() - measured if is_wanted(" ".join(each))} if chosen.drop_vanished else set()
    )
    if not offer.entries and not gone:
        raise Unavailable(
            f"nothing of {named[0].label} can be accepted; measure again, give a wider -k, or name another run "
            "(pytest-gpuprof list)"
        )
    before = file.entries()
    done = _put(file, offer.entries, gone, add_to=chosen.add, dry_run=chosen.dry_run)
    _tell(named, file, before, done[1], done[0], known, chosen.dry_run)
    return 0


def _named(runs: Runs, reference: str, number: int) -> Sequence[Named]:
    """Return the runs to accept, the newest first."""
    newest = runs.one(reference)
    if number == 1:
        return [newest]
    if newest.info is None:
        raise UsageError(f"--runs={number} needs a stored run, and {reference} is a file; import it first")
    return [newest, *map(runs.stored, runs.before(newest, newest.info)[: number - 1])]


def _records(run: Named, is_wanted: Callable[[str], bool]) -> list[Mapping[str, Any]]:
    return [each for each in run.document()["records"] if is_wanted(f"{each['test']} {each['name']}")]


def _put(
    file: Baselines, entries: Sequence[Entry], gone: set[Workload], *, add_to: bool, dry_run: bool
) -> tuple[Accepted, Sequence[Entry]]:
    """Accept, and return what became of the file; a dry run does the same to a copy of it."""
    import shutil
    import tempfile

    from pytest_gpuprof.storage.baselines import Baselines

    if not dry_run:
        return file.accept(entries, add=add_to, gone=gone), file.entries()
    with tempfile.TemporaryDirectory(prefix="pytest-gpuprof-") as folder:
        copy = Baselines(Path(folder) / file.path.name, file.title)
        if file.path.exists():
            shutil.copy(file.path, copy.path)
        return copy.accept(entries, add=add_to, gone=gone), copy.entries()


# -- telling ----------------------------------------------------------------------------------------------------------


def _tell(
    named: Sequence[Named],
    file: Baselines,
    before: Sequence[Entry],
    after: Sequence[Entry],
    done: Accepted,
    known: Mapping[str, Kind],
    dry_run: bool,
) -> None:
    ascii_only = short_of_characters(sys.stdout)
    rows = _changed(before, after, known)
    if rows:
        from tabulate import tabulate

        heads = ["test", "figure", "before", "runs", "now", "runs", "change", "on"]
        table = tabulate(rows[:_SHOWN], headers=heads, tablefmt="simple", disable_numparse=True)
        print(plain(table, ascii_only))
        if len(rows) > _SHOWN:
            print(f"and {len(rows) - _SHOWN} more")
    weaker = sum(int(row[_RUNS_NOW]) < int(row[_RUNS_BEFORE]) for row in rows)
    if weaker:
        note(
            f"pytest-gpuprof: {weaker} figure{'s rest' if weaker > 1 else ' rests'} on fewer runs than before, so that "
            "only larger regressions show; accept more with --runs, or add to what is there with --add"
        )
    kept = {(each.test, each.name) for each in after}
    for workload in dict.fromkeys((each.test, each.name) for each in before if (each.test, each.name) not in kept):
        print(plain(f"taken out: {' '.join(workload)}", ascii_only))
    runs = named[0].label if len(named) == 1 else f"{len(named)} runs up to {named[0].label}"
    what = f"{done.new} new, {done.changed} changed, {done.unchanged} unchanged, {done.removed} taken out"
    print(plain(f"{'would accept' if dry_run else 'accepted'} {runs} into {file.path}: {what}", ascii_only))


_RUNS_BEFORE, _RUNS_NOW = 3, 5
"""Columns of the table of changes."""


def _changed(before: Sequence[Entry], after: Sequence[Entry], known: Mapping[str, Kind]) -> list[list[str]]:
    """Return a row for each figure whose values are others than before."""
    import statistics

    from pytest_gpuprof.core.quantities import format_quantity
    from pytest_gpuprof.reports.comparison import share
    from pytest_gpuprof.storage.conditions import key_of
    from pytest_gpuprof.storage.matching import short_id

    def place(entry: Entry) -> tuple[str, ...]:
        return (entry.test, entry.name, entry.figure, key_of(entry.conditions))

    was = {place(entry): entry.values for entry in before}
    rows = []
    for entry in after:
        old = was.get(place(entry))
        if old is None or old == entry.values:
            continue
        unit = known[entry.figure].unit if entry.figure in known else "1"
        then, now = statistics.median(old), statistics.median(entry.values)
        rows.append([
            f"{short_id(entry.test)} {entry.name}",
            entry.figure,
            format_quantity(then, unit),
            str(len(old)),
            format_quantity(now, unit),
            str(len(entry.values)),
            share(now / then - 1) if then else share(float("inf") if now else 0.0),
            str(entry.conditions.get("device", "unknown")),
        ])  # fmt: skip
    return rows
