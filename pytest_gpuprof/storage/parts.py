"""What records are made of: values as builtins, readings and doubts, and these read again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pytest_gpuprof.core.results import Caution, Reading

__all__ = ["LONGEST_TEXT", "builtins_of", "caution_of", "cautions_from", "pair", "reading_from", "reading_of"]

LONGEST_TEXT = 200
"""Parameters may be arrays; their ``repr`` once made a report of 1.8 GB elsewhere (pytest-benchmark #96)."""


def builtins_of(value: Any) -> Any:
    """Return ``value`` as builtins. Numbers that JSON does not know become ``None``, anything else a short text."""
    if value is None or type(value) in (bool, int, str):
        return value
    if isinstance(value, float):
        number = float(value)
        return number if math.isfinite(number) else None
    if isinstance(value, Mapping):
        return {str(key): builtins_of(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [builtins_of(each) for each in value]
    if isinstance(value, (set, frozenset)):
        return sorted((builtins_of(each) for each in value), key=repr)
    if isinstance(value, (bool, int, str)):  # a subclass: an enum, a str from another library
        return next(kind for kind in (bool, int, str) if isinstance(value, kind))(value)
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a NumPy or torch scalar
        return builtins_of(value.item())
    text = repr(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[: LONGEST_TEXT - 3]}..."


def reading_of(reading: Reading) -> dict[str, Any]:
    """Return a reading as builtins."""
    if reading.value is None:
        return {"unavailable": reading.reason, "cause": reading.cause}
    stored: dict[str, Any] = {
        "value": reading.value,
        "interval": reading.interval,
        "quality": reading.quality,
        "gain_error": reading.gain_error,
    }
    return {**stored, "source": reading.source} if reading.source else stored


def reading_from(part: Mapping[str, Any]) -> Reading:
    """Return the reading that builtins hold."""
    if "unavailable" in part:
        return Reading.unavailable(part["unavailable"], part["cause"])
    return Reading(
        part["value"],
        interval=pair(part["interval"]),
        quality=part["quality"],
        gain_error=part.get("gain_error", 0.0),  # older records do not tell it apart
        source=part.get("source", ""),
    )


def caution_of(caution: Caution) -> dict[str, Any]:
    """Return a doubt as builtins."""
    return {
        "code": caution.code,
        "message": caution.message,
        "remedy": caution.remedy,
        "spoils": caution.spoils,
        "legs": caution.legs,
    }


def cautions_from(record: Mapping[str, Any]) -> tuple[Caution, ...]:
    """Return the doubts that a record holds."""
    return tuple(
        Caution(
            each["code"],
            each["message"],
            each["remedy"],
            frozenset((family, outcome) for family, outcome in each["spoils"]),
            None if each["legs"] is None else frozenset(each["legs"]),
        )
        for each in record["cautions"]
    )


def pair(interval: Any) -> tuple[float, float] | None:
    """Return an interval; JSON has no infinity, so a bound that is ``None`` is none."""
    if interval is None:
        return None
    low, high = interval
    return (-math.inf if low is None else low, math.inf if high is None else high)
