"""The host's memory, from files like the kernel's."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tracemalloc
from contextlib import closing
from pathlib import Path

import pytest

from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.memory import BLOCK_BYTES, HostMemory, PythonMemory, open_host_memory


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


KEPT = """
import ctypes, sys
from pytest_gpuprof.meters.memory import HostMemory, error_on_a_block
memory = HostMemory()
if sys.argv[1] == "kept":
    memory._give_back = lambda: None
blocks = [b"\\1" * 100_000 for _ in range(300)]
last = b"\\1" * 100_000
del blocks
print(error_on_a_block(memory))
"""


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("freed", ["kept", "given back"])
def test_a_block_of_known_size_shows_whether_freed_memory_is_kept(freed: str) -> None:
    """With the real C library, told to serve 8 MiB from its heap, on which 30 MB were freed below a block in use."""
    found = open_host_memory()
    if isinstance(found, Reading) or not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("NOT TESTED: the real memory of the host, because it needs Linux and glibc")
    heap = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1073741824", "PYTHONPATH": os.pathsep.join(sys.path)}
    env = {**os.environ, **heap}
    run = subprocess.run([sys.executable, "-c", KEPT, freed], env=env, capture_output=True, text=True, check=True)
    expected = -BLOCK_BYTES if freed == "kept" else 0
    assert int(run.stdout) == pytest.approx(expected, abs=2**20)


def test_a_c_library_that_gives_nothing_back(monkeypatch: pytest.MonkeyPatch, process: Path) -> None:
    """Not glibc: the peak is reset all the same."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    HostMemory(process).reset_peak()
    assert (process / "clear_refs").read_text() == "5"


def test_python_memory_is_what_its_allocators_hand_out() -> None:
    """Live bytes and their peak, and nothing of it is traced after."""
    with closing(PythonMemory()) as memory:
        kept = bytes(2**20)
        memory.reset_peak()
        before = memory.live_bytes()
        assert before >= 2**20
        further = bytes(3 * 2**20)
        del further
        assert memory.live_bytes() == pytest.approx(before, abs=4096)
        assert memory.peak_bytes() == pytest.approx(before + 3 * 2**20, abs=4096)
        assert memory.reserved_bytes() is None
        del kept
    assert not tracemalloc.is_tracing()
