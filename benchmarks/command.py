"""The command ``python -m benchmarks``: run benchmarks, store what they found, and write the page."""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import CannotRun, results
from benchmarks.page import page, relative, section_of

__all__ = ["NAMES", "main"]

NAMES = ("accuracy", "decision", "energy", "overhead", "scale", "hardware")
"""In the order of the page."""


@dataclass(frozen=True, slots=True)
class _Places:
    """Where things are written."""

    results: Path
    page: Path

    @classmethod
    def of(cls, output: Path | None) -> _Places:
        """Return the places in a folder; ``None`` for those of the repository."""
        if output is None:
            return cls(results.ROOT / "benchmarks" / "results", results.ROOT / "docs" / "benchmarks.md")
        return cls(output / "results", output / "benchmarks.md")

    @property
    def images(self) -> Path:
        """The folder of the plots."""
        return self.page.parent / "images"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 if every benchmark ran, 1 if one that was asked for by name could not.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="try everything out; needs --output, since it proves little"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write there, not to benchmarks/results and docs")
    parser.add_argument("--page", action="store_true", help="measure nothing; write the page from the stored results")
    chosen = parser.parse_args(arguments)
    unknown = sorted(set(chosen.names) - set(NAMES))
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    if chosen.quick and chosen.output is None:
        parser.error("a quick run must not take the place of a real one; say where to write with --output=DIR")
    places = _Places.of(chosen.output)
    failed = {}
    for name in () if chosen.page else chosen.names or NAMES:
        reason = _run(name, places, quick=chosen.quick)
        if reason:
            failed[name] = reason
            print(f"{name}: not run, because {reason}", file=sys.stderr)
    _write_page(places, failed)
    return 1 if failed.keys() & set(chosen.names) else 0


def _run(name: str, places: _Places, *, quick: bool) -> str:
    """Run one benchmark, print and store it; return why it could not run, or nothing."""
    try:
        module = _module(name)
        facts = results.machine()
        began = time.monotonic()
        measured = module.measure(quick=quick)
    except CannotRun as error:
        return str(error)
    facts |= measured.get("machine", {})
    stored = results.document(name, measured, facts, quick=quick)
    stem = module.result_name(measured) if hasattr(module, "result_name") else name
    path = results.save(stored, places.results, stem)
    print(
        f"\n{module.TITLE}\n\n{module.table(measured)}\n\n{path.name} written after {time.monotonic() - began:.0f} s\n"
    )
    return ""


def _module(name: str) -> ModuleType:
    """Return a benchmark.

    Raises:
        CannotRun: if it is missing, or offers less than :mod:`benchmarks` asks for.
    """
    try:
        module = importlib.import_module(f"benchmarks.{name}")
    except ModuleNotFoundError as error:
        if str(error.name).startswith("benchmarks"):
            raise CannotRun(f"there is no {error.name}") from None
        raise CannotRun(f"{error.name} is not installed; pip install --group benchmarks brings it") from None
    measure, table = getattr(module, "measure", None), getattr(module, "table", None)
    if measure is None or table is None or "quick" not in inspect.signature(measure).parameters:
        raise CannotRun(f"benchmarks.{name} does not offer measure(quick) and table(results) yet")
    return module


def _write_page(places: _Places, failed: Mapping[str, str]) -> None:
    sections = []
    for name in NAMES:
        try:
            module = _module(name)
        except CannotRun as error:
            print(f"{name}: left out of the page, because {error}", file=sys.stderr)
            continue
        stored = results.last(name, places.results)
        why = failed.get(name, "" if stored else "it was not run")
        try:
            plots = [] if stored is None else _plots(module, stored["measured"], places)
            sections.append(section_of(module, stored, plots, why))
        except KeyError as error:
            outdated = f"the stored one is of an older form and lacks {error}; run python -m benchmarks.{name}"
            sections.append(section_of(module, None, (), outdated))
    places.page.parent.mkdir(parents=True, exist_ok=True)
    places.page.write_text(page(sections), encoding="utf-8")
    print(f"{places.page.name} written", file=sys.stderr)


def _plots(module: ModuleType, measured: Mapping[str, Any], places: _Places) -> list[str]:
    if not hasattr(module, "plots"):
        return []
    try:
        drawn = module.plots(measured, places.images)
    except CannotRun as error:
        print(f"no plots, because {error}", file=sys.stderr)
        return []
    return [relative(path, places.page.parent) for path in drawn]
