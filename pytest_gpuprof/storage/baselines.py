"""The file of accepted baselines, ``gpuprof-baselines.json``: made to be committed, reviewed and merged."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage import absence
from pytest_gpuprof.storage.conditions import key_of
from pytest_gpuprof.storage.entries import REPAIR, Content, Entry, Place, parsed, text_of

__all__ = ["Accepted", "Baselines"]

_PATIENCE_S = 60.0
"""Accepting takes a fraction of a second; who waits longer waits for a process that hangs."""


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


class Baselines:
    """The baselines in a file, which is read once, when first needed.

    Args:
        path: the file, which need not exist.
        title: how a sentence names it; ``None`` for its name.
    """

    def __init__(self, path: Path, title: str | None = None) -> None:
        self.path = path
        self.title = title or path.name
        self._content: Content | None = None

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
        values = content.figures.get(Place(test, name, figure, key))
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

    def _read(self) -> Content:
        if self._content is None:
            text = self._text()
            self._content = Content({}, {}) if text is None else parsed(text, self.title)
        return self._content

    def _text(self) -> str | None:
        try:
            return self.path.read_text(encoding="utf-8-sig")  # an editor may have added a byte-order mark
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as error:
            raise UsageError(f"{self.title} is not text in UTF-8 (byte {error.start}); {REPAIR}") from error
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
                after = before.merged(given, add=add, gone=gone)
                if after.figures != before.figures or not path.exists():
                    _write(text_of(after), path)
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
        known = {entry.place for entry in given} & both
        return Accepted(
            new=len(after.figures.keys() - before.figures.keys()),
            changed=changed,
            unchanged=len(known) - changed,
            removed=len(before.figures.keys() - after.figures.keys()),
        )


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
