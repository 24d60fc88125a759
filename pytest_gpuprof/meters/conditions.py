"""Doubts from the state of the board: throttling, an unsteady clock, sharing, and settings that slow it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.protocols import Conditions
from pytest_gpuprof.core.results import Caution, Leg, Reading, spoils

__all__ = [
    "FULL_CLOCK",
    "ON_BOARD",
    "board_cautions",
    "board_state",
    "clock_cautions",
    "clock_under_load",
    "setting_cautions",
    "slow_rounds",
]

_HARD_REASONS = frozenset({"thermal", "hardware", "power brake", "board limit", "reliability"})
"""Throttling that a well-kept machine does not show. A software power cap is how heavy kernels normally run."""

ON_BOARD: frozenset[Leg] = frozenset({"gpu", "reference"})
"""The legs that run on the board: its state says nothing about the CPU leg."""

_LEAST_SHARE = 0.01
"""Throttled for less than 1 % of the time moves no figure by more than 1 %."""

FULL_CLOCK = 0.985
"""A board that is counted as held at its power limit and runs at 98.5 % of its rated clock or more is not slowed: the
last steps of the clock come and go by themselves."""

_SLOW_CLOCK = 0.90
"""A round whose clock is below 90 % of the fastest rounds' is slowed by more than 10 %, more than budgets leave room
for; the steps of a clock that is left to itself are smaller."""

_SLOW_ROUNDS = 0.25
"""A quarter of slow rounds is noise, which the decision rule sees by itself; of more, slowness is the rule."""

_CLUSTER_GAP = 0.03
"""Two speeds 3 % apart: more than the 2 % by which rounds differ anyway, so a median falls on either by chance."""

_LEAST_ROUNDS = 3
"""The first look of the decision rule; fewer clocks tell nothing about their spread."""


# -- over the whole measurement, before and after ------------------------------------------------------------------


def board_cautions(before: Conditions, after: Conditions, seconds: float, *, energy: bool = True) -> Sequence[Caution]:
    """Return the doubts about what was measured between two states of a board, ``seconds`` apart.

    Args:
        before: the state at the beginning.
        after: the state at the end.
        seconds: the time between them.
        energy: whether joules were measured: only those are spoiled by not knowing who else used the board.
    """
    shares = _shares(before, after, seconds)
    return (*_throttling(before, after, shares), *_capped(after, shares), *_sharing(before, after, energy=energy))


def board_state(before: Conditions, after: Conditions, seconds: float) -> Mapping[str, Fact]:
    """Return what the board went through between two states, as facts of a record's state.

    The temperature at both ends, and the share of the time that it was held back, by each reason that is counted.
    """
    facts: dict[str, Fact] = {}
    for name, each in (("gpu_temperature_start_c", before), ("gpu_temperature_end_c", after)):
        if each.temperature_c.value is not None:
            facts[name] = each.temperature_c.value
    for reason, share in _shares(before, after, seconds).items():
        facts[f"gpu_held_back_{reason.replace(' ', '_')}"] = round(share, 3)
    return facts


def _shares(before: Conditions, after: Conditions, seconds: float) -> Mapping[str, float]:
    """Return the part of the time that each reason was in force; where nothing counts it, there is none.

    Counters are renewed in steps, so that they may hold a little more than the time.
    """
    return {
        reason: min(1.0, (after.throttled_s[reason] - before.throttled_s[reason]) / max(seconds, 1e-9))
        for reason in after.throttled_s
        if reason in before.throttled_s
    }


def _throttling(before: Conditions, after: Conditions, shares: Mapping[str, float]) -> Sequence[Caution]:
    hard = {reason: share for reason, share in shares.items() if reason in _HARD_REASONS and share > _LEAST_SHARE}
    if not hard:
        hard = dict.fromkeys((after.reasons | before.reasons) & _HARD_REASONS, 0.0)
    if not hard:
        return ()
    facts = " and ".join(
        f"{reason} for {share:.0%} of the time" if share else f"{reason} when it was looked at"
        for reason, share in hard.items()
    )
    # Throttling only slows: a time that met its limit would have met it all the more. Joules per call go either way.
    return (
        Caution(
            "throttled",
            f"the GPU was throttled: {facts}{_clock_of_rated(after)}",
            "let it cool, or give it more air, and measure again",
            spoils("time", "ratio", outcomes=("missed",)) | spoils("energy"),
            ON_BOARD,
        ),
    )


def _capped(after: Conditions, shares: Mapping[str, float]) -> Sequence[Caution]:
    """Say that the power limit held the clock down. It is how heavy work runs, so it spoils nothing."""
    share = shares.get("power", 0.0)
    clock, rated = clock_under_load(after).value, after.rated_clock_hz.value
    if share <= _LEAST_SHARE or not clock or not rated or clock >= FULL_CLOCK * rated:
        return ()
    return (
        Caution(
            "power capped",
            f"the GPU's power limit held its clock down for {share:.0%} of the time{_clock_of_rated(after)}",
            "heavy work does that: compare it only with measurements under the same power limit",
            legs=ON_BOARD,
        ),
    )


def _clock_of_rated(state: Conditions) -> str:
    clock, rated = state.sm_clock_hz.value, state.rated_clock_hz.value
    return f" (clock {clock / 1e6:.0f} of {rated / 1e6:.0f} MHz)" if clock and rated else ""


def _sharing(before: Conditions, after: Conditions, *, energy: bool) -> Sequence[Caution]:
    looks = (before.other_processes, after.other_processes)
    others = int(max((each.value for each in looks if each.value is not None), default=0))
    if others:
        return (
            Caution(
                "shared",
                f"{others} other process{'es' if others > 1 else ''} used the GPU meanwhile",
                "stop them, or choose another device with --gpu-profile-devices",
                spoils("time", "ratio", outcomes=("missed",)) | spoils("energy"),
                ON_BOARD,
            ),
        )
    if not energy:
        return ()
    unknown = next((each for each in looks if each.value is None), None)
    if unknown is not None:
        why, _, remedy = unknown.reason.partition("; ")
        # The counter is of the whole board. An inconclusive budget warns, and fails a gate (--gpu-profile-strict).
        return (
            Caution(
                "sharing unknown",
                f"nobody can tell who else used the GPU, whose joules count as well: {why}",
                remedy or "see whether nvidia-smi lists processes",
                spoils("energy"),
                ON_BOARD,
            ),
        )
    if any(each.quality == "estimated" for each in looks):
        return (
            Caution(
                "sharing estimated",
                "NVML lists this process under a number that it does not know itself, so that other users of the GPU "
                "were told from it by when they came",
                "in a container, start it with --pid=host",
                legs=ON_BOARD,
            ),
        )
    return ()


# -- round by round ------------------------------------------------------------------------------------------------


def clock_under_load(state: Conditions) -> Reading:
    """Return the multiprocessor clock of a state; that of an idle board says nothing about the work before."""
    if "idle" in state.reasons:
        return Reading.unavailable("the GPU was idle when its clock was read; read it while work is queued")
    return state.sm_clock_hz


def clock_cautions(clocks: Sequence[Reading]) -> Sequence[Caution]:
    """Return the doubts about rounds that ran at different clocks.

    A clock that sank in more than a quarter of the rounds slowed them, so what was missed is doubtful. A clock that
    jumps between two speeds makes a median fall on either by chance, so nothing holds.

    Args:
        clocks: the multiprocessor clock in hertz of each round, in their order; unavailable ones say nothing.

    >>> steady, slow = Reading(1.98e9), Reading(1.4e9)
    >>> clock_cautions([steady] * 6)
    ()
    >>> print(*clock_cautions([steady] * 3 + [slow] * 3))  # doctest: +ELLIPSIS
    the GPU's clock jumped between 1980 MHz (3 of 6 rounds) and 1400 MHz (3 of 6 rounds); ...
    """
    known = sorted((each.value for each in clocks if each.value is not None), reverse=True)
    if len(known) < _LEAST_ROUNDS:
        return ()
    fast = _fast(known)
    return _two_clocks(known, fast) or _slow_clock(known, fast)


def slow_rounds(clocks: Sequence[float]) -> Sequence[int]:
    """Return which of the rounds ran at a clock that is low against that of the fastest ones.

    Args:
        clocks: the multiprocessor clock of each round.

    >>> slow_rounds([1.98e9, 1.98e9, 1.4e9, 1.97e9])
    [2]
    """
    if len(clocks) < _LEAST_ROUNDS:
        return []
    fast = _fast(sorted(clocks, reverse=True))
    return [place for place, clock in enumerate(clocks) if clock < _SLOW_CLOCK * fast]


def _fast(falling: Sequence[float]) -> float:
    """Return the clock of the fastest quarter."""
    return statistics.median(falling[: math.ceil(len(falling) / 4)])


def _two_clocks(falling: Sequence[float], fast: float) -> Sequence[Caution]:
    """Return the doubt if the widest gap parts the clocks in two, of which each is more than a quarter of them."""
    gap, cut = max((falling[index] - falling[index + 1], index + 1) for index in range(len(falling) - 1))
    upper, lower = falling[:cut], falling[cut:]
    within = max(upper[0] - upper[-1], lower[0] - lower[-1])
    few = max(1, _SLOW_ROUNDS * len(falling))
    if gap <= _CLUSTER_GAP * fast or gap <= within or min(len(upper), len(lower)) <= few:
        return ()
    speeds = " and ".join(
        f"{statistics.median(each) / 1e6:.0f} MHz ({len(each)} of {len(falling)} rounds)" for each in (upper, lower)
    )
    return (
        Caution(
            "unstable clock",
            f"the GPU's clock jumped between {speeds}",
            "lock it with sudo nvidia-smi --lock-gpu-clocks, or let the machine come to rest first",
            spoils("time", "ratio", "energy"),
            ON_BOARD,
        ),
    )


def _slow_clock(falling: Sequence[float], fast: float) -> Sequence[Caution]:
    slow = sum(clock < _SLOW_CLOCK * fast for clock in falling)
    if slow <= _SLOW_ROUNDS * len(falling):
        return ()
    return (
        Caution(
            "unstable clock",
            f"the GPU's clock fell from {fast / 1e6:.0f} MHz to {falling[-1] / 1e6:.0f} MHz, and was below "
            f"{_SLOW_CLOCK:.0%} of the former in {slow} of {len(falling)} rounds",
            "let the GPU cool, or lock its clock with sudo nvidia-smi --lock-gpu-clocks",
            spoils("time", "ratio", outcomes=("missed",)) | spoils("energy"),
            ON_BOARD,
        ),
    )


# -- settings ------------------------------------------------------------------------------------------------------

_BLOCKING = ("CUDA_LAUNCH_BLOCKING", "HIP_LAUNCH_BLOCKING", "AMD_SERIALIZE_KERNEL")
"""Debugging aids: with one of them, every launch waits for its kernel."""


def setting_cautions(identity: Mapping[str, Fact]) -> Sequence[Caution]:
    """Return the doubts that follow from how the machine is set, by the identity in its environment."""
    found = [
        Caution(
            "launches block",
            f"{name}={identity[name]} makes every launch wait for its kernel",
            f"unset {name}",
            spoils("time", "ratio", outcomes=("missed",)) | spoils("energy"),
            ON_BOARD,
        )
        for name in _BLOCKING
        if str(identity.get(name, "0")) not in ("0", "")
    ]
    limit, default = identity.get("gpu_power_limit_w"), identity.get("gpu_default_power_limit_w")
    if isinstance(limit, (int, float)) and isinstance(default, (int, float)) and limit < default:
        # Somebody's choice, and the same for every run here, so it spoils nothing; but limits may come from elsewhere.
        found.append(
            Caution(
                "power limit",
                f"the GPU's power limit is {limit:g} W, where {default:g} W is its default",
                f"raise it with sudo nvidia-smi -pl {default:g}, if the budgets were set at the default",
                legs=ON_BOARD,
            )
        )
    return tuple(found)
