"""Every seam of the package on one page.

A seam has at most four methods; what is a property here may be a plain attribute there. An ability that something lacks
is simply not offered: the attribute is ``None``. Each seam has a fake: :mod:`pytest_gpuprof.backends.simulated` offers
a clock, devices, timers, memory and a board.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Environment
from pytest_gpuprof.core.progress import Estimate
from pytest_gpuprof.core.quantities import Metric
from pytest_gpuprof.core.results import Reading, Round

__all__ = [
    "AllocatorState",
    "Arrays",
    "Backend",
    "Backlog",
    "Board",
    "Clock",
    "Conditions",
    "Device",
    "EnergyCounter",
    "FlopCounter",
    "Meter",
    "PeakMemory",
    "RandomState",
    "Report",
    "Span",
    "StoppingRule",
    "Threads",
    "Timer",
    "Yardsticks",
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
        """Give back what is held but not live, so that no history is in the figures; the peak is what is live now."""

    def peak_bytes(self) -> int:
        """Return the most bytes live at once since :meth:`reset_peak`."""

    def reserved_bytes(self) -> int | None:
        """Return what the allocator holds from the driver, ``None`` where that means nothing."""


@runtime_checkable
class AllocatorState(Protocol):
    """What a :class:`PeakMemory` may tell besides: signs that its figures are not the whole truth."""

    def free_bytes(self) -> int | None:
        """Return what is left of the device for anybody, by its driver; ``None`` if that is not told."""

    def flushes(self) -> int | None:
        """Return how often the allocator gave its cache back because the device was full; ``None`` if not counted."""


class Arrays(Protocol):
    """How values travel to a device and back."""

    def place(self, value: Any) -> Any:
        """Return ``value`` on the device, or unchanged if it is none of the framework's."""

    def download(self, value: Any) -> Any:
        """Return a copy of the framework's array in host memory, which ``place`` can bring back, or ``value``."""

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


class FlopCounter(Protocol):
    """Counts the floating-point operations of one call, as far as it knows the operators in it.

    Attributes:
        name: who counts, for sentences: ``"torch's FlopCounterMode"``.
        knows: what it counts, for sentences: ``"matrix products, convolutions and attention"``.
    """

    @property
    def name(self) -> str: ...  # noqa: D102  # told in the class
    @property
    def knows(self) -> str: ...  # noqa: D102  # told in the class

    def count(self, function: Callable[[], Any]) -> int:
        """Return the operations of one call: by calling the function once, or by looking into what it compiles to."""


class Yardsticks(Protocol):
    """Work whose amount is known exactly, by which a device's own rates are measured (``pytest-gpuprof calibrate``).

    Attributes:
        precisions: of the matrix products that it may be able to do; empty if it has none.
    """

    @property
    def precisions(self) -> Sequence[str]: ...  # noqa: D102  # told in the class

    def copy(self, nbytes: int) -> Callable[[], object]:
        """Return a callable that copies ``nbytes`` from one buffer of the device to another."""

    def product(self, order: int, precision: str) -> Callable[[], object]:
        """Return a callable that multiplies two square matrices: ``2 * order**3`` operations."""


class Device(Protocol):
    """An opened device: what a builder is given, and what can be done with it.

    Attributes:
        info: what is known of it.
        clock: the host clock that wall time on this device is measured with.
        arguments: the object a builder gets, by the name of its first parameter.
        timer, backlog, arrays, threads: abilities, ``None`` where the device lacks one.
        flush: enqueues the eviction of the device's cache and returns at once, ``None`` if that cannot be done.
        compilations: tells how often the framework has compiled so far, ``None`` if it does not count.
        random: the generators its builders may draw from.
        lacks: for an ability that is ``None`` and that a figure needs, the reason to show, by attribute name.

    Three more are looked for and need not be there at all: ``flop_counter`` (a :class:`FlopCounter`), ``yardsticks``
    (:class:`Yardsticks`), and ``fixed_threads``: with how many threads a CPU computes whose framework lets nobody
    choose (``lacks["threads"]`` then says where to choose, with ``{}`` for the number).
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
    def flush(self) -> Callable[[], None] | None: ...  # noqa: D102  # told in the class
    @property
    def compilations(self) -> Callable[[], int] | None: ...  # noqa: D102  # told in the class
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

    One more is looked for and need not be there: ``on_request``, those of its parameters that mean this backend only
    where it is named.
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
        """Return what identifies it and what state it is in.

        A board that knows the highest rates of its device tells them in the identity as
        ``gpu_peak_fp32_flops`` (per second; a key for each precision) and ``gpu_peak_bytes_per_s``.
        """


class StoppingRule(Protocol):
    """When enough rounds have been taken.

    Attributes:
        estimate: the figure that the last look was about, ``None`` while there is nothing to say.
    """

    @property
    def estimate(self) -> Estimate | None: ...  # noqa: D102  # told in the class

    def enough(self, legs: Mapping[str, Sequence[Round]]) -> str | None:
        """Return why no further round is needed, or ``None``."""


class Report(Protocol):
    """One output format of ``--gpu-profile-export``."""

    def write(self, document: Mapping[str, Any], path: str) -> None:
        """Write the records of a run to ``path``.

        Raises:
            OSError: if the file cannot be written.
        """
