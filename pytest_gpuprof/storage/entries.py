"""The entries of the file of baselines, and the text that they are kept as. Pure.

One line per figure of a workload on a machine, sorted, so that a change of one figure is a change of one line. What the
machines are is told once, in a table below; a line names its machine by a short key. One file serves several cards.

Nothing in it depends on when or where it was written: accepting the same twice changes nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

from pytest_gpuprof.core.baseline import MOST_RUNS
from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage.conditions import key_of

__all__ = ["REPAIR", "SCHEMA", "Content", "Entry", "Place", "parsed", "text_of"]

SCHEMA: Final = "pytest-gpuprof-baselines/1"
"""Version of the file. It is raised when a reader of the old format would misread the new one."""

REPAIR = "restore it from version control, or delete it and run pytest-gpuprof accept"
"""What to do about a file that cannot be read."""

_DIGITS = 6
"""Significant digits of a value: a thousand times finer than runs repeat. Whole numbers, such as bytes, are exact."""

_MARKER = re.compile(r"(<{7}|\|{7}|={7}|>{7})( .*)?")


class Place(NamedTuple):
    """Where a figure is kept; the file is sorted by it.

    Args:
        test, name: the workload.
        figure: by name.
        on: the key of the machine, that is, of the conditions.
    """

    test: str
    name: str
    figure: str
    on: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What one figure of one workload was on one kind of machine.

    Args:
        test: the node id of the test, with its parameters.
        name: of the profile.
        figure: by name, e.g. ``"gpu_time"``.
        conditions: what must be equal for a comparison, see :mod:`pytest_gpuprof.storage.conditions`.
        values: one per run, in base units, the oldest first.
    """

    test: str
    name: str
    figure: str
    conditions: Mapping[str, Fact]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.values) <= MOST_RUNS:
            raise ValueError(f"an entry holds 1 to {MOST_RUNS} values, not {len(self.values)}")
        if not all(math.isfinite(value) and value >= 0 for value in self.values):
            raise ValueError(f"an entry holds finite figures of at least 0, not {self.values}")

    @property
    def place(self) -> Place:
        """Where it is kept."""
        return Place(self.test, self.name, self.figure, key_of(self.conditions))


@dataclass(frozen=True)
class Content:
    """All of a file.

    Args:
        machines: the conditions of each machine, by its key.
        figures: the values of each figure.
    """

    machines: Mapping[str, Mapping[str, Fact]]
    figures: Mapping[Place, tuple[float, ...]]

    @cached_property
    def machines_of(self) -> Mapping[tuple[str, str, str], Sequence[str]]:
        """The machines on which each figure of each workload was accepted, by their keys."""
        found: dict[tuple[str, str, str], list[str]] = {}
        for place in self.figures:
            found.setdefault(place[:3], []).append(place.on)
        return found

    @cached_property
    def workloads(self) -> frozenset[tuple[str, str]]:
        """The workloads, each as test and name of the profile."""
        return frozenset(place[:2] for place in self.figures)

    def merged(self, entries: Iterable[Entry], *, add: bool, gone: Collection[tuple[str, str]]) -> Content:
        """Return it with other entries.

        Args:
            entries: to put in, in place of those at the same places.
            add: add their values to those that are there, of which the newest stay.
            gone: workloads, each as test and name of the profile, to leave out.
        """
        machines = dict(self.machines)
        figures = {place: values for place, values in self.figures.items() if place[:2] not in gone}
        for entry in entries:
            place = entry.place
            machines[place.on] = entry.conditions
            values = tuple(_rounded(value) for value in entry.values)
            figures[place] = ((*figures.get(place, ()), *values) if add else values)[-MOST_RUNS:]
        used = {place.on for place in figures}
        return Content({key: facts for key, facts in machines.items() if key in used}, figures)


def _rounded(value: float) -> float:
    if float(value).is_integer() and abs(value) < 2**53:
        return int(value)
    return float(f"{value:.{_DIGITS}g}")


def text_of(content: Content) -> str:
    """Return it as the text of a file: one line per figure, then one per condition of each machine."""
    lines = [
        json.dumps(
            {
                "test": place.test,
                "profile": place.name,
                "figure": place.figure,
                "machine": place.on,
                "values": list(values),
            },
            ensure_ascii=False,
            allow_nan=False,
        )
        for place, values in sorted(content.figures.items())
    ]
    machines = {key: dict(sorted(facts.items())) for key, facts in sorted(content.machines.items())}
    table = json.dumps(machines, ensure_ascii=False, allow_nan=False, indent=2).replace("\n", "\n  ")
    figures = ",\n    ".join(lines)
    figures = f"[\n    {figures}\n  ]" if lines else "[]"
    return f'{{\n  "schema": "{SCHEMA}",\n  "figures": {figures},\n  "machines": {table}\n}}\n'


# -- what a file may hold ---------------------------------------------------------------------------------------------


def parsed(text: str, title: str) -> Content:
    """Return what a file says.

    Args:
        text: of the file.
        title: how a sentence names it.

    Raises:
        UsageError: if it is not what :func:`text_of` returns, in one sentence with a remedy.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        if _MARKER.fullmatch(line):
            raise UsageError(
                f"{title} has a merge conflict in line {number} ({line}); keep the lines of one side and delete the "
                "markers, or take one side's file and run pytest-gpuprof accept"
            )
    try:
        document = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{title} is not JSON ({error}); {REPAIR}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise UsageError(_other_schema(schema, title))
    try:
        return _content(document)
    except (LookupError, TypeError, ValueError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{title} is damaged: {said}; {REPAIR}") from error


def _other_schema(schema: Any, title: str) -> str:
    family, _, number = SCHEMA.rpartition("/")
    found = re.fullmatch(rf"{family}/(\d+)", schema) if isinstance(schema, str) else None
    if found is not None and int(found[1]) > int(number):
        return f"{title} has the schema {schema!r}, and this version reads {SCHEMA!r}; upgrade pytest-gpuprof"
    what = "no schema" if schema is None else f"the schema {schema!r}"
    return f"{title} has {what} where baselines have {SCHEMA!r}; name another file with --gpu-profile-baselines"


def _content(document: Mapping[str, Any]) -> Content:
    machines = _typed(document["machines"], dict, "machines")
    for key, facts in machines.items():
        for name, fact in _typed(facts, dict, f"machine {key!r}").items():
            if type(fact) not in (str, int, float, bool):
                raise TypeError(f"{name!r} of machine {key!r} is {fact!r}, which is neither a text nor a number")
    figures: dict[Place, tuple[float, ...]] = {}
    for line in _typed(document["figures"], list, "figures"):
        words = [
            _typed(_typed(line, dict, "a line of figures")[key], str, f"{key!r} of a line of figures")
            for key in ("test", "profile", "figure", "machine")
        ]
        place = Place(*words)
        what = f"{place.figure} of {place.test!r} {place.name!r}"
        if place.on not in machines:
            raise ValueError(f"{what} is on machine {place.on!r}, which is not in the table of machines")
        if place in figures:
            raise ValueError(f"{what} on machine {place.on!r} is there twice")
        values = tuple(_typed(line["values"], list, f"the values of {what}"))
        if not all(type(value) in (int, float) for value in values):
            raise TypeError(f"the values of {what} are {list(values)!r}, which are not all numbers")
        try:
            figures[place] = Entry(*place[:3], machines[place.on], values).values
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
    return Content(machines, figures)


def _typed(value: Any, kind: type, what: str) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{what} is {value!r:.60}, and not a {kind.__name__}")
    return value
