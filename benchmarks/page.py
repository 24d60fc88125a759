"""The page ``docs/benchmarks.md``: per benchmark what is measured and how, the table, the plots, and the machine."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["Section", "page", "section_of"]

_HEAD = """\
# Benchmarks

<!-- Written by `python -m benchmarks`; change the benchmarks, not this page. -->

Each benchmark is one command, `python -m benchmarks.NAME`, and `python -m benchmarks` runs them all and writes this
page. The figures behind it are in `benchmarks/results/`. Ratios may be compared between machines; seconds may not. What
was found on a simulated device is called *simulated*.
"""


@dataclass(frozen=True, slots=True)
class Section:
    """One benchmark on the page.

    Args:
        title: its heading.
        text: what is measured, and how.
        table: the figures, as Markdown.
        plots: files, relative to the page.
        origin: when and on what it was measured, or why there is no result.
    """

    title: str
    text: str
    table: str = ""
    plots: Sequence[str] = ()
    origin: str = ""


def section_of(module: ModuleType, stored: Mapping[str, Any] | None, plots: Sequence[str], why_none: str) -> Section:
    """Return the section of a benchmark.

    Args:
        module: the benchmark.
        stored: its last result, ``None`` if there is none.
        plots: the files of its plots, relative to the page.
        why_none: why there is no result, or no newer one; empty if there is nothing to say.
    """
    title = getattr(module, "TITLE", module.__name__.rpartition(".")[2])
    text = _markdown(inspect.getdoc(module) or "")
    if stored is None:
        return Section(title, text, origin=f"**No result yet:** {why_none}.")
    origin = _origin(stored["machine"])
    if stored["quick"]:
        origin = f"**A quick run, too short for conclusions.** {origin}"
    if why_none:
        origin += f" Not measured again since: {why_none}."
    return Section(title, text, _fenced(module.table(stored["measured"])), plots, origin)


def page(sections: Sequence[Section]) -> str:
    """Return the page."""
    parts = [_HEAD]
    for each in sections:
        parts.append(f"## {each.title}\n")
        parts.append(f"{each.text}\n")
        if each.table:
            parts.append(f"{each.table.strip()}\n")
        parts += [f"![{each.title}]({path})\n" for path in each.plots]
        parts.append(f"{each.origin}\n")
    return "\n".join(parts)


def _origin(facts: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    gpu = f"{facts['gpu']}, " if "gpu" in facts else ""
    load = facts.get("load_average_1min")
    busy = "" if load is None else f", load average {load:.1f} at the start"
    return (
        f"*Measured {facts['date']} at commit {facts['commit']} on {gpu}{facts['cpu']}, {facts['cpu_threads']} threads"
        f"{busy}; {facts['system']}, Python {facts['python']}, {versions}.*"
    )


def _markdown(text: str) -> str:
    """Return a docstring as Markdown: its double backticks are single ones there, and its roles are code."""
    for role in (":func:", ":class:", ":mod:", ":meth:", ":data:", ":attr:"):
        text = text.replace(role, "")
    return text.replace("``", "`").strip()


def _fenced(table: str) -> str:
    """Return a table as it is if it is Markdown, else in a fixed font."""
    lines = table.splitlines()
    return table if any(line.startswith("|") for line in lines) else f"```text\n{table.rstrip()}\n```"


def relative(path: Path, page_folder: Path) -> str:
    """Return a file's path as the page writes it."""
    return path.relative_to(page_folder).as_posix()
