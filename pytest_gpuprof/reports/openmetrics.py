"""A run as OpenMetrics text, for GitLab's metrics reports and for Prometheus' text-file collector.

GitLab compares values as text between the branches of a merge request, so figures have three significant digits: more
would show every metric as changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pytest_gpuprof.core.quantities import Unit
from pytest_gpuprof.reports.remarks import counts
from pytest_gpuprof.reports.workloads import ShownFigure, Workload, workloads

__all__ = ["openmetrics_text"]

_DIGITS = 3

_SUFFIXES: Final[Mapping[Unit, str]] = {
    "s": "seconds",
    "B": "bytes",
    "J": "joules",
    "W": "watts",
    "x": "ratio",
    "share": "ratio",
    "1/s": "per_second",
    "1/J": "per_joule",
}
"""How a metric's name ends, by the unit of its figure; OpenMetrics wants whole words and base units."""

_STEMS: Final[Mapping[str, str]] = {
    "gpu_time": "time",
    "cpu_time": "time",
    "gpu_memory": "peak_memory",
    "cpu_memory": "peak_memory",
    "gpu_workspace": "workspace",
    "energy_ratio": "energy",
    "items_per_joule": "items",
    "throughput": "items",
}
"""Figures whose metric is not called like them: the device is a label, and the unit says the rest."""

_HELP: Final[Mapping[str, str]] = {
    "gpuprof_time_seconds": "Wall time per call.",
    "gpuprof_device_time_seconds": "Time per call by the device's own events.",
    "gpuprof_speedup_ratio": "CPU wall time over GPU wall time.",
    "gpuprof_peak_memory_bytes": "Peak memory above what was live before the builder ran.",
    "gpuprof_energy_joules": "Gross energy of the board per call.",
}


def openmetrics_text(document: Mapping[str, Any]) -> str:
    """Return the figures of a run, and how many budgets had which outcome."""
    families: dict[str, tuple[str, dict[str, str]]] = {}
    found = workloads(document)
    for workload in found:
        for shown in workload.figures:
            name, suffix = _name(shown)
            _, samples = families.setdefault(name, (suffix, {}))
            samples[_labels(_labels_of(workload, shown))] = repr(float(f"{shown.figure.value:.{_DIGITS}g}"))
    told = document.get("counts") or counts([workload.row for workload in found], 0)
    families["gpuprof_budgets"] = ("", {_labels({"outcome": name}): str(count) for name, count in told.items()})
    lines: list[str] = []
    for name, (suffix, samples) in sorted(families.items()):
        lines.append(f"# TYPE {name} gauge")
        if suffix:
            lines.append(f"# UNIT {name} {suffix}")
        lines.append(f"# HELP {name} {_escaped(_HELP.get(name, _help(name, suffix)))}")
        lines += [f"{name}{labels} {value}" for labels, value in samples.items()]
    return "\n".join((*lines, "# EOF")) + "\n"


def _name(shown: ShownFigure) -> tuple[str, str]:
    suffix = _SUFFIXES.get(shown.unit, "")  # type: ignore[call-overload]  # a hook's figure has no unit of ours
    stem = f"gpuprof_{_STEMS.get(shown.name, shown.name)}"
    return (f"{stem}_{suffix}" if suffix else stem), suffix


def _help(name: str, suffix: str) -> str:
    stem = name.removeprefix("gpuprof_").removesuffix(f"_{suffix}" if suffix else "").replace("_", " ")
    return "Budgets by outcome." if name == "gpuprof_budgets" else f"The figure {stem}, as pytest-gpuprof measured it."


def _labels_of(workload: Workload, shown: ShownFigure) -> dict[str, str]:
    labels = {
        "test": workload.test,
        "profile": workload.profile.name,
        "device": shown.leg or "gpu",
        "device_name": shown.device_name,
        "quality": str(shown.figure.quality),
    }
    if shown.figure.rounds and shown.leg is not None:
        labels["stat"] = "median"
    if shown.stand_in:
        labels["stand_in"] = shown.stand_in
    return labels


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
