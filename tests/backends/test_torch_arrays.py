"""torch's values: what is special about them when they go to a device and come home."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from pytest_gpuprof.backends.torch import TorchBackend
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.protocols import Arrays

if TYPE_CHECKING:
    from tests.simulators.torch_device import Control

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="NOT TESTED: torch's values, because torch is not installed",
)


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
