"""torch: what an installation can lack, what other vendors' devices tell, and devices that lack or break something."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gpuprof.backends import torch as adapter
from pytest_gpuprof.backends.torch import TorchBackend
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import DeviceError, Unavailable

if TYPE_CHECKING:
    from tests.simulators.torch_device import Control

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


# --- What devices lack ------------------------------------------------------------------------------------------------


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
