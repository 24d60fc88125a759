"""What the charts of one workload show, as numbers: everything is computed here, the page only draws. Pure.

Every chart has texts that say the same, for those who do not see it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from pytest_gpuprof.budgets.kinds import KINDS, Kind, figure_name
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Measurement
from pytest_gpuprof.meters.conditions import slow_rounds
from pytest_gpuprof.reports.page.limits import limits_of
from pytest_gpuprof.reports.page.roofline import roofline
from pytest_gpuprof.reports.page.sweep import sweep
from pytest_gpuprof.reports.page.telling import (
    Apart,
    Scale,
    interval_text,
    is_wide,
    quantity,
    rounded,
    without_empty,
    words_of,
)
from pytest_gpuprof.reports.workloads import ShownFigure, Workload, measurement_of, stand_in_of
from pytest_gpuprof.stats.summary import quantile, summarize

__all__ = ["charts_of"]

Chart = dict[str, Any]

_MOST_SAMPLES = 6
"""Of a round with more samples only the extremes and the median are drawn: more dots in one place are one blot."""

_QUARTILES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)

_LANES: Final = (
    ("cpu", "wall_time", "CPU"),
    ("gpu", "wall_time", "GPU"),
    ("gpu", "device_time", "GPU events"),
    ("reference", "wall_time", "reference"),
    ("gpu", "upload_time", "upload"),
    ("gpu", "download_time", "download"),
)

_RATIOS: Final = ("speedup", "device_speedup", "end_to_end_speedup", "speedup_over_reference")

_MEMORY: Final = (
    ("gpu", "memory", "GPU peak above the builder"),
    ("gpu", "workspace", "GPU peak above the call"),
    ("gpu", "output", "GPU output"),
    ("gpu", "reserved", "GPU reserved by the allocator"),
    ("cpu", "memory", "CPU growth of the peak"),
)

_ENERGY: Final = (
    ("gpu", "energy", "GPU board"),
    ("gpu", "net_energy", "GPU board, net of idling"),
    ("gpu", "package_energy", "CPU package, GPU leg"),
    ("cpu", "package_energy", "CPU package, CPU leg"),
)


def charts_of(workload: Workload, kin: Sequence[Workload] = ()) -> dict[str, Chart]:
    """Return the charts that there is something to draw for, by name.

    Args:
        workload: the workload.
        kin: the others of its test: a sweep is told with its largest size, and may have been measured at others only.
    """
    profile = workload.profile
    devices = [each.profile.gpu.device for each in (workload, *kin)]
    stand_in = next(filter(None, map(stand_in_of, devices)), "")
    makers: Mapping[str, Callable[[], Chart | None]] = {
        "times": lambda: _times(profile),
        "ratios": lambda: _ratios(workload),
        "memory": lambda: _readings(profile, _MEMORY, "B"),
        "energy": lambda: _energy(profile),
        "roofline": lambda: roofline(profile),
        "sweep": lambda: sweep(profile.scaling, stand_in),
    }
    return {name: chart for name, make in makers.items() if (chart := make())}


# -- time ---------------------------------------------------------------------------------------------------------


def _times(profile: Profile) -> Chart | None:
    """Return the time per call of every leg: all rounds, their medians, and which of them ran at a low clock."""
    lanes = [
        (measurement_of(profile, leg), leg, metric, title)
        for leg, metric, title in _LANES
        if _is_drawn(measurement_of(profile, leg), metric)
    ]
    if not lanes:
        return None
    medians = [leg.figure(metric) for leg, _, metric, _ in lanes]
    scale = Scale(medians, "s")
    drawn = [_lane(each, leg, metric, title, scale) for each, leg, metric, title in lanes]
    limits = [
        (title, limit, text)
        for _, leg, metric, title in lanes
        for kind in KINDS.values()
        if kind.leg == leg and kind.figure == metric
        for limit, text, stat in limits_of(profile, figure_name(kind))
        if stat in ("median", "mean")  # a percentile is of single calls, and these are samples of many
    ]
    chart = {
        "unit": scale.suffix,
        "log": is_wide([*medians, *(limit for _, limit, _ in limits)]),
        "lanes": drawn,
        "limits": [{"lane": title, "value": scale(limit), "text": text} for title, limit, text in limits],
    }
    return without_empty({**chart, "clock": _clock(profile)})


def _is_drawn(leg: Measurement, metric: str) -> bool:
    """Return whether a time can be drawn: coarse events may tell 0 for a short call, and that is no middle."""
    return bool(leg.per_round(metric)) and leg.figure(metric) > 0


def _lane(leg: Measurement, name: str, metric: str, title: str, scale: Scale) -> Chart:
    reading, rounds = leg.reading(metric), [each for each in leg.rounds if metric in each.samples]
    every = [sample for each in rounds for sample in each.samples[metric]]
    assert reading.value is not None
    noise = summarize(leg.per_round(metric)).noise if len(rounds) > 1 else None
    spread = "" if noise is None else f" ±{noise:.1%}" if noise >= 0.001 else " ±<0.1%"
    most = max(len(each.samples[metric]) for each in rounds)
    near = Apart(reading.value, every)
    return without_empty(
        {
            "name": title,
            "leg": name,
            "text": f"{quantity(reading.value, 's')}{spread}",
            "words": words_of(reading, leg),
            "value": scale(reading.value),
            "rounds": [near.all(_shown(each.samples[metric])) for each in rounds],
            "at": [] if [each.index for each in rounds] == list(range(len(rounds))) else [r.index for r in rounds],
            "medians": near.all(leg.per_round(metric)),
            "box": near.all(quantile(every, part) for part in _QUARTILES),
            "step": near.step,
            "of": most if most > _MOST_SAMPLES else 0,
        }
    )


def _shown(samples: Sequence[float]) -> Sequence[float]:
    return samples if len(samples) <= _MOST_SAMPLES else [quantile(samples, part) for part in (0.0, 0.5, 1.0)]


def _clock(profile: Profile) -> Chart | None:
    """Return the clock of each round, and the rounds in which it was low; or why rounds are not told apart."""
    clocks = profile.gpu.per_round("sm_clock")
    doubts = [each.message for each in profile.cautions if each.code in ("throttled", "unstable clock")]
    if not clocks and not doubts:
        return None
    scale = Scale(clocks, "Hz")
    indices = [each.index for each in profile.gpu.rounds if "sm_clock" in each.samples]
    slow = [indices[place] for place in slow_rounds(clocks)]
    return without_empty(
        {
            "unit": scale.suffix,
            "values": scale.all(clocks),
            "at": indices,
            "slow": slow,
            "doubt": "; ".join(doubts),
            "words": words_of(profile.gpu.reading("sm_clock"), profile.gpu),
        }
    )


# -- ratios -------------------------------------------------------------------------------------------------------


def _ratios(workload: Workload) -> Chart | None:
    """Return every speedup: in each round, as a figure with its interval, and the budgets on it."""
    profile, figures = workload.profile, {each.name: each for each in workload.figures if each.figure.value > 0}
    rows = [_ratio(profile, figures[name]) for name in _RATIOS if name in figures]
    if not rows:
        return None
    values = [each.figure.value for name, each in figures.items() if name in _RATIOS]
    limits = [
        {"row": _title(name), "value": rounded(limit), "text": text}
        for name in _RATIOS
        if name in figures
        for limit, text, _ in limits_of(profile, name)
    ]
    every = [*values, *(limit for name in _RATIOS for limit, *_ in limits_of(profile, name))]
    return without_empty({"rows": rows, "limits": limits, "log": is_wide([*every, 1.0])})


def _ratio(profile: Profile, shown: ShownFigure) -> Chart:
    figure = shown.figure
    interval = interval_text(figure.interval, "x")
    values = profile.ratio_per_round(shown.name)[1]
    near = Apart(figure.value, values)
    return without_empty(
        {
            "name": _title(shown.name),
            "value": rounded(figure.value),
            "interval": None if figure.interval is None else [rounded(each) for each in figure.interval],
            "rounds": near.all(values),
            "step": near.step,
            "text": f"{quantity(figure.value, 'x')}{f' ({interval})' if interval else ''}",
            "words": ", ".join(shown.words),
        }
    )


def _title(figure: str) -> str:
    return KINDS[f"min_{figure}"].title


# -- memory and energy --------------------------------------------------------------------------------------------


def _energy(profile: Profile) -> Chart | None:
    chart = _readings(profile, _ENERGY, "J")
    power = profile.gpu.reading("power")
    if chart is None or power.value is None:
        return chart
    words = words_of(power, profile.gpu)
    return {**chart, "power": f"{quantity(power.value, 'W')}{f' ({words})' if words else ''}"}


def _readings(profile: Profile, wanted: Sequence[tuple[str, str, str]], unit: Any) -> Chart | None:
    """Return figures taken once, side by side, each with its interval and its budget; those not taken say why."""
    found = list(_taken(profile, wanted))
    if not found:
        return None
    limits = [(_of(kind, wanted), each) for kind in KINDS.values() for each in limits_of(profile, figure_name(kind))]
    scale = Scale([reading.value or 0.0 for *_, reading in found], unit)
    rows = [
        without_empty(
            {
                "name": title,
                "leg": leg,
                "value": scale(reading.value),
                "interval": scale.pair(reading.interval),
                "text": _with_interval(quantity(reading.value or 0.0, unit), interval_text(reading.interval, unit)),
                "words": words_of(reading, measurement_of(profile, leg)),
            }
        )
        for leg, _, title, reading in found
    ]
    marks = [
        {"row": title, "value": scale(limit), "text": text}
        for title, (limit, text, _) in limits
        if title is not None and title in {row["name"] for row in rows}
    ]
    return without_empty({"unit": scale.suffix, "rows": rows, "limits": marks})


def _taken(profile: Profile, wanted: Sequence[tuple[str, str, str]]) -> Iterator[tuple[str, str, str, Any]]:
    for leg, metric, title in wanted:
        reading = measurement_of(profile, leg).reading(metric)
        if reading.value is not None:
            yield leg, metric, title, reading


def _of(kind: Kind, wanted: Sequence[tuple[str, str, str]]) -> str | None:
    return next((title for leg, metric, title in wanted if (kind.leg, kind.figure) == (leg, metric)), None)


def _with_interval(text: str, interval: str) -> str:
    return f"{text} ({interval})" if interval else text
