"""``check``: what was measured, maybe on another machine, judged again by its own budgets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gpuprof.cli.arguments import Subcommands, add_command, add_format, add_selection, add_store, completes_files
from pytest_gpuprof.cli.output import as_json, coloured, has_colours, plain, short_of_characters
from pytest_gpuprof.cli.referring import REFERENCES, Named, Runs, is_file
from pytest_gpuprof.cli.selecting import wanted
from pytest_gpuprof.core.baseline import FILE_NAME
from pytest_gpuprof.core.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from pytest_gpuprof.core.results import Verdict

__all__ = ["add"]

_COLOURS: Mapping[str, str] = {"met": "green", "missed": "red", "inconclusive": "yellow", "unavailable": "yellow",
                               "not enforced": "yellow"}  # fmt: skip

Judged = Sequence[tuple[Mapping[str, Any], Sequence["Verdict"]]]


def add(commands: Subcommands) -> None:
    """Add ``check``."""
    check = add_command(
        commands,
        "check",
        _check,
        "judge a run again by the budgets that were judged when it was measured",
        f"{REFERENCES} It has to be about the sources that are here: git has to have the same content of them here as "
        "where it was measured, with nothing uncommitted on either side.",
        examples=[
            ("pytest-gpuprof check run.json", "a gate on a machine without a GPU: status 1 if a budget is missed"),
            ("pytest-gpuprof check run.json --strict", "what could not be judged fails too"),
            ("pytest-gpuprof check latest --anyway", "whatever the sources are now"),
        ],
    )
    completes_files(check.add_argument("run_name", metavar="FILE", help="the run"))
    check.add_argument(
        "--paths", metavar="LIST", default="",
        help="files and folders that must be unchanged, with commas (default: those of gpu_profile_evidence_paths when "
        "it was measured)",
    )  # fmt: skip
    check.add_argument("--anyway", action="store_true", help="judge it although it may be about other sources")
    check.add_argument("--strict", action="store_true", help="what is inconclusive or unavailable counts as missed")
    add_selection(check)
    add_format(check, ("table", "json"))
    add_store(check)


def _check(chosen: argparse.Namespace) -> int:
    from pytest_gpuprof.extensions import Extensions
    from pytest_gpuprof.storage.evidence import check_document

    is_wanted = wanted(chosen.selection)
    with Runs(chosen) as runs:
        run = runs.one(chosen.run_name)
        document = run.document()
        root = runs.root
    _check_samples(run)
    trees = document["source"].get("trees") or {}
    found: Judged = check_document(
        {**document, "records": [each for each in document["records"] if is_wanted(f"{each['test']} {each['name']}")]},
        root,
        tuple(path.strip() for path in chosen.paths.split(",") if path.strip()) or tuple(trees),
        Extensions.standalone().kinds,
        name=chosen.run_name if is_file(chosen.run_name) else run.label,
        ignoring=[root / FILE_NAME, *([Path(chosen.run_name).resolve()] if is_file(chosen.run_name) else [])],
        anyway=chosen.anyway,
    )
    if not any(verdicts for _, verdicts in found):
        raise Unavailable(f"{run.label} has no budget to judge; give its tests one (@pytest.mark.gpu_budget)")
    if chosen.format == "json":
        print(as_json([_data(record, verdicts) for record, verdicts in found]))
    else:
        _print(found)
    bad = ("missed", "inconclusive", "unavailable") if chosen.strict else ("missed",)
    missed = any(verdict.outcome in bad and verdict.enforce for _, verdicts in found for verdict in verdicts)
    return 1 if missed or any(_failed_otherwise(record, verdicts) for record, verdicts in found) else 0


def _check_samples(run: Named) -> None:
    if run.info is not None and not run.info.has_samples:
        raise UsageError(
            f"{run.label} cannot be judged again, because prune took its samples; judge an exported file, or "
            "measure again"
        )


def _failed_otherwise(record: Mapping[str, Any], verdicts: Sequence[Verdict]) -> bool:
    """Whether a test failed where it was measured, and not by a budget that is missed here as well."""
    if record.get("outcome") not in ("failed", "error"):
        return False
    written = [each["outcome"] for each in record["verdicts"] if each.get("enforce", True)]
    return not any(each.outcome == "missed" for each in verdicts) and "missed" not in written


def _print(found: Judged) -> None:
    colours, ascii_only = has_colours(sys.stdout), short_of_characters(sys.stdout)
    for record, verdicts in found:
        for verdict in verdicts:
            spared = "" if verdict.enforce or verdict.outcome != "missed" else ", not enforced"
            head = coloured(f"{verdict.outcome}{spared}", _COLOURS[verdict.outcome], colours)
            told = f"{record['test']} {verdict.sentence}".strip()
            print(f"{head}: {plain(told, ascii_only)}")
        if _failed_otherwise(record, verdicts):
            print(f"{coloured('failed', 'red', colours)}: {plain(record['test'], ascii_only)} where it was measured")
    outcomes = [verdict.outcome for _, verdicts in found for verdict in verdicts]
    print("budgets: " + ", ".join(f"{outcomes.count(word)} {word}" for word in _COLOURS if word in outcomes))


def _data(record: Mapping[str, Any], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    from dataclasses import asdict

    from pytest_gpuprof.storage.parts import builtins_of

    return {
        "test": record["test"],
        "name": record["name"],
        "outcome": record.get("outcome", ""),
        "verdicts": [builtins_of(asdict(verdict)) for verdict in verdicts],
    }
