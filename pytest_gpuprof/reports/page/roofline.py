"""Where a workload lies under the roofline of its device (Williams, Waterman and Patterson, CACM 52(4), 2009). Pure."""

from __future__ import annotations

from typing import Any

from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.reports.page.telling import quantity, rounded, without_empty, words_of

__all__ = ["roofline"]

_WORDS = {"measured": "calibrated"}
"""How a peak that was measured is called, as in a verdict's sentence."""

_BEYOND = 30.0
"""The chart reaches this factor to either side of the ridge and of the workload, so that both slopes are seen."""


def roofline(profile: Profile) -> dict[str, Any] | None:
    """Return the roof and the workload's place under it, or why there is none; ``None`` where no work is declared."""
    if profile.flops is None and profile.bytes is None and not profile.counts_flops:
        return None
    intensity = profile.ratio("intensity")
    rates = {name: profile.ratio(name) for name in ("device_flop_rate", "flop_rate")}
    over, rate = next(
        ((n, each) for n, each in rates.items() if each.value is not None), ("flop_rate", rates["flop_rate"])
    )
    peaks = {
        what: profile.peaks.get(what) or Reading.unavailable("nobody looked for it") for what in ("flops", "bytes")
    }
    for what, part in (
        ("its arithmetic intensity", intensity),
        ("its FLOP rate", rate),
        ("the peak FLOP rate", peaks["flops"]),
        ("the peak bandwidth", peaks["bytes"]),
    ):
        if part.value is None:
            return {"unavailable": f"no roofline: {what} is unavailable, because {part.reason}"}
    flops, moved = peaks["flops"].value, peaks["bytes"].value
    assert flops and moved and intensity.value and rate.value
    ridge = flops / moved
    low, high = min(ridge, intensity.value) / _BEYOND, max(ridge, intensity.value) * _BEYOND
    bound = profile.ratio("roofline")
    words = words_of(rate, profile.gpu)
    time = "device time" if over == "device_flop_rate" else "wall time"
    return without_empty(
        {
            "roof": [[rounded(x), rounded(min(flops, x * moved))] for x in (low, ridge, high)],
            "labels": [
                f"{quantity(moved, 'B/s')} {_peak(peaks['bytes'])}",
                f"{quantity(flops, 'FLOP/s')} {profile.precision} {_peak(peaks['flops'])}",
            ],
            "point": [rounded(intensity.value), rounded(rate.value)],
            "ceiling": rounded(min(flops, intensity.value * moved)),
            "text": f"{quantity(rate.value, 'FLOP/s')} over {time}, {quantity(intensity.value, 'FLOP/B')}",
            "bound": bound.source,
            "words": words,
            "sources": "; ".join(dict.fromkeys(each.source for each in peaks.values() if each.source)),
            "alt": f"{quantity(rate.value, 'FLOP/s')} at {quantity(intensity.value, 'FLOP/B')}, {bound.source}"
            f"{f', {words}' if words else ''}",
        }
    )


def _peak(reading: Reading) -> str:
    return f"peak ({_WORDS.get(reading.quality, reading.quality)})"
