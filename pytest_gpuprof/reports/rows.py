"""The rows of the table: one profile of one test each, sorted and grouped."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pytest_gpuprof.budgets.headroom import tightest
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.storage.matching import short_id

__all__ = ["Row", "grouped", "ordered"]


@dataclass(frozen=True, slots=True)
class Row:
    """One profile of one test.

    Args:
        test: node id.
        outcome: of the test, as pytest tells it.
        profile: what was measured.
        many: whether the test has several profiles, so that the row must say which.
    """

    test: str
    outcome: str
    profile: Profile
    many: bool = False

    @property
    def name(self) -> str:
        """How the table calls it: the test without its folders, and the profile where the test has several."""
        return self._with_profile(short_id(self.test))

    @property
    def name_in_file(self) -> str:
        """The same below a title that names the file."""
        return self._with_profile(self.test.partition("::")[2] or self.test)

    @property
    def file(self) -> str:
        """The file of the test."""
        return self.test.partition("::")[0]

    def _with_profile(self, test: str) -> str:
        return f"{test} {self.profile.name}" if self.many else test


def _by_headroom(row: Row) -> tuple[bool, float]:
    found = tightest(row.profile.verdicts)
    return (found is None or found.verdict.outcome != "missed", math.inf if found is None else found.share)


_ORDERS: Final[Mapping[str, Callable[[Row], Any]]] = {
    "name": lambda row: row.name,
    "speedup": lambda row: -(row.profile.ratio("speedup").value or 0.0),
    "time": lambda row: -(row.profile.gpu.reading("wall_time").value or 0.0),
    "headroom": _by_headroom,
}


def ordered(rows: Sequence[Row], sort: str | None) -> list[Row]:
    """Return rows in an order.

    Args:
        rows: in the order in which they ran.
        sort: ``"name"``, ``"speedup"`` (best first), ``"time"`` (longest GPU time first) or ``"headroom"`` (missed
            budgets first, then the least headroom first, then what has none); ``None`` leaves the order.
    """
    return list(rows) if sort is None else sorted(rows, key=_ORDERS[sort])


def grouped(rows: Sequence[Row], group_by: str | None) -> Mapping[str, Sequence[Row]]:
    """Return the rows by the title of their group, in their order.

    Args:
        rows: in any order.
        group_by: ``"file"`` or ``"device"``; ``None`` for one group without a title.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(_title(row, group_by), []).append(row)
    return groups


def _title(row: Row, group_by: str | None) -> str:
    if group_by == "file":
        return row.file
    if group_by == "device":
        device = row.profile.gpu.device
        return "no accelerator" if device is None else f"{device.id} {device.label}"
    return ""
