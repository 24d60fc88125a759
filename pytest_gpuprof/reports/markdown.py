"""A run as Markdown, for a comment on a pull request or a page of CI: what matters first, and what is left out is told.

GitHub refuses a comment above 64 KiB and drops a step summary above 1 MiB, so a report is cut at a size in bytes, at
whole lines, from its end, where the least important lines stand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pytest_gpuprof.core.results import Outcome, Verdict
from pytest_gpuprof.reports.remarks import counts, describe_comparison, describe_counts
from pytest_gpuprof.reports.sweeps import describe_sweeps
from pytest_gpuprof.reports.table import cells
from pytest_gpuprof.reports.text import encoded
from pytest_gpuprof.reports.workloads import Workload, workloads

__all__ = ["COMMENT_BYTES", "MARKER", "markdown", "markdown_text"]

MARKER: Final = "<!-- pytest-gpuprof -->"
"""The first line, which nobody sees: by it a workflow finds its older comment, and replaces it."""

COMMENT_BYTES: Final = 64 * 1024
"""The longest comment."""

_LONGEST_LINE = 2000
"""Characters: a sentence is far shorter; a test's id may be anything."""

_ORDER: Final[Mapping[Outcome, str]] = {
    "missed": "Missed",
    "inconclusive": "Inconclusive",
    "unavailable": "Could not be judged",
    "not enforced": "Not enforced",
}
"""Outcomes that are told by a sentence each, the most important first."""

_ACTIVE = re.compile(r"([\\`*{}\[\]<>#|~$@]|(?<![^\W_])_|_(?![^\W_]))")
"""What Markdown could take for markup, or GitHub for a mention; an underscore inside a word is none."""


@dataclass(frozen=True, slots=True)
class _Section:
    """Lines that may be cut, between some that go with them."""

    head: Sequence[str]
    lines: Sequence[str]
    foot: Sequence[str] = ()


def markdown_text(document: Mapping[str, Any]) -> str:
    """Return the run as a comment of at most 64 KiB that begins with the marker."""
    return markdown(document, COMMENT_BYTES, MARKER)


def markdown(document: Mapping[str, Any], most_bytes: int, first: str = "", pages: Sequence[str] = ()) -> str:
    """Return the run as Markdown.

    Args:
        document: of the run.
        most_bytes: how long the UTF-8 may be.
        first: the first line.
        pages: files that tell more of the same run, to be named below the head.
    """
    found = workloads(document)
    told = document.get("counts") or counts([each.row for each in found], 0)
    head = [*filter(None, [first]), f"### GPU {describe_counts(told)}", ""]
    head += [line for page in pages for line in (f"Report page: `{_code(page)}`", "")]
    return _fitting(head, [*_comparison(document), *_sentences(found), *_figures(found)], most_bytes)


def _comparison(document: Mapping[str, Any]) -> Iterator[_Section]:
    told = document.get("comparison")
    if told:
        yield _Section((_plain(describe_comparison(told)), ""), [f"- {_plain(gone)}" for gone in told["gone"]], ("",))


def _sentences(found: Sequence[Workload]) -> Iterator[_Section]:
    for outcome, title in _ORDER.items():
        lines = [
            f"- `{_code(each.row.name)}`: {_plain(verdict.sentence)}{_enforced(verdict)}"
            for each in found
            for verdict in each.profile.verdicts
            if verdict.outcome == outcome
        ]
        if lines:
            yield _Section((f"**{title}**", ""), lines, ("",))
    swept = describe_sweeps([each.row for each in found])
    if swept:
        yield _Section(("**Sweeps**", ""), [f"- {_plain(line)}" for line in swept], ("",))
    doubts: dict[str, list[str]] = {}
    for each in found:
        for caution in each.profile.cautions:
            doubts.setdefault(str(caution), []).append(each.row.name)
    if doubts:
        lines = [f"- {_plain(doubt)} (`{_code(names[0])}`{_more(names)})" for doubt, names in doubts.items()]
        yield _Section(("**Doubts**", ""), lines, ("",))


def _enforced(verdict: Verdict) -> str:
    return "" if verdict.enforce or verdict.outcome == "not enforced" else " (not enforced)"


def _more(names: Sequence[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""


def _figures(found: Sequence[Workload]) -> Iterator[_Section]:
    """Yield the table, the workloads with the worst verdicts first, and the words that its figures carry."""
    if not found:
        return
    worst = sorted(found, key=_rank)
    heads, rows = cells([each.row for each in worst])
    aligned = ["---" if head in ("test", "budgets", "headroom", "on") else "---:" for head in heads]
    yield _Section(
        ("<details open><summary>Figures</summary>", "", _line(heads), "|".join(("", *aligned, ""))),
        [_line(row) for row in rows],
        ("", *_words(found), "</details>"),
    )


def _rank(workload: Workload) -> int:
    order = list(_ORDER)
    ranks = [order.index(each.outcome) for each in workload.profile.verdicts if each.outcome in order]
    return min(ranks, default=len(order))


def _words(found: Sequence[Workload]) -> Iterator[str]:
    """Yield a line for each word, with the figures that carry it."""
    words: dict[str, dict[str, None]] = {}
    for workload in found:
        for shown in workload.figures:
            for word in shown.words:
                words.setdefault(word, {})[shown.name.replace("_", " ")] = None
    if words:
        yield "; ".join(f"{_plain(word)}: {', '.join(map(_plain, names))}" for word, names in words.items())
        yield ""


def _line(row: Sequence[str]) -> str:
    return "|".join(("", *(f" {_plain(cell)} " for cell in row), ""))


def _fitting(head: Sequence[str], sections: Sequence[_Section], most_bytes: int) -> str:
    """Return as many lines as fit, with a last one that says how many were left out."""
    left_out = "_{} lines left out, because a page here may not be longer; the exports have them._"
    room = most_bytes - _size([*head, left_out.format(10**9)])
    lines, cut = list(head), 0
    for section in sections:
        frame = _size([*section.head, *section.foot])
        kept: list[str] = []
        for line in section.lines if not cut else ():
            short = line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"
            if frame + _size([short]) > room:
                break
            kept.append(short)
            room -= _size([short])
        cut += len(section.lines) - len(kept)
        if kept:
            room -= frame
            lines += [*section.head, *kept, *section.foot]
    return "\n".join((*lines, left_out.format(cut)) if cut else lines).rstrip("\n") + "\n"


def _size(lines: Sequence[str]) -> int:
    return sum(len(encoded(line)) + 1 for line in lines)


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is: no markup, no mention of a person, no cell of its own."""
    one_line = " ".join(text.split()).replace("&", "&amp;")
    return _ACTIVE.sub(r"\\\1", one_line).replace(r"\<", "&lt;").replace(r"\@", "@\u200b")


def _code(text: str) -> str:
    """Return text for a code span, which knows no escapes."""
    return " ".join(text.replace("`", "'").split())
