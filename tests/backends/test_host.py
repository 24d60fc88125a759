"""What adapters to real hardware share: the processor's name, the host's clock and generators, and precision."""

from __future__ import annotations

import platform
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy
import pytest

from pytest_gpuprof.backends import host
from pytest_gpuprof.backends.host import (
    SYSTEM_CLOCK,
    HostDevice,
    HostRandom,
    cpu_name,
    evict_cpu_caches,
    flush_bytes,
    precision_of,
)
from pytest_gpuprof.backends.numpy import NumpyBackend
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import Unavailable


@pytest.fixture
def _fresh_name() -> Iterator[None]:
    cpu_name.cache_clear()
    yield
    cpu_name.cache_clear()


def cpuinfo(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    def read(path: Path, **how: str) -> str:
        assert str(path) == "/proc/cpuinfo"
        if text is None:
            raise FileNotFoundError(path)
        return text

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")


@pytest.mark.usefixtures("_fresh_name")
def test_the_name_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The marketing name, as the kernel tells it, also if it has a colon in it."""
    cpuinfo(monkeypatch, "processor\t: 0\nmodel name\t: ACME: One\nprocessor\t: 1\nmodel name\t: ACME: Two\n")
    assert cpu_name() == "ACME: One"


@pytest.mark.usefixtures("_fresh_name")
@pytest.mark.parametrize("text", ["processor\t: 0\nBogoMIPS\t: 50.00\n", None], ids=["no name", "no file"])
def test_a_processor_whose_name_nobody_tells(monkeypatch: pytest.MonkeyPatch, text: str | None) -> None:
    """It is called by its architecture: a name is never empty."""
    cpuinfo(monkeypatch, text)
    assert cpu_name() == "aarch64"


def test_the_clock_is_the_hosts() -> None:
    """It reads and sleeps like the ``time`` module."""
    before = time.perf_counter()
    assert before <= SYSTEM_CLOCK.now() <= time.perf_counter()
    SYSTEM_CLOCK.sleep(0)


def test_a_device_with_no_ability() -> None:
    """It offers nothing, does nothing when told to wait, and is no obstacle."""
    device = HostDevice(DeviceInfo(DeviceId("cpu"), "A CPU", "cpu", "none"), {"device": "cpu"})
    assert (device.timer, device.backlog, device.arrays, device.threads) == (None, None, None, None)
    assert device.lacks == {}
    device.synchronize()
    with device.active(), device.watch_memory() as memory:
        assert memory is None


def test_generators_without_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where NumPy is not imported, Python's generator alone is saved and restored."""
    monkeypatch.delitem(sys.modules, "numpy")
    state = HostRandom().save()
    first = random.random()
    HostRandom().restore(state)
    assert random.random() == first


@pytest.mark.parametrize(
    ("value", "epsilon"),
    [
        (numpy.ones(2), 2**-52),
        (numpy.ones(2, "f4"), 2**-23),
        (numpy.ones(2, "c8"), 2**-23),
        (numpy.float16(1), 2**-10),
        (numpy.ones(2, "i8"), None),
        (numpy.ones(2, "?"), None),
        (numpy.array(["text"]), None),
        (1.0, None),
        (type("Foreign", (), {"dtype": "float32"})(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_precision_is_that_of_a_numpy_type(value: object, epsilon: float | None) -> None:
    """Of floating-point and complex types; a ``dtype`` that is not NumPy's is none."""
    assert precision_of(value) == epsilon


# --- NumPy ------------------------------------------------------------------------------------------------------------


def test_numpy_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason says how to get it, and nothing is imported."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="NumPy is not installed; pip install numpy"):
        NumpyBackend().devices()
    with pytest.raises(Unavailable, match="NumPy is not installed"):
        NumpyBackend().open(DeviceId("cpu"))


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_copy_keeps_its_layout(order: Literal["C", "F"]) -> None:
    """The CPU leg computes on what the caller gave: a matrix in Fortran order stays so."""
    arrays = NumpyBackend().open(DeviceId("cpu")).arrays
    assert arrays is not None
    original = numpy.asarray(numpy.arange(6.0).reshape(2, 3), order=order)
    assert arrays.place(original).strides == original.strides


def test_subclasses_stay_what_they_are() -> None:
    """A masked array is copied with its mask."""
    arrays = NumpyBackend().open(DeviceId("cpu")).arrays
    assert arrays is not None
    placed = arrays.place(numpy.ma.masked_array([1.0, 2.0], [False, True]))
    assert isinstance(placed, numpy.ma.MaskedArray)
    assert placed.mask.tolist() == [False, True]


# --- Caches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cache", "flushed"), [(None, 256), (0, 256), (4 * 2**20, 32), (50 * 2**20, 100), (126 * 2**20, 252)]
)
def test_twice_the_cache_is_written_to_evict_it(cache: int | None, flushed: int) -> None:
    """At least 32 MiB, and 256 MiB where nobody tells."""
    assert flush_bytes(cache) == flushed * 2**20


def test_the_largest_cache_of_the_cpu_counts(tmp_path: Path) -> None:
    """As Linux tells them, in KiB or MiB; elsewhere nobody knows."""
    for index, size in enumerate(["48K", "2048K", "105M"]):
        folder = tmp_path / f"index{index}"
        folder.mkdir()
        (folder / "size").write_text(f"{size}\n", encoding="ascii")
    assert host._last_level_bytes.__wrapped__(tmp_path) == 105 * 2**20
    assert host._last_level_bytes.__wrapped__(tmp_path / "elsewhere") is None


def test_evicting_the_cpus_caches_writes_every_line() -> None:
    """Reading could be skipped by nobody, but writing leaves no old line behind."""
    evict_cpu_caches()
    before = host._eviction().copy()
    evict_cpu_caches()
    assert (host._eviction() == before + 1).all()
    assert host._eviction().nbytes == flush_bytes(host._last_level_bytes())
