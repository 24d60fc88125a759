"""From records to the table a person reads: one row per workload, one unit per column, medians with their noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_gpuprof.core.efficiency import FIGURES
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.quantities import Unit, format_number, scale_for
from pytest_gpuprof.core.results import Measurement, Reading
from pytest_gpuprof.stats.summary import summarize
from pytest_gpuprof.storage.matching import short_id

__all__ = ["Remark", "Row", "cells", "counts", "describe_comparison", "describe_counts", "remarks", "tables"]


@dataclass(frozen=True, slots=True)
class Row:
    """One profile of one test.

    Args:
        test: node id.
        outcome: of the test, as pytest tells it.
        profile: what was measured.
        many: whether the test has several profiles, so that the row must say which.
    """

    test: str
    outcome: str
    profile: Profile
    many: bool = False

    @property
    def name(self) -> str:
        """How the table calls it: the test without its folders, and the profile where the test has several."""
        short = short_id(self.test)
        return f"{short} {self.profile.name}" if self.many else short

    @property
    def where(self) -> str:
        """The device, with the word a stand-in carries, and what the speedup is against."""
        return _where(self.profile)


@dataclass(frozen=True, slots=True)
class Remark:
    """One sentence below the table.

    Args:
        text: the sentence.
        colour: how to show it on a terminal that has colours, ``None`` for plainly.
    """

    text: str
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    unit: Unit
    reading: Callable[[Profile], Reading]
    noise: Callable[[Profile], Sequence[float]] = lambda profile: ()


def _samples(leg: Callable[[Profile], Measurement], metric: str) -> Callable[[Profile], Sequence[float]]:
    return lambda profile: leg(profile).per_round(metric)


def _cpu(profile: Profile) -> Measurement:
    return profile.cpu


def _gpu(profile: Profile) -> Measurement:
    return profile.gpu


def _reference(profile: Profile) -> Measurement:
    return profile.reference


def _work(figure: str, title: str) -> _Column:
    unit = FIGURES[figure].unit
    return _Column(title, unit, lambda p: p.ratio(figure), lambda p: p.ratio_per_round(figure)[1])


_COLUMNS: Mapping[str, _Column] = {
    "cpu": _Column("CPU", "s", lambda p: p.cpu.reading("wall_time"), _samples(_cpu, "wall_time")),
    "gpu": _Column("GPU", "s", lambda p: p.gpu.reading("wall_time"), _samples(_gpu, "wall_time")),
    "device": _Column("GPU events", "s", lambda p: p.gpu.reading("device_time"), _samples(_gpu, "device_time")),
    "speedup": _Column("speedup", "x", lambda p: p.ratio("speedup"), lambda p: p.ratio_per_round("speedup")[1]),
    "reference": _Column(
        "reference", "s", lambda p: p.reference.reading("wall_time"), _samples(_reference, "wall_time")
    ),
    "over-reference": _Column(
        "over reference",
        "x",
        lambda p: p.ratio("speedup_over_reference"),
        lambda p: p.ratio_per_round("speedup_over_reference")[1],
    ),
    "first": _Column("first call", "s", lambda p: p.gpu.reading("first_call")),
    "memory": _Column("GPU memory", "B", lambda p: p.gpu.reading("memory")),
    "cpu-memory": _Column("CPU memory", "B", lambda p: p.cpu.reading("memory")),
    "energy": _Column("energy", "J", lambda p: p.gpu.reading("energy")),
    "net-energy": _Column("net energy", "J", lambda p: p.gpu.reading("net_energy")),
    "power": _Column("power", "W", lambda p: p.gpu.reading("power")),
    "throughput": _work("throughput", "items"),
    "flop-rate": _work("flop_rate", "FLOP rate"),
    "bandwidth": _work("bandwidth", "bandwidth"),
    "compute-utilization": _work("compute_utilization", "of peak FLOP"),
    "bandwidth-utilization": _work("bandwidth_utilization", "of peak bandwidth"),
    "workspace": _Column("GPU workspace", "B", lambda p: p.gpu.reading("workspace")),
    "reserved": _Column("GPU reserved", "B", lambda p: p.gpu.reading("reserved")),
    "leak": _Column("GPU leak", "B", lambda p: p.gpu.reading("leak")),
}

_ALWAYS = ("cpu", "gpu", "speedup", "over-reference", "cpu-memory", "memory", "energy", "net-energy",
           "compute-utilization", "bandwidth-utilization")  # fmt: skip
"""Columns that are shown by themselves if any row has something to say in them; the others are shown when named."""

_BASE_DIGITS = 3
"""Significant digits of a figure: its noise is rarely below one in a thousand."""


_FINE_NOISE = 0.01
_LEAST_NOISE = 0.001
"""Noise below 1 % is shown with a decimal, and below 0.1 % as such: "±0%" would claim that there was none."""


def tables(
    rows: Sequence[Row], columns: Sequence[str] | None, sort: str | None, group_by: str | None, ascii_only: bool
) -> list[tuple[str, str]]:
    """Return the tables as pairs of a title (maybe empty) and text.

    Args:
        rows: in the order in which they ran.
        columns: which to show, ``None`` for those that have something to say.
        sort: ``"name"``, ``"speedup"`` (best first) or ``"time"`` (longest GPU time first); ``None`` leaves the order.
        group_by: ``"file"`` or ``"device"`` for one table each.
        ascii_only: whether the terminal can show no other characters.
    """
    if not rows:
        return []
    groups: dict[str, list[Row]] = {}
    for row in _sorted(rows, sort):
        groups.setdefault(_group(row, group_by), []).append(row)
    return [(title, _ascii(_table(group, columns), ascii_only)) for title, group in groups.items()]


def _sorted(rows: Sequence[Row], sort: str | None) -> list[Row]:
    if sort == "name":
        return sorted(rows, key=lambda row: row.name)
    if sort == "speedup":
        return sorted(rows, key=lambda row: -(row.profile.ratio("speedup").value or 0.0))
    if sort == "time":
        return sorted(rows, key=lambda row: -(row.profile.gpu.reading("wall_time").value or 0.0))
    return list(rows)


def _group(row: Row, group_by: str | None) -> str:
    if group_by == "file":
        return row.test.partition("::")[0]
    if group_by == "device":
        device = row.profile.gpu.device
        return "no accelerator" if device is None else f"{device.id} {device.label}"
    return ""


def cells(rows: Sequence[Row], columns: Sequence[str] | None = None) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the heads and the rows of the table, from test to device, as texts.

    Args:
        rows: in the order in which they are shown.
        columns: which to show, ``None`` for those that have something to say.
    """
    shown = [name for name in columns or _ALWAYS if name in _COLUMNS and (columns or _has_any(rows, name))]
    heads, found = ["test"], [[row.name for row in rows]]
    for name in shown:
        head, column = _cells(_COLUMNS[name], [row.profile for row in rows])
        heads.append(head)
        found.append(column)
    if columns is None or "verdict" in columns:
        heads.append("budgets")
        found.append([_budgets(row.profile) for row in rows])
    heads.append("on")
    found.append([_where(row.profile) for row in rows])
    return heads, list(zip(*found, strict=True))


_OF_WORDS = frozenset({"test", "budgets", "on"})
"""Columns that hold words, which are aligned to the left; figures are aligned to the right."""


def _table(rows: Sequence[Row], columns: Sequence[str] | None) -> str:
    from tabulate import tabulate

    heads, found = cells(rows, columns)
    text: str = tabulate(
        found,
        headers=heads,
        tablefmt="simple",
        disable_numparse=True,
        colalign=tuple("left" if head in _OF_WORDS else "right" for head in heads),
    )
    return text


def _has_any(rows: Sequence[Row], name: str) -> bool:
    return any(_COLUMNS[name].reading(row.profile).value is not None for row in rows)


def _cells(column: _Column, profiles: Sequence[Profile]) -> tuple[str, list[str]]:
    """Return the head with the column's one unit, and the cells in it."""
    readings = [column.reading(profile) for profile in profiles]
    suffix, factor = scale_for([reading.value for reading in readings if reading.value is not None], column.unit)
    head = column.title if column.unit == "x" else f"{column.title} [{suffix}]"
    return head, [
        _cell(reading, factor, "x" if column.unit == "x" else "", column.noise(profile))
        for reading, profile in zip(readings, profiles, strict=True)
    ]


def _cell(reading: Reading, factor: float, suffix: str, samples: Sequence[float]) -> str:
    if reading.value is None:
        return "-"
    text = f"{format_number(reading.value / factor, _BASE_DIGITS)}{suffix}"
    noise = summarize(samples).noise if len(samples) > 1 else None
    if noise is None:
        return text
    if noise < _LEAST_NOISE:
        return f"{text} ±<{_LEAST_NOISE:.1%}"
    return f"{text} ±{noise:.1%}" if noise < _FINE_NOISE else f"{text} ±{noise:.0%}"


def _budgets(profile: Profile) -> str:
    if not profile.verdicts:
        return "-"
    order = ("missed", "inconclusive", "unavailable", "not enforced", "met")
    found = [verdict.outcome for verdict in profile.verdicts]
    parts = [f"{found.count(outcome)} {outcome}" for outcome in order if outcome in found]
    return ", ".join(parts)


def _where(profile: Profile) -> str:
    """Return the device of the row, with the word a stand-in carries, and what the speedup is against."""
    device = profile.gpu.device
    if device is None:
        return "CPU only"
    label = str(device.id) if device.why_stand_in is None else f"{device.id} ({device.why_stand_in})"
    return label if profile.cpu.device is None else f"{label} vs {_threads(profile)}, compute only"


def _threads(profile: Profile) -> str:
    return f"{profile.threads} thread{'s' if profile.threads != 1 else ''}"


def remarks(rows: Sequence[Row], ascii_only: bool) -> list[Remark]:
    """Return a sentence for each budget that was missed or could not be judged, and for each doubt.

    What is the same for several tests is said once: no GPU for all budgets that need one, a doubt with their number.
    """
    said: dict[tuple[str, str | None], list[str]] = {}
    without: dict[str, list[str]] = {}
    for row in rows:
        for verdict in row.profile.verdicts:
            if verdict.outcome == "unavailable" and verdict.cause == "no device":
                without.setdefault(verdict.sentence.partition(": ")[2], []).append(row.name)
            elif verdict.outcome != "met":
                colour = "red" if verdict.outcome == "missed" else "yellow"
                said.setdefault((f"{verdict.outcome}: {verdict.sentence}", colour), []).append(row.name)
        if (board_only := _board_only(row.profile)) is not None:
            said.setdefault((board_only, None), []).append(row.name)
        doubts = [caution for caution in row.profile.cautions if str(caution.message) not in _told(row.profile)]
        for caution in doubts:
            said.setdefault((f"caution: {caution}", None), []).append(row.name)
    found = [Remark(f"{_names(names)} {text}", colour) for (text, colour), names in said.items()]
    found += [Remark(_without_device(reason, names), "yellow") for reason, names in without.items()]
    return [Remark(_ascii(remark.text, ascii_only), remark.colour) for remark in found]


def _board_only(profile: Profile) -> str | None:
    """Return what an energy leaves out, where the package's was wanted too and cannot be read."""
    board, package = profile.gpu.reading("energy"), profile.gpu.reading("package_energy")
    if board.value is None or package.value is not None or package.cause != "no reading":
        return None
    return f"energy is that of the GPU board only: the CPU package's is unavailable, because {package.reason}"


def _without_device(reason: str, names: Sequence[str]) -> str:
    tests = len(set(names))
    budgets = f"{len(names)} budget{'s' if len(names) > 1 else ''} of {tests} test{'s' if tests > 1 else ''}"
    return f"unavailable: {budgets} cannot be judged: {reason}"


def _told(profile: Profile) -> str:
    return " ".join(verdict.sentence for verdict in profile.verdicts if verdict.outcome == "inconclusive")


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def counts(rows: Sequence[Row], unjudged: int) -> dict[str, int]:
    """Return how many budgets were met, missed, inconclusive and not enforced.

    Args:
        rows: what was measured.
        unjudged: budgets of tests that measured nothing.
    """
    outcomes = [verdict.outcome for row in rows for verdict in row.profile.verdicts]
    return {
        "met": outcomes.count("met"),
        "missed": outcomes.count("missed"),
        "inconclusive": outcomes.count("inconclusive"),
        "not enforced": outcomes.count("unavailable") + outcomes.count("not enforced") + unjudged,
    }


def describe_comparison(told: Mapping[str, Any]) -> str:
    """Return how a run compares with what was, in one line.

    Args:
        told: the document's ``"comparison"``.

    >>> describe_comparison({"reference": "base.json", "changes": {"regressed": 1, "same": 2}})
    'compared with base.json: 1 regressed, 2 same'
    """
    counted = ", ".join(f"{count} {change}" for change, count in told["changes"].items()) or "nothing"
    return f"compared with {told['reference']}: {counted}"


def describe_counts(found: Mapping[str, int]) -> str:
    """Return the counts in one line."""
    return "budgets: " + ", ".join(f"{count} {outcome}" for outcome, count in found.items())


def _ascii(text: str, ascii_only: bool) -> str:
    if not ascii_only:
        return text
    for fancy, plain in (("µ", "u"), ("±", "+-"), ("×", "x"), ("÷", "/"), ("…", "..."), ("–", "-")):
        text = text.replace(fancy, plain)
    return text.encode("ascii", "replace").decode("ascii")
