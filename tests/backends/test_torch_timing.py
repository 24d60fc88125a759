"""torch's device time: a spin kernel whose clock is found out, and operators behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pytest_gpuprof import profile
from pytest_gpuprof.backends.torch_timing import Spin

if TYPE_CHECKING:
    from tests.simulators.torch_device import Control


class FakeSpin:
    """A GPU on which only spin kernels run: its clock, and events on it."""

    def __init__(self, cycles_per_s: float, first_launch_s: float = 0.0) -> None:
        self.now = 0.0
        self.spun: list[int] = []
        self._rate, self._load_s = cycles_per_s, first_launch_s

    def _sleep(self, cycles: int) -> None:
        assert isinstance(cycles, int)  # torch takes no float
        self.now += cycles / self._rate + (0.0 if self.spun else self._load_s)
        self.spun.append(cycles)

    def mark(self) -> float:
        return self.now

    def wait(self, mark: float) -> None: ...

    def elapsed_s(self, start: float, end: float) -> float:
        return end - start


@pytest.mark.parametrize("rate", [0.5e9, 1.98e9])
def test_the_backlog_finds_its_clock_by_timing(rate: float) -> None:
    """It occupies the device for the seconds asked for at any clock, whatever loading the kernel took."""
    device = FakeSpin(rate, first_launch_s=3.0)
    spin = Spin(device._sleep, device)  # type: ignore[arg-type]  # a timer by its methods
    spin(1e-3)
    before, launches = device.now, len(device.spun)
    spin(20e-3)
    assert device.now - before == pytest.approx(20e-3, rel=1e-6)
    assert len(device.spun) == launches + 1  # found out once


def test_device_time_of_the_real_torch_is_that_of_its_operators(simgpu: Control) -> None:
    """Three operators of 2 ms behind the spin kernel: what torch needs to launch them is not in it."""
    import torch

    simgpu.reset()
    simgpu.op_seconds = 2e-3  # far longer than torch needs to launch it, also where this machine is busy

    def chain(device: Any) -> Any:
        x = torch.ones(8, device=device)
        return lambda: x.add(1).mul(2).sub(3)

    found = profile(chain, backend="torch", devices="simgpu:0", rounds=3)
    assert abs(found.gpu.device_time_s / 6e-3 - 1) <= found.gpu.overhead_bound("device_time") + 1e-3
    assert found.gpu.overhead_bound("device_time") < 0.02
