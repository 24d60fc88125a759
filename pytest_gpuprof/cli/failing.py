"""``--fail-on EXPR``: which rows of a comparison make the command end with status 1."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_gpuprof.core.errors import UsageError

if TYPE_CHECKING:
    from pytest_gpuprof.budgets.kinds import Kind
    from pytest_gpuprof.storage.comparison import Row

__all__ = ["Condition", "add_fail_on", "conditions", "least_shares"]

_OUTCOMES = ("regressed", "improved", "incomparable", "new", "vanished")


@dataclass(frozen=True, slots=True)
class Condition:
    """One ``--fail-on``.

    Args:
        text: as it was written.
        outcome: that rows must have.
        figure: only rows of this one; empty for all.
        share: only rows that got worse by more than this.
    """

    text: str
    outcome: str
    figure: str = ""
    share: float | None = None

    def holds(self, row: Row) -> bool:
        """Return whether a row is one that this is about."""
        if self.figure and row.figure != self.figure:
            return False
        if self.share is not None and (row.worse is None or row.worse <= self.share):
            return False
        # A new name is a guess, and no gate should rest on a guess: the test is gone.
        return row.outcome == self.outcome or (self.outcome == "vanished" and row.outcome == "maybe renamed")


def add_fail_on(command: argparse.ArgumentParser) -> None:
    """Add ``--fail-on``."""
    command.add_argument(
        "--fail-on",
        metavar="EXPR",
        action="append",
        default=[],
        help="end with status 1 if a row is regressed, improved, incomparable, new or vanished; or if a figure got "
        "worse by more than a share, e.g. gpu_time:10%%; may be given several times",
    )


def conditions(texts: Iterable[str], kinds: Mapping[str, Kind]) -> list[Condition]:
    """Return what the texts mean.

    Args:
        texts: of ``--fail-on``.
        kinds: what each figure means, by its name.

    Raises:
        UsageError: for a text that means nothing.
    """
    return [_condition(text.strip(), kinds) for text in texts]


def _condition(text: str, kinds: Mapping[str, Kind]) -> Condition:
    if text in _OUTCOMES:
        return Condition(text, text)
    figure, colon, share = text.partition(":")
    if figure not in kinds:
        near = difflib.get_close_matches(figure, [*_OUTCOMES, *kinds], n=1)
        remedy = f"did you mean {near[0]}?" if near else f"write {', '.join(_OUTCOMES)} or FIGURE:SHARE"
        raise UsageError(f"--fail-on {text!r} means nothing; {remedy}")
    return Condition(text, "regressed", figure, _share(text, share) if colon else None)


def _share(text: str, written: str) -> float:
    number = written.strip()
    try:
        share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise UsageError(f"--fail-on {text!r} has no share from 0 to below 100%; write e.g. gpu_time:10%")
    return share


def least_shares(conditions: Sequence[Condition], least: float) -> dict[str, float]:
    """Return from which share on each figure counts as changed: where a smaller one than usual is asked for, that."""
    shares: dict[str, float] = {}
    for each in conditions:
        if each.share is not None:
            shares[each.figure] = min(each.share, shares.get(each.figure, least))
    return shares
