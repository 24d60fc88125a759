"""Watching board and host over one measurement: what state they were in, and what that gives reason to doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_gpuprof.backends.host import SYSTEM_CLOCK
from pytest_gpuprof.core.environment import Environment, Fact
from pytest_gpuprof.core.protocols import Board, Clock, Conditions
from pytest_gpuprof.core.results import Caution, Reading
from pytest_gpuprof.meters.conditions import board_cautions, board_state, clock_cautions, clock_under_load
from pytest_gpuprof.meters.host_use import host_cautions, host_state, host_use
from pytest_gpuprof.meters.throttling import Dropped, held_back, in_force, uncounted
from pytest_gpuprof.sampling.legs import LegPlan
from pytest_gpuprof.sampling.quiet import tracing

__all__ = ["Watched", "not_said"]


@dataclass(frozen=True, slots=True)
class _Begun:
    """A round that began.

    Args:
        moment_s: when.
        board: its state then.
        seen: how many looks had been kept.
        after_kept: whether the round before it is kept.
    """

    moment_s: float
    board: Conditions
    seen: int
    after_kept: bool


class Watched:
    """The conditions of board and host over a measurement, from its beginning to :meth:`end`.

    It is told when rounds begin and which are dropped, so that what was seen in those is no doubt about the others.
    """

    def __init__(self, board: Board | Reading, clock: Clock) -> None:
        self._board = board
        self._clock = clock
        self._on_host = clock is SYSTEM_CLOCK  # a simulated machine has no quota and is not slowed by a tracer
        self._began_s = clock.now()
        self._board_before = None if isinstance(board, Reading) else board.conditions()
        self._host_before = host_use()
        self._seen: list[Conditions] = []
        self._seen_in_dropped: list[Conditions] = []
        self._round: _Begun | None = None
        self._dropping: frozenset[str] = frozenset()  # why the round that is dropped is
        self._placed: frozenset[str] = frozenset()  # of these, what was in no round that is kept
        self._dropped = Dropped()
        self._traced = tracing() if self._on_host else None

    def observe(self, plan: LegPlan) -> Mapping[str, float]:
        """Return what the board says at the end of a leg's turn, and keep it for the doubts at the end."""
        if plan.leg == "cpu" or isinstance(self._board, Reading):
            return {}
        now = self._board.conditions()
        self._seen.append(now)
        clock = clock_under_load(now).value
        return {} if clock is None else {"sm_clock": clock}

    def begin_round(self) -> None:
        """Look at the board before a round; what was dropped just before ends here."""
        if isinstance(self._board, Reading):
            return
        after_kept = bool(self._seen) and not self._dropping
        now = _Begun(self._clock.now(), self._board.conditions(), len(self._seen), after_kept)
        if self._dropping and self._round is not None:
            seconds = now.moment_s - self._round.moment_s
            self._dropped = self._dropped.and_round(self._round.board, now.board, seconds, self._dropping, self._placed)
        self._round, self._dropping = now, frozenset()

    def was_held_back(self) -> bool:
        """Return whether the board was held back in the round, by what may pass."""
        return bool(self._held_back())

    def _held_back(self) -> frozenset[str]:
        if self._round is None:
            return frozenset()
        return held_back(self._round.board, self._seen[self._round.seen :])

    def drop_round(self) -> None:
        """Leave the round out; it begins anew."""
        if self._round is not None:
            self._dropping = self._held_back()
            self._placed = in_force(self._seen[self._round.seen :]) if self._round.after_kept else self._dropping
            self._seen_in_dropped += self._seen[self._round.seen :]
            del self._seen[self._round.seen :]

    def end(self, *, energy: bool) -> tuple[Mapping[str, Reading], Sequence[Caution], Environment]:
        """Return the readings of the board now, the doubts about everything since the beginning, and what it was like.

        Args:
            energy: whether joules were measured, which others on the board would have a share in.
        """
        seconds = self._clock.now() - self._began_s
        cautions = [self._traced] if self._traced else []
        state: dict[str, Fact] = {}
        if self._on_host:
            host = host_use()
            cautions += host_cautions(self._host_before, host, seconds)
            state |= host_state(self._host_before, host, seconds)
        names = ("sm_clock", "temperature", "other_processes")
        if isinstance(self._board, Reading) or self._board_before is None:
            readings = {name: self._board for name in names if isinstance(self._board, Reading)}
            return readings, cautions, Environment(state=state)
        after = self._board.conditions()
        before, kept_s = self._dropped.left_out_of(self._board_before), seconds - self._dropped.seconds
        before = replace(before, reasons=before.reasons | uncounted(self._seen))
        cautions += board_cautions(before, self._most_shared(after), kept_s, energy=energy)
        cautions += self._dropped.cautions
        cautions += clock_cautions([clock_under_load(each) for each in self._seen])
        state |= board_state(self._board_before, after, seconds)
        readings = dict(zip(names, (after.sm_clock_hz, after.temperature_c, after.other_processes), strict=True))
        return readings, cautions, Environment(state=state)

    def _most_shared(self, after: Conditions) -> Conditions:
        """Return the last state with the most other processes that any look saw: one may have come and gone."""
        states = (*self._seen, *self._seen_in_dropped, after)
        looks = [each.other_processes for each in states if each.other_processes.value is not None]
        if after.other_processes.value is None or not looks:
            return after
        most = max(looks, key=lambda each: (each.value or 0.0, each.quality == "estimated"))
        return replace(after, other_processes=most)


def not_said(said: Sequence[Caution], more: Sequence[Caution]) -> Sequence[Caution]:
    """Return the doubts of ``more`` that say more than one of the same kind in ``said`` does."""

    def repeats(caution: Caution) -> bool:
        return any(
            each.code == caution.code
            and caution.spoils <= each.spoils
            and (each.legs is None or (caution.legs is not None and caution.legs <= each.legs))
            for each in said
        )

    return [caution for caution in more if not repeats(caution)]
