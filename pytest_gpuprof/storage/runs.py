"""What the store tells about runs: values, and which runs a person means by a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_gpuprof.budgets.figures import Figure
from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.errors import StoreError

__all__ = ["HistoryPoint", "Pruned", "RunInfo", "StoredFigures", "resolved"]


@dataclass(frozen=True, slots=True)
class RunInfo:
    """A run in the store.

    Args:
        number: what people call it; it is not given to another run.
        id: 32 hexadecimal digits.
        created: when it began, as ``YYYY-MM-DDThh:mm:ssZ``.
        commit, branch: ``None`` where git could not tell.
        dirty: whether a file differed from the commit.
        machine: hash of the machine.
        version: of this package.
        finished: ``False`` while it runs, and for one that was killed.
        duration_s: how long it took.
        records: how many it has.
        counts: budgets by outcome.
        unenforced: of these, those that were judged and fail nothing; ``None`` where they were not counted.
        has_samples: whether it can be judged again; ``prune`` takes the samples of older runs.
    """

    number: int
    id: str
    created: str
    commit: str | None
    branch: str | None
    dirty: bool
    machine: str
    version: str
    finished: bool
    duration_s: float
    records: int
    counts: Mapping[str, int] = field(default_factory=dict)
    unenforced: Mapping[str, int] | None = None
    has_samples: bool = True


@dataclass(frozen=True, slots=True)
class StoredFigures:
    """What is compared of a record.

    Args:
        outcome: of its test.
        attempt: 1, or more for a test that was run again.
        conditions_key: equal for records that can be compared.
        conditions: what was the same, by name.
        values: of its figures, by name, in base units.
    """

    outcome: str
    attempt: int
    conditions_key: str
    conditions: Mapping[str, Fact]
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """One figure of one workload in one run."""

    run: RunInfo
    figure: Figure
    conditions_key: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """What ``prune`` did, or would do.

    Args:
        thinned: runs whose samples were taken away.
        deleted: runs that were taken away altogether.
        records: how many records these runs have.
        freed_bytes: by how much the file shrank; in PostgreSQL, and where nothing was done, how much was stored there.
    """

    thinned: int
    deleted: int
    records: int
    freed_bytes: int


_LATEST = re.compile(r"latest(?::(?P<branch>.+?))?(?:~(?P<back>\d+))?")
_HEX = re.compile(r"[0-9a-f]+")


def resolved(
    ref: str,
    *,
    latest: Callable[[str | None, int], Sequence[RunInfo]],
    numbered: Callable[[int], Sequence[RunInfo]],
    named: Callable[[str], Sequence[RunInfo]],
    of_commit: Callable[[str], Sequence[RunInfo]],
    shown: str,
) -> list[RunInfo]:
    """Return the runs that ``ref`` means, the newest first.

    ``latest``, ``latest~2`` (two before it), ``latest:main``, ``latest:main~2``, ``#17`` or ``17``, the first digits of
    a run's id (at least 6) or of a commit (at least 7, all its runs).

    Args:
        ref: what a person wrote.
        latest: returns the finished run so many before the latest, of a branch or of any.
        numbered, named, of_commit: return runs by number, and by the beginning of their id or commit.
        shown: the store's name, for the error.

    Raises:
        StoreError: if there is no such run.
    """
    text = ref.strip()
    match = _LATEST.fullmatch(text)
    if match is not None:
        found = latest(match["branch"], int(match["back"] or 0))
        where = f" on the branch {match['branch']}" if match["branch"] else ""
        least = int(match["back"] or 0) + 1
        missing = (
            f"the store {shown} has {'no finished run' if least == 1 else f'fewer than {least} finished runs'}{where}"
        )
    else:
        found = ()
        digits = text.removeprefix("#")
        if digits.isdigit() and len(digits) < 10:
            found = numbered(int(digits))
        if not found and _HEX.fullmatch(text.lower()):
            if len(text) >= 7:
                found = of_commit(text.lower())
            if not found and len(text) >= 6:
                found = named(text.lower())
        missing = f"the store {shown} has no run {ref!r}"
    if not found:
        raise StoreError(
            f"{missing}; pytest-gpuprof list shows what it has, and a run is named by latest, latest~1, latest:BRANCH, "
            "its number, or the first digits of its commit or id"
        )
    return list(found)
