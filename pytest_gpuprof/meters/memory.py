"""Peak memory of the host, by the kernel's own high-water mark."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_gpuprof.core.protocols import PeakMemory
from pytest_gpuprof.core.results import Reading

__all__ = ["HostMemory", "open_host_memory"]

_RESET_PEAK = "5"
"""Written to /proc/self/clear_refs, it sets the high-water mark back to what is resident now (man 5 proc)."""


class HostMemory:
    """Resident memory of this process and its peak, from Linux's ``/proc/self``.

    The peak is the process's, so it counts everything that the process did meanwhile; measuring happens alone.
    """

    def __init__(self, process: Path = Path("/proc/self")) -> None:
        self._process = process

    def live_bytes(self) -> int:
        """Return the bytes resident now."""
        return self._field("VmRSS")

    def reset_peak(self) -> None:
        """Set the high-water mark to what is resident now."""
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
