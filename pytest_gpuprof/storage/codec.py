"""Record ⇄ builtins: what crosses xdist, is appended to the journal and is written by exports.

A record is the profile with its verdicts. Only ``dict``, ``list``, ``str``, ``int``, ``float``, ``bool`` and ``None``
come out, of exactly these types: a NumPy float, which is a ``float``, would kill an xdist worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.budgets.figures import figures_of
from pytest_gpuprof.budgets.kinds import KINDS, Kind
from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Environment
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.core.profile import DERIVED, Profile
from pytest_gpuprof.core.results import Measurement, Round, Verdict
from pytest_gpuprof.storage.conditions import conditions_of
from pytest_gpuprof.storage.parts import (
    LONGEST_TEXT,
    builtins_of,
    caution_of,
    cautions_from,
    pair,
    reading_from,
    reading_of,
)
from pytest_gpuprof.storage.sweeps import scaling_from, scaling_of

__all__ = ["SCHEMA", "budgets_from_record", "completed", "profile_from", "record_of"]

SCHEMA = "pytest-gpuprof/1"
"""Version of the format. It is raised when a reader of the old format would misread the new one."""


def record_of(
    profile: Profile, *, test: str = "", attempt: int = 1, kinds: Iterable[Kind] = tuple(KINDS.values())
) -> dict[str, Any]:
    """Return a profile and its verdicts as builtins.

    Args:
        profile: what was measured.
        test: the node id of the test, empty outside pytest.
        attempt: how often the test has been run, for reruns.
        kinds: the budgets there are: their figures can be compared with those of other runs.
    """
    record: dict[str, Any] = builtins_of(
        {
            "schema": SCHEMA,
            "test": test,
            "attempt": attempt,
            "name": profile.name,
            "backend": profile.backend,
            "legs": {leg: _measurement(getattr(profile, leg)) for leg in ("cpu", "gpu", "reference")},
            "derived": {name: reading_of(profile.ratio(name)) for name in DERIVED},
            "verdicts": [_verdict(verdict) for verdict in profile.verdicts],
            "cautions": [caution_of(caution) for caution in profile.cautions],
            "stop_reason": profile.stop_reason,
            "cpu_threads": profile.threads,
            "work": {
                "items": profile.items,
                "flops": profile.flops,
                "bytes": profile.bytes,
                "counts_flops": profile.counts_flops,
                "precision": profile.precision,
                "peaks": {what: reading_of(reading) for what, reading in profile.peaks.items()},
            },
            "params": {name: _short(value) for name, value in profile.params.items()},
            "not_judged": profile.not_judged,
            "out_of_time": profile.out_of_time,
            "environment": {"identity": profile.environment.identity, "state": profile.environment.state},
            "conditions": conditions_of(profile),
            "figures": _figures(profile, kinds),
            "budgets": profile.budgets,
            "baselines": {figure: _baseline(baseline) for figure, baseline in profile.baselines.items()},
            **({} if profile.scaling is None else {"sweep": scaling_of(profile.scaling)}),
        }
    )
    return record


def _figures(profile: Profile, kinds: Iterable[Kind]) -> dict[str, Any]:
    return {
        name: {
            "value": figure.value,
            "interval": figure.interval,
            "rounds": figure.rounds,
            "quality": figure.quality,
        }
        for name, figure in figures_of(profile, kinds).items()
    }


def _baseline(baseline: Baseline) -> dict[str, Any]:
    if baseline.absence:
        return {"absence": baseline.absence, "reason": baseline.reason}
    return {"values": baseline.values, "source": baseline.source}


def _short(value: Any) -> Any:
    """Return a builder's parameter as stored: a number or a short text, whatever it was."""
    plain = builtins_of(value)
    if plain is None or isinstance(plain, (bool, int, float)):
        return plain
    text = plain if isinstance(plain, str) else repr(plain)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."


def _measurement(measurement: Measurement) -> dict[str, Any]:
    device = measurement.device
    return {
        "device": None
        if device is None
        else {
            "id": str(device.id),
            "name": device.name,
            "kind": device.kind,
            "backend": device.backend,
            "memory_bytes": device.memory_bytes,
            "mig": device.is_mig,
            "stand_in": device.why_stand_in,
        },
        "readings": {name: reading_of(reading) for name, reading in measurement.readings.items()},
        "rounds": [
            {
                "index": each.index,
                "position": each.position,
                "iterations": each.iterations,
                "samples": each.samples,
                "overhead": each.overhead,
            }
            for each in measurement.rounds
        ],
        "series": measurement.series,
        "missing": reading_of(measurement.missing),
        "calls": measurement.calls,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome,
        "budget": verdict.budget,
        "sentence": verdict.sentence,
        "limit": verdict.limit,
        "observed": verdict.observed,
        "interval": verdict.interval,
        "profile": verdict.profile,
        "enforce": verdict.enforce,
        "cause": verdict.cause,
        "metric": verdict.metric,
        "change": verdict.change,
        "effect": verdict.effect,
    }


def profile_from(record: Mapping[str, Any]) -> Profile:
    """Return the profile that a record holds; it can be judged again, but nothing more can be measured on it.

    Raises:
        UsageError: if the record has another schema, or is damaged.
    """
    schema = record.get("schema") if isinstance(record, Mapping) else None
    if schema != SCHEMA:
        raise UsageError(f"the record has the schema {schema!r}, and this version reads {SCHEMA!r}; measure again")
    try:
        return _profile(record)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"the record is damaged ({type(error).__name__}: {error}); measure again") from error


def completed(record: Mapping[str, Any], kinds: Iterable[Kind] = tuple(KINDS.values())) -> Mapping[str, Any]:
    """Return a record with its conditions and figures; one that was written before records had them gets them now.

    Raises:
        UsageError: as :func:`profile_from`.
    """
    if "conditions" in record and "figures" in record:
        return record
    profile = profile_from(record)
    added: dict[str, Any] = builtins_of({"conditions": conditions_of(profile), "figures": _figures(profile, kinds)})
    return {**record, **added}


def budgets_from_record(record: Mapping[str, Any], kinds: Mapping[str, Kind] = KINDS) -> tuple[Budget, ...]:
    """Return the budgets that were judged on a record, so that they can be judged on it again.

    Args:
        record: as :func:`record_of` returned it; one from before records had budgets has none.
        kinds: the keywords there are.

    Raises:
        BudgetError: for a keyword that is unknown here, because a plugin that brought it is not installed.
        UsageError: if the record is damaged.
    """
    try:
        return tuple(Budget.from_written(written, kinds) for written in record.get("budgets", ()))
    except (LookupError, TypeError, AttributeError) as error:
        raise UsageError(f"the record is damaged ({type(error).__name__}: {error}); measure again") from error


def _verdict_from(part: Mapping[str, Any]) -> Verdict:
    known = {each.name for each in fields(Verdict)}
    given = {name: value for name, value in part.items() if name in known}  # a newer writer may know more
    return Verdict(**{**given, "interval": pair(part["interval"])})


def _baseline_from(part: Mapping[str, Any]) -> Baseline:
    if "absence" in part:
        return Baseline(absence=part["absence"], reason=part["reason"])
    return Baseline(tuple(part["values"]), part["source"])


def _profile(record: Mapping[str, Any]) -> Profile:
    legs = {leg: _measurement_from(leg, part) for leg, part in record["legs"].items()}
    work, environment = record["work"], record["environment"]
    return Profile(
        record["name"],
        legs["cpu"],
        legs["gpu"],
        legs["reference"],
        backend=record["backend"],
        stop_reason=record["stop_reason"],
        verdicts=tuple(_verdict_from(each) for each in record["verdicts"]),
        cautions=cautions_from(record),
        environment=Environment(environment["identity"], environment["state"]),
        threads=record["cpu_threads"],
        items=work["items"],
        flops=work["flops"],
        bytes=work["bytes"],
        counts_flops=work["counts_flops"],
        precision=work["precision"],
        peaks={what: reading_from(reading) for what, reading in work["peaks"].items()},
        params=record["params"],
        not_judged=record["not_judged"],
        out_of_time=record["out_of_time"],
        budgets=tuple(record.get("budgets", ())),  # records of before have none
        baselines={figure: _baseline_from(part) for figure, part in record.get("baselines", {}).items()},
        scaling=scaling_from(record["sweep"]) if "sweep" in record else None,
    )


def _measurement_from(leg: Any, part: Mapping[str, Any]) -> Measurement:
    device = part["device"]
    return Measurement(
        leg,
        None
        if device is None
        else DeviceInfo(
            DeviceId.parse(device["id"]),
            device["name"],
            device["kind"],
            device["backend"],
            uuid="MIG-" if device["mig"] else None,  # the UUID itself is nobody's business, but its kind decides limits
            memory_bytes=device["memory_bytes"],
            why_stand_in=device["stand_in"],
        ),
        tuple(
            Round(
                each["index"],
                each["position"],
                each["iterations"],
                {name: tuple(values) for name, values in each["samples"].items()},
                each.get("overhead", {}),
            )
            for each in part["rounds"]
        ),
        {name: reading_from(reading) for name, reading in part["readings"].items()},
        {name: tuple(values) for name, values in part["series"].items()},
        reading_from(part["missing"]),
        part["calls"],
    )
