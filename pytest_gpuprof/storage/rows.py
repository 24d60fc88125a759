"""Record ⇄ what the store keeps of it: figures to look at, a body, and samples that may be thinned.

What every record of a run says alike (conditions, the identity of the machine) is taken out and stored once; what
remains is compressed. Nothing is rounded: a record comes back as it was.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pytest_gpuprof.budgets.figures import Figure, figures_of
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage.codec import profile_from
from pytest_gpuprof.storage.conditions import conditions_of, key_of
from pytest_gpuprof.storage.parts import builtins_of

__all__ = ["Packed", "facts_key", "figures_from", "packed", "plain_text", "thinned", "unpacked", "values_from",
           "workload_key"]  # fmt: skip

_BESIDE = ("test", "name", "attempt", "outcome", "figures", "conditions")
"""What a row holds itself."""

_IN_SAMPLES = ("rounds", "series")
"""The parts of a leg that hold samples."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A record, taken apart.

    Args:
        test, name: the workload.
        attempt: 1, or more for a test that was run again.
        outcome: of the test.
        conditions: as JSON; ``conditions_key`` is what they are found by.
        environment: the identity of the machine as JSON.
        figures: as JSON.
        body, samples: compressed.
    """

    test: str
    name: str
    attempt: int
    outcome: str
    conditions_key: str
    conditions: str
    environment: str
    figures: str
    body: bytes
    samples: bytes


def packed(record: Mapping[str, Any]) -> Packed:
    """Take a record apart. One that older versions wrote gets its figures and conditions now."""
    figures, conditions = record.get("figures"), record.get("conditions")
    if figures is None or conditions is None:
        was_figures, was_conditions = _as_measured(record)
        figures = was_figures if figures is None else figures
        conditions = was_conditions if conditions is None else conditions
    body = {key: value for key, value in record.items() if key not in _BESIDE}
    legs = {leg: dict(part) for leg, part in record["legs"].items()}
    samples = {leg: {key: part.pop(key) for key in _IN_SAMPLES if key in part} for leg, part in legs.items()}
    body["legs"] = legs
    identity: Mapping[str, Any] = {}
    if "environment" in body:
        body["environment"] = dict(body["environment"])
        identity = body["environment"].pop("identity", {})
    return Packed(
        plain_text(record["test"]),
        plain_text(record["name"]),
        record.get("attempt", 1),
        plain_text(str(record.get("outcome", ""))),
        key_of(conditions),
        _json(dict(sorted(conditions.items()))),
        _json(dict(sorted(identity.items()))),
        _json({name: _short(figure) for name, figure in figures.items()}),
        _squeezed(body),
        _squeezed(samples),
    )


def unpacked(
    test: str, name: str, attempt: int, outcome: str, conditions: str, environment: str, figures: str, body: bytes,
    samples: bytes | None,
) -> dict[str, Any]:  # fmt: skip
    """Put a record together again; without ``samples`` it is as :func:`thinned` left it."""
    record = _loosened(body)
    for leg, part in record["legs"].items():
        part |= {"rounds": [], "series": {}} if samples is None else _loosened(samples)[leg]
    if "environment" in record:
        record["environment"] = {"identity": json.loads(environment), **record["environment"]}
    return {
        "schema": record.pop("schema", None),
        "test": test,
        "attempt": attempt,
        "name": name,
        **record,
        "conditions": json.loads(conditions),
        "figures": {key: _long(figure) for key, figure in json.loads(figures).items()},
        "outcome": outcome,
    }


def figures_from(text: str) -> Mapping[str, Figure]:
    """Return the figures of a row."""
    return {name: _figure(stored) for name, stored in json.loads(text).items()}


def values_from(texts: Iterable[str]) -> list[Mapping[str, float]]:
    """Return the values of the figures of rows: thousands are compared, by these alone, and read as one text."""
    return [
        {name: stored[0] if isinstance(stored, list) else stored["value"] for name, stored in figures.items()}
        for figures in json.loads(f"[{','.join(texts)}]")
    ]


def thinned(body: bytes, samples: bytes) -> bytes:
    """Return a body that holds a summary of the samples, and the figures that were read from them.

    A thinned record can be shown, exported and compared; it cannot be judged again.
    """
    record = _loosened(body)
    summary: dict[str, dict[str, dict[str, float]]] = {}
    for leg, taken in _loosened(samples).items():
        part = record["legs"][leg]
        simulated = (part.get("device") or {}).get("stand_in") == "simulated"
        found = dict(taken.get("series", {}))
        for metric in {name: None for each in taken.get("rounds", ()) for name in each["samples"]}:
            rounds = [each["samples"][metric] for each in taken["rounds"] if metric in each["samples"]]
            found[metric] = [sample for each in rounds for sample in each]
            if metric not in part["readings"]:
                part["readings"][metric] = {
                    "value": statistics.median(statistics.median(each) for each in rounds),
                    "interval": None,
                    "quality": "simulated" if simulated else "measured",
                    "gain_error": 0.0,
                }
        summary[leg] = {metric: _summary(values) for metric, values in found.items() if values}
    return _squeezed({**record, "summary": summary})


def _summary(values: list[float]) -> dict[str, float]:
    first, median, third = statistics.quantiles(values, method="inclusive") if len(values) > 1 else values * 3
    return {
        "count": len(values),
        "min": min(values),
        "q1": first,
        "median": median,
        "q3": third,
        "max": max(values),
        "mean": statistics.fmean(values),
        "stddev": statistics.stdev(values) if len(values) > 1 else 0.0,
    }


def workload_key(test: str, name: str) -> str:
    """Return by what a workload is found: a node id may be longer than an index takes."""
    return hashlib.sha256(f"{test}\0{name}".encode()).hexdigest()[:32]


def facts_key(text: str) -> str:
    """Return by what a text is found that is stored once."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def plain_text(text: str) -> str:
    """Return a text that any database takes: PostgreSQL has no NUL in it, and nobody half a surrogate pair."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\0")


def _as_measured(record: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    try:
        profile = profile_from(record)
    except UsageError:  # of another version: it is kept, and has nothing to compare
        return {}, {}
    figures = {name: asdict(figure) for name, figure in figures_of(profile).items()}
    return builtins_of(figures), builtins_of(conditions_of(profile))


_FIGURE = {"value", "interval", "rounds", "quality"}


def _short(figure: Mapping[str, Any]) -> Any:
    """Return a figure as a list; one with more to say stays as it is."""
    if set(figure) != _FIGURE:
        return dict(figure)
    return [figure["value"], figure["rounds"], figure["quality"], *(figure["interval"] or ())]


def _long(stored: Any) -> dict[str, Any]:
    if isinstance(stored, dict):
        return stored
    value, rounds, quality, *interval = stored
    return {"value": value, "interval": interval or None, "rounds": rounds, "quality": quality}


def _figure(stored: Any) -> Figure:
    if isinstance(stored, dict):
        interval, value, rounds, quality = (stored[key] for key in ("interval", "value", "rounds", "quality"))
    else:
        value, rounds, quality, *interval = stored
    if not interval:
        return Figure(value, None, rounds, quality)
    low, high = interval  # JSON has no infinity, so a bound that is None is none
    return Figure(value, (-math.inf if low is None else low, math.inf if high is None else high), rounds, quality)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _squeezed(value: Any) -> bytes:
    return zlib.compress(_json(value).encode("ascii"))


def _loosened(data: bytes) -> Any:
    return json.loads(zlib.decompress(data))
