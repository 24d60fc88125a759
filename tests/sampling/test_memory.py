"""The peak of an allocator's memory on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gpuprof.backends.simulated import Card, SimulatedBackend, SimulatedDevice
from pytest_gpuprof.backends.torch import TorchBackend
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.protocols import PeakMemory
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.core.workload import as_workload
from pytest_gpuprof.sampling.legs import LegPlan
from pytest_gpuprof.sampling.memory import memory_pass
from pytest_gpuprof.sampling.passes import PassResult
from tests.sampling.machines import device_of, leg_on

if TYPE_CHECKING:
    from tests.simulators.torch_device import Control

MIB = 2**20


def allocating(weights: int, workspace: int, output: int) -> Callable[..., Any]:
    """Return a builder of work that holds weights, needs a workspace, and returns an output."""

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        held = device.allocate(weights)

        def run() -> Any:
            scratch = device.allocate(workspace)
            result = device.allocate(output)
            device.run(1e-3)
            del scratch
            return held, result

        return run

    return work


def memory_of(machine: SimulatedBackend, builder: Callable[..., Any], **options: Any) -> PassResult:
    plan = leg_on(machine, builder, **options)
    with plan.device.watch_memory() as memory:
        assert memory is not None
        return memory_pass(plan, memory, threads=1, quality="simulated")


def codes_of(result: PassResult) -> list[str]:
    return [caution.code for caution in result.cautions]


# -- on the simulated machine -----------------------------------------------------------------------------------------


def test_peaks_above_the_builder_and_above_the_call_are_exact(machine: SimulatedBackend) -> None:
    """Weights count for the one and not for the other; what others hold counts for neither."""
    others = device_of(machine).allocate(500 * MIB)
    result = memory_of(machine, allocating(100 * MIB, 30 * MIB, 7 * MIB))
    assert result.readings["memory"] == Reading(137.0 * MIB, quality="simulated")
    assert result.readings["workspace"] == Reading(37.0 * MIB, quality="simulated")
    assert result.readings["output"] == Reading(7.0 * MIB, quality="simulated")
    assert result.cautions == ()
    assert others.nbytes == 500 * MIB


def test_a_call_that_allocates_nothing_has_a_workspace_of_zero(machine: SimulatedBackend) -> None:
    """A figure, and no missing one."""
    readings = memory_of(machine, allocating(MIB, 0, 0)).readings
    assert (readings["workspace"].value, readings["output"].value) == (0.0, 0.0)


def test_a_peak_inside_the_builder_is_not_the_workloads(machine: SimulatedBackend) -> None:
    """Preparing inputs may take more than the call does."""

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        device.allocate(900 * MIB).close()
        held = device.allocate(MIB)
        return lambda: held

    assert memory_of(machine, work).readings["memory"].value == 1.0 * MIB


def test_memory_of_the_first_calls_is_not_the_steady_peak(machine: SimulatedBackend) -> None:
    """Workspaces that a library sets up once are held after, not needed by each call."""

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        held: list[Any] = []

        def run() -> None:
            if not held:
                device.allocate(900 * MIB).close()
                held.append(device.allocate(10 * MIB))

        return run

    readings = memory_of(machine, work).readings
    assert (readings["memory"].value, readings["workspace"].value) == (10.0 * MIB, 0.0)


def test_what_a_library_keeps_for_the_process_is_no_memory_of_the_workload(machine: SimulatedBackend) -> None:
    """The first pass sees it set up, and the other two agree, as they do if an earlier test has set it up."""
    of_the_process: list[Any] = []

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        def run() -> Any:
            if not of_the_process:
                of_the_process.append(device.allocate(8 * MIB))
            return device.allocate(MIB)

        return run

    first, again = memory_of(machine, work), memory_of(machine, work)
    assert first.readings["memory"] == Reading(1.0 * MIB, quality="simulated") == again.readings["memory"]
    assert (first.cautions, again.cautions) == ((), ())
    assert (first.calls, again.calls) == (9, 6)


def test_peaks_that_do_not_repeat_have_an_interval_and_a_caution(machine: SimulatedBackend) -> None:
    """The larger is the figure; a verdict between the two is inconclusive."""
    sizes = iter([11 * MIB, 10 * MIB, 12 * MIB])

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        size = next(sizes)
        return lambda: device.allocate(size)

    result = memory_of(machine, work)
    reading = result.readings["memory"]
    assert (reading.value, reading.interval) == (12.0 * MIB, (10.0 * MIB, 12.0 * MIB))
    (caution,) = result.cautions
    assert caution.message == ("the peak memory of the gpu leg on simulated:0 was 10 MiB, and 12 MiB when built again")
    assert caution.spoils == frozenset()  # the interval says it all


def test_a_workspace_that_does_not_repeat_is_told_too(machine: SimulatedBackend) -> None:
    """Where weights and workspace differ by the same amount in opposite directions, the sum agrees."""
    sizes = iter([1, 2, 3])

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        size = next(sizes) * MIB
        held = device.allocate(10 * MIB - size)
        return lambda: (held, device.allocate(size))

    result = memory_of(machine, work)
    assert result.readings["memory"].interval is None
    assert result.readings["workspace"].interval == (2.0 * MIB, 3.0 * MIB)
    assert "was 2 MiB, and 3 MiB" in result.cautions[0].message


def test_reset_runs_before_each_call_and_is_not_in_the_peak(machine: SimulatedBackend) -> None:
    """What it frees, it frees before."""
    calls: list[str] = []

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        def run() -> Any:
            calls.append("call")
            return device.allocate(MIB)

        return run

    def reset() -> None:
        calls.append("reset")
        device_of(machine).allocate(50 * MIB).close()

    result = memory_of(machine, work, reset=reset)
    assert result.readings["workspace"].value == 1.0 * MIB
    assert calls == ["reset", "call"] * 6
    assert result.calls == 6


def test_garbage_of_earlier_tests_is_not_live(machine: SimulatedBackend) -> None:
    """A cycle that is collected meanwhile would make the peak seem smaller."""
    device = device_of(machine)
    cycle: list[Any] = [device.allocate(64 * MIB)]
    cycle.append(cycle)
    del cycle
    assert memory_of(machine, allocating(MIB, MIB, 0)).readings["memory"].value == 2.0 * MIB


@pytest.mark.parametrize(("nbytes", "told"), [(30 * MIB, False), (33 * MIB, True)])
@pytest.mark.parametrize("where", ["builder", "call"])
def test_memory_past_the_allocator_is_told(machine: SimulatedBackend, where: str, nbytes: int, told: bool) -> None:
    """It is in no figure, so a met limit is in doubt; some tens of MiB are the driver's own."""

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        held = device.allocate(nbytes, counted=False) if where == "builder" else None
        return lambda: held or device.allocate(nbytes, counted=False)

    result = memory_of(machine, work)
    assert result.readings["memory"].value == 0.0
    assert codes_of(result) == ["memory elsewhere"] * told
    if told:
        caution = result.cautions[0]
        assert "33 MiB of the device were taken that its allocator does not know of" in caution.message
        assert caution.spoils == {("memory", "met")}
        assert caution.legs == {"gpu"}


def test_memory_past_the_allocator_matters_from_a_tenth_of_the_figure(machine: SimulatedBackend) -> None:
    """50 MiB beside 800 MiB are not told, beside 400 MiB they are."""

    def work(counted: int) -> Callable[..., Any]:
        return lambda device: lambda: (device.allocate(counted), device.allocate(50 * MIB, counted=False))

    assert codes_of(memory_of(machine, work(800 * MIB))) == []
    assert codes_of(memory_of(machine, work(400 * MIB))) == ["memory elsewhere"]


class Reporting:
    """A memory like another one, which tells more."""

    def __init__(self, memory: PeakMemory, *, reserved: int | None = None, flushes: list[int] | None = None) -> None:
        self.live_bytes, self.peak_bytes = memory.live_bytes, memory.peak_bytes
        self._memory, self._reserved, self._flushes = memory, reserved, flushes
        self.released = False

    def reset_peak(self) -> None:
        self.released = True
        self._memory.reset_peak()

    def reserved_bytes(self) -> int | None:
        if self._reserved is None:
            return None
        history = 0 if self.released else 900 * MIB
        return history + (0 if self.live_bytes() == 0 else self._reserved)

    def free_bytes(self) -> int | None:
        return None

    def flushes(self) -> int | None:
        return self._flushes.pop(0) if self._flushes else None


def reported(machine: SimulatedBackend, **tells: Any) -> PassResult:
    plan = leg_on(machine, allocating(MIB, 0, 0))
    with plan.device.watch_memory() as memory:
        assert memory is not None
        return memory_pass(plan, Reporting(memory, **tells), threads=1, quality="measured")


def test_allocators_that_hold_memory_back_say_how_much(machine: SimulatedBackend) -> None:
    """Beyond what they held before, and without what earlier tests made them hold."""
    result = reported(machine, reserved=2 * MIB)
    assert result.readings["reserved"] == Reading(2.0 * MIB)
    assert result.cautions == ()
    assert "reserved" not in memory_of(machine, allocating(MIB, 0, 0)).readings


def test_an_allocator_that_flushed_its_cache_is_told(machine: SimulatedBackend) -> None:
    """Counted over both passes; the counter has a history."""
    (caution,) = reported(machine, flushes=[7, 8, 8, 10]).cautions
    assert (caution.code, caution.spoils) == ("memory full", frozenset())
    assert "gave its cache back 3 times, because the device was full" in caution.message
    assert reported(machine, flushes=[7, 7, 7, 7]).cautions == ()


def test_a_full_device_raises_the_workloads_own_error() -> None:
    """Nothing is made of it."""
    machine = SimulatedBackend((Card(memory_bytes=10 * MIB),))
    with pytest.raises(RuntimeError, match="out of memory"):
        memory_of(machine, allocating(8 * MIB, 8 * MIB, 0))


# -- the real torch on a simulated accelerator ------------------------------------------------------------------------


def torch_memory(builder: Callable[..., Any]) -> PassResult:
    device = TorchBackend().open(DeviceId("simgpu", 1))
    plan = LegPlan("gpu", as_workload(builder), device, random_state=device.random.save())
    with device.watch_memory() as memory:
        assert memory is not None
        return memory_pass(plan, memory, threads=1, quality="measured")


def linear(device: Any) -> Callable[[], Any]:
    """Return ``relu(a * 2 + 1)``: its peak is input, two intermediate tensors at a time."""
    import torch

    a = torch.ones(MIB, device=device)  # 4 MiB
    return lambda: torch.relu(a * 2 + 1)


def test_torchs_peaks_are_those_of_its_tensors(simgpu: Control) -> None:
    """One input, and two tensors of its size at once; the output is one of them. It does so twice over."""
    simgpu.reset()
    for _ in range(2):
        result = torch_memory(linear)
        readings = result.readings
        assert readings["memory"] == Reading(12.0 * MIB)
        assert readings["workspace"] == Reading(8.0 * MIB)
        assert readings["output"] == Reading(4.0 * MIB)
        assert readings["reserved"] == Reading(12.0 * MIB)
        assert result.cautions == ()


def test_torchs_cache_of_earlier_tests_is_not_in_what_it_reserves(simgpu: Control) -> None:
    """It is emptied first."""
    import torch

    simgpu.reset()
    device = torch.device("simgpu:1")
    del_me = torch.ones(64 * MIB, device=device)
    del del_me
    assert torch.accelerator.memory_reserved(1) >= 256 * MIB
    assert torch_memory(linear).readings["reserved"].value == 12.0 * MIB


def test_torchs_training_step(simgpu: Control) -> None:
    """Optimizer state is made in the first step: it is memory above the builder, and not above the call."""
    import torch

    simgpu.reset()

    def training(device: Any) -> Callable[[], Any]:
        weight = torch.nn.Parameter(torch.ones(MIB, device=device))
        optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            (weight * 2).sum().backward()  # type: ignore[no-untyped-call]  # torch's
            optimizer.step()

        return step

    result = torch_memory(training)
    memory, workspace = result.readings["memory"].value, result.readings["workspace"].value
    assert memory is not None
    assert workspace is not None
    assert memory - workspace == pytest.approx(12 * MIB, abs=1024)  # weight, momentum, and the gradient of before
    assert result.readings["memory"].interval is None
    assert result.cautions == ()


def test_torchs_flushes_are_told(simgpu: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own counter of retried allocations."""
    import torch

    simgpu.reset()
    real, counts = torch.accelerator.memory_stats, iter(range(100))

    def stats(index: int) -> Any:
        return real(index) | {"num_alloc_retries": next(counts)}

    monkeypatch.setattr(torch.accelerator, "memory_stats", stats)
    assert codes_of(torch_memory(linear)) == ["memory full"]


def test_memory_taken_past_torch_is_told(simgpu: Control) -> None:
    """The device has less left than the allocator accounts for: somebody else takes 100 MiB in each build."""
    simgpu.reset()

    def work(device: Any) -> Any:
        simgpu.memory_limit_bytes -= 100 * MIB
        yield lambda: None
        simgpu.memory_limit_bytes += 100 * MIB

    result = torch_memory(work)
    assert result.readings["memory"].value == 0.0
    assert codes_of(result) == ["memory elsewhere"]
    assert result.cautions[0].message.count("100 MiB") == 1
