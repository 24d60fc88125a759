"""Putting together what was measured: a measurement per leg, and one profile of them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.protocols import Device
from pytest_gpuprof.core.results import Leg, Measurement, Quality, Reading
from pytest_gpuprof.job import Job
from pytest_gpuprof.sampling.legs import LegPlan
from pytest_gpuprof.sampling.passes import PassResult
from pytest_gpuprof.sampling.sampler import LegRounds, Rounds

__all__ = ["LEGS", "measurement_of", "profile_of", "quality_of", "unmeasured"]

LEGS: tuple[Leg, ...] = ("cpu", "gpu", "reference")


def quality_of(device: Device) -> Quality:
    """Return the word for every figure of a device."""
    return "simulated" if device.info.why_stand_in == "simulated" else "measured"


def measurement_of(job: Job, leg: Leg, rounds: Rounds | None, passes: PassResult | None) -> Measurement:
    """Return what was measured of a leg: its rounds, and what its passes yielded."""
    plan = job.legs.get(leg)
    timed = None if rounds is None else rounds.legs.get(leg)
    if plan is None or (timed is None and passes is None):
        return _absent(job, leg, None)
    readings: dict[str, Reading] = {}
    if timed is not None:
        readings["first_call"] = Reading(timed.first_call_s, quality=quality_of(plan.device))
        readings |= _without_events(plan, timed)
    result = passes or PassResult()
    return Measurement(
        leg,
        plan.device.info,
        timed.rounds if timed else (),
        readings | dict(result.readings),
        result.series,
        calls=(timed.calls if timed else 0) + result.calls,
        cautions=(*(timed.cautions if timed else ()), *result.cautions),
    )


def _without_events(plan: LegPlan, timed: LegRounds) -> dict[str, Reading]:
    """Return why there is no device time: no events, or work that they do not see."""
    if plan.device.timer is None:
        return {"device_time": Reading.unavailable(plan.device.lacks.get("timer", "the device has no events"))}
    if timed.probe.escapes:
        return {"device_time": Reading.unavailable("work finished on another stream, which the events do not see")}
    return {}


def _absent(job: Job, leg: Leg, why: str | None) -> Measurement:
    part = {"cpu": job.cpu, "gpu": job.gpu, "reference": job.reference}[leg]
    if isinstance(part, Reading):
        return Measurement(leg, None, missing=part)
    if part is None:
        return Measurement.absent(leg, "there is no reference=")
    return Measurement.absent(leg, why or "nothing asked for this leg: name it in a budget or --gpu-profile-metrics")


def profile_of(job: Job, legs: Mapping[Leg, Measurement], **facts: Any) -> Profile:
    """Return the legs of a job as one profile, not judged yet."""
    return Profile(
        job.name,
        legs["cpu"],
        legs["gpu"],
        legs["reference"],
        backend=job.backend,
        threads=job.threads,
        items=job.amounts.get("items"),
        flops=job.amounts.get("flops"),
        bytes=job.amounts.get("bytes"),
        counts_flops=job.workload.counts_flops,
        precision=job.precision,
        params=job.params,
        not_judged=job.not_judged,
        **facts,
    )


def unmeasured(job: Job, why: str, *, out_of_time: bool = False) -> Profile:
    """Return the profile of a job of which nothing was measured, and why."""
    legs = {leg: _absent(job, leg, why) for leg in LEGS}
    return profile_of(job, legs, stop_reason=why, out_of_time=out_of_time)
