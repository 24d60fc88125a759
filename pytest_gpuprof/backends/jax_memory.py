"""The peak of JAX's allocator, which cannot be reset: a new peak is made to begin at the old one.

The allocator tells what is live and the most that was ever live in this process. To begin anew, as much is held as the
old peak lies above what is live; from then on every byte more is a new peak, and the held bytes are subtracted again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pytest_gpuprof.core.errors import MeasurementError
from pytest_gpuprof.core.quantities import format_quantity

__all__ = ["JaxMemory", "open_memory"]

Stats = Callable[[], Mapping[str, int] | None]
Hold = Callable[[int], Callable[[], None]]

_LIVE, _PEAK, _LIMIT = "bytes_in_use", "peak_bytes_in_use", "bytes_limit"

_BLOCK_BYTES = 2**20
_ROUNDED_BYTES = 4096
"""The allocator is tried on a block of 1 MiB; those of XLA round up to 256 bytes, the driver's own to a page."""


class JaxMemory:
    """What JAX's allocator says, less what is held.

    Args:
        stats: tells the allocator's statistics.
        hold: allocates so many bytes and returns what frees them.
    """

    def __init__(self, stats: Stats, hold: Hold) -> None:
        self._stats = stats
        self._hold = hold
        self._release: Callable[[], None] | None = None
        self._held = 0

    def live_bytes(self) -> int:
        """Return the bytes of live arrays and of computations that run."""
        return self._told(_LIVE) - self._held

    def reset_peak(self) -> None:
        """Hold as many bytes as the peak of the process lies above what is live.

        Raises:
            MeasurementError: if the allocator does not follow.
        """
        self.close()
        before = self._told(_LIVE)
        missing = self._told(_PEAK) - before
        if missing > 0:
            self._release = self._hold(missing)
            self._held = self._told(_LIVE) - before
        if self._told(_PEAK) > self._told(_LIVE):
            raise MeasurementError(
                "JAX's allocator does not come back to its peak, so that a new one cannot be seen; measure memory in a "
                "process in which nobody else uses the GPU meanwhile"
            )

    def peak_bytes(self) -> int:
        """Return the most bytes live at once since :meth:`reset_peak`."""
        return self._told(_PEAK) - self._held

    def reserved_bytes(self) -> int | None:
        """Return ``None``: by default JAX takes most of the GPU at its start, which is nobody's use."""
        return None

    def close(self) -> None:
        """Free what is held."""
        if self._release is not None:
            self._release()
        self._release, self._held = None, 0

    def _told(self, name: str) -> int:
        told: Any = self._stats()
        return int(told[name])


def open_memory(stats: Stats, hold: Hold) -> JaxMemory | str:
    """Return the allocator's memory, or why its peaks cannot be known.

    It is tried on a block first: whoever believes figures that were never checked measures nothing.

    Args:
        stats, hold: as in :class:`JaxMemory`.
    """
    told = stats()
    if not told or not {_LIVE, _PEAK} <= told.keys():
        return "JAX's allocator here tells no peak; on a GPU, unset XLA_PYTHON_CLIENT_ALLOCATOR"
    limit, peak = told.get(_LIMIT), told[_PEAK]
    if limit and 2 * peak > limit:
        # What has been live once is held while it is live again.
        return (
            f"this process has used {format_quantity(float(peak), 'B')} of the {format_quantity(float(limit), 'B')} "
            "that JAX may take, and its peak cannot be reset; measure memory in a process of its own"
        )
    memory = JaxMemory(stats, hold)
    memory.reset_peak()
    before = memory.live_bytes()
    release = hold(_BLOCK_BYTES)
    grown, risen = memory.live_bytes() - before, memory.peak_bytes() - before
    release()
    left = memory.live_bytes() - before
    if not (_BLOCK_BYTES <= grown <= risen <= _BLOCK_BYTES + _ROUNDED_BYTES and left == 0):
        memory.close()
        return (
            f"JAX's allocator is not exact here: a block of {_BLOCK_BYTES} bytes made its peak rise by {risen}, and "
            f"{left} were left of it; measure where no other thread uses the GPU"
        )
    return memory
