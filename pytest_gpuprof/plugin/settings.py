"""What a run says about measuring: command line over ini over default. Nobody reads ``config`` afterwards."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from pytest_gpuprof.ceilings import Ceilings
from pytest_gpuprof.core.baseline import FILE_NAME
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.job import needs_of
from pytest_gpuprof.plugin.quarantine import EXAMPLE, Quarantined, quarantined, today
from pytest_gpuprof.plugin.switch import option
from pytest_gpuprof.sampling.plan import ENERGY_PRESETS, Plan

__all__ = ["COLUMNS", "Export", "Settings", "budget_rules"]

Policy = Literal["warn", "fail", "skip"]

COLUMNS = (
    "cpu",
    "gpu",
    "device",
    "speedup",
    "reference",
    "over-reference",
    "first",
    "memory",
    "cpu-memory",
    "energy",
    "net-energy",
    "power",
    "throughput",
    "flop-rate",
    "bandwidth",
    "compute-utilization",
    "bandwidth-utilization",
    "workspace",
    "reserved",
    "leak",
    "verdict",
    "headroom",
)
"""The columns of the table, by the names of ``--gpu-profile-columns``."""


@dataclass(frozen=True, slots=True)
class Export:
    """One ``--gpu-profile-export=FORMAT:PATH``, or one that an option of its own stands for.

    Args:
        format: by its name.
        path: of the file.
        option: as it was given, for errors.
    """

    format: str
    path: str
    option: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a run; each is an option of the same name."""

    only: bool
    plan_only: bool
    devices: tuple[str, ...]
    backend: str | None
    metrics: tuple[str, ...] | None
    energy: str
    plan: Plan
    session_time_s: float
    inconclusive: Policy
    unavailable: Policy | None
    strict: bool
    exports: tuple[Export, ...]
    columns: tuple[str, ...] | None
    sort: str | None
    group_by: str | None
    xdist: Literal["lock", "assign", "off"]
    workers: int
    worker: str | None
    budgets: tuple[tuple[str, Mapping[str, Any]], ...]
    peaks: Mapping[str, Mapping[str, Any]]
    store: str | None
    baselines: str
    compare: str | None
    compare_figures: tuple[str, ...]
    max_regression: str
    missing_baseline: Literal["warn", "fail"]
    quarantine: tuple[Quarantined, ...]
    changed_since: str | None
    evidence: str | None
    evidence_paths: tuple[str, ...]
    github: bool
    progress: bool

    @classmethod
    def of(cls, config: pytest.Config) -> Settings:
        """Return the settings of a run.

        Raises:
            UsageError: if one of them cannot be meant.
        """

        def get(name: str) -> Any:
            return option(config, f"gpu_profile_{name}")

        metrics = _list(get("metrics"))
        needs_of(metrics)
        columns = _list(get("columns"))
        for column in columns or ():
            _one_of("--gpu-profile-columns", column, COLUMNS)
        energy = _choice("energy", get("energy"), tuple(ENERGY_PRESETS)) or "standard"
        rounds, least = _whole("rounds", get("rounds")), _whole("min-rounds", get("min_rounds"))
        strict = bool(get("strict"))
        workers, worker = _workers(config)
        unavailable = _choice("unavailable", get("unavailable"), ("skip", "warn", "fail"))
        return cls(
            only=bool(get("only")),
            plan_only=bool(get("plan")),
            devices=_list(get("devices")) or (),
            backend=get("backend") or None,
            metrics=metrics,
            energy=energy,
            plan=Plan(**ENERGY_PRESETS[energy]).with_(
                rounds=rounds,
                min_rounds=least,
                max_time_s=_seconds("max-time", get("max_time")),
                warmup_cap_s=_seconds("warmup", get("warmup")),
                cache=_choice("cache", get("cache"), ("hot", "cold")),
            ),
            session_time_s=_seconds("session-time", get("session_time")) or math.inf,
            inconclusive="fail"
            if strict
            else _choice("inconclusive", get("inconclusive"), ("warn", "fail", "skip")) or "warn",
            unavailable="fail" if strict else unavailable,
            strict=strict,
            exports=(*(_export(each) for each in get("export") or ()), *_page(get("html"))),
            columns=columns,
            sort=_choice("sort", get("sort"), ("name", "speedup", "time", "headroom")),
            group_by=_choice("group-by", get("group_by"), ("file", "device")),
            xdist=_choice("xdist", get("xdist"), ("lock", "assign", "off")) or "lock",
            workers=workers,
            worker=worker,
            budgets=tuple(budget_rules(config.getini("gpu_profile_budgets") or ())),
            peaks=_peaks(get("peaks") or ()),
            store=get("store") or None,
            baselines=get("baselines") or FILE_NAME,
            compare=get("compare") or None,
            compare_figures=_list(get("compare_figures")) or ("gpu_time",),
            max_regression=get("max_regression") or "5%",
            missing_baseline=_choice("missing-baseline", get("missing_baseline"), ("warn", "fail"))
            or ("fail" if strict else "warn"),
            quarantine=quarantined(
                budget_rules(config.getini("gpu_profile_quarantine") or (), "gpu_profile_quarantine", EXAMPLE), today()
            ),
            changed_since=get("changed_since") or None,
            evidence=get("from") or None,
            evidence_paths=tuple(config.getini("gpu_profile_evidence_paths") or ()),
            github=_choice("github", get("github"), ("auto", "off")) != "off"
            and os.environ.get("GITHUB_ACTIONS") == "true",
            progress=_choice("progress", get("progress"), ("auto", "off")) != "off",
        )

    @property
    def is_controller(self) -> bool:
        """Whether this process hands tests to xdist workers and measures nothing itself."""
        return bool(self.workers) and self.worker is None


def _workers(config: pytest.Config) -> tuple[int, str | None]:
    """Return how many xdist workers there are, and which one this is; 0 and ``None`` without xdist."""
    workerinput: Mapping[str, Any] | None = getattr(config, "workerinput", None)
    if workerinput is not None:  # the environment variable leaks into nested runs; this does not
        return int(workerinput.get("workercount", 1)), str(workerinput.get("workerid", "gw0"))
    if config.getoption("dist", "no") == "no":
        return 0, None
    return len(config.getoption("tx", None) or ()) or 1, None


def _list(text: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    parts = text.replace(",", " ").split() if isinstance(text, str) else text
    return tuple(part.strip() for part in parts if part.strip())


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"{name} has {value!r}; it takes {', '.join(known)}")


def _choice(name: str, value: str | None, known: Sequence[Any]) -> Any:
    if value in (None, ""):
        return None
    _one_of(f"--gpu-profile-{name}", str(value), known)
    return value


def _seconds(name: str, value: float | None) -> float | None:
    if value is None:
        return None
    if not 0 < value < math.inf:
        raise UsageError(f"--gpu-profile-{name} is {value}; it takes seconds above 0")
    return float(value)


def _whole(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise UsageError(f"--gpu-profile-{name} is {value}; it takes a whole number above 0")
    return value


def _export(text: str) -> Export:
    kind, colon, path = text.strip().partition(":")
    if not colon or not path:
        raise UsageError(f"--gpu-profile-export={text} names no file; write FORMAT:PATH, e.g. json:gpu.json")
    return Export(kind.strip(), path.strip(), f"--gpu-profile-export={kind.strip()}:{path.strip()}")


def _page(path: str | None) -> tuple[Export, ...]:
    return (Export("html", path, f"--gpu-profile-html={path}"),) if path else ()


def check_exports(exports: Sequence[Export], formats: Sequence[str], base: Path) -> None:
    """Find out now, not after hours of measuring, that an export cannot be written.

    Raises:
        UsageError: for an unknown format or a path that cannot be written.
    """
    for export in exports:
        _one_of("--gpu-profile-export", export.format, formats)
        target = base / export.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            existed = target.exists()
            with target.open("a", encoding="utf-8"):
                pass
            if not existed:
                target.unlink()
        except OSError as error:
            raise UsageError(
                f"{export.option} cannot be written ({error.strerror or error}); name a file in a folder you may write "
                "to"
            ) from error


# The pattern may hold ":" and "=" (a node id does), so it ends at the first colon with "keyword=" behind it.
_RULE = re.compile(r"\s*(?P<pattern>\S.*?)\s*:(?P<budgets>\s*[^\W\d]\w*\s*=.*)")


def _peaks(lines: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Return the peaks by device; what they mean is found out now, not after measuring."""
    peaks: dict[str, Mapping[str, Any]] = {}
    for device, rates in budget_rules(lines, "gpu_profile_peaks", "NVIDIA H200: bandwidth=4.8 TB/s"):
        peaks[device] = {**peaks.get(device, {}), **rates}
    Ceilings(peaks)
    return peaks


def budget_rules(
    lines: Sequence[str], name: str = "gpu_profile_budgets", example: str = "tests/kernels/*: min_speedup=2"
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the ini's budgets as pairs of pattern and keywords, in their order; peaks are written in the same way.

    A line reads ``PATTERN: keyword=value, keyword=value``. A value with a comma in it is quoted. The pattern is matched
    against the node id and its parts; ``*`` matches anything, and ``[`` is literal.

    Raises:
        UsageError: for a line of another form.

    >>> budget_rules(["tests/kernels/*: min_speedup=2, max_gpu_memory=2 GiB"])
    [('tests/kernels/*', {'min_speedup': 2, 'max_gpu_memory': '2 GiB'})]
    """
    rules: list[tuple[str, Mapping[str, Any]]] = []
    for line in lines:
        match = _RULE.fullmatch(line)
        if match is None:
            raise UsageError(f"{name} has the line {line!r}; write PATTERN: keyword=value, e.g. {example}")
        rules.append((match["pattern"], dict(_assignments(match["budgets"], line, name))))
    return rules


def _assignments(text: str, line: str, name: str) -> list[tuple[str, Any]]:
    found = []
    for part in _split(text):
        keyword, equals, value = part.partition("=")
        if not equals or not keyword.strip().isidentifier():
            raise UsageError(
                f"{name} has {part.strip()!r} in the line {line!r}; write keyword=value, and quote a value that has a "
                "comma"
            )
        found.append((keyword.strip(), _value(value.strip())))
    return found


def _split(text: str) -> list[str]:
    """Return the parts between commas that stand outside quotes."""
    parts, quote = [""], ""
    for character in text:
        if character in "'\"":
            quote = "" if character == quote else quote or character
        if character == "," and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part.strip()]


def _value(text: str) -> Any:
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    words: Mapping[str, Any] = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for number in (int, float):
        convert: Callable[[str], Any] = number
        try:
            return convert(text)
        except ValueError:
            continue
    return text
