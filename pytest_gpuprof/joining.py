"""A profile of more than one measurement: what was measured later, and what only the earlier one has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Leg, Measurement, Reading
from pytest_gpuprof.meters.throttling import TAKEN_AGAIN

__all__ = ["joined", "timed_legs"]


def joined(old: Profile, new: Profile) -> Profile:
    """Return the new measurement with what only the old one had.

    Rounds are taken side by side, so they are all new or all old, and a doubt about them goes with them. Where there
    was no time for the new measurement, the old one stays as it is, and says so.
    """
    if new.out_of_time:
        return replace(old, out_of_time=True, stop_reason=new.stop_reason)

    def leg(before: Measurement, after: Measurement) -> Measurement:
        if after.device is None:
            return before
        if before.device is None:
            return after
        return replace(
            after,
            rounds=after.rounds or before.rounds,
            readings={**before.readings, **after.readings, **_first_call(before)},
            series={**before.series, **after.series},
            calls=before.calls + after.calls,
            cautions=after.cautions if after.rounds else (*before.cautions, *after.cautions),
        )

    legs = ((old.cpu, new.cpu), (old.gpu, new.gpu), (old.reference, new.reference))
    gone = {caution for before, after in legs if after.rounds for caution in before.cautions}
    if timed_legs(new):
        gone |= {caution for caution in old.cautions if caution.code == TAKEN_AGAIN}
    kept = [caution for caution in old.cautions if caution not in gone]
    return replace(
        new,
        cpu=leg(old.cpu, new.cpu),
        gpu=leg(old.gpu, new.gpu),
        reference=leg(old.reference, new.reference),
        cautions=tuple(dict.fromkeys((*kept, *new.cautions))),
        peaks=new.peaks or old.peaks,
        verdicts=old.verdicts,
        budgets=old.budgets,
        baselines=old.baselines,
        scaling=old.scaling,
        output=old.output if new.output is None else new.output,
    )


def timed_legs(profile: Profile) -> frozenset[Leg]:
    """Return the legs that have rounds."""
    return frozenset(leg.leg for leg in (profile.cpu, profile.gpu, profile.reference) if leg.rounds)


def _first_call(leg: Measurement) -> Mapping[str, Reading]:
    """Return the reading of the first call: only that of the first measurement was the first."""
    return {name: reading for name, reading in leg.readings.items() if name == "first_call"}
