"""The peak of the host's resident memory: with real NumPy and torch, and with a memory that misleads."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pytest_gpuprof.backends.numpy import NumpyBackend
from pytest_gpuprof.backends.simulated import SimulatedBackend, SimulatedDevice
from pytest_gpuprof.backends.torch import TorchBackend
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.protocols import PeakMemory
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.core.workload import as_workload
from pytest_gpuprof.meters.memory import BLOCK_BYTES, open_host_memory
from pytest_gpuprof.sampling.legs import LegPlan
from pytest_gpuprof.sampling.memory import host_memory_pass
from pytest_gpuprof.sampling.passes import PassResult
from tests.conftest import has
from tests.sampling.machines import leg_on, running

MIB = 2**20


# -- the real host ----------------------------------------------------------------------------------------------------


@pytest.fixture
def resident(small_pages: None) -> PeakMemory:
    """The resident memory of this process."""
    memory = open_host_memory()
    if isinstance(memory, Reading):
        pytest.skip(f"NOT TESTED: the host's real memory, because {memory.reason}")
    return memory


def host_memory_of(memory: PeakMemory, builder: Callable[..., Any], backend: Any = None) -> PassResult:
    device = (backend or NumpyBackend()).open(DeviceId("cpu"))
    plan = LegPlan("cpu", as_workload(builder), device, random_state=device.random.save())
    return host_memory_pass(plan, memory, threads=1, quality="measured")


def temporary(nbytes: int, repeats: int = 1) -> Callable[..., Any]:
    """Return a builder of work on an array of that size, which needs as much again while it runs."""

    def work(xp: Any) -> Callable[[], Any]:
        arrays = [xp.ones(nbytes // 8 // repeats) for _ in range(repeats)]
        return lambda: len([array * 2 for array in arrays])

    return work


@pytest.mark.parametrize("repeats", [1, 2], ids=["first", "again"])
@pytest.mark.parametrize("size", [64 * MIB, 16 * MIB, 4 * MIB])
def test_numpys_temporaries_are_seen(resident: PeakMemory, size: int, repeats: int) -> None:
    """Within a tenth, or a MiB, also where the C library keeps freed blocks of that size, and as often as one asks."""
    for _ in range(repeats):
        result = host_memory_of(resident, temporary(size))
        readings = result.readings
        assert readings["workspace"].value == pytest.approx(size, rel=0.1, abs=MIB)
        assert readings["memory"].value == pytest.approx(2 * size, rel=0.1, abs=MIB)
        for reading in readings.values():
            assert reading.interval is not None
            assert reading.value is not None
            assert reading.interval[0] <= reading.value <= reading.interval[1]
        assert result.cautions == ()


def test_many_small_temporaries_are_seen(resident: PeakMemory) -> None:
    """512 arrays of 64 KiB, which the C library serves from its heap and keeps when they are freed."""
    assert host_memory_of(resident, temporary(32 * MIB, 512)).readings["workspace"].value == pytest.approx(
        32 * MIB, rel=0.1
    )


def test_torchs_temporaries_on_the_cpu_are_seen(resident: PeakMemory) -> None:
    """The input, and one tensor of its size."""
    if not has("torch"):
        pytest.skip("NOT TESTED: torch's memory on the CPU, because torch is not installed")
    import torch

    def work(device: Any) -> Callable[[], Any]:
        values = torch.ones(4 * MIB, device=device)
        return lambda: (values * 2).sum().item()

    readings = host_memory_of(resident, work, TorchBackend()).readings
    assert readings["workspace"].value == pytest.approx(16 * MIB, rel=0.1)
    assert readings["memory"].value == pytest.approx(32 * MIB, rel=0.1)


def test_arrays_that_are_never_written_to_are_no_resident_memory(resident: PeakMemory) -> None:
    """The kernel has given no page for them; that they are there is told, and the interval reaches up to them."""
    result = host_memory_of(resident, lambda xp: lambda: xp.empty(64 * MIB // 8))
    reading = result.readings["workspace"]
    assert reading.value is not None
    assert reading.value < 2 * MIB
    assert reading.interval is not None
    assert reading.interval[1] == pytest.approx(64 * MIB, rel=0.01)
    (caution,) = result.cautions
    assert caution.code == "memory unseen"
    assert caution.message.startswith("Python and NumPy handed out 64 MiB above")


def test_pythons_own_objects_are_within_the_interval(resident: PeakMemory) -> None:
    """Floats come from memory that Python keeps: what they need lies between growth and what was handed out."""
    count = 200_000
    result = host_memory_of(resident, lambda xp: lambda: sum([float(number) for number in range(count)]))
    reading = result.readings["workspace"]
    assert reading.interval is not None
    assert reading.interval[1] >= count * 32  # 24 bytes of a float, 8 of the list
    assert reading.interval[0] <= count * 64  # a list that grows is copied, and pools of objects have gaps


# -- the simulated machine and a memory that misleads -----------------------------------------------------------------


class Resident:
    """Resident memory that grows by what a simulated device holds, and by blocks of Python's as it likes."""

    def __init__(self, memory: PeakMemory, *, sees: float = 1.0) -> None:
        self._memory = memory
        self._blocks = int(BLOCK_BYTES * sees)
        self.resets = 0
        self.live_bytes, self.reserved_bytes = memory.live_bytes, memory.reserved_bytes
        self.peaks = iter(())

    def reset_peak(self) -> None:
        self.resets += 1
        self._memory.reset_peak()
        # On a block, the peak is read before and after it and nothing is asked in between.
        self.peaks = iter([self._memory.live_bytes(), self._memory.live_bytes() + self._blocks])  # type: ignore[assignment]

    def peak_bytes(self) -> int:
        held = self._memory.peak_bytes()
        return held if held > self._memory.live_bytes() else next(self.peaks, held)


def simulated_host_memory(
    machine: SimulatedBackend, builder: Callable[..., Any], *, sees: float = 1.0, **options: Any
) -> PassResult:
    plan = leg_on(machine, builder, "cpu", **options)
    with plan.device.watch_memory() as memory:
        assert memory is not None
        return host_memory_pass(plan, Resident(memory, sees=sees), threads=1, quality="simulated")


def scratching(sizes: Iterator[int]) -> Callable[..., Any]:
    """Return a builder of work that needs one of these sizes in each call."""

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        held = device.allocate(10 * MIB)

        def run() -> Any:
            device.run(1e-3)
            device.allocate(next(sizes)).close()
            return held

        return run

    return work


def test_growth_is_above_the_builder_and_above_the_call(machine: SimulatedBackend) -> None:
    """Once built and called before, once watched by tracemalloc, once measured twice: eight calls."""
    result = simulated_host_memory(machine, scratching(iter([5 * MIB] * 8)))
    assert result.readings["memory"].value == 15.0 * MIB
    assert result.readings["workspace"].value == 5.0 * MIB
    assert result.readings["workspace"].quality == "simulated"
    assert (result.calls, result.cautions) == (8, ())


def test_growths_that_differ_have_an_interval(machine: SimulatedBackend) -> None:
    """The last two of the calls count."""
    result = simulated_host_memory(machine, scratching(iter([MIB] * 6 + [5 * MIB, 7 * MIB])))
    reading = result.readings["workspace"]
    assert (reading.value, reading.interval) == (7.0 * MIB, (5.0 * MIB, 7.0 * MIB))


@pytest.mark.parametrize("sees", [0.9, 1.1])
def test_a_mark_that_errs_widens_the_interval(machine: SimulatedBackend, sees: float) -> None:
    """By what it errs on a block of known size, to both sides."""
    reading = simulated_host_memory(machine, scratching(iter([5 * MIB] * 8)), sees=sees).readings["workspace"]
    assert reading.value == 5.0 * MIB
    assert reading.interval == pytest.approx((5 * MIB - BLOCK_BYTES / 10, 5 * MIB + BLOCK_BYTES / 10), abs=2)


@pytest.mark.parametrize(("sees", "size", "told"), [(1.25, 5, True), (1.25, 25, False), (1.1, 1, False)])
def test_a_figure_that_is_known_coarsely_is_told(machine: SimulatedBackend, sees: float, size: int, told: bool) -> None:
    """An error of more than a MiB, and of more than a tenth of the figure: huge pages come in steps of 2 MiB."""
    result = simulated_host_memory(machine, scratching(iter([size * MIB] * 8)), sees=sees)
    assert [caution.code for caution in result.cautions] == ["memory coarse"] * told
    if told:
        assert "is known within 2 MiB only: a block of 8 MiB made it grow by 10 MiB" in result.cautions[0].message
        assert result.cautions[0].spoils == frozenset()


def test_a_process_that_keeps_freed_memory_has_no_figure(machine: SimulatedBackend) -> None:
    """And not 0: a block of 8 MiB that makes it grow by 1 MiB comes from what it kept."""
    readings = simulated_host_memory(machine, scratching(iter([5 * MIB] * 8)), sees=0.125).readings
    assert readings["memory"] == readings["workspace"]
    assert readings["memory"].value is None
    assert readings["memory"].reason.startswith(
        "this process keeps memory that was freed: of a new block of 8 MiB only 1 MiB made it grow; run without"
    )


def test_long_calls_are_made_four_times(machine: SimulatedBackend) -> None:
    """Nothing is watched by tracemalloc, and one peak is taken."""
    calls: list[bool] = []

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        def run() -> None:
            calls.append(tracemalloc.is_tracing())
            device.run(2.0)

        return run

    assert simulated_host_memory(machine, work).calls == 4
    assert calls == [False] * 4


def test_tracemalloc_is_stopped_after(machine: SimulatedBackend) -> None:
    """Also when the workload fails."""
    calls: list[bool] = []

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        def run() -> None:
            calls.append(tracemalloc.is_tracing())
            if len(calls) == 3:
                raise ZeroDivisionError

        return run

    with pytest.raises(ZeroDivisionError):
        simulated_host_memory(machine, work)
    assert calls == [False, True, True]
    assert not tracemalloc.is_tracing()


def test_somebody_elses_tracemalloc_is_left_alone(machine: SimulatedBackend) -> None:
    """Its peak would be lost: no call is watched, and it goes on."""
    tracemalloc.start()
    try:
        block = bytes(20 * MIB)
        del block
        peak = tracemalloc.get_traced_memory()[1]
        assert simulated_host_memory(machine, running(1e-3)).calls == 5
        assert tracemalloc.is_tracing()
        assert tracemalloc.get_traced_memory()[1] == peak >= 20 * MIB
    finally:
        tracemalloc.stop()


def test_reset_runs_before_each_call(machine: SimulatedBackend) -> None:
    """And what it needs is not in the peak."""
    calls: list[str] = []

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        def run() -> None:
            calls.append("call")
            device.allocate(MIB).close()

        return run

    def reset() -> None:
        calls.append("reset")
        bytes(50 * MIB)

    result = simulated_host_memory(machine, work, reset=reset)
    assert result.readings["workspace"].value == 1.0 * MIB
    assert calls == ["reset", "call"] * 8
