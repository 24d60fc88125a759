"""torch: what an installation can lack, what other vendors' devices tell, and what is special about its values."""

from __future__ import annotations

import importlib.util
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gpuprof import profile
from pytest_gpuprof.backends import torch as adapter
from pytest_gpuprof.backends.torch import TorchBackend
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import DeviceError, Unavailable
from pytest_gpuprof.core.protocols import AllocatorState, Arrays

if TYPE_CHECKING:
    from tests.simulators.torch_device import Control

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="NOT TESTED: torch's values, because torch is not installed",
)

# --- What there is ----------------------------------------------------------------------------------------------------


def test_torch_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason says where to get the build for this GPU."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"PyTorch is not installed; see https://pytorch\.org"):
        TorchBackend().devices()


def test_torch_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation is unavailable, with the import's own words."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: "here")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(Unavailable, match=r"cannot be imported \(.*torch.*\); reinstall it"):
        TorchBackend().devices()


def test_torch_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before ``torch.accelerator`` there is nothing to drive devices with; the reason has both versions."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: "here")
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__="2.3.1"))
    with pytest.raises(Unavailable, match=r"PyTorch 2\.3\.1 has no torch\.accelerator; upgrade to 2\.9"):
        TorchBackend().devices()


class FakeTorch:
    """A torch with accelerators of one type, as far as they are described."""

    def __init__(self, kind: str, *devices: Any, names: bool = True) -> None:
        self.__version__ = "2.9.0"
        self._module = SimpleNamespace()
        if names:
            self._module.get_device_properties = lambda index: devices[index]
        self.accelerator = SimpleNamespace(
            is_available=lambda: bool(devices),
            current_accelerator=lambda: SimpleNamespace(type=kind),
            device_count=lambda: len(devices),
        )

    def get_device_module(self, kind: str) -> Any:
        return self._module


def described(monkeypatch: pytest.MonkeyPatch, fake: FakeTorch) -> list[DeviceInfo]:
    monkeypatch.setattr(adapter, "_import", lambda: fake)
    return [*TorchBackend().devices()]


PCI = {"pci_domain_id": 0, "pci_bus_id": 0x65, "pci_device_id": 1}


@pytest.mark.parametrize(
    ("uuid", "written"),
    [("1a2b-3c", "GPU-1a2b-3c"), ("GPU-1a2b-3c", "GPU-1a2b-3c"), ("MIG-1a2b-3c", "MIG-1a2b-3c"), (None, None)],
)
def test_a_card_is_found_by_its_sensors(monkeypatch: pytest.MonkeyPatch, uuid: str | None, written: str | None) -> None:
    """UUID and PCI address are written as NVML writes them; torch leaves the prefix out."""
    card = SimpleNamespace(name="NVIDIA H200", total_memory=141 << 30, uuid=uuid, **PCI)
    info, cpu = described(monkeypatch, FakeTorch("cuda", card))
    assert (str(info.id), info.name, info.kind, info.memory_bytes) == ("cuda:0", "NVIDIA H200", "gpu", 141 << 30)
    assert info.uuid == written
    assert info.pci_bus_id == "00000000:65:01.0"
    assert cpu.kind == "cpu"


def test_a_card_that_tells_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """No UUID, address or memory is made up; a type whose devices have no name is called by its type."""
    (first, second, _) = described(monkeypatch, FakeTorch("xpu", *2 * [SimpleNamespace(name="Arc", pci_bus_id=3)]))
    assert (first.uuid, first.pci_bus_id, first.memory_bytes) == (None, None, None)
    assert [str(each.id) for each in (first, second)] == ["xpu:0", "xpu:1"]
    (info, _) = described(monkeypatch, FakeTorch("mps", None, names=False))
    assert (info.name, info.kind) == ("mps", "gpu")


def test_a_device_of_unknown_type_is_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PrivateUse1 device can be anything, so nobody calls it a GPU."""
    (info, _) = described(monkeypatch, FakeTorch("npu", SimpleNamespace(name="Chip")))
    assert info.kind == "stand-in"
    assert info.why_stand_in == "no GPU: a torch device of type 'npu'"


def test_without_an_accelerator_there_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch without a GPU is available all the same: it runs the CPU leg."""
    assert [str(info.id) for info in described(monkeypatch, FakeTorch("cuda"))] == ["cpu"]
    with pytest.raises(DeviceError, match="torch has no device cuda:0; it has cpu"):
        TorchBackend().open(DeviceId("cuda"))


# --- The spin kernel --------------------------------------------------------------------------------------------------


class FakeSpin:
    """A GPU on which only spin kernels run: its clock, and events on it."""

    def __init__(self, cycles_per_s: float, first_launch_s: float = 0.0) -> None:
        self.now = 0.0
        self.spun: list[int] = []
        self._rate, self._load_s = cycles_per_s, first_launch_s

    def _sleep(self, cycles: int) -> None:
        assert isinstance(cycles, int)  # torch takes no float
        self.now += cycles / self._rate + (0.0 if self.spun else self._load_s)
        self.spun.append(cycles)

    def mark(self) -> float:
        return self.now

    def wait(self, mark: float) -> None: ...

    def elapsed_s(self, start: float, end: float) -> float:
        return end - start


@pytest.mark.parametrize("rate", [0.5e9, 1.98e9])
def test_the_backlog_finds_its_clock_by_timing(rate: float) -> None:
    """It occupies the device for the seconds asked for at any clock, whatever loading the kernel took."""
    device = FakeSpin(rate, first_launch_s=3.0)
    spin = adapter._Spin(device._sleep, device)  # type: ignore[arg-type]  # a timer by its methods
    spin(1e-3)
    before, launches = device.now, len(device.spun)
    spin(20e-3)
    assert device.now - before == pytest.approx(20e-3, rel=1e-6)
    assert len(device.spun) == launches + 1  # found out once


def test_device_time_of_the_real_torch_is_that_of_its_operators(simgpu: Control) -> None:
    """Three operators of 2 ms behind the spin kernel: what torch needs to launch them is not in it."""
    import torch

    simgpu.reset()
    simgpu.op_seconds = 2e-3  # far longer than torch needs to launch it, also where this machine is busy

    def chain(device: Any) -> Any:
        x = torch.ones(8, device=device)
        return lambda: x.add(1).mul(2).sub(3)

    found = profile(chain, backend="torch", devices="simgpu:0", rounds=3)
    assert abs(found.gpu.device_time_s / 6e-3 - 1) <= found.gpu.overhead_bound("device_time") + 1e-3
    assert found.gpu.overhead_bound("device_time") < 0.02


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["cpu", "simgpu:1"])
def place(request: pytest.FixtureRequest) -> str:
    if request.param != "cpu":
        control: Control = request.getfixturevalue("simgpu")
        control.reset()
    return str(request.param)


@pytest.fixture
def arrays(place: str) -> Arrays:
    found = TorchBackend().open(DeviceId.parse(place)).arrays
    assert found is not None
    return found


@needs_torch
def test_modules_are_copied(arrays: Arrays, place: str) -> None:
    """Each leg has its own module on its device: the caller's is neither moved nor trained."""
    import torch

    original = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    weight = original[0].weight.detach().clone()
    placed = arrays.place(original)
    assert placed is not original
    assert {str(each.device) for each in (*placed.parameters(), *placed.buffers())} == {place}
    with torch.no_grad():
        placed[0].weight.zero_()
    assert {str(each.device) for each in original.parameters()} == {"cpu"}
    assert torch.equal(original[0].weight, weight)
    assert TorchBackend().owns(original)


@needs_torch
def test_tensors_keep_what_they_are(arrays: Arrays, place: str) -> None:
    """Gradients wanted or not, and the memory format, are as the caller's; the graph is not."""
    import torch

    leaf = torch.ones(2, 3, 4, 4, requires_grad=True)
    image = (2 * leaf).contiguous(memory_format=torch.channels_last)
    for original in (leaf, image, image.detach()):
        placed = arrays.place(original)
        assert str(placed.device) == place
        assert placed.is_leaf
        assert placed.requires_grad == original.requires_grad
        assert placed.stride() == original.stride()


@needs_torch
@pytest.mark.parametrize(
    ("kind", "epsilon"),
    [("float64", 2**-52), ("float32", 2**-23), ("float16", 2**-10), ("bfloat16", 2**-7), ("float8_e4m3fn", 2**-3)],
)
def test_every_floating_point_type_comes_home(kind: str, epsilon: float) -> None:
    """As a NumPy array of equal values, also from types that NumPy does not have; the precision is the tensor's."""
    import torch

    arrays = TorchBackend().open(DeviceId("cpu")).arrays
    assert arrays is not None
    value = torch.tensor([1.5, -2.0]).to(getattr(torch, kind))
    assert arrays.host(value).tolist() == [1.5, -2.0]
    assert arrays.precision(value) == epsilon


@needs_torch
def test_other_tensors_come_home() -> None:
    """Integers, complex numbers and their lazy conjugates, sparse tensors, and those with a gradient."""
    import torch

    arrays = TorchBackend().open(DeviceId("cpu")).arrays
    assert arrays is not None
    values = {
        torch.tensor([1, 2]): [1, 2],
        torch.tensor([True]): [True],
        torch.tensor([1 + 2j]).conj(): [1 - 2j],
        torch.tensor([0.0, 3.0]).to_sparse(): [0.0, 3.0],
        torch.tensor([4.0], requires_grad=True): [4.0],
    }
    for tensor, expected in values.items():
        assert arrays.host(tensor).tolist() == expected
    assert arrays.precision(torch.tensor([1])) is None
    assert arrays.precision(torch.tensor([1j])) == 2**-23


def test_placing_happens_on_the_device_that_was_opened(simgpu: Control) -> None:
    """Whichever device is current, a tensor goes to its own, and each has its own generator."""
    import torch

    simgpu.reset()
    torch.accelerator.set_device_index(0)
    device = TorchBackend().open(DeviceId("simgpu", 1))
    assert device.arrays is not None
    assert str(device.arrays.place(torch.ones(2)).device) == "simgpu:1"
    state = device.random.save()
    drawn = torch.rand(3, device="simgpu:1")
    torch.rand(3, device="simgpu:0")
    device.random.restore(state)
    assert torch.equal(torch.rand(3, device="simgpu:1").cpu(), drawn.cpu())


def test_a_device_without_memory_statistics(simgpu: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torch raises instead of counting, no memory is offered, and the device says so."""
    import torch

    def refuse(index: int) -> None:
        raise NotImplementedError

    monkeypatch.setattr(torch.accelerator, "reset_peak_memory_stats", refuse)
    device = TorchBackend().open(DeviceId("simgpu"))
    with device.watch_memory() as memory:
        assert memory is None
    assert device.lacks["memory"] == "torch keeps no memory statistics for simgpu"


def test_torch_without_its_allocator_counts_nothing(simgpu: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable for debugging, CUDA devices have no statistics but zeros; other devices do not know it."""
    import torch

    simgpu.reset()
    monkeypatch.setenv("PYTORCH_NO_CUDA_MEMORY_CACHING", "0")  # any value
    other = TorchBackend().open(DeviceId("simgpu"))
    with other.watch_memory() as memory:
        assert memory is not None
    card = DeviceInfo(DeviceId("cuda"), "Card", "gpu", "torch")
    monkeypatch.setattr(torch, "device", lambda *args: SimpleNamespace(type="cuda", index=0))
    monkeypatch.setattr(torch, "get_device_module", lambda kind: SimpleNamespace())
    device = adapter._Accelerator(card)
    with device.watch_memory() as memory:
        assert memory is None
    assert device.lacks["memory"] == "torch counts no memory while PYTORCH_NO_CUDA_MEMORY_CACHING is set; unset it"


def test_an_empty_cache_is_what_a_peak_begins_with(simgpu: Control) -> None:
    """What torch reserves afterwards is needed since then; the device has all else free."""
    import torch

    simgpu.reset()
    with TorchBackend().open(DeviceId("simgpu")).watch_memory() as memory:
        assert isinstance(memory, adapter._Memory)
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
    memory = adapter._Memory(torch, "cuda", 0)
    assert memory.live_bytes() == 7
    assert memory.flushes() == flushes
    assert memory.free_bytes() is None  # torch 2.9 does not tell


def test_a_driver_that_does_not_tell_what_is_left() -> None:
    """It refuses, and nothing is made up."""

    def refuse(index: int) -> tuple[int, int]:
        raise NotImplementedError

    torch = SimpleNamespace(accelerator=SimpleNamespace(get_memory_info=refuse))
    assert adapter._Memory(torch, "xpu", 0).free_bytes() is None


def test_a_poisoned_device_says_so(simgpu: Control) -> None:
    """After an illegal memory access waiting raises torch's own error, and the current device is restored."""
    import torch

    simgpu.reset()
    torch.accelerator.set_device_index(1)
    device = TorchBackend().open(DeviceId("simgpu"))
    simgpu.poison()
    try:
        with pytest.raises(RuntimeError, match="illegal memory access"), device.active():
            device.synchronize()
        assert torch.accelerator.current_device_index() == 1
    finally:
        simgpu.heal()
        torch.accelerator.set_device_index(0)
