"""Throttling that passes: which rounds it was in, and what remains of the rest when those are dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from pytest_gpuprof.core.protocols import Conditions
from pytest_gpuprof.core.results import Caution
from pytest_gpuprof.meters.conditions import FULL_CLOCK, ON_BOARD, clock_under_load

__all__ = ["TAKEN_AGAIN", "Dropped", "held_back", "in_force", "uncounted"]

TAKEN_AGAIN: Final = "taken again"
"""The code of the caution that tells of dropped rounds."""

_PASSING = frozenset({"thermal", "hardware", "power brake"})
"""What a pause may end. Other limits, the power limit above all, hold a board for as long as the same work runs."""

_LEAST_S = 1e-3
"""A turn of a leg takes 70 ms and more; held back for a hundredth of that, its figures are what they are without."""


def held_back(before: Conditions, looks: Sequence[Conditions]) -> frozenset[str]:
    """Return what held a board back in a round and may pass.

    That is what was counted for more than a moment, and what was in force when it was looked at, unless its clock was
    at full speed all the same.

    Args:
        before: the state before the round.
        looks: the states under load at the end of each turn.
    """
    return frozenset[str]().union(in_force(looks), *(_counted(before, each) for each in looks))


def _counted(before: Conditions, after: Conditions) -> frozenset[str]:
    return frozenset(
        reason
        for reason in _PASSING & before.throttled_s.keys() & after.throttled_s.keys()
        if after.throttled_s[reason] - before.throttled_s[reason] > _LEAST_S
    )


def in_force(looks: Sequence[Conditions]) -> frozenset[str]:
    """Return what may pass and was in force in a round, unless the clock was at full speed all the same.

    Args:
        looks: the states under load at the end of each turn.
    """
    return frozenset[str]().union(*map(_in_force, looks))


def _in_force(look: Conditions) -> frozenset[str]:
    clock, rated = clock_under_load(look).value, look.rated_clock_hz.value
    full = clock and rated and clock >= FULL_CLOCK * rated
    return frozenset() if full else look.reasons & _PASSING


def uncounted(looks: Sequence[Conditions]) -> frozenset[str]:
    """Return what may pass, was in force in rounds that are kept, and is counted by nothing.

    Args:
        looks: the states under load at the end of each turn.
    """
    return frozenset[str]().union(*(_in_force(each) - each.throttled_s.keys() for each in looks))


@dataclass(frozen=True, slots=True)
class Dropped:
    """What is left out of a measurement with the rounds that were dropped.

    Args:
        count: how many rounds.
        reasons: what held the board back in them.
        seconds: how long they took, with the pause after each.
        throttled_s: what was counted meanwhile, by reason. Counters are renewed every 0.1 s, so that a round's may hold
            what was in the round before, and that one is kept: only what was seen in force is left out, and no more of
            it than the round took. The rest stays a doubt.
    """

    count: int = 0
    reasons: frozenset[str] = frozenset()
    seconds: float = 0.0
    throttled_s: tuple[tuple[str, float], ...] = ()

    def and_round(
        self, before: Conditions, after: Conditions, seconds: float, reasons: frozenset[str], placed: frozenset[str]
    ) -> Dropped:
        """Return this with one more round.

        Args:
            before: the state when it began.
            after: the state when it began anew.
            seconds: the time between the two.
            reasons: what held the board back in it.
            placed: of these, what cannot have been counted for a round that is kept.
        """
        counted = dict(self.throttled_s)
        for reason in placed & before.throttled_s.keys() & after.throttled_s.keys():
            more_s = after.throttled_s[reason] - before.throttled_s[reason]
            counted[reason] = counted.get(reason, 0.0) + min(more_s, seconds)
        return Dropped(self.count + 1, self.reasons | reasons, self.seconds + seconds, tuple(counted.items()))

    def left_out_of(self, before: Conditions) -> Conditions:
        """Return a state as if what was counted in dropped rounds had been counted before it."""
        counted = dict(self.throttled_s)
        return replace(
            before, throttled_s={name: value + counted.get(name, 0.0) for name, value in before.throttled_s.items()}
        )

    @property
    def cautions(self) -> Sequence[Caution]:
        """What there is to tell. It spoils nothing: what was in the rounds that are kept is a doubt of its own."""
        if not self.count:
            return ()
        dropped = "1 round was dropped" if self.count == 1 else f"{self.count} rounds were dropped"
        return (
            Caution(
                TAKEN_AGAIN,
                f"{dropped} and taken again, because the GPU was throttled in "
                f"{'it' if self.count == 1 else 'them'}: {', '.join(sorted(self.reasons))}",
                "let it cool, or give it more air, if it is to keep its clock under longer work",
                legs=ON_BOARD,
            ),
        )
