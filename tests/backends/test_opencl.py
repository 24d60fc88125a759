"""OpenCL: its devices, described from fakes where there is no such hardware, and real kernels on PoCL."""

from __future__ import annotations

import ctypes
import importlib.util
import platform
import struct
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_gpuprof.backends import opencl, pocl
from pytest_gpuprof.backends.host import HostDevice
from pytest_gpuprof.backends.opencl import OpenclBackend
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import Unavailable

CPU, GPU, ACCELERATOR = 2, 4, 8
"""CL_DEVICE_TYPE_…, a bit field."""


class FakeError(Exception):
    """``pyopencl.Error``."""


class FakeDevice:
    """A device as PyOpenCL shows it; what it does not know raises, as PyOpenCL does."""

    def __init__(self, name: str, kind: int, vendor: str = "ACME", **known: Any) -> None:
        self.name, self.type, self.vendor = name, kind, vendor
        self.global_mem_size = 1 << 30
        self.version = "OpenCL 3.0"
        self._known = known

    def __getattr__(self, what: str) -> Any:
        if what in self._known:
            return self._known[what]
        raise FakeError("clGetDeviceInfo failed: INVALID_VALUE")


def install(monkeypatch: pytest.MonkeyPatch, *platforms: list[FakeDevice] | Exception) -> None:
    """Let PyOpenCL find these platforms."""

    def get_platforms() -> list[Any]:
        for each in platforms:
            if isinstance(each, Exception):
                raise each
        return [SimpleNamespace(get_devices=lambda each=each: each) for each in platforms]

    fake = SimpleNamespace(Error=FakeError, device_type=SimpleNamespace(CPU=CPU, GPU=GPU), get_platforms=get_platforms)
    monkeypatch.setattr(opencl, "_import", lambda: fake)


# --- What there is ----------------------------------------------------------------------------------------------------


def test_opencl_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason says how to get it, with an OpenCL for any CPU."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"PyOpenCL is not installed; pip install 'pyopencl\[pocl\]'"):
        OpenclBackend().devices()


def test_opencl_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason has the import's own."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: "here")
    monkeypatch.setitem(sys.modules, "pyopencl", None)
    with pytest.raises(Unavailable, match=r"cannot be imported \(.*pyopencl.*\); reinstall it"):
        OpenclBackend().devices()


def test_no_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a driver the loader raises, and the reason has its words and the remedy."""
    install(monkeypatch, FakeError("PLATFORM_NOT_FOUND_KHR"))
    with pytest.raises(Unavailable, match=r"no OpenCL platform is installed \(PLATFORM_NOT_FOUND_KHR\); install the"):
        OpenclBackend().devices()


def test_platforms_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver without its hardware is no device."""
    install(monkeypatch, [], [])
    with pytest.raises(Unavailable, match="no OpenCL platform has a device"):
        OpenclBackend().devices()


def test_gpus_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the order of the platforms; what is no GPU is a stand-in and says what it is."""
    processor, card, chip = FakeDevice("Processor", CPU), FakeDevice(" Card ", GPU), FakeDevice("Chip", ACCELERATOR)
    install(monkeypatch, [processor], [chip, card])
    infos = OpenclBackend().devices()
    assert [(str(info.id), info.name, info.kind, info.why_stand_in) for info in infos] == [
        ("opencl:0", "Card", "gpu", None),
        ("opencl:1", "Processor", "stand-in", "OpenCL on the CPU"),
        ("opencl:2", "Chip", "stand-in", "an OpenCL device that is no GPU"),
    ]
    assert infos[0].memory_bytes == 1 << 30


def test_a_card_of_nvidia_is_found_by_its_sensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """UUID and PCI address are written as NVML writes them."""
    raw = list(range(16))
    nvidia = FakeDevice(
        "T4", GPU, "NVIDIA Corporation", uuid_khr=raw, pci_domain_id_nv=1, pci_bus_id_nv=0xAF, pci_slot_id_nv=0x1A
    )
    install(monkeypatch, [nvidia])
    (info,) = OpenclBackend().devices()
    assert info.uuid == "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert info.pci_bus_id == "00000001:AF:03.2"


def test_what_a_driver_does_not_tell_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """No UUID or address is made up, for NVIDIA's old drivers and for other vendors' UUIDs."""
    install(monkeypatch, [FakeDevice("Old", GPU, "NVIDIA Corporation"), FakeDevice("MI300", GPU, uuid_khr=range(16))])
    assert [(info.uuid, info.pci_bus_id) for info in OpenclBackend().devices()] == [(None, None), (None, None)]


def test_a_device_that_cannot_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a context the device is unavailable, by name."""
    install(monkeypatch, [FakeDevice("Card", GPU)])

    def refuse(devices: list[Any]) -> None:
        raise FakeError("OUT_OF_RESOURCES")

    opencl._import().Context = refuse
    with pytest.raises(Unavailable, match=r"Card cannot be opened \(OUT_OF_RESOURCES\)"):
        OpenclBackend().open(DeviceId("opencl"))


# --- PoCL on a processor that it does not know ------------------------------------------------------------------------

on_linux = pytest.mark.skipif(
    (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="NOT TESTED: naming a processor for PoCL, because that is done on 64-bit x86 Linux only",
)

POCL = "OpenCL 3.0 PoCL HSTR: pthread-x86_64-unknown-linux-gnu-generic"


class Record:
    """A device record like PoCL's, of pointers and numbers, in this process's memory."""

    def __init__(self, *words: int | bytes, size: int = 2048) -> None:
        self._texts = [ctypes.create_string_buffer(word) for word in words if isinstance(word, bytes)]
        addresses = iter([ctypes.addressof(text) for text in self._texts])
        values = [next(addresses) if isinstance(word, bytes) else word for word in words]
        self._memory = ctypes.create_string_buffer(struct.pack(f"<{len(values)}Q", *values), size)

    def device(self, version: str = POCL) -> Any:
        return SimpleNamespace(version=version, int_ptr=ctypes.addressof(self._memory))

    def word(self, position: int) -> int:
        return ctypes.c_uint64.from_buffer(self._memory, 8 * position).value

    def text(self, position: int) -> bytes | None:
        return ctypes.c_char_p(self.word(position)).value


@on_linux
def test_an_unknown_processor_gets_a_name() -> None:
    """Among the pointers of the record the one to "generic" is turned, and nothing else is touched."""
    record = Record(0, 7, b"x86_64", 1 << 63, b"generic", b"generic-tail", 0xDEAD_BEEF_F000)
    before = [record.word(position) for position in range(7)]
    assert pocl.name_unknown_processor(record.device())
    assert record.text(4) == b"x86-64-v3"
    after = [record.word(position) for position in range(7)]
    assert [old == new for old, new in zip(before, after, strict=True)] == [True] * 4 + [False] + [True] * 2
    assert not pocl.name_unknown_processor(record.device())  # it has one now


@on_linux
def test_a_record_of_another_shape_is_left_alone() -> None:
    """Without a pointer to "generic" nothing is written; a bad address is no crash."""
    assert not pocl.name_unknown_processor(Record(b"skylake", 0x1000).device())
    assert not pocl.name_unknown_processor(SimpleNamespace(version=POCL, int_ptr=0x1000))


@pytest.mark.parametrize(
    "version", ["OpenCL 3.0 PoCL HSTR: pthread-x86_64-unknown-linux-gnu-skylake", "OpenCL 3.0 CUDA-generic"]
)
def test_other_devices_are_left_alone(version: str) -> None:
    """A processor that PoCL knows, and a device of another vendor: their records are not even read."""
    assert not pocl.name_unknown_processor(SimpleNamespace(version=version))


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the record cannot be read as on Linux, nothing is tried."""
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert not pocl.name_unknown_processor(SimpleNamespace(version=POCL))


# --- The real thing, on PoCL ------------------------------------------------------------------------------------------


@pytest.fixture
def device() -> HostDevice:
    """The first OpenCL device, with a queue of its own."""
    if importlib.util.find_spec("pyopencl") is None:
        pytest.skip("NOT TESTED: kernels on OpenCL, because pyopencl is not installed")
    try:
        return OpenclBackend().open(DeviceId("opencl"))
    except Unavailable as reason:
        pytest.skip(f"NOT TESTED: kernels on OpenCL, because {reason}")


def test_a_kernel_is_built_runs_and_is_profiled(device: HostDevice) -> None:
    """On this machine's processor, known to PoCL or not; our events enclose the kernel's own."""
    import numpy
    import pyopencl

    queue = device.arguments["queue"]
    assert device.arrays is not None
    assert device.timer is not None
    data = device.arrays.place(numpy.arange(1000, dtype="f4"))
    source = "__kernel void twice(__global float *x) { size_t i = get_global_id(0); x[i] = 2.0f * x[i]; }"
    kernel = pyopencl.Kernel(pyopencl.Program(queue.context, source).build(), "twice")
    start = device.timer.mark()
    runs = [kernel(queue, (1000,), None, data.data) for _ in range(3)]
    end = device.timer.mark()
    device.synchronize()
    assert device.arrays.host(data).tolist() == [8.0 * each for each in range(1000)]
    assert start.profile.end <= min(run.profile.start for run in runs)
    assert end.profile.end >= max(run.profile.end for run in runs)
    kernels_s = sum(run.profile.end - run.profile.start for run in runs) * 1e-9
    assert kernels_s <= device.timer.elapsed_s(start, end) < kernels_s + 60.0  # seconds, not nanoseconds


@pytest.mark.parametrize("view", ["[::2]", "[:, ::2]", ".T", "[1:1]", "[..., None]"])
def test_views_are_placed(device: HostDevice, view: str) -> None:
    """A slice or a transposed matrix arrives with its values: PyOpenCL itself takes no slices."""
    import numpy

    assert device.arrays is not None
    matrix = numpy.arange(12.0).reshape(3, 4)
    value = eval(f"matrix{view}", {"matrix": matrix})
    back = device.arrays.host(device.arrays.place(value))
    assert back.shape == value.shape
    assert (back == value).all()
