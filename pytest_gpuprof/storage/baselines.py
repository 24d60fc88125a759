"""The file of accepted baselines, ``gpuprof-baselines.json``: made to be committed, reviewed and merged.

One line per figure of a workload on a machine, sorted, so that a change of one figure is a change of one line. What the
machines are is told once, in a table below; a line names its machine by a short key. One file serves several cards.

Nothing in it depends on when or where it was written: accepting the same twice changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

from pytest_gpuprof.core.baseline import MOST_RUNS, Baseline
from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage import absence
from pytest_gpuprof.storage.conditions import key_of

__all__ = ["SCHEMA", "Accepted", "Baselines", "Entry"]

SCHEMA: Final = "pytest-gpuprof-baselines/1"
"""Version of the file. It is raised when a reader of the old format would misread the new one."""

_DIGITS = 6
"""Significant digits of a value: a thousand times finer than runs repeat. Whole numbers, such as bytes, are exact."""

_PATIENCE_S = 60.0
"""Accepting takes a fraction of a second; who waits longer waits for a process that hangs."""

_MARKER = re.compile(r"(<{7}|\|{7}|={7}|>{7})( .*)?")

_REPAIR = "restore it from version control, or delete it and run pytest-gpuprof accept"


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


@dataclass(frozen=True, slots=True)
class Accepted:
    """What accepting did to the file, in lines of it.

    Args:
        new: figures that it did not have.
        changed: figures with other values than before.
        unchanged: figures that were given and were there already.
        removed: figures of workloads that are gone.
    """

    new: int
    changed: int
    unchanged: int
    removed: int


class _Place(NamedTuple):
    """Where a figure is kept; the file is sorted by it."""

    test: str
    name: str
    figure: str
    on: str


@dataclass(frozen=True)
class _Content:
    machines: Mapping[str, Mapping[str, Fact]]
    figures: Mapping[_Place, tuple[float, ...]]

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


_NOTHING = _Content({}, {})


class Baselines:
    """The baselines in a file, which is read once, when first needed.

    Args:
        path: the file, which need not exist.
        title: how a sentence names it; ``None`` for its name.
    """

    def __init__(self, path: Path, title: str | None = None) -> None:
        self.path = path
        self.title = title or path.name
        self._content: _Content | None = None

    # -- reading ----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Find out now, not after measuring, that the file cannot be read.

        Raises:
            UsageError: in one sentence with a remedy.
        """
        self._read()

    def before(
        self, test: str, name: str, conditions: Mapping[str, Fact], figure: str, key: str | None = None
    ) -> Baseline:
        """Return what a figure was, or why that is not known; a file that cannot be read is a reason too.

        Args:
            test, name: the workload.
            conditions: those of now.
            figure: by name.
            key: of the conditions, by whoever has it already.
        """
        try:
            content = self._read()
        except UsageError as error:
            return Baseline(absence="unreadable", reason=str(error))
        key = key or key_of(conditions)
        values = content.figures.get(_Place(test, name, figure, key))
        if values is not None:
            return Baseline(values, self.title)
        others = content.machines_of.get((test, name, figure))
        if others:
            return absence.incomparable(self.title, [content.machines[on] for on in others], conditions, absence.ACCEPT)
        if not content.figures and not self.path.exists():
            return Baseline(absence="new", reason=f"there is no {self.title}; {absence.ACCEPT}")
        known = (test, name) in content.workloads
        if known:
            return absence.new_figure(self.title, figure, absence.ACCEPT)
        return absence.new(self.title, absence.ACCEPT)

    def workloads(self) -> frozenset[tuple[str, str]]:
        """Return the workloads that it knows, each as test and name of the profile.

        Raises:
            UsageError: as :meth:`check`.
        """
        return self._read().workloads

    def entries(self) -> tuple[Entry, ...]:
        """Return all that was accepted, sorted.

        Raises:
            UsageError: as :meth:`check`.
        """
        content = self._read()
        return tuple(
            Entry(place.test, place.name, place.figure, content.machines[place.on], values)
            for place, values in sorted(content.figures.items())
        )

    def _read(self) -> _Content:
        if self._content is None:
            self._content = _parsed(self._text(), self.title)
        return self._content

    def _text(self) -> str | None:
        try:
            return self.path.read_text(encoding="utf-8-sig")  # an editor may have added a byte-order mark
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise UsageError(f"{self.title} is not text in UTF-8 (byte {error.start}); {_REPAIR}") from error
        except OSError as error:
            raise UsageError(
                f"{self.title} cannot be read ({error.strerror or error}); name another file with "
                "--gpu-profile-baselines, or allow reading it"
            ) from error

    # -- writing ----------------------------------------------------------------------------------------------------

    def accept(
        self, entries: Iterable[Entry], *, add: bool = False, gone: Collection[tuple[str, str]] = ()
    ) -> Accepted:
        """Put entries into the file, in place of those for the same figure on the same kind of machine.

        What was accepted on other machines stays. Whoever is killed in the middle leaves the file as it was.

        Args:
            entries: what to accept.
            add: add their values to those that are there, of which the newest twenty stay.
            gone: workloads, each as test and name of the profile, that no longer exist; they are taken out on every
                machine.

        Raises:
            UsageError: if the file cannot be read or written; it is then as it was.
        """
        from filelock import FileLock, Timeout  # only who writes needs it

        given = tuple(entries)
        path = self.path.resolve()  # a link stays one
        try:
            with FileLock(_lock_beside(path), timeout=_PATIENCE_S):
                self._content = None  # somebody may have accepted since it was read
                before = self._read()
                after = _merged(before, given, add=add, gone=gone)
                if after.figures != before.figures or not path.exists():
                    _write(_document(after), path)
        except Timeout as error:
            raise UsageError(
                f"another process has been accepting into {self.title} for {_PATIENCE_S:.0f} s; wait for it, or end it"
            ) from error
        except OSError as error:
            raise UsageError(
                f"{self.title} cannot be written ({error.strerror or error}); free some space, allow writing there, or "
                "name another file with --gpu-profile-baselines"
            ) from error
        self._content = after
        both = before.figures.keys() & after.figures.keys()
        changed = sum(before.figures[place] != after.figures[place] for place in both)
        known = {_place_of(entry) for entry in given} & both
        return Accepted(
            new=len(after.figures.keys() - before.figures.keys()),
            changed=changed,
            unchanged=len(known) - changed,
            removed=len(before.figures.keys() - after.figures.keys()),
        )


def _place_of(entry: Entry) -> _Place:
    return _Place(entry.test, entry.name, entry.figure, key_of(entry.conditions))


def _merged(before: _Content, entries: Iterable[Entry], *, add: bool, gone: Collection[tuple[str, str]]) -> _Content:
    machines = dict(before.machines)
    figures = {place: values for place, values in before.figures.items() if (place.test, place.name) not in gone}
    for entry in entries:
        place = _place_of(entry)
        machines[place.on] = entry.conditions
        values = tuple(_rounded(value) for value in entry.values)
        figures[place] = ((*figures.get(place, ()), *values) if add else values)[-MOST_RUNS:]
    used = {place.on for place in figures}
    return _Content({key: facts for key, facts in machines.items() if key in used}, figures)


def _rounded(value: float) -> float:
    if float(value).is_integer() and abs(value) < 2**53:
        return int(value)
    return float(f"{value:.{_DIGITS}g}")


def _document(content: _Content) -> str:
    """Return the text of the file: one line per figure, then one per condition of each machine."""
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


def _lock_beside(path: Path) -> Path:
    """Return the file to lock, in the folder ``.gpuprof`` beside the baselines, which version control ignores."""
    folder = path.parent / ".gpuprof"
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="ascii")
    return folder / f"{path.name}.lock"


def _write(text: str, path: Path) -> None:
    """Replace a file whole or not at all; the lock is held."""
    for left in path.parent.glob(f"{path.name}.*.new"):  # by somebody who was killed
        left.unlink(missing_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with new.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, new)
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise


# -- what a file may hold ---------------------------------------------------------------------------------------------


def _parsed(text: str | None, title: str) -> _Content:
    if text is None:
        return _NOTHING
    for number, line in enumerate(text.splitlines(), start=1):
        if _MARKER.fullmatch(line):
            raise UsageError(
                f"{title} has a merge conflict in line {number} ({line}); keep the lines of one side and delete the "
                "markers, or take one side's file and run pytest-gpuprof accept"
            )
    try:
        document = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{title} is not JSON ({error}); {_REPAIR}") from error
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema != SCHEMA:
        raise UsageError(_other_schema(schema, title))
    try:
        return _content(document)
    except (LookupError, TypeError, ValueError) as error:
        said = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{title} is damaged: {said}; {_REPAIR}") from error


def _other_schema(schema: Any, title: str) -> str:
    family, _, number = SCHEMA.rpartition("/")
    found = re.fullmatch(rf"{family}/(\d+)", schema) if isinstance(schema, str) else None
    if found is not None and int(found[1]) > int(number):
        return f"{title} has the schema {schema!r}, and this version reads {SCHEMA!r}; upgrade pytest-gpuprof"
    what = "no schema" if schema is None else f"the schema {schema!r}"
    return f"{title} has {what} where baselines have {SCHEMA!r}; name another file with --gpu-profile-baselines"


def _content(document: Mapping[str, Any]) -> _Content:
    machines = _typed(document["machines"], dict, "machines")
    for key, facts in machines.items():
        for name, fact in _typed(facts, dict, f"machine {key!r}").items():
            if type(fact) not in (str, int, float, bool):
                raise TypeError(f"{name!r} of machine {key!r} is {fact!r}, which is neither a text nor a number")
    figures: dict[_Place, tuple[float, ...]] = {}
    for line in _typed(document["figures"], list, "figures"):
        words = [
            _typed(_typed(line, dict, "a line of figures")[key], str, f"{key!r} of a line of figures")
            for key in ("test", "profile", "figure", "machine")
        ]
        place = _Place(*words)
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
    return _Content(machines, figures)


def _typed(value: Any, kind: type, what: str) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{what} is {value!r:.60}, and not a {kind.__name__}")
    return value
