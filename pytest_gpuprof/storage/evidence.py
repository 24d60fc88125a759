"""Evidence that travels: whether what was measured elsewhere says something about the sources that are here.

A record is evidence if git has the same content of the same paths here as where it was measured, with nothing
uncommitted on either side. A commit is not asked for: another commit with the same trees is the same program.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timezone
from pathlib import Path
from typing import Any

from pytest_gpuprof.budgets.budget import KINDS, Budget, Kind
from pytest_gpuprof.budgets.verdict import judge
from pytest_gpuprof.core.errors import Unavailable, UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Verdict
from pytest_gpuprof.storage.codec import budgets_from_record, profile_from
from pytest_gpuprof.storage.document import figures_by_workload
from pytest_gpuprof.storage.source import changes_in, differing, has_commit, trees_of

__all__ = ["EVERYTHING", "Here", "check_document", "here", "judged_again", "refusals"]

EVERYTHING = (".",)
"""The paths that must be unchanged, where nobody names fewer."""

_FEW = 3
"""Files that are named in a sentence; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Here:
    """The sources as they are here and now, against a document.

    Args:
        project: name of the folder.
        trees: for each path what git has of it, ``None`` if nothing.
        changes: files below the paths that are not as committed.
        differing: for each path that differs the files that do; ``None`` where this clone lacks what was measured.
        has_commit: whether the commit that was measured is known here.
        unavailable: why git cannot tell; empty if it can.
    """

    project: str
    trees: Mapping[str, str | None] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    differing: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    has_commit: bool = True
    unavailable: str = ""


def here(root: Path, paths: Sequence[str], document: Mapping[str, Any], ignoring: Sequence[Path] = ()) -> Here:
    """Return the sources as they are here, by git.

    Args:
        root: the project's folder.
        paths: that must be unchanged; empty for everything.
        document: what was measured.
        ignoring: files that may change: the evidence itself, which may be committed after it was measured.
    """
    paths = paths or EVERYTHING
    source = document["source"]
    try:
        trees = trees_of(root, paths)
        measured: Mapping[str, Any] = source.get("trees") or {}
        differ = {
            path: differing(root, path, str(measured[path]), ignoring)
            for path in paths
            if measured.get(path) is not None and trees[path] is not None and measured[path] != trees[path]
        }
        return Here(
            root.resolve().name,
            trees,
            tuple(changes_in(root, paths, ignoring)),
            {path: files for path, files in differ.items() if files is None or files},
            has_commit(root, str(source.get("commit", ""))),
        )
    except Unavailable as error:
        return Here(root.resolve().name, unavailable=str(error))


def refusals(document: Mapping[str, Any], name: str, paths: Sequence[str], now: Here) -> list[str]:
    """Return why a document is no evidence for the sources that are here, a sentence each; none if it is.

    Args:
        document: what was measured.
        name: of its file, for the sentences.
        paths: that must be unchanged; empty for everything.
        now: the sources that are here.
    """
    return [*incomplete(document, name), *_of_other_sources(document, name, paths or EVERYTHING, now)]


def incomplete(document: Mapping[str, Any], name: str) -> list[str]:
    """Return why a document holds not everything that its run measured, or nothing at all."""
    again = "measure again with --gpu-profile --gpu-profile-export=json:FILE"
    if not document["duration_s"]:  # a journal, or a run that was killed: nobody knows what is missing
        return [f"{name} is incomplete, for the session that wrote it did not come to its end; {again}"]
    return [] if document["records"] else [f"{name} has no records; {again}"]


def _of_other_sources(document: Mapping[str, Any], name: str, paths: Sequence[str], now: Here) -> list[str]:
    source = document["source"]
    if "unavailable" in source:
        why = source["unavailable"]
        return [f"{name} does not tell from which sources it was measured, because {why}; measure in a git checkout"]
    if now.unavailable:
        why = now.unavailable
        return [f"nobody can tell whether {name} is about these sources, because {why}; judge it in a git checkout"]
    measured = source["trees"]
    at = str(source["commit"])[:7]
    same = all(measured.get(path) == now.trees[path] for path in paths)
    if not same and not now.has_commit and source["project"] != now.project:
        return [f"{name} was measured on another project, {source['project']!r} at {at}; measure this one"]
    found = []
    dirty = [path for path in paths if path in source.get("dirty_paths", paths if source["dirty"] else ())]
    if dirty:
        found.append(f"{name} was measured with uncommitted changes in {_few(dirty)}; commit them and measure again")
    if now.changes:
        be, them = ("is", "it") if len(now.changes) == 1 else ("are", "them")
        found.append(f"{_few(now.changes)} changed here and {be} not committed; commit {them}, or take {them} away")
    for path in paths:
        what = "the project" if path == "." else path
        if now.trees[path] is None:
            found.append(
                f"gpu_profile_evidence_paths names {path!r}, which git does not have here; name what it has, one path "
                "a line"
            )
        elif measured.get(path) is None:
            found.append(
                f"{name} does not tell what {what} was when it was measured; measure again with this "
                "gpu_profile_evidence_paths"
            )
        elif path in now.differing:
            found.append(_changed(name, what, at, now.differing[path]))
    return found


def _changed(name: str, what: str, at: str, files: Sequence[str] | None) -> str:
    if files is None:
        return (
            f"{what} is not what it was when {name} was measured at {at}, which this clone does not have; measure "
            "again, or get the whole history if only the evidence was added: git fetch --unshallow"
        )
    which = "" if list(files) == [what] else f" ({_few(files)})"
    return f"{what} changed since {name} was measured at {at}{which}; measure again"


def _few(names: Sequence[str]) -> str:
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more" if more > 0 else "")


def judged_again(record: Mapping[str, Any], profile: Profile, budgets: Sequence[Budget]) -> tuple[Verdict, ...]:
    """Return the verdicts of budgets on what a record holds.

    Nothing can be measured a second time here. Where the very same budget was, and that did not confirm the miss, the
    record's own verdict holds; a miss that was never looked at again counts as what it is.

    Args:
        record: of the profile.
        profile: what was measured.
        budgets: to be judged.
    """
    return tuple(_verdict(record, profile, budget) for budget in budgets)


def _verdict(record: Mapping[str, Any], profile: Profile, budget: Budget) -> Verdict:
    verdict = judge(profile, budget)
    if verdict.outcome != "missed":
        return verdict
    own, written = profile_from(record).verdicts, record.get("budgets", ())
    if len(own) == len(written):
        same = [each for each, what in zip(own, written, strict=True) if _asks(what) == _asks(budget.as_written)]
        if same and same[-1].outcome == "inconclusive":
            return replace(same[-1], enforce=budget.enforce)
    return verdict


def _asks(written: Mapping[str, Any]) -> dict[str, Any]:
    """Return a budget without what is only said about it."""
    return {name: value for name, value in written.items() if name not in ("reason", "enforce")}


def check_document(
    document: Mapping[str, Any],
    root: Path,
    paths: Sequence[str] = (),
    kinds: Mapping[str, Kind] = KINDS,
    *,
    name: str = "the document",
    ignoring: Iterable[Path] = (),
    anyway: bool = False,
    day: date | None = None,
) -> list[tuple[Mapping[str, Any], tuple[Verdict, ...]]]:
    """Judge every record of a document again by the budgets stored in it, the last attempt at each test.

    Args:
        document: what was measured.
        root: the project's folder.
        paths: that must be unchanged since; empty for everything.
        kinds: the budgets there are.
        name: of its file, for the sentences.
        ignoring: files that may change: the evidence itself.
        anyway: whether it may be about other sources.
        day: today, for quarantines that may be over by now; ``None`` for what the clock says, in UTC.

    Returns:
        Each record with its verdicts; those of a test that is in quarantine still are not enforced.

    Raises:
        UsageError: if it is no evidence for the sources that are here, a line for each reason.
    """
    reasons = incomplete(document, name)
    if not anyway and not reasons:
        reasons = refusals(document, name, paths, here(root, paths, document, tuple(ignoring)))
    if reasons:
        raise UsageError("\n".join(reasons))
    today = day or datetime.now(timezone.utc).date()
    found: list[tuple[Mapping[str, Any], tuple[Verdict, ...]]] = []
    for record in figures_by_workload(document).values():
        verdicts = judged_again(record, profile_from(record), budgets_from_record(record, kinds))
        until = record.get("quarantine", {}).get("until")
        if until is not None and today <= date.fromisoformat(until):
            verdicts = tuple(replace(verdict, enforce=False) for verdict in verdicts)
        found.append((record, verdicts))
    return found
