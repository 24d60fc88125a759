"""What a device really reaches: the bandwidth of a copy, and the rate of square matrix products in each precision.

Measured as any workload is: warmed up, in rounds, by the device's own events where it has some. A bandwidth counts the
bytes that are read and those that are written. Of several sizes of product the fastest counts: it is to be a peak.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pytest_gpuprof import __version__
from pytest_gpuprof.ceilings import rate_unit
from pytest_gpuprof.core.environment import DeviceInfo
from pytest_gpuprof.core.errors import DeviceError, GpuprofError, Unavailable
from pytest_gpuprof.core.progress import Progress
from pytest_gpuprof.core.protocols import Device, Yardsticks
from pytest_gpuprof.core.quantities import format_quantity
from pytest_gpuprof.core.results import Caution, Measurement, Reading
from pytest_gpuprof.core.workload import Workload
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.job import METRICS_ASKED, Job
from pytest_gpuprof.profiler import Profiler
from pytest_gpuprof.sampling.legs import LegPlan
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.quiet import allowed_threads
from pytest_gpuprof.stats.decision import mean_interval
from pytest_gpuprof.storage.calibrations import Calibration, identity_of

__all__ = ["Calibrating", "Rate", "Sizes", "calibration_of", "targets"]

_VERSIONS = ("torch", "cupy-cuda12x", "cupy-cuda13x", "pyopencl", "python", "nvidia_driver", "cuda_driver")
"""Facts of the environment that are kept beside the rates."""


_STEADY = 0.1
"""A rate that is known less exactly than to 10 % is no peak to judge by; the rounds go on until it is known to 5 %."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much work is measured.

    Args:
        gpu_copy_bytes: eight times the largest cache of a GPU so far (126 MB), so that it hides nothing.
        host_copy_bytes: the same for a device that works in the host's memory; a core's share of a server's cache is
            below 64 MB.
        orders: of the matrices, smallest first; a product of 8192 keeps every GPU so far busy from edge to edge.
        memory_share: of the device's memory that a copy's buffers, or a product's matrices, may take.
    """

    gpu_copy_bytes: int = 2**30
    host_copy_bytes: int = 2**28
    orders: tuple[int, ...] = (1024, 2048, 4096, 8192)
    memory_share: float = 0.25


@dataclass(frozen=True, slots=True)
class Rate:
    """One measured rate: ``"bandwidth"`` in bytes per second, or a precision in FLOP/s; and the doubts about it."""

    what: str
    reading: Reading
    cautions: tuple[Caution, ...] = ()

    def __str__(self) -> str:
        if self.reading.value is None:
            return f"{self.what}: no, {self.reading.reason}"
        unit = rate_unit(self.what)
        interval = self.reading.interval
        spread = "" if interval is None else " ({} to {})".format(*(format_quantity(end, unit) for end in interval))
        word = "" if self.reading.quality == "measured" else f", {self.reading.quality}"
        return f"{self.what}: {format_quantity(self.reading.value, unit)}{spread}, {self.reading.source}{word}"


def targets(extensions: Extensions, wanted: Sequence[str], backend: str | None = None) -> list[Device]:
    """Return the devices to calibrate, each opened by the first backend that can measure its rates.

    Args:
        extensions: the parts there are.
        wanted: device ids or names of backends; empty for every GPU. The CPU and stand-ins have to be named.
        backend: the only backend to ask; ``None`` for all.

    Raises:
        DeviceError: if a wanted device or backend does not exist.
        Unavailable: if there is nothing to calibrate, with what could be named.
    """
    registry = extensions.registry
    found: dict[str, Device] = {}
    others: set[str] = set()
    missed = set(wanted)
    for name in (backend,) if backend else registry.names:
        infos = registry.devices(name)
        if isinstance(infos, Reading):
            if backend:
                raise Unavailable(infos.reason)
            continue
        for info in infos:
            said = {str(info.id), name} & set(wanted)
            if name == "simulated" and not (said - {"cpu"} or backend):
                continue  # it is there on every machine
            if not (said or (not wanted and info.kind == "gpu")):
                others.add(str(info.id))
                continue
            key = info.uuid or str(info.id)  # one card may be found by several backends
            device = None if key in found else registry.open(name, info.id)
            if device is not None and _yardsticks(device) is not None:
                found[key] = device
            missed -= said
    if missed:
        known = ", ".join(sorted(others | {str(device.info.id) for device in found.values()})) or "none"
        raise DeviceError(f"there is no device {', '.join(sorted(missed))!r} to calibrate; there are {known}")
    if not found and wanted:
        raise Unavailable(f"no backend can measure the rates of {', '.join(wanted)}; try another --backend")
    if not found:
        named = f"; name one with --devices, of {', '.join(sorted(others))}" if others else ""
        raise Unavailable(f"there is no GPU whose rates a backend can measure (pytest-gpuprof doctor says why){named}")
    return list(found.values())


def _yardsticks(device: Device) -> Yardsticks | None:
    found: Yardsticks | None = getattr(device, "yardsticks", None)
    return found


class Calibrating:
    """Measures the rates of one device.

    Args:
        extensions: the parts to measure with.
        device: opened, with yardsticks.
        seconds: most seconds for each rate, without warm-up.
        sizes: how much work.
        watch: told which rate is measured and how far that is, between timed regions only; ``None`` if nobody wants to
            know.
    """

    def __init__(
        self,
        extensions: Extensions,
        device: Device,
        *,
        seconds: float = 10.0,
        sizes: Sizes | None = None,
        watch: Callable[[str, Progress], None] | None = None,
    ) -> None:
        yardsticks = _yardsticks(device)
        if yardsticks is None:
            raise Unavailable(f"{device.info.backend} has no work by which the rates of {device.info.id} are measured")
        self._device = device
        self._yardsticks = yardsticks
        self._what = ""
        told = None if watch is None else (lambda progress: watch(self._what, progress))
        self._profiler = Profiler(extensions=extensions, watch=told)
        self._seconds = seconds
        self._sizes = sizes or Sizes()

    def rates(self) -> Iterator[Rate]:
        """Yield each rate when it is known; one that cannot be measured says why."""
        yield self._guarded("bandwidth", self._bandwidth)
        for precision in self._yardsticks.precisions:
            yield self._guarded(precision, lambda precision=precision: self._products(precision))  # type: ignore[misc]

    def _guarded(self, what: str, measure: Callable[[], Rate]) -> Rate:
        self._what = what
        try:
            return measure()
        except GpuprofError as error:
            return Rate(what, Reading.unavailable(str(error)))
        except Exception as error:  # whatever a framework raises for what it, or the device, cannot do
            told = (str(error).strip() or "it does not say more").splitlines()[0]
            return Rate(what, Reading.unavailable(f"{type(error).__name__}: {told}"))

    def _bandwidth(self) -> Rate:
        sizes, info = self._sizes, self._device.info
        nbytes = sizes.gpu_copy_bytes if info.kind == "gpu" else sizes.host_copy_bytes
        if info.memory_bytes is not None:
            nbytes = min(nbytes, int(info.memory_bytes * sizes.memory_share / 2))
        source = f"a copy of {format_quantity(nbytes, 'B')} by {info.backend}"
        return self._measured("bandwidth", lambda: self._yardsticks.copy(nbytes), 2.0 * nbytes, source)

    def _products(self, precision: str) -> Rate:
        """Return the rate of the fastest order; the next is tried while its time and its memory allow."""
        clock, info = self._device.clock, self._device.info
        began, best = clock.now(), None
        for order in self._sizes.orders:
            matrices = 3 * 8 * order**2  # of eight bytes at most
            if best is not None and info.memory_bytes and matrices > info.memory_bytes * self._sizes.memory_share:
                break
            source = f"a product of order {order} by {info.backend}"
            work = 2.0 * order**3
            rate = self._measured(precision, lambda n=order: self._yardsticks.product(n, precision), work, source)  # type: ignore[misc]
            assert rate.reading.value is not None
            if best is None or best.reading.value is None or rate.reading.value > best.reading.value:
                best = rate
            # A round of the next order holds eight times the work, a few times over.
            left_s = self._seconds - (clock.now() - began)
            if 8 * 10 * work / rate.reading.value > left_s:
                break
        return best or Rate(precision, Reading.unavailable("there is no order to measure"))

    def _measured(self, what: str, builder: Callable[[], Callable[[], object]], work: float, source: str) -> Rate:
        device = self._device
        parameter = next(iter(device.arguments))
        workload = Workload(f"{what} of {device.info.id}", lambda _: builder(), parameter)
        on_cpu = device.info.kind == "cpu"
        plan = LegPlan("cpu" if on_cpu else "gpu", workload, device, {}, device.random.save())
        other = Reading.unavailable("a calibration has one leg", cause="not asked for")
        job = Job(
            workload.name,
            workload,
            device.info.backend,
            cpu=plan if on_cpu else other,
            gpu=other if on_cpu else plan,
            reference=None,
            plan=Plan().with_(max_time_s=self._seconds, warmup_cap_s=min(2.0, self._seconds)),
            threads=allowed_threads(),
            metrics=METRICS_ASKED["time"],
        )
        taken = self._profiler.measure(job)
        leg: Measurement = taken.cpu if on_cpu else taken.gpu
        seconds = leg.per_round("device_time") or leg.per_round("wall_time")
        if not seconds:
            raise Unavailable("there was no time for a round; allow more with --seconds")
        mean, low, high = mean_interval([math.log(work / each) for each in seconds])
        interval = (math.exp(low), math.exp(high)) if len(seconds) > 1 else None
        doubts = [caution for caution in taken.cautions if _disturbs(caution, device.info)]
        if interval is None or (high - low) / 2 > _STEADY:
            doubts.append(_unsteady(what, len(seconds)))
        simulated = device.info.why_stand_in == "simulated"
        reading = Reading(
            math.exp(mean), interval=interval, quality="simulated" if simulated else "measured", source=source
        )
        return Rate(what, reading, tuple(doubts))


def _unsteady(what: str, rounds: int) -> Caution:
    return Caution(
        "unsteady",
        f"the {what} rate is not known to {_STEADY:.0%} after {rounds} round{'s' if rounds != 1 else ''}",
        "close other programs, or allow more with --seconds",
    )


def _disturbs(caution: Caution, info: DeviceInfo) -> bool:
    """Whether a doubt means that the device may reach more; what the host does is no matter to a GPU's events."""
    return ("time", "missed") in caution.spoils and (info.kind != "gpu" or caution.legs is not None)


def calibration_of(extensions: Extensions, device: Device, rates: Sequence[Rate], date: str) -> Calibration:
    """Return what is to be stored of the rates of a device.

    Args:
        extensions: the parts there are, to ask for what identifies the device.
        device: it.
        rates: as measured; what is unavailable is left out.
        date: of today, as ``YYYY-MM-DD``.
    """
    facts = extensions.facts(device)
    versions = {name: facts[name] for name in _VERSIONS if name in facts}
    return Calibration(
        identity_of(device.info, facts),
        date,
        {rate.what: rate.reading for rate in rates if rate.reading.value is not None},
        {"pytest-gpuprof": __version__, "backend": device.info.backend, **versions},
    )
