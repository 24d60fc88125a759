"""A run in the Bencher Metric Format: one benchmark per workload, one measure per figure, in base units."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pytest_gpuprof.reports.workloads import ShownFigure, Workload, stand_in_of, workloads

__all__ = ["bencher_text", "fitting_name"]

_LONGEST_NAME = 1024
"""Bytes: Bencher refuses a whole file for one longer name."""


def bencher_text(document: Mapping[str, Any]) -> str:
    """Return ``{benchmark: {measure: {value, lower_value, upper_value}}}`` as JSON.

    A stand-in's word is part of the benchmark's name, and the word of a figure that was not measured is part of the
    measure's: a threshold on the one does not hold for the other.
    """
    found = {
        fitting_name(_benchmark(workload)): {_measure(shown): _metric(shown) for shown in workload.figures}
        for workload in workloads(document)
    }
    return json.dumps(found, indent=2, allow_nan=False) + "\n"


def _benchmark(workload: Workload) -> str:
    stand_in = stand_in_of(workload.profile.gpu.device)
    word = f" ({stand_in})" if stand_in else ""
    name = f" {workload.profile.name}" if workload.many or not workload.test else ""
    return f"{workload.test}{name}{word}".strip()


def _measure(shown: ShownFigure) -> str:
    quality = () if shown.figure.quality in ("measured", shown.stand_in) else (str(shown.figure.quality),)
    return "-".join((shown.name.replace("_", "-"), *quality))


def _metric(shown: ShownFigure) -> Mapping[str, float]:
    metric = {"value": float(shown.figure.value)}
    if shown.figure.interval is None:
        return metric
    low, high = shown.figure.interval
    return {**metric, "lower_value": float(low), "upper_value": float(high)}


def fitting_name(name: str) -> str:
    """Return a name that is short enough; a long one is cut, and ends in a hash so that it stays the only one.

    >>> fitting_name("test_a.py::test_a")
    'test_a.py::test_a'
    >>> len(fitting_name("x" * 2000).encode())
    1024
    """
    raw = name.encode("utf-8", "backslashreplace")
    if len(raw) <= _LONGEST_NAME:
        return raw.decode()
    tail = f"…{hashlib.sha256(raw).hexdigest()[:12]}"
    return raw[: _LONGEST_NAME - len(tail.encode())].decode(errors="ignore") + tail
