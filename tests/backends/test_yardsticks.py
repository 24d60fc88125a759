"""Counters of FLOPs and work that calibrates: that they do, on real devices, what they say."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pytest_gpuprof.backends import cupy as cupy_adapter
from pytest_gpuprof.backends.opencl import OpenclBackend
from pytest_gpuprof.backends.torch import TorchBackend
from pytest_gpuprof.backends.torch_work import Yardsticks
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.quantities import PRECISIONS

if TYPE_CHECKING:
    from tests.simulators.torch_device import Control

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="NOT TESTED: torch's counter and products: torch is not installed"
)
needs_opencl = pytest.mark.skipif(
    importlib.util.find_spec("pyopencl") is None, reason="NOT TESTED: OpenCL's copies: PyOpenCL is not installed"
)


@pytest.fixture(params=["cpu", "simgpu"])
def device(request: pytest.FixtureRequest) -> Any:
    """The CPU, and the simulated accelerator, both driven by the real torch."""
    if request.param == "simgpu":
        control: Control = request.getfixturevalue("simgpu")
        assert control is not None
    return TorchBackend().open(DeviceId.parse(request.param))


# -- counters ---------------------------------------------------------------------------------------------------------


@needs_torch
def test_torch_counts_products(device: Any) -> None:
    """Two operations per element of the product's volume; element-wise work is not known to it."""
    import torch

    place = device.arguments["device"]
    a, b = torch.ones(8, 16, device=place), torch.ones(16, 4, device=place)
    assert device.flop_counter.count(lambda: a @ b) == 2 * 8 * 16 * 4
    assert device.flop_counter.count(lambda: (a @ b) @ b.t()) == 2 * (2 * 8 * 16 * 4)
    assert device.flop_counter.count(lambda: a + a) == 0


@needs_torch
def test_torch_counts_again_after_a_call_that_failed(device: Any) -> None:
    """Nothing is left watching."""

    def failing() -> None:
        raise KeyError("the workload's own")

    with pytest.raises(KeyError):
        device.flop_counter.count(failing)
    import torch

    a = torch.ones(2, 2, device=device.arguments["device"])
    assert device.flop_counter.count(lambda: a @ a) == 2 * 2**3


# -- yardsticks -------------------------------------------------------------------------------------------------------


@needs_torch
def test_torch_copies_and_multiplies(device: Any) -> None:
    """As many bytes as were asked for, from memory that was written; products of full matrices in each precision."""
    copied = device.yardsticks.copy(1000)()
    assert (copied.numel() * copied.element_size(), int(copied.to("cpu").min())) == (1000, 1)
    assert set(device.yardsticks.precisions) <= set(PRECISIONS)
    for precision in device.yardsticks.precisions:
        product = device.yardsticks.product(32, precision)()
        assert product.shape == (32, 32)
        assert product.element_size() == {"fp64": 8, "fp32": 4, "bf16": 2}[precision]
        assert 32 * 0.1 < float(product.to("cpu").double().mean()) < 32 * 0.5  # a quarter, of uniform numbers


class FakeTorch(SimpleNamespace):
    """What a product on CUDA takes from torch; a product tells the setting that was in force."""

    def __init__(self) -> None:
        matmul = SimpleNamespace(fp32_precision="none")
        matrix = SimpleNamespace()
        matrix.to = lambda **where: matrix
        super().__init__(
            float32="float32",
            bfloat16="bfloat16",
            backends=SimpleNamespace(cuda=SimpleNamespace(matmul=matmul)),
            rand=lambda *shape: matrix,
            empty_like=lambda other: other,
            mm=lambda left, right, out: matmul.fp32_precision,
        )


@pytest.mark.parametrize(("precision", "inside"), [("tf32", "tf32"), ("fp32", "ieee"), ("bf16", "none")])
def test_torch_sets_the_precision_of_fp32_products_for_the_call_alone(precision: str, inside: str) -> None:
    """Whatever the process has set, fp32 is fp32 and tf32 is tf32; after the call the setting is what it was."""
    fake = FakeTorch()
    product = Yardsticks(fake, SimpleNamespace(type="cuda")).product(2, precision)
    assert product() == inside
    assert fake.backends.cuda.matmul.fp32_precision == "none"


def test_torch_restores_the_precision_after_a_product_that_failed() -> None:
    """Out of memory, say."""
    fake = FakeTorch()

    def fail(left: Any, right: Any, out: Any) -> None:
        raise RuntimeError("out of memory")

    fake.mm = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        Yardsticks(fake, SimpleNamespace(type="cuda")).product(2, "tf32")()
    assert fake.backends.cuda.matmul.fp32_precision == "none"


def test_cupy_copies_and_multiplies() -> None:
    """With NumPy in its place: the calls are of the namespace that both have."""
    yardsticks = cupy_adapter._Yardsticks(np)
    yardsticks.copy(1000)()
    products = {precision: yardsticks.product(32, precision)() for precision in yardsticks.precisions}
    assert {precision: each.dtype.itemsize for precision, each in products.items()} == {"fp64": 8, "fp32": 4, "fp16": 2}
    assert all(32 * 0.1 < float(each.mean()) < 32 * 0.5 for each in products.values())


@needs_opencl
def test_opencl_copies_and_has_no_products() -> None:
    """The target holds what the source was filled with."""
    import pyopencl as cl

    try:
        device: Any = OpenclBackend().open(DeviceId("opencl"))
    except Unavailable as error:
        pytest.skip(f"NOT TESTED: OpenCL's copies: {error}")
    event = device.yardsticks.copy(4096)()
    device.synchronize()
    assert event.command_type == cl.command_type.COPY_BUFFER
    assert device.yardsticks.precisions == ()
    with pytest.raises(Unavailable, match="no fp32 matrix product"):
        device.yardsticks.product(2, "fp32")
