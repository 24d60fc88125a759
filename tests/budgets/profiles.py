"""Profiles made by hand, for judging without measuring."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Environment
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Caution, Leg, Measurement, Reading, Round

CARD = DeviceInfo(DeviceId("cuda"), "NVIDIA H200", "gpu", "torch", memory_bytes=141 * 2**30)
HOST = DeviceInfo(DeviceId("cpu"), "AMD EPYC 9654", "cpu", "torch")


def rounds_of(**series: Sequence[Sequence[float]]) -> tuple[Round, ...]:
    """Return rounds from each metric's samples per round."""
    count = len(next(iter(series.values()), ()))
    return tuple(
        Round(index, index % 2, 10, {name: tuple(samples[index]) for name, samples in series.items()})
        for index in range(count)
    )


def leg_of(
    leg: Leg,
    wall: Sequence[float] = (),
    device: Sequence[float] = (),
    *,
    transfers: Sequence[float] = (),
    info: DeviceInfo | None = None,
    readings: Mapping[str, float | Reading] | None = None,
    latency: Sequence[float] = (),
) -> Measurement:
    """Return a measured leg: wall and device time of each round, readings, and the latency of single calls."""
    series: dict[str, list[list[float]]] = {}
    if wall:
        series["wall_time"] = [[each] for each in wall]
    if device:
        series["device_time"] = [[each] for each in device]
    if transfers:
        series |= {name: [[each] for each in transfers] for name in ("upload_time", "download_time")}
    return Measurement(
        leg,
        info or (HOST if leg == "cpu" else CARD),
        rounds_of(**series),
        {name: each if isinstance(each, Reading) else Reading(each) for name, each in (readings or {}).items()},
        {"latency": tuple(latency)} if latency else {},
        calls=30,
    )


def profile_of(
    cpu: Measurement | Sequence[float] | None = None,
    gpu: Measurement | Sequence[float] | None = None,
    reference: Measurement | Sequence[float] | None = None,
    *,
    cautions: tuple[Caution, ...] = (),
    **parts: Any,
) -> Profile:
    """Return a profile; a sequence stands for the wall times of a leg's rounds."""

    def leg(name: Leg, given: Measurement | Sequence[float] | None) -> Measurement:
        if given is None:
            return Measurement.absent(name, "nothing asked for this leg")
        return given if isinstance(given, Measurement) else leg_of(name, given)

    return Profile(
        "work",
        leg("cpu", cpu),
        leg("gpu", gpu),
        leg("reference", reference),
        backend="torch",
        cautions=cautions,
        environment=Environment({"cpu": "AMD EPYC 9654"}, {"load": 0.5}),
        **parts,
    )
