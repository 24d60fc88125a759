"""``compare``: a run against earlier ones."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_gpuprof.cli.arguments import Subcommands, add_command, add_format, add_selection, add_store, completes_files
from pytest_gpuprof.cli.failing import Condition, add_fail_on, conditions, least_shares
from pytest_gpuprof.cli.figures import figure_names, kinds
from pytest_gpuprof.cli.output import as_csv, as_json, coloured, has_colours, note, plain, short_of_characters
from pytest_gpuprof.cli.referring import REFERENCES, Runs
from pytest_gpuprof.cli.selecting import wanted
from pytest_gpuprof.core.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from pytest_gpuprof.storage.comparison import Comparison, Row

__all__ = ["add"]

_MOST_ROWS = 200
"""Nobody reads ten thousand rows that say "unchanged", and GitHub refuses a comment that holds them. A program gets all
of them."""


def add(commands: Subcommands) -> None:
    """Add ``compare``."""
    compare = add_command(
        commands,
        "compare",
        _compare,
        "compare a run with earlier ones, and say what got worse, what better and what is not comparable",
        f"The first run is the reference. {REFERENCES} As a reference, latest and latest:BRANCH stand for up to 20 "
        "runs before NEW that were measured under the same conditions, a commit for all its runs, and baseline for "
        "the file of accepted baselines; several runs show smaller changes than one.",
        examples=[
            ("pytest-gpuprof compare latest:main", "the newest run against the runs on main"),
            ("pytest-gpuprof compare latest~1", "the newest run against the one before it"),
            ("pytest-gpuprof compare baseline --fail-on regressed", "a gate: status 1 if anything got worse"),
            ("pytest-gpuprof compare a.json b.json --figures gpu_time,energy", "two exported runs"),
            ("pytest-gpuprof compare 3f2c1ab latest --fail-on gpu_time:10% --format markdown", "for a pull request"),
        ],
    )
    completes_files(compare.add_argument("base", metavar="BASE", help="what to compare with"))
    completes_files(
        compare.add_argument("new", metavar="NEW", nargs="?", default="latest", help="the run (default: latest)")
    )
    compare.add_argument(
        "--figures",
        metavar="LIST",
        help="what to compare, e.g. gpu_time,speedup (default: gpu_time, and what else of speedup, gpu_memory and "
        "energy both have)",
    )
    add_fail_on(compare)
    compare.add_argument(
        "--sort", choices=("run", "name", "change"), default="run",
        help="order of the rows: as they ran, by name, or the worst first (default: run)",
    )  # fmt: skip
    compare.add_argument("--only-changed", action="store_true", help="leave out the rows that are unchanged")
    compare.add_argument(
        "--all", action="store_true", dest="every",
        help=f"show all rows; a table or Markdown of more than {_MOST_ROWS} leaves out those that are unchanged",
    )  # fmt: skip
    add_selection(compare)
    completes_files(
        compare.add_argument("--baselines", metavar="PATH", help="the file that baseline means (default: "
                             "gpuprof-baselines.json in the project's folder)")
    )  # fmt: skip
    add_format(compare, ("table", "markdown", "json", "csv"))
    add_store(compare)


def _compare(chosen: argparse.Namespace) -> int:
    known = kinds()
    fail_on = conditions(chosen.fail_on, known)
    figures = figure_names("--figures", chosen.figures, known)
    is_wanted = wanted(chosen.selection)
    if chosen.base == chosen.new == "-":
        raise UsageError("both runs cannot come from standard input; name a file for one of them")
    from pytest_gpuprof.storage.comparison import LEAST, Comparison, compared
    from pytest_gpuprof.storage.comparison import sorted_rows as ordered

    with Runs(chosen) as runs:
        now = runs.one(chosen.new)
        measured = now.measured()
        reference = runs.earlier(chosen.base, now, measured, chosen.baselines)
        rows = compared(
            {workload: each for workload, each in measured.items() if is_wanted(" ".join(workload))},
            reference,
            known,
            figures=figures,
            least=least_shares(fail_on, LEAST),
            is_wanted=lambda workload: is_wanted(" ".join(workload)),
        )
    comparison = Comparison(reference.title, now.label, rows)
    too_many = len(rows) > _MOST_ROWS and chosen.format in ("table", "markdown") and not chosen.every
    only_changed = chosen.only_changed or too_many
    shown = [row for row in ordered(rows, chosen.sort) if not (only_changed and row.outcome == "unchanged")]
    failed = {each.text: count for each in fail_on if (count := sum(each.holds(row) for row in rows))}
    _print(comparison, shown, failed, chosen.format)
    if too_many and len(shown) < len(rows):
        note(f"{len(rows) - len(shown)} unchanged rows are not shown; --all shows them")
    return _status(comparison, failed, fail_on)


def _print(comparison: Comparison, rows: Sequence[Row], failed: Mapping[str, int], how: str) -> None:
    from pytest_gpuprof.reports.comparison import CSV_HEAD, csv_rows, data, markdown, remarks, table

    if how == "json":
        print(as_json(data(comparison, rows, failed)))
        return
    if how == "csv":
        print(as_csv(CSV_HEAD, csv_rows(rows)))
        return
    if how == "markdown":
        print(markdown(comparison, rows))
        return
    colours, ascii_only = has_colours(sys.stdout), short_of_characters(sys.stdout)
    print(plain(coloured(f"{comparison.now} against {comparison.before}", "bold", colours), ascii_only))
    if rows:
        paint = (lambda text, colour: coloured(text, colour, True)) if colours else None
        print(plain(table(comparison, rows, paint), ascii_only))
    for remark in remarks(comparison):
        print(coloured(plain(remark.text, ascii_only), remark.colour, colours))


def _status(comparison: Comparison, failed: Mapping[str, int], fail_on: Sequence[Condition]) -> int:
    for text, count in failed.items():
        note(f"pytest-gpuprof: --fail-on {text}: {count} row{'s' if count != 1 else ''}")
    if failed:
        return 1
    if not comparison.comparable:
        if not any(row.outcome in ("unchanged", "incomparable") for row in comparison.rows):
            raise Unavailable(
                f"{comparison.now} and {comparison.before} have nothing in common to compare; name another run "
                "(pytest-gpuprof list), other --figures, or a wider -k"
            )
        raise Unavailable(
            f"nothing in {comparison.now} is comparable with {comparison.before}; compare with a run that was measured "
            "under the same conditions (pytest-gpuprof list), or accept a baseline for this device"
        )
    return 0
