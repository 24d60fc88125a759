"""JAX's allocator, whose peak cannot be reset. There is none without a GPU, so it is one that does what XLA's do."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_gpuprof.backends.jax_memory import JaxMemory, open_memory
from pytest_gpuprof.core.errors import MeasurementError

MIB = 2**20


class Allocator:
    """What is live, and the most that ever was; sizes are rounded up, as XLA's allocator does to 256 bytes."""

    def __init__(self, limit: int = 2**34, rounds_to: int = 256) -> None:
        self.live = self.peak = 0
        self.limit = limit
        self._rounds_to = rounds_to

    def allocate(self, nbytes: int) -> Callable[[], None]:
        taken = -(-nbytes // self._rounds_to) * self._rounds_to
        self.live += taken
        self.peak = max(self.peak, self.live)

        def free() -> None:
            self.live -= taken

        return free

    def stats(self) -> Mapping[str, int]:
        return {"bytes_in_use": self.live, "peak_bytes_in_use": self.peak, "bytes_limit": self.limit}

    def opened(self) -> JaxMemory | str:
        return open_memory(self.stats, self.allocate)


def memory_of(allocator: Allocator) -> JaxMemory:
    memory = allocator.opened()
    assert isinstance(memory, JaxMemory)
    return memory


@given(past=st.integers(0, 2**30), kept=st.integers(0, 2**28), sizes=st.lists(st.integers(1, 2**26), max_size=5))
def test_a_peak_is_that_of_the_workload_whatever_was_before(past: int, kept: int, sizes: list[int]) -> None:
    """Its own bytes above what was live, to the byte, though the process has used more before."""
    allocator = Allocator()
    allocator.allocate(past)()
    allocator.allocate(kept)
    memory = memory_of(allocator)
    memory.reset_peak()
    before = memory.live_bytes()
    assert memory.peak_bytes() == before
    live = allocator.live
    frees = [allocator.allocate(size) for size in sizes]
    highest = allocator.live - live
    for free in frees:
        free()
    assert memory.peak_bytes() - before == highest
    assert memory.live_bytes() == before
    memory.reset_peak()
    assert memory.peak_bytes() == before


def test_what_is_held_is_freed() -> None:
    """After a pass nothing of it is left."""
    allocator = Allocator()
    allocator.allocate(100 * MIB)()
    memory = memory_of(allocator)
    memory.reset_peak()
    assert allocator.live >= 100 * MIB
    memory.close()
    memory.close()
    assert allocator.live == 0


def test_what_is_held_is_not_live() -> None:
    """Live bytes are those of others, so that a leak is seen and nothing else."""
    allocator = Allocator()
    allocator.allocate(100 * MIB)()
    memory = memory_of(allocator)
    memory.reset_peak()
    assert memory.live_bytes() == 0
    allocator.allocate(MIB)
    assert memory.live_bytes() == MIB
    assert memory.reserved_bytes() is None


@pytest.mark.parametrize("told", [None, {}, {"bytes_in_use": 5}])
def test_an_allocator_that_tells_no_peak(told: Mapping[str, int] | None) -> None:
    """There is none on the CPU, and none in the driver's own allocator."""
    reason = open_memory(lambda: told, lambda nbytes: lambda: None)
    assert isinstance(reason, str)
    assert "tells no peak" in reason


def test_a_process_that_has_used_more_than_half() -> None:
    """What was live once could not be held while it is live again; the workload must not run out of memory for us."""
    allocator = Allocator(limit=100 * MIB)
    allocator.allocate(51 * MIB)()
    reason = allocator.opened()
    assert isinstance(reason, str)
    assert "has used 51 MiB of the 100 MiB" in reason
    assert "in a process of its own" in reason


def test_an_allocator_that_is_coarse() -> None:
    """It is tried on a block, and believed only if it is exact."""
    allocator = Allocator(rounds_to=2 * MIB)
    reason = allocator.opened()
    assert isinstance(reason, str)
    assert "made its peak rise by 2097152" in reason
    assert allocator.live == 0


def test_an_allocator_that_does_not_follow() -> None:
    """If holding memory does not bring it back to its peak, there is no figure."""
    memory = JaxMemory(lambda: {"bytes_in_use": 1, "peak_bytes_in_use": 9}, lambda nbytes: lambda: None)
    with pytest.raises(MeasurementError, match="does not come back to its peak"):
        memory.reset_peak()
