"""The leak check: live memory over repeated calls."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gpuprof.backends.simulated import SimulatedBackend, SimulatedDevice
from pytest_gpuprof.backends.torch import TorchBackend
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.core.workload import as_workload
from pytest_gpuprof.sampling.leak import leak_pass
from pytest_gpuprof.sampling.legs import LegPlan
from pytest_gpuprof.sampling.passes import PassResult
from tests.sampling.machines import device_of, leg_on, running

if TYPE_CHECKING:
    from tests.simulators.torch_device import Control

KIB = 2**10
MIB = 2**20

NONE = Reading(0.0, quality="simulated")


def leak_of(machine: SimulatedBackend, builder: Callable[..., Any], **options: Any) -> PassResult:
    longest = options.pop("longest_call_s", None)
    plan = leg_on(machine, builder, **options)
    with plan.device.watch_memory() as memory:
        assert memory is not None
        return leak_pass(plan, memory, threads=1, quality="simulated", longest_call_s=longest)


def keeping(kept: Callable[[SimulatedDevice, int], Any]) -> Callable[..., Any]:
    """Return a builder of work that keeps, at each call, what ``kept`` returns for its number."""

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        held: list[Any] = []

        def run() -> Any:
            device.run(1e-3)
            held.append(kept(device, len(held)))
            return device.allocate(MIB)

        return run

    return work


def test_outputs_that_are_dropped_are_no_leak(machine: SimulatedBackend) -> None:
    """Eleven calls show it."""
    result = leak_of(machine, lambda device: lambda: device.allocate(MIB))
    assert result.readings == {"leak": NONE}
    assert result.calls == 11


@pytest.mark.parametrize("nbytes", [1, 512, 3 * MIB])
def test_what_each_call_keeps_is_the_leak(machine: SimulatedBackend, nbytes: int) -> None:
    """To the byte, also less than the smallest block: nothing else is so regular."""
    result = leak_of(machine, keeping(lambda device, call: device.allocate(nbytes)))
    assert result.readings["leak"] == Reading(float(nbytes), quality="simulated")


def test_a_leak_at_every_second_call_has_an_interval(machine: SimulatedBackend) -> None:
    """Half of it per call."""
    reading = leak_of(machine, keeping(lambda device, call: device.allocate(MIB * (call % 2)))).readings["leak"]
    assert reading.value == pytest.approx(MIB / 2, rel=0.2)
    assert reading.interval is not None
    assert 0 < reading.interval[0] < MIB / 2 < reading.interval[1]


@pytest.mark.parametrize("entries", [1, 3, 5, 12, 100, 128])
def test_a_cache_that_fills_is_no_leak(machine: SimulatedBackend, entries: int) -> None:
    """Up to the 128 results that functools.lru_cache keeps by default."""

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        numbers = itertools.count()
        cached = functools.lru_cache(maxsize=entries)(lambda number: device.allocate(MIB))
        return lambda: cached(next(numbers)) and None

    assert leak_of(machine, work).readings["leak"] == NONE


def test_what_seems_to_leak_is_called_on_before_it_counts(machine: SimulatedBackend) -> None:
    """128 further calls, and eight more that are looked at."""
    assert leak_of(machine, keeping(lambda device, call: device.allocate(KIB))).calls == 11 + 128 + 8


def test_a_large_leak_does_not_fill_the_device(machine: SimulatedBackend) -> None:
    """Further calls gain a GiB at most; of a larger leak the first eleven are enough."""
    result = leak_of(machine, keeping(lambda device, call: device.allocate(64 * MIB)))
    assert (result.readings["leak"].value, result.calls) == (64.0 * MIB, 11 + 8 + 8)
    result = leak_of(machine, keeping(lambda device, call: device.allocate(256 * MIB)))
    assert (result.readings["leak"].value, result.calls) == (256.0 * MIB, 11)


def test_further_calls_end_after_a_while(machine: SimulatedBackend) -> None:
    """Five seconds."""

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        held: list[Any] = []

        def run() -> None:
            device.run(0.5)
            held.append(device.allocate(KIB))

        return run

    assert leak_of(machine, work).calls == pytest.approx(11 + 10 + 8, abs=1)


def test_garbage_of_cycles_is_no_leak(machine: SimulatedBackend) -> None:
    """It is collected before memory is looked at; the same objects in a list are one."""

    def cycles(device: SimulatedDevice) -> Callable[[], Any]:
        def run() -> None:
            cycle: list[Any] = [device.allocate(MIB)]
            cycle.append(cycle)

        return run

    assert leak_of(machine, cycles).readings["leak"] == NONE


def test_a_growth_too_small_to_tell_reaches_down_to_nothing(machine: SimulatedBackend) -> None:
    """It is steady, irregular, and less than a thousandth of the peak: neither none nor a leak."""

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        weights = device.allocate(100 * MIB)
        held: list[Any] = [weights]
        return lambda: held.append(device.allocate(600 + len(held) % 2))

    reading = leak_of(machine, work).readings["leak"]
    assert reading.value == pytest.approx(600, abs=1)
    assert reading.interval is not None
    assert reading.interval[0] == 0.0


def test_reset_runs_before_each_call(machine: SimulatedBackend) -> None:
    """A reset that drops what the call kept leaves no leak."""
    held: list[Any] = []

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        return lambda: held.append(device.allocate(MIB))

    assert leak_of(machine, work, reset=held.clear).readings["leak"] == NONE
    held.clear()
    assert leak_of(machine, work).readings["leak"].value == MIB


def test_long_calls_are_not_repeated_unless_asked(machine: SimulatedBackend) -> None:
    """The first call may compile; the second shows how long a call is."""
    result = leak_of(machine, running(2.0), longest_call_s=1.0)
    reading = result.readings["leak"]
    assert (reading.value, reading.cause) == (None, "not asked for")
    assert re.fullmatch(r"a call takes 2(\.0\d|) s, and 8 more are made only for max_leak=", reading.reason)
    assert result.calls == 2
    assert leak_of(machine, running(2.0)).calls == 11


def test_a_first_call_that_compiles_is_not_a_long_call(machine: SimulatedBackend) -> None:
    """Only the ones after it count."""
    seconds = itertools.chain([30.0], itertools.repeat(1e-3))

    def work(device: SimulatedDevice) -> Callable[[], Any]:
        return lambda: device.run(next(seconds))

    assert leak_of(machine, work, longest_call_s=1.0).readings["leak"] == NONE


def test_what_others_hold_is_no_leak(machine: SimulatedBackend) -> None:
    """Only growth counts."""
    others = device_of(machine).allocate(500 * MIB)
    assert leak_of(machine, running(1e-3)).readings["leak"] == NONE
    assert others.nbytes == 500 * MIB


# -- the real torch on a simulated accelerator ------------------------------------------------------------------------


def torch_leak(builder: Callable[..., Any]) -> float | None:
    device = TorchBackend().open(DeviceId("simgpu"))
    plan = LegPlan("gpu", as_workload(builder), device, random_state=device.random.save())
    with device.watch_memory() as memory:
        assert memory is not None
        return leak_pass(plan, memory, threads=1, quality="measured").readings["leak"].value


def test_torch_losses_that_keep_their_graph_leak(simgpu: Control) -> None:
    """The classic: the sum of losses holds every graph; of detached losses it holds one scalar."""
    import torch

    simgpu.reset()

    def training(summed: Callable[[Any], Any]) -> Callable[..., Any]:
        def build(device: Any) -> Callable[[], Any]:
            weight = torch.ones(MIB, device=device, requires_grad=True)
            total: list[Any] = [torch.zeros((), device=device)]

            def step() -> None:
                loss = (weight * weight.detach()).exp().mean()
                total[0] = total[0] + summed(loss)

            return step

        return build

    leak = torch_leak(training(lambda loss: loss))
    assert leak is not None
    assert leak >= 4 * MIB
    assert torch_leak(training(lambda loss: loss.detach())) == 0.0


def test_torch_objects_that_hold_tensors_leak(simgpu: Control) -> None:
    """A hook per call, each with its tensor in a closure; a tensor per call that is replaced does not leak."""
    import torch

    simgpu.reset()

    def hooked(device: Any) -> Callable[[], Any]:
        layer = torch.nn.Identity().to(device)

        def run() -> Any:
            kept = torch.ones(KIB, device=device)
            layer.register_forward_hook(lambda *_: kept and None)
            return kept

        return run

    def replaced(device: Any) -> Callable[[], Any]:
        layer = torch.nn.Identity().to(device)

        def run() -> None:
            layer.last = torch.ones(KIB, device=device)  # type: ignore[assignment]  # an attribute of any kind

        return run

    assert torch_leak(hooked) == 4 * KIB
    assert torch_leak(replaced) == 0.0
