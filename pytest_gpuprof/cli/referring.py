"""How runs are named: as the store calls them, by the path of a file, or ``-`` for standard input."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage.document import read_document

if TYPE_CHECKING:
    from pytest_gpuprof.storage.store import RunInfo, Store

__all__ = ["REFERENCES", "Runs", "described", "is_file", "project_root"]

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
    if reference == "-" or "/" in reference or os.sep in reference:
        # A branch may have a slash in it, and then stands behind "latest:".
        return not reference.startswith("latest:")
    return reference.endswith((".json", ".jsonl")) or Path(reference).is_file()


def described(head: Mapping[str, Any]) -> str:
    """Return in a few words which run a document is: its commit, its branch and its day."""
    source = head.get("source", {})
    parts = [f"commit {source['commit'][:7]}{'+' if source.get('dirty') else ''}"] if source.get("commit") else []
    parts += [f"on {source['branch']}"] if source.get("branch") else []
    return " ".join([*parts, f"of {head['created'][:10]}"])


class Runs(AbstractContextManager["Runs"]):
    """The runs that can be named from here.

    Args:
        chosen: the arguments of the command, with ``store``.
    """

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.root = project_root(Path.cwd())
        self._url: str | None = chosen.store or os.environ.get("GPUPROF_STORE") or None
        self._store: Store | None = None

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.__exit__(None, None, None)
            self._store = None

    @property
    def store(self) -> Store:
        """The store, opened when first asked for.

        Raises:
            UsageError: if there is none yet.
            StoreError: if it cannot be used.
        """
        if self._store is None:
            self._check_there_is_one()
            self._store = self.made_store()
        return self._store

    def made_store(self) -> Store:
        """Return the store, made if there is none."""
        from pytest_gpuprof.storage.store import Store

        if self._store is None:
            self._store = Store.open(self._url, self.root)
            self._store.__enter__()
        return self._store

    def _check_there_is_one(self) -> None:
        """Looking at what was never written must not make an empty store."""
        url = self._url
        if url == "none":
            raise UsageError("the store is 'none'; name one by --store=URL")
        if url is None:
            path = self.root / ".gpuprof" / "history.sqlite3"
        elif "://" not in url:
            path = Path(url)
        else:
            return
        if not path.exists():
            raise UsageError(
                f"there is no store at {path}; measure something with pytest --gpu-profile, or name another by --store"
            )

    def infos(self, reference: str) -> list[RunInfo]:
        """Return the stored runs that a name means, the newest first; never none."""
        return self.store.resolve(reference)

    def document(self, reference: str) -> dict[str, Any]:
        """Return the document of the run that a name means; of several runs, the newest one's."""
        if is_file(reference):
            return read_document(reference)
        return self.store.document(self.infos(reference)[0])
