"""How runs are named: as the store calls them, by the path of a file, or ``-`` for standard input."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_gpuprof.core.baseline import FILE_NAME, MOST_RUNS
from pytest_gpuprof.core.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from pytest_gpuprof.storage.baselines import Baselines
    from pytest_gpuprof.storage.comparison import Earlier
    from pytest_gpuprof.storage.matching import Workload
    from pytest_gpuprof.storage.runs import RunInfo, StoredFigures
    from pytest_gpuprof.storage.store import Store

__all__ = ["REFERENCES", "Found", "Named", "Runs", "is_file", "project_root"]

REFERENCES = (
    "A run is named as latest, latest~1, latest:BRANCH, its number (17), the beginning of its id or of a commit, "
    "the path of a JSON export, or - for standard input."
)

_MARKS = (".gpuprof", "pytest.ini", "pyproject.toml", ".git")
"""What stands in a project's folder: our own folder first of all, then what pytest takes for the root, then git's."""

_HISTORY = re.compile(r"latest(?::(?P<branch>[^~]+))?")
"""References that stand for the newest runs when something is compared with them."""

_LOOKED_AT = 200
"""So many of the newest runs are searched for twenty that were measured under the same conditions: a fleet of ten kinds
of cards has them among these."""


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


@dataclass(frozen=True, slots=True)
class Found:
    """What a run is compared with, and what a sentence calls it."""

    label: str
    earlier: Earlier


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
        store = self.store
        return Named(_run(info), info.id, lambda: store.document(info), lambda: store.figures(info), info)

    # -- what a run is compared with ----------------------------------------------------------------------------------

    def earlier(self, reference: str, now: Named, baselines: str | None, is_wanted: Callable[[str], bool]) -> Found:
        """Return what a name means as the reference of a comparison.

        Args:
            reference: ``baseline``; ``latest`` or ``latest:BRANCH`` for the newest runs; a commit for all its runs.
            now: the run that is compared with it; it is left out, and what is later than it.
            baselines: the file that ``baseline`` means.
            is_wanted: which workloads are compared, by test and name.

        Raises:
            Unavailable: if no other run is left.
            UsageError, StoreError: if it means nothing.
        """
        from pytest_gpuprof.storage.comparison import EarlierRuns

        if reference == "baseline":
            return self._accepted(baselines, is_wanted)
        history = _HISTORY.fullmatch(reference)
        if is_file(reference):
            named = [_of_file(reference)]
            label = named[0].label
        elif history is not None:
            infos = self.alike(history["branch"], now)
            named = [self.stored(info) for info in infos]
            label = _several(infos, f" on {history['branch']}" if history["branch"] else "")
        else:
            infos = [info for info in self.store.resolve(reference) if info.id != now.id][:MOST_RUNS]
            named = [self.stored(info) for info in infos]
            label = _several(infos, "")
        if not [each for each in named if each.id != now.id]:
            raise Unavailable(
                f"{reference} and {now.label} are the same run, and nothing came before it; measure once more, or name "
                "another run (pytest-gpuprof list)"
            )
        runs = [{key: value for key, value in each.measured().items() if is_wanted(" ".join(key))} for each in named]
        return Found(label, EarlierRuns(runs, label))

    def alike(self, branch: str | None, now: Named) -> Sequence[RunInfo]:
        """Return up to twenty runs before one, the newest first: those that share a condition with it.

        If none does, it is the newest, which can tell what is different.

        Raises:
            StoreError: if there is no such branch.
        """
        if branch is not None:
            self.store.resolve(f"latest:{branch}")  # says so if there is no such branch
        before = [
            info
            for info in self.store.runs(branch=branch, before=now.info, limit=_LOOKED_AT)
            if info.finished and info.id != now.id
        ]
        keys = {measured.conditions_key for measured in now.measured().values()}
        conditions = self.store.conditions_of(before)
        alike = [info for info in before if keys & conditions[info.number].keys()]
        return alike[:MOST_RUNS] or before[:1]

    def baselines(self, path: str | None) -> Baselines:
        """Return the file of accepted baselines."""
        from pytest_gpuprof.storage.baselines import Baselines

        return Baselines(self.root / FILE_NAME) if path is None else Baselines(Path(path), path)

    def _accepted(self, path: str | None, is_wanted: Callable[[str], bool]) -> Found:
        from pytest_gpuprof.storage.comparison import EarlierAccepted

        file = self.baselines(path)
        entries = [each for each in file.entries() if is_wanted(f"{each.test} {each.name}")]
        if not file.path.exists():
            raise UsageError(f"there is no {file.title} in {file.path.parent}; make one with pytest-gpuprof accept")
        return Found(file.title, EarlierAccepted(entries, file.title))


def _of_file(reference: str) -> Named:
    from pytest_gpuprof.storage.comparison import measured_in
    from pytest_gpuprof.storage.document import read_document

    document = read_document(reference)
    source = document["source"]
    told = _words(source.get("commit"), bool(source.get("dirty")), source.get("branch"), document["created"])
    label = f"{'standard input' if reference == '-' else reference} ({told})"
    return Named(label, document["id"], lambda: document, lambda: measured_in(document))


def _run(info: RunInfo) -> str:
    return f"run {info.number} ({_words(info.commit, info.dirty, info.branch, info.created)})"


def _words(commit: str | None, dirty: bool, branch: str | None, created: str) -> str:
    """Return which run it is, as a person recognizes it."""
    parts = [f"commit {commit[:7]}{' with changes' if dirty else ''}"] if commit else []
    parts += [f"on {branch}"] if branch else []
    return " ".join([*parts, f"of {created[:10]}"])


def _several(infos: Sequence[RunInfo], where: str) -> str:
    if len(infos) == 1:
        return _run(infos[0])
    numbers = f"{infos[-1].number} to {infos[0].number}" if infos else ""
    return f"{len(infos)} runs{where} ({numbers})"
