"""How runs are named: as the store calls them, by the path of a file, or ``-`` for standard input."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gpuprof.core.baseline import FILE_NAME
from pytest_gpuprof.core.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from pytest_gpuprof.storage.baselines import Baselines
    from pytest_gpuprof.storage.matching import Workload
    from pytest_gpuprof.storage.reference import Reference
    from pytest_gpuprof.storage.runs import RunInfo, StoredFigures
    from pytest_gpuprof.storage.store import Store

__all__ = ["REFERENCES", "Named", "Runs", "is_file", "project_root"]

REFERENCES = (
    "A run is named as latest, latest~1, latest:BRANCH, its number (17), the beginning of its id or of a commit, "
    "the path of a JSON export, or - for standard input."
)

_MARKS = (".gpuprof", "pytest.ini", "pyproject.toml", ".git")
"""What stands in a project's folder: our own folder first of all, then what pytest takes for the root, then git's."""


def project_root(start: Path) -> Path:
    """Return the nearest folder upwards that looks like a project's, ``start`` itself if none does."""
    for folder in (start, *start.parents):
        if any((folder / mark).exists() for mark in _MARKS):
            return folder
    return start


def is_file(reference: str) -> bool:
    """Return whether a name means a file or standard input: it looks like a path, or there is one of that name."""
    if reference.startswith("latest:"):  # a branch may have a slash in it
        return False
    looks = reference == "-" or "/" in reference or os.sep in reference or reference.endswith((".json", ".jsonl"))
    return looks or Path(reference).is_file()


@dataclass(frozen=True, slots=True)
class Named:
    """A run that somebody named.

    Args:
        label: what a sentence calls it.
        id: of the run.
        document: all of it.
        measured: what is compared of it, which is read much faster.
        info: what the store knows of it, ``None`` for a file.
    """

    label: str
    id: str
    document: Callable[[], Mapping[str, Any]]
    measured: Callable[[], Mapping[Workload, StoredFigures]]
    info: RunInfo | None = None


class Runs(AbstractContextManager["Runs"]):
    """The runs that can be named from here.

    Args:
        chosen: the arguments of the command, with ``store``.
    """

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._here = Path.cwd()
        self.root = project_root(self._here)
        self._url: str | None = chosen.store or os.environ.get("GPUPROF_STORE") or None
        self._store: Store | None = None

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    @property
    def store(self) -> Store:
        """The store, opened when first asked for. Looking at what was never written makes no empty store.

        Raises:
            UsageError: if there is none yet.
            StoreError: if it cannot be used.
        """
        if self._store is None:
            from pytest_gpuprof.storage.store import Store

            self._store = Store.existing(*self._place())
        if self._store is None:
            raise UsageError(
                f"there is no store {self._shown()}; measure something with pytest --gpu-profile, or name another with "
                "--store"
            )
        return self._store

    def made_store(self) -> Store:
        """Return the store, made if there is none.

        Raises:
            StoreError: if it cannot be used.
        """
        if self._store is None:
            from pytest_gpuprof.storage.store import Store

            self._store = Store.open(*self._place())
        return self._store

    def _place(self) -> tuple[str | None, Path]:
        """Return the address, and the folder that it is relative to: a path that was typed is relative to here."""
        from pytest_gpuprof.storage.address import NOWHERE

        if self._url == NOWHERE:
            raise UsageError(f"{NOWHERE} is no store to read; name one with --store")
        return self._url, self.root if self._url is None else self._here

    def _shown(self) -> str:
        from pytest_gpuprof.storage.address import Address

        address = Address.of(*self._place())
        return address.shown if self._url is not None else str(address.path)

    # -- one run ------------------------------------------------------------------------------------------------------

    def one(self, reference: str) -> Named:
        """Return the run that a name means; of several runs of one commit, the newest.

        Raises:
            UsageError: if it is a file that is no document.
            StoreError: if the store does not have it.
        """
        if is_file(reference):
            return _of_file(reference)
        return self.stored(self.store.resolve(reference)[0])

    def stored(self, info: RunInfo) -> Named:
        """Return a run of the store."""
        from pytest_gpuprof.storage.reference import title_of

        store = self.store
        return Named(title_of([info]), info.id, lambda: store.document(info), lambda: store.figures(info), info)

    # -- what a run is compared with ----------------------------------------------------------------------------------

    def earlier(
        self, reference: str, now: Named, measured: Mapping[Workload, StoredFigures], baselines: str | None
    ) -> Reference:
        """Return what a name means as the reference of a comparison.

        Args:
            reference: ``baseline``; ``latest`` or ``latest:BRANCH`` for the newest runs; a commit for all its runs.
            now: the run that is compared with it; it is left out, and what is later than it.
            measured: all of it.
            baselines: the file that ``baseline`` means.

        Raises:
            Unavailable: if no other run is left.
            UsageError, StoreError: if it means nothing.
        """
        from pytest_gpuprof.storage.reference import BASELINE, EarlierRuns, Now, branch_of, reference_of

        accepted = self.baselines(baselines)
        if reference == BASELINE:
            accepted.check()
            if not accepted.path.exists():
                raise UsageError(
                    f"there is no {accepted.title} in {accepted.path.parent}; make one with pytest-gpuprof accept"
                )
        if branch_of(reference) is not None:
            self.store.resolve(reference)  # says so if there is no such branch
        found = reference_of(
            reference,
            Now(now.id, now.info, measured),
            baselines=accepted,
            file=lambda text: _read(text) if is_file(text) else None,
            store=lambda: self.store,
        )
        if isinstance(found, EarlierRuns) and found.count == 0:
            raise Unavailable(
                f"{reference} and {now.label} are the same run, and nothing came before it; measure once more, or name "
                "another run (pytest-gpuprof list)"
            )
        return found

    def before(self, newest: Named, info: RunInfo) -> Sequence[RunInfo]:
        """Return up to twenty runs of its branch before one, the newest first: those that share a condition with it.

        If none does, it is the newest, which can tell what is different.
        """
        from pytest_gpuprof.storage.reference import Now, alike, newest_runs

        return alike(self.store, newest_runs(self.store, info.branch, Now(info.id, info)), newest.measured())

    def baselines(self, path: str | None) -> Baselines:
        """Return the file of accepted baselines."""
        from pytest_gpuprof.storage.baselines import Baselines

        return Baselines(self.root / FILE_NAME) if path is None else Baselines(Path(path), path)


def _of_file(reference: str) -> Named:
    from pytest_gpuprof.storage.reference import measured_in

    label, document = _read(reference)
    return Named(label, document["id"], lambda: document, lambda: measured_in(document))


def _read(reference: str) -> tuple[str, Mapping[str, Any]]:
    """Return a file's document, and what a sentence calls it."""
    from pytest_gpuprof.storage.document import read_document
    from pytest_gpuprof.storage.reference import titled

    document = read_document(reference)
    source = document["source"]
    told = titled(source.get("commit"), bool(source.get("dirty")), source.get("branch"), document["created"])
    return f"{'standard input' if reference == '-' else reference} ({told})", document
