"""What the rounds themselves give reason to doubt: work that events do not see, waiting, launching, compiling."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from pytest_gpuprof.core.results import Caution, Round, spoils
from pytest_gpuprof.sampling.legs import LegPlan
from pytest_gpuprof.sampling.probe import Probe

__all__ = ["compiled", "of_probe", "of_rounds"]

_SPIKE = 3.0
_SPIKE_S = 0.05
"""A round three times as long as the leg's others, and 50 ms longer, has seen something like a compilation."""

_SPIKE_OF_SAMPLE_S = 0.25
"""The median of a round hides one slow sample, and its verdict stands; a quarter of a second is told all the same:
compiling and tuning take that long, and other programs rarely do."""

_LAUNCHING = 2.0
"""Told when launching takes twice the device's time: then most of the device's time is spent waiting."""

_CALLING = 1 / 20
"""A callable of which calling it is more than a twentieth is mostly not what was meant to be measured."""


def of_probe(plan: LegPlan, found: Probe, events_wanted: bool) -> Iterator[Caution]:
    """Yield the doubts about what kind of workload it is."""
    leg = frozenset({plan.leg})
    if found.escapes:
        yield Caution(
            "escaped",
            f"the device goes on for {found.leftover_s * 1e6:.0f} µs after the timed stream is done, so its "
            "events see only a part of the work",
            "let the current stream wait for the other one; wall time is not affected",
        )
    if found.synchronizes and events_wanted:
        yield Caution(
            "synchronizes",
            f"a call of {plan.place} waits for the device inside, or fills its queue, so device time holds what the "
            "host does meanwhile",
            "leave out what waits, such as .item(), .cpu() or printing, or judge wall time",
            spoils("device time", "device ratio", outcomes=("missed",)),
            leg,
        )
    if found.regime == "launch-bound" and found.host_s > _LAUNCHING * found.device_s:
        yield Caution(
            "launch-bound",
            f"the host takes {found.host_s * 1e6:.3g} µs to launch what {plan.device.info.id} does in "
            f"{found.device_s * 1e6:.3g} µs",
            "give it more work per call, fuse kernels, or replay a CUDA graph",
        )


def of_rounds(plan: LegPlan, rounds: Sequence[Round], seconds_of_calling: float) -> Iterator[Caution]:
    """Yield the doubts that the rounds of a leg show, once they are all there."""
    figures = [each.value("wall_time") for each in rounds]
    if not figures:
        return
    usual = statistics.median(figures)
    if seconds_of_calling > _CALLING * usual:
        yield Caution(
            "call overhead",
            f"a call of {plan.place} takes {usual * 1e9:.0f} ns, of which Python needs "
            f"{seconds_of_calling * 1e9:.0f} ns to call anything at all",
            "do more work in one call",
        )
    if len(figures) >= 3:
        spike = _spike(rounds, figures, usual)
        if spike is not None:
            longest, calls = spike
            yield _slow_round(
                plan,
                f"a round of {plan.place} took {longest / usual:.1f} times as long as usual "
                f"({longest * calls:.2g} s a sample), as when something is compiled or tuned in it",
            )


def _spike(rounds: Sequence[Round], figures: Sequence[float], usual: float) -> tuple[float, int] | None:
    """Return seconds per call and calls of what took too long, ``None`` if nothing did."""
    slowest = max(rounds, key=lambda each: each.value("wall_time"))
    longest = max(figures)
    if longest > _SPIKE * usual and (longest - usual) * slowest.iterations > _SPIKE_S:
        return longest, slowest.iterations
    for each in rounds:
        sample = max(each.samples["wall_time"])
        if sample > _SPIKE * usual and (sample - usual) * each.iterations > _SPIKE_OF_SAMPLE_S:
            return sample, each.iterations
    return None


def compiled(plan: LegPlan, times: int) -> Caution:
    """Return the doubt about rounds in which the framework compiled."""
    often = "once" if times == 1 else f"{times} times"
    return _slow_round(plan, f"the framework compiled {often} within the rounds of {plan.place}")


def _slow_round(plan: LegPlan, message: str) -> Caution:
    return Caution(
        "compiled",
        message,
        "raise --gpu-profile-warmup, or call the workload with every shape it meets before it is measured",
        spoils("time", "cpu time", "ratio"),
        frozenset({plan.leg}),
    )
