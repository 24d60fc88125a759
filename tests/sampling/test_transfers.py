"""Transfers: upload, compute and download told apart, on a simulated bus of known speed and with the real torch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest

from pytest_gpuprof import call, hookimpl, profile
from pytest_gpuprof.backends.simulated import SimulatedBackend, SimulatedDevice
from pytest_gpuprof.backends.simulated_hardware import HostBuffer
from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.core.errors import WorkloadError
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.profiler import Profiler
from pytest_gpuprof.sampling.legs import built
from pytest_gpuprof.sampling.transfers import Transfers
from tests.sampling.machines import EXACT, exact_machine, leg_on

MIB = 2**20
PER_MIB_S = MIB / EXACT.copy_bytes_per_s


def closes_over(device: SimulatedDevice) -> Callable[[], Any]:
    """Two inputs of 8 MiB, one of them in a list, and one output of 2 MiB."""
    first, others = device.allocate(8 * MIB), [device.allocate(8 * MIB)]

    def run() -> Any:
        assert first.nbytes == others[0].nbytes
        device.run(cpu=20e-3, gpu=1e-3)
        return {"sum": device.allocate(2 * MIB)}

    return run


def bound(device: SimulatedDevice) -> Callable[[], Any]:
    """The same inputs as arguments."""

    def add(first: Any, others: Any) -> Any:
        device.run(cpu=20e-3, gpu=1e-3)
        return device.allocate(2 * MIB)

    return functools.partial(add, device.allocate(8 * MIB), others=(device.allocate(8 * MIB),))


def measured(builder: Callable[..., Any], **options: Any) -> Profile:
    machine = exact_machine()

    class Machine:
        @hookimpl
        def pytest_gpuprof_backends(self) -> list[SimulatedBackend]:
            return [machine]

    profiler = Profiler(plugins=[Machine()], devices=["simulated:0"])
    return profile(builder, backend="simulated", profiler=profiler, **options)


@pytest.mark.parametrize("builder", [closes_over, bound])
def test_upload_compute_and_download_are_told_apart(builder: Callable[..., Any]) -> None:
    """Each is what it takes alone, and the end-to-end speedup counts all three."""
    found = measured(builder, transfers=True)
    upload, download = (found.gpu.figure(name) for name in ("upload_time", "download_time"))
    assert upload == pytest.approx(16 * PER_MIB_S, rel=0.1)
    assert download == pytest.approx(2 * PER_MIB_S, rel=0.2)
    assert found.gpu.time_s == pytest.approx(1e-3, rel=0.01)
    assert found.end_to_end_speedup == pytest.approx(20e-3 / (1e-3 + upload + download), rel=0.02)
    assert found.speedup == pytest.approx(20, rel=0.01)


def test_nothing_travels_unless_it_is_asked_for() -> None:
    """The figures are then not asked for, rather than zero."""
    found = measured(closes_over)
    assert found.gpu.reading("upload_time").cause == "not asked for"
    assert found.ratio("end_to_end_speedup").cause == "not asked for"


@pytest.mark.parametrize(("limit", "outcome"), [(2, "met"), (15, "missed")])
def test_a_budget_on_the_end_to_end_speedup_asks_for_them(limit: float, outcome: str) -> None:
    """20x on the device is 11x with the copies, by the known speed of the bus."""
    found = measured(closes_over, budgets=Budget("min_end_to_end_speedup", limit))
    (verdict,) = found.verdicts
    assert verdict.outcome == outcome
    assert verdict.sentence.startswith("end-to-end speedup 11")


@pytest.mark.parametrize(
    ("builder", "what"),
    [
        (lambda device: lambda: device.run(1e-3), "inputs"),
        (lambda device: functools.partial(device.run, 1e-3), "inputs"),
    ],
)
def test_inputs_that_cannot_be_seen_are_told(builder: Callable[..., Any], what: str) -> None:
    """With what to do: a builder may hide them, and a guess would be a wrong figure."""
    with built(leg_on(exact_machine(), builder)) as ready:
        with pytest.raises(WorkloadError, match=rf"its {what} on simulated:0 cannot be seen; pass arrays with call"):
            Transfers(ready)


def test_an_output_that_cannot_be_seen_is_told() -> None:
    """A callable that returns nothing has nothing to download."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        held = device.allocate(MIB)
        return lambda: device.run(1e-6 * held.nbytes / MIB)

    with built(leg_on(exact_machine(), work)) as ready:
        with pytest.raises(WorkloadError, match="its output on simulated:0 cannot be seen"):
            Transfers(ready)


def test_inputs_stay_on_the_host_between_uploads() -> None:
    """They were brought home once, and each upload is a copy of its own."""
    with built(leg_on(exact_machine(), closes_over)) as ready:
        transfers = Transfers(ready)
    assert [type(value) for value in transfers._inputs] == [HostBuffer, HostBuffer]


def test_tensors_of_a_plain_function_travel(simgpu: Any) -> None:
    """The real torch, on the simulated device whose bus has a known speed: 16 MiB up, 4 KiB down."""
    torch = pytest.importorskip("torch")
    simgpu.reset()
    simgpu.copy_bytes_per_second = 1e9
    found = profile(
        call(torch.sum, torch.ones(4 * MIB), dim=0), backend="torch", devices="simgpu:0", transfers=True, check=False
    )
    assert found.gpu.figure("upload_time") >= 16 * MIB / 1e9
    assert found.gpu.figure("upload_time") < 10 * 16 * MIB / 1e9
    assert found.gpu.figure("download_time") < found.gpu.figure("upload_time")
    assert found.end_to_end_speedup < found.speedup
