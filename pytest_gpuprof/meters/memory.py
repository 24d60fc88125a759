"""Peak memory of the host, by the kernel's own high-water mark, and how far that can be believed."""

from __future__ import annotations

import ctypes
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_gpuprof.core.protocols import PeakMemory
from pytest_gpuprof.core.results import Reading

__all__ = ["BLOCK_BYTES", "HostMemory", "PythonMemory", "error_on_a_block", "open_host_memory"]

_RESET_PEAK = "5"
"""Written to /proc/self/clear_refs, it sets the high-water mark back to what is resident now (man 5 proc)."""

BLOCK_BYTES = 8 * 2**20
"""The block on which the high-water mark is tried out: many pages, and far above the step in which kernels count."""


class HostMemory:
    """Resident memory of this process and its peak, from Linux's ``/proc/self``.

    The peak is the process's, so it counts everything that the process did meanwhile; measuring happens alone. What
    the C library holds of freed blocks is resident too, and a workload that is served from it would seem to need
    nothing; so it is given back to the system with each :meth:`reset_peak`.
    """

    def __init__(self, process: Path = Path("/proc/self")) -> None:
        self._process = process
        self._give_back = _trim()

    def live_bytes(self) -> int:
        """Return the bytes resident now."""
        return self._field("VmRSS")

    def reset_peak(self) -> None:
        """Give freed blocks back to the system, and set the high-water mark to what is resident now."""
        self._give_back()
        (self._process / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")

    def peak_bytes(self) -> int:
        """Return the most bytes resident since :meth:`reset_peak`."""
        return self._field("VmHWM")

    def reserved_bytes(self) -> int | None:
        """Return ``None``: resident memory is what is held."""
        return None

    def _field(self, name: str) -> int:
        status = (self._process / "status").read_text(encoding="ascii", errors="replace")
        match = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        if match is None:
            raise OSError(f"{self._process / 'status'} has no {name}")
        return int(match[1]) * 1024


def _trim() -> Callable[[], None]:
    """Return what gives freed blocks back: ``malloc_trim`` of glibc; other C libraries have none."""
    try:
        trim: Any = ctypes.CDLL(None).malloc_trim
    except (OSError, TypeError, AttributeError):
        return lambda: None

    def give_back() -> None:
        trim(ctypes.c_size_t(0))

    return give_back


def open_host_memory(process: Path = Path("/proc/self")) -> PeakMemory | Reading:
    """Return the host's memory, or why its peak cannot be measured here."""
    memory = HostMemory(process)
    try:
        memory.reset_peak()
        memory.peak_bytes()
    except OSError as error:
        return Reading.unavailable(
            f"the peak of the host's memory cannot be reset here ({error}); it needs Linux and a writable "
            "/proc/self/clear_refs"
        )
    return memory


def error_on_a_block(memory: PeakMemory, nbytes: int = BLOCK_BYTES) -> int:
    """Return by how many bytes the peak is wrong about a block of known size, negative if it sees too little.

    It sees too little if the block is served from memory that was freed and never given back: by an allocator that
    replaces the C library's, such as jemalloc. It errs either way on kernels that count pages per CPU and add them up
    later (Linux 6.2 to 6.16, on machines of many CPUs).
    """
    memory.reset_peak()
    before = memory.peak_bytes()
    block = b"\1" * nbytes  # written to, so that its pages are there
    seen = memory.peak_bytes() - before
    return seen - len(block)


class PythonMemory:
    """What Python's and NumPy's allocators have handed out since it was made, by ``tracemalloc``.

    Blocks count whether or not their pages are written to, and wherever they come from; what other libraries allocate
    is not seen. It slows everything that allocates, and has to be closed.
    """

    def __init__(self) -> None:
        tracemalloc.start(1)

    def live_bytes(self) -> int:
        """Return the bytes handed out and not freed."""
        return tracemalloc.get_traced_memory()[0]

    def reset_peak(self) -> None:
        """Forget the peak."""
        tracemalloc.reset_peak()

    def peak_bytes(self) -> int:
        """Return the most bytes handed out at once since :meth:`reset_peak`."""
        return tracemalloc.get_traced_memory()[1]

    def reserved_bytes(self) -> int | None:
        """Return ``None``: what the allocators hold is not told."""
        return None

    def close(self) -> None:
        """Stop tracing."""
        tracemalloc.stop()
