"""One workload as the page shows it when it is opened: verdicts, figures, doubts, and what is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pytest_gpuprof.budgets.kinds import KINDS
from pytest_gpuprof.core.efficiency import FIGURES
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.quantities import METRICS, format_number
from pytest_gpuprof.core.results import Caution, Measurement, Reading, Verdict
from pytest_gpuprof.reports.page.charts import charts_of
from pytest_gpuprof.reports.page.facts import Facts, fact_text
from pytest_gpuprof.reports.page.standing import headroom_text
from pytest_gpuprof.reports.page.telling import interval_text, quantity, without_empty, words_of
from pytest_gpuprof.reports.places import place
from pytest_gpuprof.reports.workloads import ShownFigure, Workload, measurement_of

__all__ = ["opened"]

_OF_LEGS: Final = ("first_call", "latency", "output", "reserved", "package_energy", "temperature", "sm_clock")
"""Readings that no budget limits, so that they are no figures, and people want to see."""

_RATES: Final = ("flop_rate", "bandwidth", "intensity", "flops_per_joule", "energy_delay", "roofline")

_UNASKED: Final = "not asked for"


def opened(workload: Workload, identity: Facts, state: Facts, kin: Sequence[Workload] = ()) -> dict[str, Any]:
    """Return what the page shows of a workload beyond its row.

    Args:
        workload: the workload.
        identity, state: what the run's facts are: those that are the same for all are not told again.
        kin: the other workloads of its test.
    """
    profile = workload.profile
    return without_empty(
        {
            "test": workload.test,
            "name": profile.name,
            "outcome": workload.outcome,
            "on": place(profile),
            "place": _location(workload),
            "verdicts": [_verdict(each) for each in profile.verdicts],
            "figures": [*_figures(workload), *_readings(profile)],
            "missing": _missing(profile),
            "cautions": [_caution(each) for each in profile.cautions],
            "params": [[name, _short(value)] for name, value in profile.params.items()],
            "identity": _varying(profile.environment.identity, identity),
            "state": _varying(profile.environment.state, state),
            "stopped": profile.stop_reason,
            "charts": charts_of(workload, kin),
        }
    )


def _location(workload: Workload) -> str:
    location = workload.record.get("location") or {}
    return f"{location['file']}:{location['line']}" if {"file", "line"} <= location.keys() else ""


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return without_empty(
        {
            "outcome": verdict.outcome,
            "sentence": verdict.sentence,
            "headroom": headroom_text(verdict),
            "watched": not verdict.enforce and verdict.outcome != "not enforced",
        }
    )


# -- figures ------------------------------------------------------------------------------------------------------


def _figures(workload: Workload) -> Iterator[list[str]]:
    """Yield every figure that can be limited: title, leg, value, interval, rounds, words."""
    for shown in workload.figures:
        rounds = str(shown.figure.rounds) if shown.figure.rounds else ""
        text = quantity(shown.figure.value, shown.unit)
        interval = interval_text(shown.figure.interval, shown.unit)
        yield [_title(shown), shown.leg or "", text, interval, rounds, ", ".join(shown.words)]


def _title(shown: ShownFigure) -> str:
    kind = KINDS.get(f"min_{shown.name}") or KINDS.get(f"max_{shown.name}")
    return kind.title if kind is not None else shown.name.replace("_", " ")


def _readings(profile: Profile) -> Iterator[list[str]]:
    for leg in (profile.gpu, profile.cpu, profile.reference):
        for metric in _OF_LEGS:
            reading = leg.reading(metric)
            if reading.value is not None:
                yield _line(METRICS[metric].title, leg.leg, reading, METRICS[metric].unit, words_of(reading, leg))
    for name in _RATES:
        reading = profile.ratio(name)
        if reading.value is not None:
            yield _line(FIGURES[name].title, "", reading, FIGURES[name].unit, words_of(reading, profile.gpu))


def _line(title: str, leg: str, reading: Reading, unit: str, words: str) -> list[str]:
    assert reading.value is not None
    return [title, leg, quantity(reading.value, unit), interval_text(reading.interval, unit), "", words]


def _missing(profile: Profile) -> list[list[str]]:
    """Return what was asked for and is unavailable, by the reason."""
    found: dict[str, dict[str, None]] = {}
    for name, kind in ((kind.title, kind) for kind in KINDS.values() if kind.family != "regression"):
        reading = profile.ratio(kind.figure) if kind.leg is None else _of_leg(profile, kind.leg, kind.figure)
        if reading.value is None and reading.cause != _UNASKED and "does not declare" not in reading.reason:
            found.setdefault(reading.reason, {})[name] = None
    legs = (profile.cpu, profile.gpu, profile.reference)
    if any(leg.reading("wall_time").value is not None and not leg.rounds for leg in legs):
        found["their samples were pruned from the store"] = {"Rounds": None}
    return [[", ".join(names), reason] for reason, names in found.items()]


def _of_leg(profile: Profile, leg: str, metric: str) -> Reading:
    measurement: Measurement = measurement_of(profile, leg)
    return measurement.reading(metric)


# -- doubts and facts ---------------------------------------------------------------------------------------------


def _caution(caution: Caution) -> list[str]:
    """Return a doubt: its name, its facts, its remedy, and what it makes untrustworthy."""
    spoiled = sorted({f"a {outcome} verdict on {family}" for family, outcome in caution.spoils})
    legs = "" if caution.legs is None else f" of the {' and '.join(sorted(caution.legs))} leg"
    return [caution.code, caution.message, caution.remedy, f"{', '.join(spoiled)}{legs}" if spoiled else ""]


def _varying(facts: Any, of_run: Facts) -> list[list[str]]:
    return [[name.replace("_", " "), fact_text(name, fact)] for name, fact in facts.items() if name in of_run.varying]


def _short(value: Any) -> str:
    return format_number(value, 6) if isinstance(value, float) else str(value)
