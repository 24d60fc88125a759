"""Rounds in which the board was held back: taken again, twice at most, and no longer once that does not help."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.sampler import Rounds
from tests.sampling.machines import exact_machine, legs_on, running, take

BRIEF = Plan(warmup_s=0.05)


class Held:
    """A board that was held back in the attempts of these numbers, from 1."""

    def __init__(self, *attempts: int) -> None:
        self.attempts = attempts
        self.begun = 0
        self.asked = 0
        self.dropped: list[int] = []

    def begin_round(self) -> None:
        self.begun += 1

    def was_held_back(self) -> bool:
        self.asked += 1
        return self.begun in self.attempts

    def drop_round(self) -> None:
        self.dropped.append(self.begun)


def taken(board: Held | None, *, rounds: int = 3, plan: Plan = BRIEF) -> Rounds:
    """Return rounds of two legs with this board."""
    return take(legs_on(exact_machine(), running(1e-3)), rounds=rounds, plan=plan, board=board)


@pytest.mark.parametrize(
    ("attempts", "dropped", "paused_s"),
    [((), [], 0.0), ((2,), [2], 0.05), ((2, 3), [2, 3], 0.55), ((1, 3, 5), [1, 3, 5], 0.15)],
)
def test_a_round_in_which_the_board_was_held_back_is_taken_again(
    attempts: Sequence[int], dropped: Sequence[int], paused_s: float
) -> None:
    """After a pause that grows; every leg has as many rounds as without, in their order."""
    board = Held(*attempts)
    found = taken(board)
    assert board.dropped == dropped
    for leg in found.legs.values():
        assert [each.index for each in leg.rounds] == [0, 1, 2]
        assert sorted(each.position for each in leg.rounds) in ([0, 0, 1], [0, 1, 1])
    per_round = taken(None).seconds / 3
    assert found.seconds == pytest.approx((3 + len(dropped)) * per_round + paused_s, rel=0.05)


def test_what_does_not_pass_is_kept_and_not_tried_again() -> None:
    """The third attempt counts, and later rounds are taken once: a steady state costs two rounds and half a second."""
    board = Held(*range(2, 100))
    found = taken(board, rounds=6)
    assert board.dropped == [2, 3]
    assert [each.index for each in found.legs["gpu"].rounds] == list(range(6))
    assert board.asked == 4


@pytest.mark.parametrize(("attempt", "spare", "dropped"), [(3, 0.5, []), (3, 1.5, [3]), (1, 0.5, []), (1, 1.5, [1])])
def test_nothing_is_dropped_for_which_there_is_no_time(attempt: int, spare: float, dropped: list[int]) -> None:
    """The least rounds are taken first; each takes a third of what three do."""
    per_round = taken(None).seconds / 3
    board = Held(attempt)
    found = taken(board, plan=Plan(warmup_s=0.05, max_time_s=(3 + spare) * per_round + 0.05))
    assert board.dropped == dropped
    assert len(found.legs["gpu"].rounds) == 3


def test_a_doubt_about_a_dropped_round_goes_with_it() -> None:
    """What was compiled in it is in no round that is kept."""
    for board, codes in ((Held(1), []), (Held(), ["compiled"])):
        legs = legs_on(exact_machine(), running(1e-3))
        counts = iter([0, 1, *[1] * 9])
        legs[1].device.compilations = lambda counts=counts: next(counts)  # type: ignore[misc]
        found = take(legs, plan=BRIEF, board=board)
        assert [each.code for each in found.legs["gpu"].cautions] == codes
