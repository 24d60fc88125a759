"""Every record, on disk before the next test starts, so that a killed session loses none."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_gpuprof.core.errors import StoreError, UsageError
from pytest_gpuprof.storage.address import NOWHERE, Address
from pytest_gpuprof.storage.document import read_document

__all__ = ["Journal", "Leftover", "leftovers", "mark_stored", "spill_of", "store_name"]

_KEPT = 20
"""Journals of the last twenty runs are kept; they are there to recover from a crash, not to be a history."""

_STORED = ".stored.jsonl"
"""How the name of a journal ends whose records are all in the store."""


def store_name(url: str | None, root: Path) -> str:
    """Return by what a journal tells which store its records belong to: the address without its password."""
    if url == NOWHERE:
        return NOWHERE
    try:
        return Address.of(url, root).shown
    except StoreError:
        return ""


def spill_of(root: Path, run_id: str) -> Path:
    """Return where the document of a run is written that could not be stored."""
    return root / ".gpuprof" / "spilled" / f"{run_id}.json"


class Journal:
    """Appends records to ``.gpuprof/journal/``, one JSON object per line. Each worker writes a file of its own.

    The first line is the head of the run's document. The file is locked while its session lives, so that another can
    tell whether it was killed.

    Args:
        root: the project's folder.
        worker: name of the xdist worker, ``None`` without.
        head: of the run's document.
        store: of :func:`store_name`.
    """

    def __init__(self, root: Path, worker: str | None, head: Mapping[str, Any], store: str) -> None:
        self._folder = root / ".gpuprof" / "journal"
        stamp = head["created"].replace("-", "").replace(":", "").rstrip("Z")
        self.path = self._folder / f"{stamp}-{head['id'][:8]}{f'-{worker}' if worker else ''}.jsonl"
        self.problem: str | None = None
        self._first = {"journal": dict(head), "store": store, "pid": os.getpid()}
        self._descriptor: int | None = None

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record through to the disk. A failure is remembered and told once; measuring goes on."""
        if self.problem is not None:
            return
        try:
            if self._descriptor is None:
                self._begin()
            self._write(record)
        except OSError as error:
            self.problem = (
                f"the journal {self.path} cannot be written ({error.strerror or error}), so a killed session would "
                "lose its records; free some space, or allow writing there"
            )

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        ignore = self._folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="ascii")
        self._forget()
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        _locked(self._descriptor)
        if os.fstat(self._descriptor).st_size == 0:
            self._write(self._first)

    def _write(self, value: Mapping[str, Any]) -> None:
        assert self._descriptor is not None
        line = memoryview(json.dumps(value, allow_nan=False).encode("ascii") + b"\n")
        while line:
            line = line[os.write(self._descriptor, line) :]
        os.fsync(self._descriptor)

    def _forget(self) -> None:
        """Throw the journals of older runs away, of all their workers."""
        runs: dict[str, list[Path]] = {}
        for path in sorted(self._folder.glob("*.jsonl")):
            runs.setdefault("-".join(path.name.split(".")[0].split("-")[:2]), []).append(path)
        runs.pop("-".join(self.path.stem.split("-")[:2]), None)
        for stem in list(runs)[: -_KEPT + 1]:
            for path in runs[stem]:
                path.unlink(missing_ok=True)


class Leftover:
    """A journal whose records may not be in the store.

    Args:
        path: of the file.
        document: what it holds.
    """

    def __init__(self, path: Path, document: Mapping[str, Any]) -> None:
        self.path = path
        self.document = document


def leftovers(root: Path, store: str, run_id: str | None = None) -> Iterator[Leftover]:
    """Yield the journals that sessions left which could not store their records, or were killed before they did.

    Args:
        root: the project's folder.
        store: of :func:`store_name`; those of other stores are left alone.
        run_id: only those of this run, also where their session lives.
    """
    for path in sorted((root / ".gpuprof" / "journal").glob(f"*-{run_id[:8]}*.jsonl" if run_id else "*.jsonl")):
        if path.name.endswith(_STORED):
            continue
        try:
            with path.open("rb") as file:
                if run_id is None and not _locked(file.fileno()):
                    continue  # its session lives
                first = json.loads(file.readline())
                if first["store"] != store or (run_id is not None and first["journal"]["id"] != run_id):
                    continue
                yield Leftover(path, read_document(path))
        except (OSError, ValueError, LookupError, TypeError, UsageError):
            continue  # it was killed while it wrote its first line, or an older version wrote it


def mark_stored(path: Path) -> None:
    """Give a journal the name that says that its records are in the store; if that fails, nothing is lost."""
    try:
        path.rename(path.with_name(path.name.removesuffix(".jsonl") + _STORED))
    except OSError:
        return


def _locked(descriptor: int) -> bool:
    """Lock a file for as long as it is open; ``False`` if another process has. Without locks nobody has."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: what is stored twice is there once
        return True
    return True
