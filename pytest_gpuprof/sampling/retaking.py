"""Rounds in which the board was held back for a moment: dropped, and taken again after a pause.

Heat and a sagging supply pass; a card that is held at its power limit runs as it always does. A round is taken again
twice at most, and once that has not helped, no other is: what holds the board back then does not pass, and is doubted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from pytest_gpuprof.core.protocols import Clock
from pytest_gpuprof.sampling.turn import Running

__all__ = ["PAUSES_S", "HeldBack", "Retaking"]

PAUSES_S: Final = (0.05, 0.5)
"""Before a round is taken again, the first time and the second: a spike of load is over after the one, and most of the
heat of a few rounds has gone after the other."""


class HeldBack(Protocol):
    """Knows whether a board was held back in a round."""

    def begin_round(self) -> None:
        """Look at the board before the first turn of a round."""

    def was_held_back(self) -> bool:
        """Return whether it was held back since, by what passes."""

    def drop_round(self) -> None:
        """Leave out what was seen since: the round is taken again, and begins anew."""


class Retaking:
    """Takes rounds, and those again in which the board was held back.

    Args:
        running: the legs that take their turns.
        board: knows whether it was held back, ``None`` where nobody does.
        clock: of the host.
        deadline_s: the moment after which nothing is begun.
        least: how many rounds there have to be: nothing is dropped for which there is no time.
    """

    def __init__(
        self, running: Sequence[Running], board: HeldBack | None, clock: Clock, deadline_s: float, least: int
    ) -> None:
        self._running = running
        self._board = board
        self._clock = clock
        self._deadline_s = deadline_s
        self._least = least
        self._passes = True

    def take(self, turns: Callable[[], None]) -> None:
        """Take one round.

        Args:
            turns: lets each leg take its turn, which adds a round to each.
        """
        board = self._board
        if board is None or not self._passes:
            turns()
            return
        for pause_s in (*PAUSES_S, None):
            began_s, doubts = self._clock.now(), [len(each.cautions) for each in self._running]
            board.begin_round()
            turns()
            if not board.was_held_back():
                return
            if pause_s is None or not self._has_time(pause_s, self._clock.now() - began_s):
                break
            board.drop_round()
            for each, count in zip(self._running, doubts, strict=True):
                each.rounds.pop()
                del each.cautions[count:]  # what is doubtful about a round goes with it
            self._clock.sleep(pause_s)
        self._passes = False

    def _has_time(self, pause_s: float, round_s: float) -> bool:
        """Whether the least rounds there have to be still fit, after a pause and without the last one."""
        missing = max(1, self._least - len(self._running[0].rounds) + 1)
        return self._clock.now() + pause_s + missing * round_s <= self._deadline_s
