"""The energy of the CPU packages, from RAPL, the counters that Linux shows under ``/sys/class/powercap``.

Counted are the packages only. The domains ``core`` and ``uncore`` lie inside a package; ``dram`` lies outside and many
machines lack it; ``psys`` overlaps them all; ``intel-rapl-mmio`` is the first package a second time. AMD's processors
show the same tree. A package is counted whole, whichever process it works for.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_gpuprof.core.results import Reading

__all__ = ["PackageCounter", "open_packages"]

_PROBE_S = 0.15
"""How long the counters are watched before they are trusted: 150 refreshes, and some joules at any power."""

_MOST_WATTS = 400.0
"""More than a package draws over a window: server parts are rated at up to about this."""

_IMPOSSIBLE_WATTS = 1000.0
"""Twice the rating of the largest server parts: a counter that was reset looks as if it had wrapped, and shows more."""

_DOMAIN = re.compile(
    r"intel-rapl:\d+"
)  # whole packages and psys; parts have a second number, duplicates another prefix


def open_packages(
    root: Path = Path("/sys/class/powercap"), *, spin: Callable[[float], None] | None = None
) -> PackageCounter | Reading:
    """Return the energy counter of all CPU packages together.

    The counters are watched over some CPU work first: virtual machines may show counters that never move.

    Args:
        root: where the kernel shows its power zones.
        spin: keeps a core busy for some seconds; by default, a loop.

    Returns:
        The counter; or the reading that says why there is none, and what to do.
    """
    try:
        packages = [_Package.of(zone) for zone in _package_zones(root)]
        if not packages:
            return Reading.unavailable(
                f"there is no RAPL under {root} (a virtual machine, or not Linux?); measure CPU energy on the machine "
                "itself, with the kernel module intel_rapl_msr"
            )
        before = [package.energy_uj() for package in packages]
        (spin or _spin)(_PROBE_S)
        frozen = [package for package, uj in zip(packages, before, strict=True) if package.energy_uj() == uj]
    except (OSError, ValueError) as error:
        return _unreadable(error, root)
    if frozen:
        return Reading.unavailable(
            f"RAPL is present but does not count in {frozen[0].zone.name} (a virtual machine?); measure CPU energy on "
            "the machine itself"
        )
    return PackageCounter(packages, root)


def _package_zones(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    zones = [zone for zone in root.iterdir() if _DOMAIN.fullmatch(zone.name)]
    # "package-0", or "package-0-die-1" on a package of several dies
    return sorted(zone for zone in zones if (zone / "name").read_text(encoding="ascii").startswith("package-"))


@dataclass(frozen=True, slots=True)
class _Package:
    """One package's counter, which counts microjoules up to its range and then starts again."""

    zone: Path
    range_uj: int

    @classmethod
    def of(cls, zone: Path) -> _Package:
        return cls(zone, _integer(zone / "max_energy_range_uj"))

    def energy_uj(self) -> int:
        return _integer(self.zone / "energy_uj")


class PackageCounter:
    """The joules of all packages, without the wrap-arounds; :func:`open_packages` makes it.

    Each package wraps by itself, which their sum would not show. So each reading adds to a running total what every
    package has counted since the reading before, and the total never wraps.
    """

    period_s = 1e-3
    """The counters are renewed about every millisecond (Intel SDM, volume 3, "Package RAPL Domain")."""

    gain_error = 0.05
    """Nobody specifies it. Since Haswell RAPL measures instead of modelling, and follows a power meter within a few
    percent: Hackenberg et al., 2015, doi:10.1109/IPDPSW.2015.70; Khan et al., 2018, doi:10.1145/3177754. Where it still
    models (AMD's Zen), it may err by more."""

    def __init__(self, packages: Sequence[_Package], root: Path) -> None:
        self._packages = tuple(packages)
        self._root = root
        self._last_uj: Sequence[int] | None = None
        self._total_uj = 0

    def read(self) -> Reading:
        """Return joules since the first reading. A reading that fails loses nothing: the next one catches up."""
        try:
            now_uj = [package.energy_uj() for package in self._packages]
        except (OSError, ValueError) as error:
            return _unreadable(error, self._root)
        for package, last, now in zip(self._packages, self._last_uj or now_uj, now_uj, strict=True):
            self._total_uj += now - last if now >= last else now - last + package.range_uj
        self._last_uj = now_uj
        return Reading(self._total_uj * 1e-6)

    def used_j(self, before: float, after: float, seconds: float) -> Reading:
        """Return the joules between two readings ``seconds`` apart.

        A window so long that a counter may have wrapped more than once is refused: that is not seen from its ends.
        """
        longest_s = min(package.range_uj for package in self._packages) * 1e-6 / _MOST_WATTS
        if seconds > longest_s:
            return Reading.unavailable(
                f"RAPL may have wrapped around unseen in {seconds:.0f} s; measure windows of at most {int(longest_s)} s"
            )
        if after - before > len(self._packages) * _IMPOSSIBLE_WATTS * max(seconds, self.period_s):
            return Reading.unavailable(
                f"RAPL went up by {after - before:.0f} J in {seconds:.3g} s, more than the processor can draw: it was "
                "reset, by a suspension for instance; measure again"
            )
        if after > before:
            return Reading(after - before)
        return Reading.unavailable(
            f"the RAPL counter did not advance in {seconds:.3g} s (it is renewed every {self.period_s * 1e3:g} ms); "
            "measure more calls at once"
        )


def _integer(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))


def _unreadable(error: Exception, root: Path) -> Reading:
    if isinstance(error, PermissionError):
        return Reading.unavailable(
            f"RAPL may be read by root only (CVE-2020-8694); allow it until the next boot with sudo chmod a+r "
            f"{root}/intel-rapl:*/energy_uj"
        )
    return Reading.unavailable(
        f"RAPL cannot be read ({type(error).__name__}: {error}); see what cat {root}/intel-rapl:*/energy_uj says"
    )


def _spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
