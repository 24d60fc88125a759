"""Every seam of the package on one page.

A seam has at most four methods; what is a property here may be a plain attribute there. An ability that something lacks
is simply not offered: the attribute is ``None``. Each seam has a fake: :mod:`pytest_gpuprof.backends.simulated` offers
a clock, devices, timers, memory and a board.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Environment
from pytest_gpuprof.core.quantities import Metric
from pytest_gpuprof.core.results import Reading, Round

__all__ = [
    "Arrays",
    "Backend",
    "Backlog",
    "Board",
    "Clock",
    "Conditions",
    "Device",
    "EnergyCounter",
    "Meter",
    "PeakMemory",
    "RandomState",
    "Report",
    "Span",
    "StoppingRule",
    "Threads",
    "Timer",
]


class Clock(Protocol):
    """The host's clock."""

    def now(self) -> float:
        """Return seconds on a monotonic clock."""

    def sleep(self, seconds: float) -> None:
        """Wait that long."""


class Timer(Protocol):
    """Events on a device's own clock."""

    def mark(self) -> Any:
        """Enqueue an event on the current stream and return it at once."""

    def wait(self, mark: Any) -> None:
        """Return when the device has passed the event."""

    def elapsed_s(self, start: Any, end: Any) -> float:
        """Return the seconds between two events that the device has passed."""


class Backlog(Protocol):
    """Something finite that keeps the device busy, so that what is enqueued behind it is not seen being launched."""

    def __call__(self, seconds: float) -> None:
        """Enqueue about ``seconds`` of occupation and return at once."""


class PeakMemory(Protocol):
    """The allocator's view of a device's memory, while it is being watched."""

    def live_bytes(self) -> int:
        """Return the bytes live now."""

    def reset_peak(self) -> None:
        """Forget the peak: it is again what is live now."""

    def peak_bytes(self) -> int:
        """Return the most bytes live at once since :meth:`reset_peak`."""

    def reserved_bytes(self) -> int | None:
        """Return what the allocator holds from the driver, ``None`` where that means nothing."""


class Arrays(Protocol):
    """How values travel to a device and back."""

    def place(self, value: Any) -> Any:
        """Return ``value`` on the device, or unchanged if it is none of the framework's."""

    def host(self, value: Any) -> Any:
        """Return ``value`` as a NumPy array if it is one of the framework's arrays, else unchanged."""

    def precision(self, value: Any) -> float | None:
        """Return the machine epsilon of the array's type, ``None`` for integers and for what is no array."""


class RandomState(Protocol):
    """The random generators that a builder may draw from."""

    def save(self) -> Any:
        """Return their states."""

    def restore(self, state: Any) -> None:
        """Set them back."""


class Threads(Protocol):
    """How many CPU threads the framework computes with."""

    def limit(self, count: int) -> AbstractContextManager[None]:
        """Allow ``count`` threads until the context ends, then restore what was before."""


class Device(Protocol):
    """An opened device: what a builder is given, and what can be done with it.

    Attributes:
        info: what is known of it.
        clock: the host clock that wall time on this device is measured with.
        arguments: the object a builder gets, by the name of its first parameter.
        timer, backlog, arrays, threads: abilities, ``None`` where the device lacks one.
        random: the generators its builders may draw from.
        lacks: for an ability that is ``None`` and that a figure needs, the reason to show, by attribute name.
    """

    @property
    def info(self) -> DeviceInfo: ...  # noqa: D102  # told in the class
    @property
    def clock(self) -> Clock: ...  # noqa: D102  # told in the class
    @property
    def arguments(self) -> Mapping[str, Any]: ...  # noqa: D102  # told in the class
    @property
    def timer(self) -> Timer | None: ...  # noqa: D102  # told in the class
    @property
    def backlog(self) -> Backlog | None: ...  # noqa: D102  # told in the class
    @property
    def arrays(self) -> Arrays | None: ...  # noqa: D102  # told in the class
    @property
    def random(self) -> RandomState: ...  # noqa: D102  # told in the class
    @property
    def threads(self) -> Threads | None: ...  # noqa: D102  # told in the class
    @property
    def lacks(self) -> Mapping[str, str]: ...  # noqa: D102  # told in the class

    def synchronize(self) -> None:
        """Return when all work given to the device, on any stream, is done."""

    def active(self) -> AbstractContextManager[None]:
        """Make it the framework's current device until the context ends."""

    def watch_memory(self) -> AbstractContextManager[PeakMemory | None]:
        """Watch allocations until the context ends; ``None`` if they cannot be watched."""


class Backend(Protocol):
    """The adapter to one framework.

    Attributes:
        name: as in ``backend=``.
        parameters: names of a builder's first parameter that it serves.
        frameworks: top-level modules that point to it when a builder's module has them among its globals.
        host: the backend that runs the CPU leg of its workloads; it has a device ``cpu``.
    """

    @property
    def name(self) -> str: ...  # noqa: D102  # told in the class
    @property
    def parameters(self) -> tuple[str, ...]: ...  # noqa: D102  # told in the class
    @property
    def frameworks(self) -> tuple[str, ...]: ...  # noqa: D102  # told in the class
    @property
    def host(self) -> str: ...  # noqa: D102  # told in the class

    def devices(self) -> Sequence[DeviceInfo]:
        """Return the devices there are, the best first.

        Raises:
            Unavailable: if the framework is not installed or cannot run here, with the remedy.
        """

    def open(self, device: DeviceId) -> Device:
        """Return the device, ready to build on.

        Raises:
            Unavailable: if it cannot be opened.
        """

    def owns(self, value: Any) -> bool:
        """Return whether ``value`` is an array or module of this framework, without importing it."""


class Span(Protocol):
    """One use of a meter."""

    def end(self) -> None:
        """Mark the end; called when the last call has been enqueued."""

    def read(self) -> Mapping[str, float]:
        """Return the figure of each metric over the span; called when the device is synchronized."""


class Meter(Protocol):
    """An instrument. Begin, end and read are apart because a device marks the end at once and tells only later."""

    @property
    def metrics(self) -> tuple[Metric, ...]: ...  # noqa: D102  # told in the class

    def begin(self) -> Span:
        """Start a span; called just before the first call."""


_NO_POWER = Reading.unavailable("the board does not tell its power")


@dataclass(frozen=True, slots=True)
class Conditions:
    """The state of a board at one moment.

    Args:
        sm_clock_hz, rated_clock_hz: the multiprocessor clock, and the highest it is rated for.
        temperature_c: degrees Celsius.
        throttled_s: cumulative seconds by reason (``"thermal"``, ``"power"``, …); empty if not counted.
        reasons: the reasons in force right now.
        other_processes: how many other processes use the board.
        power_w: what the board says it draws: now, or on the mean of the last second at most.
    """

    sm_clock_hz: Reading
    rated_clock_hz: Reading
    temperature_c: Reading
    other_processes: Reading
    throttled_s: Mapping[str, float] = field(default_factory=dict)
    reasons: frozenset[str] = frozenset()
    power_w: Reading = _NO_POWER


class EnergyCounter(Protocol):
    """A cumulative energy counter.

    Attributes:
        period_s: the shortest refresh it is credited with. It is probed before it is used (sampling/refresh.py), and
            whichever is longer counts: a window's error is at most that over its length.
        gain_error: relative error of the sensor itself; it cancels between windows on one board.
    """

    @property
    def period_s(self) -> float: ...  # noqa: D102  # told in the class
    @property
    def gain_error(self) -> float: ...  # noqa: D102  # told in the class

    def read(self) -> Reading:
        """Return joules since an arbitrary start."""

    def used_j(self, before: float, after: float, seconds: float) -> Reading:
        """Return the joules between two readings ``seconds`` apart, allowing for wrap-around."""


class Board(Protocol):
    """A vendor's sensors for one device (NVML)."""

    def energy(self) -> EnergyCounter | Reading:
        """Return its energy counter, or the reading that says why there is none."""

    def conditions(self) -> Conditions:
        """Return its state now."""

    def facts(self) -> Environment:
        """Return what identifies it and what state it is in."""


class StoppingRule(Protocol):
    """When enough rounds have been taken."""

    def enough(self, legs: Mapping[str, Sequence[Round]]) -> str | None:
        """Return why no further round is needed, or ``None``."""


class Report(Protocol):
    """One output format of ``--gpu-profile-export``."""

    def write(self, document: Mapping[str, Any], path: str) -> None:
        """Write the records of a run to ``path``.

        Raises:
            OSError: if the file cannot be written.
        """
