"""Doubts about an energy: the state of board and host between its windows, and a counter that the board contradicts."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pytest_gpuprof.core.environment import Environment
from pytest_gpuprof.core.protocols import Conditions
from pytest_gpuprof.core.results import Caution, Leg, spoils
from pytest_gpuprof.meters.conditions import board_cautions
from pytest_gpuprof.meters.host_use import HostUse, host_cautions
from pytest_gpuprof.stats.energy import Counted

__all__ = ["Look", "counted_resets", "low_resolution", "suspect_counter", "while_measuring"]

_COARSE = 0.05
"""Windows that hold fewer than 20 refreshes are said to be short; those of the quick preset hold just as many."""

_SUSPECT = 0.15
"""Counter and power reading of a sound card differ by a few percent; those of cards that under-report by far more."""

_MOST_OVER_LIMIT = 1.3
"""No board draws more than its power limit for seconds, beyond what both sensors may err."""


@dataclass(frozen=True, slots=True)
class Look:
    """The state of board and host at one moment between windows.

    Args:
        moment_s: when.
        board: its state, ``None`` where nothing tells it.
        host: how the CPUs have been used, ``None`` where that does not matter.
    """

    moment_s: float
    board: Conditions | None
    host: HostUse | None


def while_measuring(looks: Sequence[Look], leg: Leg) -> Sequence[Caution]:
    """Return the doubts of the state from window to window, each kind once; they spoil the leg's energy."""
    found: dict[str, Caution] = {}
    for before, after in pairwise(looks):
        seconds = after.moment_s - before.moment_s
        cautions: list[Caution] = []
        if before.board is not None and after.board is not None:
            cautions += board_cautions(before.board, after.board, seconds)
        if before.host is not None and after.host is not None:
            cautions += host_cautions(before.host, after.host, seconds)
        for each in cautions:
            spoilt = spoils("energy") if each.spoils else each.spoils  # what only informs does so here too
            found.setdefault(each.code, replace(each, spoils=spoilt, legs=frozenset({leg})))
    return list(found.values())


def counted_resets(leg: Leg) -> Sequence[Caution]:
    """Return the doubt that the energy of a leg holds what ``reset=`` takes: no counter could leave it out.

    Too many joules on the GPU can only miss a budget wrongly; on the CPU, they flatter the ratio.
    """
    return (
        Caution(
            "reset energy",
            f"the energy of the {leg.upper()} leg includes that of reset=, which runs before each call",
            "let the builder make a callable that needs no reset",
            spoils("energy", outcomes=("met",) if leg == "cpu" else ("missed",)),
            frozenset({leg}),
        ),
    )


def low_resolution(counted: Sequence[Counted], leg: Leg) -> Sequence[Caution]:
    """Return the doubt that windows are short beside the refresh of a counter. The interval has it already."""
    coarsest = max(counted, key=lambda each: each.resolution)
    if coarsest.resolution <= _COARSE * (1 + 1e-6):
        return ()
    seconds = statistics.fmean(window.seconds for window in coarsest.windows)
    return (
        Caution(
            "low_resolution",
            f"energy windows of {seconds:.2g} s hold only {seconds / coarsest.period_s:.0f} refreshes of a counter",
            "measure longer windows, with --gpu-profile-energy=standard or strict",
            legs=frozenset({leg}),
        ),
    )


def suspect_counter(counted: Counted, looks: Sequence[Look], facts: Environment, leg: Leg) -> Sequence[Caution]:
    """Return the doubt about a counter that the board's own reading of its power contradicts, or its power limit.

    Args:
        counted: what the board's counter said.
        looks: before the first window, and after each.
        facts: of the board; ``gpu_power_limit_w`` among its identity is its power limit.
        leg: whose energy it is.
    """
    watts = counted.mean_power().value
    assert watts is not None  # told to mypy: it is pooled from windows
    told = [look.board.power_w.value for look in looks[1:] if look.board is not None]
    known = [each for each in told if each]
    limit_w = facts.identity.get("gpu_power_limit_w")
    if known and abs(watts / statistics.fmean(known) - 1) > _SUSPECT:
        against = f"the board's own power reading is {statistics.fmean(known):.0f} W"
    elif isinstance(limit_w, (int, float)) and watts > _MOST_OVER_LIMIT * limit_w:
        against = f"the board's power limit is {limit_w:.0f} W"
    else:
        return ()
    return (
        Caution(
            "suspect_counter",
            f"the energy counter went up by {watts:.0f} J a second, but {against}",
            "close what else reads the counter, update the driver, or budget time in place of energy",
            spoils("energy"),
            frozenset({leg}),
        ),
    )
