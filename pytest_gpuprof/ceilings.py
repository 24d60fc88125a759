"""Which peak holds for a device: the one that somebody gave, else the calibrated one, else the one its facts tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_gpuprof.budgets.budget import key_for
from pytest_gpuprof.core.environment import DeviceInfo
from pytest_gpuprof.core.errors import BudgetError, UsageError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.quantities import PRECISIONS, Unit, format_quantity, parse_quantity
from pytest_gpuprof.core.results import Caution, Reading, spoils
from pytest_gpuprof.stats.peaks import Facts, derived_peaks
from pytest_gpuprof.storage.calibrations import Calibration, Calibrations

__all__ = ["Ceilings", "beyond_peak", "rate_unit"]

_TOLERANCE = 1.03
"""A peak that was measured is known to a few percent, and so is the time: less than this above it proves nothing."""

_RATES = {"flops": "FLOP rate", "bytes": "bandwidth"}


def rate_unit(rate: str) -> Unit:
    """Return the unit of a rate: bytes per second for ``"bandwidth"``, FLOP/s for a precision."""
    return "B/s" if rate == "bandwidth" else "FLOP/s"


class Ceilings:
    """The peaks of devices.

    Args:
        given: rates by device name, e.g. ``{"NVIDIA H200": {"bandwidth": "4.8 TB/s"}}``; keys match
            as those of a budget do, and a rate may be a number in base units.
        calibrations: the measured ones; ``None`` for this user's.

    Raises:
        UsageError: for a rate that does not exist or cannot be meant.
    """

    def __init__(
        self, given: Mapping[str, Mapping[str, Any]] | None = None, calibrations: Calibrations | None = None
    ) -> None:
        self._given = {device: _rates(device, rates) for device, rates in (given or {}).items()}
        self._calibrations = calibrations or Calibrations()

    def of(self, info: DeviceInfo, facts: Facts, precision: str) -> tuple[Mapping[str, Reading], tuple[Caution, ...]]:
        """Return the peaks of a device, ``"flops"`` for this precision and ``"bytes"``, and the doubts about them.

        Args:
            info: the device.
            facts: what identifies the machine and its board, as in a record's environment.
            precision: one of :data:`~pytest_gpuprof.core.quantities.PRECISIONS`.
        """
        peaks = dict(derived_peaks(facts, precision))
        doubts: tuple[Caution, ...] = ()
        key = key_for(info, self._given)
        given = {} if key is None else self._given[key]
        names = {"flops": precision, "bytes": "bandwidth"}
        if not all(rate in given for rate in names.values()):
            try:
                found = self._calibrations.of(info, facts)
            except UsageError as error:
                found = Reading.unavailable(str(error))
                message, _, remedy = str(error).rpartition("; ")
                doubts = (Caution("calibration", message, remedy),)
            if isinstance(found, Calibration):
                peaks |= {what: _calibrated(found, rate) for what, rate in names.items() if rate in found.rates}
        for what, rate in names.items():
            if rate in given:
                peaks[what] = Reading(given[rate], quality="given", source="by gpu_profile_peaks")
        return peaks, doubts


def _rates(device: str, rates: Mapping[str, Any]) -> Mapping[str, float]:
    known = ("bandwidth", *PRECISIONS)
    for rate in rates:
        if rate not in known:
            raise UsageError(f"the peaks of {device!r} have {rate!r}; there are {', '.join(known)}")
    try:
        return {
            rate: parse_quantity(value, rate_unit(rate), what=f"the {rate} peak of {device!r}")
            for rate, value in rates.items()
        }
    except BudgetError as error:  # a quantity that is no budget's
        raise UsageError(str(error)) from None


def _calibrated(calibration: Calibration, rate: str) -> Reading:
    measured = calibration.rates[rate]
    source = f"on {calibration.date}, {measured.source}" if measured.source else f"on {calibration.date}"
    return Reading(measured.value, interval=measured.interval, quality=measured.quality, source=source)


def beyond_peak(profile: Profile) -> tuple[Caution, ...]:
    """Return the doubts about a profile that reaches more than its device can do."""
    found = []
    for figure, what in (("compute_utilization", "flops"), ("bandwidth_utilization", "bytes")):
        reached = profile.ratio(figure)
        if reached.value is None or reached.value <= _TOLERANCE:
            continue
        reason = (
            "check flops= and precision=" if what == "flops" else "check bytes=: what stays in a cache is not moved"
        )
        found.append(
            Caution(
                "beyond peak",
                f"it reached {format_quantity(reached.value, 'share')} of the peak {_RATES[what]}, more than there is",
                f"{reason}, or correct the peak with gpu_profile_peaks or pytest-gpuprof calibrate",
                spoils("utilization"),
                frozenset({"gpu"}),
            )
        )
    return tuple(found)
