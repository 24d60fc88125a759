"""A third-party extension, whole: an abacus as an accelerator. Copy it to begin an adapter of your own.

It brings one of everything that an outsider can bring: a backend whose builders have a first parameter of their own, a
meter with a metric of its own, a budget on that metric, a fact of the environment, and a format for exports. It rests
on the words of ``pytest_gpuprof.core`` and on the hooks alone. The hooks stand at the end; in a ``conftest.py``, or in
a module that is installed as a pytest plugin, pytest finds them by their names.

The abacus goes on alone while the host does something else, like a GPU. Its beads move in simulated time, on a clock
set by hand, so that its figures are exact and nobody waits; an adapter to a real device gives its devices
``pytest_gpuprof.backends.host.SYSTEM_CLOCK``.
"""

from __future__ import annotations

import random
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_gpuprof import hookimpl
from pytest_gpuprof.backends.host import precision_of
from pytest_gpuprof.backends.simulated import SimulatedClock
from pytest_gpuprof.budgets.budget import Kind
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Environment
from pytest_gpuprof.core.errors import DeviceError
from pytest_gpuprof.core.protocols import Backend, Device, Meter, PeakMemory, Report
from pytest_gpuprof.core.quantities import Metric

JOULES_PER_BEAD = 1e-3
"""What moving a bead costs the hand."""

LAUNCH_S = 5e-6
"""Host time to say what the abacus shall do."""


# --- The framework: in real life somebody else's package --------------------------------------------------------------


class Column:
    """Numbers, on an abacus or nowhere yet; those on an abacus can be added."""

    def __init__(self, numbers: Iterable[float], home: Abacus | None = None) -> None:
        self.numbers = array("d", numbers)
        self.home = home

    def __add__(self, other: Column) -> Column:
        if self.home is None:
            raise TypeError("a column can be added when it is on an abacus")
        return self.home.add(self, other)


class Abacus:
    """Adds columns, bead by bead, while the host goes on."""

    def __init__(self, clock: SimulatedClock, seconds_per_bead: float) -> None:
        self.clock = clock
        self.seconds_per_bead = seconds_per_bead
        self.idle_from = 0.0
        self.moves = 0

    def add(self, left: Column, right: Column) -> Column:
        """Return the sum of two columns; one bead moves per number."""
        self.clock.sleep(LAUNCH_S)
        self.move(len(left.numbers))
        return Column((a + b for a, b in zip(left.numbers, right.numbers, strict=True)), self)

    def move(self, beads: int) -> None:
        """Move beads, after those that are still to be moved."""
        self.moves += beads
        self.idle_from = max(self.idle_from, self.clock.time) + beads * self.seconds_per_bead


# --- The adapter ------------------------------------------------------------------------------------------------------


class AbacusBackend:
    """The adapter: ``def builder(abacus): ...`` runs on the abacus, and on a child's fingers for the CPU leg."""

    name = "abacus"
    parameters = ("abacus",)
    frameworks = ("abacus",)  # a module with something of the package `abacus` among its globals means this backend
    host = "abacus"  # which has a device called "cpu"

    def __init__(self) -> None:
        self._clock = SimulatedClock()

    def devices(self) -> Sequence[DeviceInfo]:
        """Return the abacus, then the fingers."""
        return (
            DeviceInfo(DeviceId("abacus"), "Suanpan 13", "stand-in", self.name, why_stand_in="an abacus"),
            DeviceInfo(DeviceId("cpu"), "Ten fingers", "cpu", self.name),
        )

    def open(self, device: DeviceId) -> AbacusDevice:
        """Return the device; builders get its :class:`Abacus`."""
        for info in self.devices():
            if info.id == device:
                return AbacusDevice(info, self._clock)
        known = ", ".join(str(info.id) for info in self.devices())
        raise DeviceError(f"there is no {device.type}:{device.index} among the abacuses; there are {known}")

    def owns(self, value: Any) -> bool:
        """Return whether ``value`` is a column."""
        return isinstance(value, Column)


class AbacusDevice:
    """An opened abacus. What it lacks is ``None``, with the reason to show where a figure needs it."""

    backlog = None
    flush = None
    compilations = None
    threads = None

    def __init__(self, info: DeviceInfo, clock: SimulatedClock) -> None:
        is_cpu = info.kind == "cpu"
        self.info = info
        self.clock = clock
        self.abacus = Abacus(clock, seconds_per_bead=20e-6 if is_cpu else 1e-6)
        self.arguments = {"abacus": self.abacus}
        self.timer = None if is_cpu else BeadTimer(self.abacus)
        self.arrays = Columns(self.abacus)
        self.random = Dice()
        self.lacks = {"memory": "an abacus does not tell how many of its rods are in use"}
        if is_cpu:
            self.lacks["timer"] = "nobody stamps the moves of fingers"

    def synchronize(self) -> None:
        """Wait for the last bead."""
        self.clock.advance_to(self.abacus.idle_from)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Do nothing: there is no current abacus."""
        yield

    @contextmanager
    def watch_memory(self) -> Iterator[PeakMemory | None]:
        """Offer nothing."""
        yield None


class BeadTimer:
    """Events on the abacus: the moment when all beads before are moved."""

    def __init__(self, abacus: Abacus) -> None:
        self._abacus = abacus

    def mark(self) -> float:
        """Return the moment when the beads given until now are moved."""
        self._abacus.move(0)
        return self._abacus.idle_from

    def wait(self, mark: float) -> None:
        """Let the host wait."""
        self._abacus.clock.advance_to(mark)

    def elapsed_s(self, start: float, end: float) -> float:
        """Return the seconds between two marks."""
        return end - start


class Columns:
    """How numbers come to an abacus and back."""

    def __init__(self, abacus: Abacus) -> None:
        self._abacus = abacus

    def place(self, value: Any) -> Any:
        """Return a copy of a column, on this abacus."""
        return Column(value.numbers, self._abacus) if isinstance(value, Column) else value

    def download(self, value: Any) -> Any:
        """Return a copy of a column that is on no abacus."""
        return Column(value.numbers) if isinstance(value, Column) else value

    def host(self, value: Any) -> Any:
        """Return a column as a NumPy array."""
        import numpy

        return numpy.array(value.numbers) if isinstance(value, Column) else value

    def precision(self, value: Any) -> float | None:
        """Return the epsilon of a double, and of the NumPy arrays that a callable may end with their own."""
        return sys.float_info.epsilon if isinstance(value, Column) else precision_of(value)


class Dice:
    """The random numbers that a builder may draw: Python's."""

    def save(self) -> Any:
        """Return the generator's state."""
        return random.getstate()

    def restore(self, state: Any) -> None:
        """Set it back."""
        random.setstate(state)


# --- A meter with its metric, a budget on it, and an output format ----------------------------------------------------

EFFORT = Metric("effort", "J", "effort of the hand")


class EffortMeter:
    """Counts the beads moved. It adds up over calls, so its figure is per call."""

    metrics = (EFFORT,)

    def __init__(self, abacus: Abacus) -> None:
        self._abacus = abacus

    def begin(self) -> EffortSpan:
        """Remember how many beads were moved before."""
        return EffortSpan(self._abacus)


class EffortSpan:
    """The beads moved between begin and end."""

    def __init__(self, abacus: Abacus) -> None:
        self._abacus = abacus
        self._before = abacus.moves
        self._moved = 0

    def end(self) -> None:
        """Count."""
        self._moved = self._abacus.moves - self._before

    def read(self) -> Mapping[str, float]:
        """Return joules."""
        return {EFFORT.name: self._moved * JOULES_PER_BEAD}


MAX_EFFORT = Kind(
    keyword="max_effort",
    figure=EFFORT.name,
    leg="gpu",
    unit=EFFORT.unit,
    family="energy",
    legs=frozenset({"gpu"}),
    needs=frozenset({"rounds"}),  # where meters run
    title="effort",
)


class TallyReport:
    """One line per record, for people who read no JSON."""

    def write(self, document: Mapping[str, Any], path: str) -> None:
        """Write the lines."""
        lines = [
            f"{record['name']}: {', '.join(verdict['outcome'] for verdict in record['verdicts']) or 'no budget'}\n"
            for record in document["records"]
        ]
        Path(path).write_text("".join(lines), encoding="utf-8")


# --- The hooks --------------------------------------------------------------------------------------------------------


@hookimpl
def pytest_gpuprof_backends() -> Iterable[Backend]:
    """Bring the adapter."""
    return [AbacusBackend()]


@hookimpl
def pytest_gpuprof_meters(device: Device) -> Iterable[Meter]:
    """Bring the meter, for both legs on an abacus and for nobody else's device."""
    return [EffortMeter(device.abacus)] if isinstance(device, AbacusDevice) else []


@hookimpl
def pytest_gpuprof_budgets() -> Iterable[Kind]:
    """Bring the keyword."""
    return [MAX_EFFORT]


@hookimpl
def pytest_gpuprof_environment(device: Device) -> Environment:
    """Tell which abacus it was: measurements on others cannot be compared."""
    return Environment(identity={"abacus_rods": 13} if isinstance(device, AbacusDevice) else {})


@hookimpl
def pytest_gpuprof_reports() -> Mapping[str, Report]:
    """Bring the format."""
    return {"tally": TallyReport()}
