"""A run as pytest-benchmark writes it, for all that reads such files: one entry per leg, from the rounds' own samples.

The fields are those that its own command, github-action-benchmark and Bencher read; what only we know is in
``extra_info``.
"""

from __future__ import annotations

import json
import re
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pytest_gpuprof.core.results import Measurement
from pytest_gpuprof.reports.bencher import fitting_name
from pytest_gpuprof.reports.workloads import Workload, measurement_of, stand_in_of, workloads
from pytest_gpuprof.storage.codec import SCHEMA

__all__ = ["pytest_benchmark_document", "pytest_benchmark_text", "statistics_of"]

_VERSION: Final = "5.3.1"
"""The version of pytest-benchmark whose files these are like."""

_NODE_ID = re.compile(r"(?P<test>.*?::[^\[]*)(?:\[(?P<params>.*)\])?", re.DOTALL)

_TUKEY = 1.5
"""What lies further from the quartiles than this times their distance is an outlier (Tukey, as pytest-benchmark)."""


def pytest_benchmark_text(document: Mapping[str, Any]) -> str:
    """Return the run as JSON, without the NaN and Infinity that other languages' parsers refuse."""
    return json.dumps(pytest_benchmark_document(document), indent=4, allow_nan=False) + "\n"


def pytest_benchmark_document(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run as pytest-benchmark's document."""
    found = workloads(document)
    return {
        "machine_info": _machine(document, found),
        "commit_info": _commit(document.get("source") or {"unavailable": "the record does not tell it"}),
        "benchmarks": [entry for workload in found for entry in _entries(workload)],
        "datetime": document["created"],
        "version": _VERSION,
    }


def _machine(document: Mapping[str, Any], found: Sequence[Workload]) -> dict[str, Any]:
    """Return the machine that measured, which need not be the one that exports; its name is nobody's business."""
    facts = found[0].profile.environment if found else None
    identity: Mapping[str, Any] = {} if facts is None else facts.identity
    system, _, machine = str(identity.get("system", "unknown")).partition(" ")
    devices = dict.fromkeys(device.label for each in found if (device := each.profile.gpu.device) is not None)
    return {
        "node": document.get("machine", "unknown"),
        "processor": machine or "unknown",
        "machine": machine or "unknown",
        "python_compiler": "unknown",
        "python_implementation": "unknown",
        "python_implementation_version": identity.get("python", "unknown"),
        "python_version": identity.get("python", "unknown"),
        "python_build": [],
        "release": "unknown" if facts is None else facts.state.get("kernel", "unknown"),
        "system": system,
        "cpu": {"brand_raw": identity.get("cpu", "unknown"), "count": identity.get("cpu_threads")},
        "gpu": list(devices),
    }


def _commit(source: Mapping[str, Any]) -> dict[str, Any]:
    commit = {
        "id": source.get("commit") or "unversioned",
        "time": source.get("commit_time"),
        "author_time": None,
        "dirty": bool(source.get("dirty", False)),
        "project": source.get("project", "unknown"),
        "branch": source.get("branch") or ("(unknown)" if "unavailable" in source else "(detached head)"),
    }
    return {**commit, "error": source["unavailable"]} if "unavailable" in source else commit


def _entries(workload: Workload) -> Iterator[dict[str, Any]]:
    """Yield an entry for each leg that was timed; those of a workload are a group, so that a table has them together.

    A stand-in's word is in the name: a chart that follows a name over months does not mix it with a GPU.
    """
    match = _NODE_ID.fullmatch(workload.test)
    test, params = (match["test"], match["params"]) if match else (workload.test or workload.profile.name, None)
    parts = [part for part in (params, workload.profile.name if workload.many and workload.test else None) if part]
    for leg in ("cpu", "gpu", "reference"):
        measurement = measurement_of(workload.profile, leg)
        data = [sample for each in measurement.rounds for sample in each.samples.get("wall_time", ())]
        if not data:
            continue
        word = stand_in_of(measurement.device)
        ends = "-".join((*parts, f"{leg} ({word})" if word else leg))
        yield {
            "group": f"{test}[{'-'.join(parts)}]" if parts else test,
            "name": f"{test.rpartition('::')[2]}[{ends}]",
            "fullname": fitting_name(f"{test}[{ends}]"),
            "params": {**workload.profile.params, "device": leg},
            "param": ends,
            "extra_info": {"gpuprof": _extra(workload, measurement)},
            "options": {"timer": "pytest-gpuprof", "warmup": True, "min_rounds": len(measurement.rounds)},
            "stats": statistics_of(data, statistics.median_low(each.iterations for each in measurement.rounds)),
        }


def _extra(workload: Workload, measurement: Measurement) -> dict[str, Any]:
    device = measurement.device
    of_ratios = measurement.leg == "gpu"
    return {
        "schema": SCHEMA,
        "test": workload.test,
        "profile": workload.profile.name,
        "device": "" if device is None else device.label,
        "stand_in": stand_in_of(device) or None,
        "figures": {
            shown.name: {
                "value": shown.figure.value,
                "unit": shown.unit,
                "interval": None if shown.figure.interval is None else list(shown.figure.interval),
                "quality": shown.figure.quality,
            }
            for shown in workload.figures
            if shown.leg == measurement.leg or (of_ratios and shown.leg is None)
        },
        "verdicts": [
            {"budget": verdict.budget, "outcome": verdict.outcome, "sentence": verdict.sentence}
            for verdict in workload.profile.verdicts
            if of_ratios
        ],
    }


def statistics_of(data: Sequence[float], iterations: int) -> dict[str, Any]:
    """Return the statistics of a series as pytest-benchmark defines them; every one is a float, also where it is 0.

    Args:
        data: seconds per call, one for each sample.
        iterations: calls per sample.

    >>> statistics_of([1.0, 2.0, 3.0, 4.0], 1)["iqr"]
    2.0
    """
    ordered = sorted(map(float, data))
    count, total = len(ordered), sum(map(float, data))
    mean = statistics.mean(ordered)
    deviation = statistics.stdev(ordered) if count > 1 else 0.0
    q1, q3 = _quartiles(ordered)
    fence = _TUKEY * (q3 - q1)
    low, high = bisect_left(ordered, q1 - fence), bisect_right(ordered, q3 + fence)
    beyond_deviation = sum(not mean - deviation <= value <= mean + deviation for value in ordered)
    beyond_fence = low + count - high
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": count,
        "median": statistics.median(ordered),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond_fence,
        "stddev_outliers": beyond_deviation,
        "outliers": f"{beyond_deviation};{beyond_fence}",
        "ld15iqr": ordered[low],
        "hd15iqr": ordered[high - 1],
        "ops": count / total if total else 0.0,
        "total": total,
        "data": list(map(float, data)),
        "iterations": iterations,
    }


def _quartiles(ordered: Sequence[float]) -> tuple[float, float]:
    """Return the quartiles: the halves' medians, and for an odd count the mean of the two ways to halve it."""
    count = len(ordered)
    if count == 1:
        return ordered[0], ordered[0]
    half = count // 2
    if count % 2 == 0:
        return statistics.median(ordered[:half]), statistics.median(ordered[half:])
    quarter, rest = divmod(count, 4)
    if rest == 1:
        return (
            0.25 * ordered[quarter - 1] + 0.75 * ordered[quarter],
            0.75 * ordered[3 * quarter] + 0.25 * ordered[3 * quarter + 1],
        )
    return (
        0.75 * ordered[quarter] + 0.25 * ordered[quarter + 1],
        0.25 * ordered[3 * quarter + 1] + 0.75 * ordered[3 * quarter + 2],
    )
