"""CuPy: why it is not there, and its device code on a mock.

The class ``MockCupy`` is a MOCK, the last resort: nothing drives CuPy without a GPU. It shows NumPy's arrays under
CuPy's names and keeps time by counting, and it is written from CuPy's documentation. That these tests pass does not
show that the adapter works with CuPy; that is shown by the contract (``tests/contracts``, case ``cupy-gpu``) on a GPU.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy
import pytest

from pytest_gpuprof.backends import cupy as adapter
from pytest_gpuprof.backends.cupy import CupyBackend
from pytest_gpuprof.backends.host import HostDevice
from pytest_gpuprof.backends.registry import Registry
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import DeviceError, Unavailable
from pytest_gpuprof.core.protocols import AllocatorState, PeakMemory
from pytest_gpuprof.core.results import Reading

RAW_UUID = bytes(range(1, 17))


class NoDriver(RuntimeError):
    """``CUDARuntimeError``."""


class MockArray(numpy.ndarray):
    """``cupy.ndarray``."""


class MockHook:
    """``cupy.cuda.MemoryHook``: called in the thread that has entered it."""

    active: list[MockHook] = []

    def __enter__(self) -> MockHook:
        self.active.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        self.active.remove(self)


class MockPool:
    """``cupy.cuda.MemoryPool``: it tells of the current device only."""

    def __init__(self, mock: MockCupy) -> None:
        self._mock = mock
        self.used = [0] * mock.count
        self.held = [0] * mock.count

    def malloc(self, size: int) -> None:
        device = self._mock.current
        self.used[device] += size
        self.held[device] = max(self.held[device], self.used[device])
        for hook in list(MockHook.active):
            hook.malloc_postprocess(device_id=device, size=size, mem_size=size, mem_ptr=1, pmem_id=1)  # type: ignore[attr-defined]

    def free(self, size: int) -> None:
        self.used[self._mock.current] -= size

    def used_bytes(self) -> int:
        return self.used[self._mock.current]

    def total_bytes(self) -> int:
        return self.held[self._mock.current]

    def free_all_blocks(self) -> None:
        self.held[self._mock.current] = self.used[self._mock.current]


class MockCupy:
    """The module ``cupy``, as far as the adapter uses it, on a machine with two cards. It is ``cupy.cuda`` too."""

    ndarray = MockArray
    MemoryHook = MockHook
    CUDARuntimeError = NoDriver

    def __init__(self, count: int = 2, uuid: bytes = RAW_UUID, failure: str | None = None) -> None:
        self.cuda = self.runtime = self
        self.count, self.uuid, self.failure = count, uuid, failure
        self.current = 0
        self.clock_ms = 0.0
        self.waited: list[int] = []
        self.compiled: list[tuple[str, str]] = []
        self.launched: list[Any] = []
        self.allocated: list[tuple[int, str]] = []
        self.pool = MockPool(self)
        self.allocator: Callable[[int], None] = self.pool.malloc
        self.random = self
        self.generator = numpy.random.RandomState(0)
        mock = self

        class Device:
            def __init__(self, id: int) -> None:  # noqa: A002  # CuPy's name
                self.id = id
                self.attributes = {"L2CacheSize": 50 * 2**20}
                self._before: list[int] = []

            def __enter__(self) -> Device:
                self._before.append(mock.current)
                mock.current = self.id
                return self

            def __exit__(self, *error: object) -> None:
                mock.current = self._before.pop()

            def synchronize(self) -> None:
                mock.waited.append(self.id)

        class Event:
            def __init__(self) -> None:
                self.at_ms: float | None = None
                self.device = mock.current
                self.waited = False

            def record(self) -> None:
                self.at_ms = mock.clock_ms

            def synchronize(self) -> None:
                self.waited = True

        self.Device, self.Event = Device, Event

    def memGetInfo(self) -> tuple[int, int]:
        return (1 << 34) - self.pool.total_bytes(), 1 << 34

    def getDeviceCount(self) -> int:
        if self.failure:
            raise NoDriver(self.failure)
        return self.count

    def getDeviceProperties(self, index: int) -> dict[str, Any]:
        return {
            "name": f"Mock {index}".encode(),
            "uuid": self.uuid,
            "pciDomainID": 0,
            "pciBusID": 0x65 + index,
            "pciDeviceID": 0,
            "totalGlobalMem": 1 << 34,
        }

    def get_elapsed_time(self, start: Any, end: Any) -> float:
        return float(end.at_ms - start.at_ms)

    def get_default_memory_pool(self) -> MockPool:
        return self.pool

    def get_allocator(self) -> Callable[[int], None]:
        return self.allocator

    def array(self, value: Any) -> Any:
        return numpy.array(value).view(MockArray)

    def uint64(self, value: int) -> int:
        return value

    def empty(self, size: int, dtype: str) -> Any:
        self.allocated.append((size, dtype))
        return numpy.empty(size, dtype)

    def RawKernel(self, source: str, name: str) -> Callable[..., None]:
        self.compiled.append((name, source))
        return lambda *launch: self.launched.append(launch)

    def asnumpy(self, value: Any) -> Any:
        return numpy.asarray(value)

    def seed(self, seed: int) -> None:
        self.generator = numpy.random.RandomState(seed)


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> MockCupy:
    return install(monkeypatch, MockCupy())


def install(monkeypatch: pytest.MonkeyPatch, mock: MockCupy) -> MockCupy:
    monkeypatch.setattr(adapter, "_import", lambda: mock)
    monkeypatch.setattr(MockHook, "active", [])
    return mock


def opened(index: int = 0) -> HostDevice:
    return CupyBackend().open(DeviceId("cuda", index))


@contextmanager
def watched(device: HostDevice) -> Iterator[PeakMemory]:
    with device.watch_memory() as memory:
        assert memory is not None
        yield memory


# --- What there is ----------------------------------------------------------------------------------------------------


def test_cupy_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason names the packages, which differ by the version of CUDA."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="CuPy is not installed; pip install cupy-cuda12x"):
        CupyBackend().devices()


def test_cupy_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason has the import's own."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: "here")
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(Unavailable, match=r"cannot be imported \(.*cupy.*\); reinstall it"):
        CupyBackend().devices()


def test_the_real_cupy_without_a_driver() -> None:
    """No mock: CuPy is installed, there is no GPU, and the reason says what to install."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("NOT TESTED: CuPy without a driver, because cupy is not installed")
    devices = Registry([CupyBackend()]).devices("cupy")
    if isinstance(devices, Reading):
        assert devices.reason.startswith("CuPy finds no CUDA device (cuda")
        assert devices.reason.endswith("; install the NVIDIA driver")
    else:
        assert {info.kind for info in devices} == {"gpu"}  # there is a GPU, so the contract is tested on it


def test_the_real_cupy_tells_its_allocator() -> None:
    """No mock: the way in which the adapter finds out that the default pool is in use holds without a GPU too."""
    if importlib.util.find_spec("cupy") is None:
        pytest.skip("NOT TESTED: CuPy's allocator, because cupy is not installed")
    import cupy

    assert cupy.cuda.get_allocator() == cupy.get_default_memory_pool().malloc
    assert cupy.cuda.get_allocator() != cupy.cuda.MemoryPool().malloc


def test_a_driver_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the runtime says is in the reason."""
    install(monkeypatch, MockCupy(failure="cudaErrorNoDevice: no CUDA-capable device is detected"))
    with pytest.raises(Unavailable, match="cudaErrorNoDevice"):
        CupyBackend().devices()


def test_no_card_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them is allowed to this process."""
    install(monkeypatch, MockCupy(count=0))
    with pytest.raises(Unavailable, match="check CUDA_VISIBLE_DEVICES"):
        CupyBackend().devices()


@pytest.mark.usefixtures("cupy")
def test_cards_are_found_by_their_sensors() -> None:
    """UUID and PCI address are written as NVML writes them."""
    first, second = CupyBackend().devices()
    assert (str(second.id), second.name, second.kind, second.memory_bytes) == ("cuda:1", "Mock 1", "gpu", 1 << 34)
    assert first.uuid == "GPU-01020304-0506-0708-090a-0b0c0d0e0f10"
    assert (first.pci_bus_id, second.pci_bus_id) == ("00000000:65:00.0", "00000000:66:00.0")
    with pytest.raises(DeviceError, match="CuPy has no device cuda:2; it has cuda:0, cuda:1"):
        opened(2)


@pytest.mark.parametrize(("raw", "known"), [(RAW_UUID + b"luid", True), (RAW_UUID[:5], False), (b"", False)])
def test_a_uuid_read_as_a_c_string(monkeypatch: pytest.MonkeyPatch, raw: bytes, known: bool) -> None:
    """CuPy reads on to the next zero byte: what follows the UUID is cut off, and half a UUID is none."""
    install(monkeypatch, MockCupy(uuid=raw))
    uuid = CupyBackend().devices()[0].uuid
    assert uuid == ("GPU-01020304-0506-0708-090a-0b0c0d0e0f10" if known else None)


# --- On a device ------------------------------------------------------------------------------------------------------


def test_builders_get_cupy(cupy: MockCupy) -> None:
    """The namespace, and the device beside it."""
    arguments = opened(1).arguments
    assert arguments["xp"] is cupy
    assert arguments["device"].id == 1


def test_the_device_is_current_while_active(cupy: MockCupy) -> None:
    """And the one before it is current again, also after an error."""
    device = opened(1)
    with device.active():
        assert cupy.current == 1
    assert cupy.current == 0
    with pytest.raises(ZeroDivisionError), device.active():
        raise ZeroDivisionError
    assert cupy.current == 0
    device.synchronize()
    assert cupy.waited == [1]


def test_events(cupy: MockCupy) -> None:
    """Recorded when they are made, on the current device; CuPy's milliseconds are seconds here."""
    device = opened(1)
    assert device.timer is not None
    with device.active():
        start = device.timer.mark()
        cupy.clock_ms += 2.5
        end = device.timer.mark()
    device.timer.wait(end)
    assert (start.waited, end.waited, end.device) == (False, True, 1)
    assert device.timer.elapsed_s(start, end) == pytest.approx(2.5e-3)


def test_the_backlog_is_one_kernel_that_looks_at_the_gpus_clock(cupy: MockCupy) -> None:
    """Compiled once, launched on one thread, and told nanoseconds."""
    device = opened()
    assert device.backlog is not None
    device.backlog(2e-3)
    device.backlog(50e-6)
    assert [name for name, _ in cupy.compiled] == ["gpuprof_spin"]
    assert "%globaltimer" in cupy.compiled[0][1]
    assert cupy.launched == [((1,), (1,), (2_000_000,)), ((1,), (1,), (50_000,))]


def test_the_cache_is_evicted_by_filling_twice_its_size(cupy: MockCupy) -> None:
    """50 MiB of L2 are overwritten by 100 MiB, allocated once."""
    device = opened()
    assert device.flush is not None
    device.flush()
    device.flush()
    assert cupy.allocated == [(100 * 2**20 // 4, "int32")]


def test_the_peak_of_the_pool(cupy: MockCupy) -> None:
    """The hook sees each allocation of the device while it is watched, and only then."""
    device = opened()
    cupy.pool.malloc(1000)
    with watched(device) as memory:
        assert (memory.live_bytes(), memory.peak_bytes()) == (1000, 1000)
        cupy.pool.malloc(500)
        cupy.pool.free(500)
        cupy.pool.malloc(100)
        cupy.pool.free(100)
        assert (memory.live_bytes(), memory.peak_bytes(), memory.reserved_bytes()) == (1000, 1500, 1500)
        memory.reset_peak()
        assert (memory.peak_bytes(), memory.reserved_bytes()) == (1000, 1000)  # its cache is empty
    cupy.pool.malloc(4000)
    assert memory.peak_bytes() == 1000
    assert MockHook.active == []


def test_the_pool_of_a_card_that_is_not_current(cupy: MockCupy) -> None:
    """The pool tells of the current card; the figures are those of the card that is watched."""
    cupy.pool.malloc(77)
    device = opened(1)
    with watched(device) as memory:
        assert (memory.live_bytes(), memory.peak_bytes(), memory.reserved_bytes()) == (0, 0, 0)
        cupy.pool.malloc(10)  # on the other card
        with device.active():
            cupy.pool.malloc(300)
        assert (memory.live_bytes(), memory.peak_bytes(), memory.reserved_bytes()) == (300, 300, 300)
        memory.reset_peak()
        assert memory.peak_bytes() == 300
    assert cupy.current == 0


def test_the_card_tells_what_is_left(cupy: MockCupy) -> None:
    """The one that is watched, whichever is current; how often the pool emptied itself on a full card nobody counts."""
    cupy.pool.malloc(77)
    with watched(opened(1)) as memory:
        assert isinstance(memory, AllocatorState)
        assert memory.free_bytes() == 1 << 34
        with opened(1).active():
            cupy.pool.malloc(300)
        assert memory.free_bytes() == (1 << 34) - 300
        assert memory.flushes() is None


def test_another_allocator_cannot_be_watched(cupy: MockCupy) -> None:
    """Memory that does not come from the default pool is not reported as none."""
    cupy.allocator = MockPool(cupy).malloc
    device = opened()
    with device.watch_memory() as memory:
        assert memory is None
    assert "not its default memory pool" in device.lacks["memory"]


def test_arrays_go_and_come(cupy: MockCupy) -> None:
    """NumPy's and CuPy's arrays are copied to the device, everything else is handed through."""
    arrays = opened().arrays
    assert arrays is not None
    original = numpy.array([1.0, 2.0], "f4")
    placed = arrays.place(original)
    again = arrays.place(placed)
    original[0] = 9.0
    placed[0] = 8.0
    assert isinstance(again, MockArray)
    back = arrays.host(again)
    assert not isinstance(back, MockArray)
    assert back.tolist() == [1.0, 2.0]
    assert arrays.place("text") == "text"
    assert arrays.precision(placed) == 2**-23


def test_generators_repeat_themselves(cupy: MockCupy) -> None:
    """CuPy's generator cannot be copied, so it is seeded: equal draws after every restore, by the saved state."""
    generators = opened().random

    def draws() -> list[float]:
        return [float(cupy.generator.rand()), float(numpy.random.random())]

    state = generators.save()
    generators.restore(state)
    first = draws()
    generators.restore(state)
    assert draws() == first
    random.random()  # another state of Python's generator means another seed
    generators.restore(generators.save())
    assert draws()[0] != first[0]


def test_an_owner_without_an_import(monkeypatch: pytest.MonkeyPatch, cupy: MockCupy) -> None:
    """Arrays are recognised by the module that is already there."""
    array = cupy.array([1.0])
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert not CupyBackend().owns(array)
    assert "cupy" not in sys.modules
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert CupyBackend().owns(array)
    assert not CupyBackend().owns(numpy.ones(1))
