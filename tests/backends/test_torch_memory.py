"""torch's allocators: where a peak begins, and what they do not tell."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pytest_gpuprof.backends.torch import TorchBackend
from pytest_gpuprof.backends.torch_memory import Memory
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.protocols import AllocatorState

if TYPE_CHECKING:
    from tests.simulators.torch_device import Control


def test_an_empty_cache_is_what_a_peak_begins_with(simgpu: Control) -> None:
    """What torch reserves afterwards is needed since then; the device has all else free."""
    import torch

    simgpu.reset()
    with TorchBackend().open(DeviceId("simgpu")).watch_memory() as memory:
        assert isinstance(memory, Memory)
        assert isinstance(memory, AllocatorState)
        memory.reset_peak()
        before, free = memory.reserved_bytes(), memory.free_bytes()
        held = torch.ones(1 << 20, dtype=torch.uint8, device="simgpu:0")
        del held
        assert memory.reserved_bytes() == before + (1 << 20)
        assert memory.free_bytes() == free - (1 << 20)
        assert memory.flushes() == 0
        memory.reset_peak()
        assert (memory.reserved_bytes(), memory.free_bytes()) == (before, free)


@pytest.mark.parametrize(("allocator", "flushes"), [("native", 3), ("cudaMallocAsync", None)])
def test_zeros_of_cudas_own_allocator_are_no_figures(allocator: str, flushes: int | None) -> None:
    """It tells live and reserved bytes, and leaves every other statistic at zero."""
    statistics = {"num_alloc_retries": 3 if allocator == "native" else 0}
    torch = SimpleNamespace(
        accelerator=SimpleNamespace(memory_stats=lambda index: statistics, memory_allocated=lambda index: 7),
        cuda=SimpleNamespace(memory=SimpleNamespace(get_allocator_backend=lambda: allocator)),
    )
    memory = Memory(torch, "cuda", 0)
    assert memory.live_bytes() == 7
    assert memory.flushes() == flushes
    assert memory.free_bytes() is None  # torch 2.9 does not tell


def test_a_driver_that_does_not_tell_what_is_left() -> None:
    """It refuses, and nothing is made up."""

    def refuse(index: int) -> tuple[int, int]:
        raise NotImplementedError

    torch = SimpleNamespace(accelerator=SimpleNamespace(get_memory_info=refuse))
    assert Memory(torch, "xpu", 0).free_bytes() is None
