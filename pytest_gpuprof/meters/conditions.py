"""Doubts from the state of the board and the host, before and after: throttling, sharing, a container's CPU quota."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_gpuprof.core.protocols import Conditions
from pytest_gpuprof.core.results import Caution, Leg, spoils

__all__ = ["board_cautions", "cpu_throttled_s", "host_cautions"]

_HARD_REASONS = frozenset({"thermal", "hardware", "power brake", "board limit", "reliability"})
"""Throttling that a well-kept machine does not show. A software power cap is how heavy kernels normally run."""

_ON_BOARD: frozenset[Leg] = frozenset({"gpu", "reference"})
"""The legs that run on the board: its state says nothing about the CPU leg."""

_LEAST_SHARE = 0.01
"""Throttled for less than 1 % of the time moves no figure by more than 1 %."""


def board_cautions(before: Conditions, after: Conditions, seconds: float) -> Sequence[Caution]:
    """Return the doubts about what was measured between two states of a board, ``seconds`` apart."""
    return (*_throttling(before, after, seconds), *_sharing(before, after))


def _throttling(before: Conditions, after: Conditions, seconds: float) -> Sequence[Caution]:
    shares = {
        reason: (after.throttled_s[reason] - before.throttled_s[reason]) / max(seconds, 1e-9)
        for reason in after.throttled_s
        if reason in before.throttled_s
    }
    hard = {reason: share for reason, share in shares.items() if reason in _HARD_REASONS and share > _LEAST_SHARE}
    if not hard:
        hard = dict.fromkeys((after.reasons | before.reasons) & _HARD_REASONS, 0.0)
    if not hard:
        return ()
    clock, rated = after.sm_clock_hz.value, after.rated_clock_hz.value
    facts = " and ".join(
        f"{reason} for {share:.0%} of the time" if share else f"{reason} at the end" for reason, share in hard.items()
    )
    if clock and rated:
        facts += f" (clock {clock / 1e6:.0f} of {rated / 1e6:.0f} MHz)"
    # Throttling only slows: a time that met its limit would have met it all the more. Joules per call go either way.
    return (
        Caution(
            "throttled",
            f"the GPU was throttled: {facts}",
            "let it cool, or give it more air, and measure again",
            spoils("time", "ratio", outcomes=("missed",)) | spoils("energy"),
            _ON_BOARD,
        ),
    )


def _sharing(before: Conditions, after: Conditions) -> Sequence[Caution]:
    counts = [each.other_processes.value for each in (before, after) if each.other_processes.value]
    if not counts:
        return ()
    others = int(max(counts))
    return (
        Caution(
            "shared",
            f"{others} other process{'es' if others > 1 else ''} used the GPU meanwhile",
            "stop them, or choose another device with --gpu-profile-devices",
            spoils("time", "ratio", outcomes=("missed",)) | spoils("energy"),
            _ON_BOARD,
        ),
    )


def cpu_throttled_s(stat: Path = Path("/sys/fs/cgroup/cpu.stat")) -> float | None:
    """Return how long this container's CPU quota has held it back so far, ``None`` if that is not counted."""
    try:
        lines = stat.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    counters: Mapping[str, str] = dict(line.split(maxsplit=1) for line in lines if " " in line)
    used = counters.get("throttled_usec")
    return None if used is None else int(used) * 1e-6


def host_cautions(before_s: float | None, after_s: float | None, seconds: float) -> Sequence[Caution]:
    """Return the doubt that the container's CPU quota was used up, from two calls of :func:`cpu_throttled_s`."""
    if before_s is None or after_s is None or (after_s - before_s) / max(seconds, 1e-9) <= _LEAST_SHARE:
        return ()
    return (
        Caution(
            "cpu quota",
            f"the container's CPU quota held it back for {after_s - before_s:.2g} s of {seconds:.2g} s",
            "give the container more CPU, or the CPU leg fewer threads with cpu_threads=",
            spoils("ratio") | spoils("time", outcomes=("missed",)),
        ),
    )
