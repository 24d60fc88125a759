"""The host's memory, from files like the kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.memory import HostMemory, open_host_memory


@pytest.fixture
def process(tmp_path: Path) -> Path:
    """A fake ``/proc/self``: 3 MiB were resident at most, 2 MiB are now."""
    (tmp_path / "status").write_text("Name:\tpython\nVmPeak:\t  9000 kB\nVmHWM:\t  3072 kB\nVmRSS:\t  2048 kB\n")
    (tmp_path / "clear_refs").write_text("")
    return tmp_path


def test_live_and_peak_are_resident_bytes(process: Path) -> None:
    """The kernel counts in units of 1024 bytes, whatever it calls them."""
    memory = HostMemory(process)
    assert memory.live_bytes() == 2 * 2**20
    assert memory.peak_bytes() == 3 * 2**20
    assert memory.reserved_bytes() is None


def test_resetting_the_peak_is_told_to_the_kernel(process: Path) -> None:
    """By the number that stands for the high-water mark."""
    HostMemory(process).reset_peak()
    assert (process / "clear_refs").read_text() == "5"


def test_opening_resets_once_to_see_that_it_can(process: Path) -> None:
    """And gives the memory if so."""
    assert isinstance(open_host_memory(process), HostMemory)
    assert (process / "clear_refs").read_text() == "5"


@pytest.mark.parametrize("broken", ["no files", "no high-water mark", "not writable"])
def test_a_system_that_cannot_reset_the_peak_says_what_it_needs(tmp_path: Path, process: Path, broken: str) -> None:
    """Another system, an old kernel, a read-only container."""
    if broken == "no files":
        process = tmp_path / "elsewhere"
    elif broken == "no high-water mark":
        (process / "status").write_text("VmRSS:\t  2048 kB\n")
    else:
        (process / "clear_refs").unlink()
        (process / "clear_refs").mkdir()
    found = open_host_memory(process)
    assert isinstance(found, Reading)
    assert found.value is None
    assert "it needs Linux and a writable /proc/self/clear_refs" in found.reason
