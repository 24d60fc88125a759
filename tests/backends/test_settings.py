"""What adapters tell of their frameworks: the version, and whatever somebody set that changes the speed.

Two measurements are compared only if all of it is equal, so whatever differs must show.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_gpuprof.backends import cupy as cupy_adapter
from pytest_gpuprof.backends import torch as torch_adapter
from pytest_gpuprof.backends.cupy import CupyBackend
from pytest_gpuprof.backends.host import HostDevice, read_settings
from pytest_gpuprof.backends.numpy import NumpyBackend
from pytest_gpuprof.backends.opencl import OpenclBackend
from pytest_gpuprof.backends.torch import TorchBackend
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Fact

from .test_cupy import MockCupy, install

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None,
    reason="NOT TESTED: the settings of torch, because torch is not installed",
)

# --- Asking -----------------------------------------------------------------------------------------------------------


class Odd:
    """Something of a framework's own."""

    def __str__(self) -> str:
        return "odd"


class Version(str):
    """A text of a framework's own."""

    __slots__ = ()


class Framework:
    """A module that has all kinds of settings."""

    __version__ = Version("1.2")
    part = SimpleNamespace(on=True, level=lambda: 3, odd=Odd())
    nothing = None

    @property
    def refused(self) -> bool:
        """Raise, as torch does on reading the older of two ways."""
        raise RuntimeError("you have mixed two ways")


@pytest.mark.parametrize(
    ("places", "told"),
    [
        (["part.on"], {"x": True}),
        (["part.level"], {"x": 3}),
        (["part.gone", "part.level", "part.on"], {"x": 3}),
        (["part.odd"], {"x": "odd"}),
        (["gone.further"], {}),
        (["nothing"], {}),
        (["refused"], {"x": "unavailable: RuntimeError on reading it"}),
    ],
)
def test_a_setting_is_told_left_out_or_explained(places: list[str], told: dict[str, Fact]) -> None:
    """The first place that there is answers; what an installation lacks is no fact; nothing is raised."""
    assert read_settings(Framework(), {"x": places}) == told


def test_facts_are_builtins() -> None:
    """A record is stored: a text of a framework's own kind becomes a text."""
    facts = read_settings(Framework(), {"version": ["__version__"]})
    assert type(facts["version"]) is str
    assert facts == {"version": "1.2"}


def test_a_device_that_has_nothing_to_tell_tells_nothing() -> None:
    """An adapter need not have settings."""
    assert HostDevice(DeviceInfo(DeviceId("x"), "X", "gpu", "x"), {}).settings() == {}


# --- Torch ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Iterator[Any]:
    """The real torch, whose settings are put back."""
    torch = pytest.importorskip("torch")
    conv, matmul, cudnn = torch.backends.cudnn.conv, torch.backends.cuda.matmul, torch.backends.cudnn
    precisions = [torch.backends, matmul, torch.backends.mkldnn.matmul]
    before = [each.fp32_precision for each in precisions], conv.fp32_precision, cudnn.benchmark, cudnn.deterministic
    yield torch
    torch.set_float32_matmul_precision("highest")
    for each, value in zip(precisions, before[0], strict=True):
        each.fp32_precision = value
    conv.fp32_precision, cudnn.benchmark, cudnn.deterministic = before[1:]
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)


def on_cuda() -> Mapping[str, Fact]:
    """Return what the adapter tells of a CUDA device; without a GPU, torch answers for its settings all the same."""
    return torch_adapter._Accelerator(DeviceInfo(DeviceId("cuda"), "a GPU", "gpu", "torch")).settings()


CHANGES: Mapping[str, Callable[[Any], object]] = {
    "torch_matmul_fp32": lambda torch: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "torch_convolution_fp32": lambda torch: setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee"),
    "torch_cpu_matmul_fp32": lambda torch: torch.set_float32_matmul_precision("medium"),
    "torch_fp32": lambda torch: setattr(torch.backends, "fp32_precision", "tf32"),
    "torch_default_dtype": lambda torch: torch.set_default_dtype(torch.float64),
    "torch_deterministic": lambda torch: torch.use_deterministic_algorithms(True),
    "torch_cudnn_benchmark": lambda torch: setattr(torch.backends.cudnn, "benchmark", True),
    "torch_cudnn_deterministic": lambda torch: setattr(torch.backends.cudnn, "deterministic", True),
}


@needs_torch
@pytest.mark.parametrize("name", CHANGES)
def test_torch_set_otherwise_is_another_identity(torch: Any, name: str) -> None:
    """Each setting shows in its fact, and reading it gives no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = on_cuda()
        CHANGES[name](torch)
        after = on_cuda()
    assert name in before
    assert before[name] != after[name]


@needs_torch
@pytest.mark.parametrize("older", ["allow_tf32", "set_float32_matmul_precision"])
def test_tf32_shows_however_it_was_allowed(torch: Any, older: str) -> None:
    """By the older ways too, and after a mixture of both, in which torch refuses to answer for the older."""
    assert on_cuda()["torch_matmul_fp32"] != "tf32"
    if older == "allow_tf32":
        torch.backends.cuda.matmul.allow_tf32 = True
    else:
        torch.set_float32_matmul_precision("high")
    assert on_cuda()["torch_matmul_fp32"] == "tf32"
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    assert on_cuda()["torch_matmul_fp32"] == "ieee"


@needs_torch
def test_torch_on_the_cpu_tells_nothing_of_cuda() -> None:
    """Its version, precision and threads; another cuDNN does not change the speed of a CPU."""
    facts = TorchBackend().open(DeviceId("cpu")).settings()
    assert str(facts["torch"]).startswith("2.")
    assert facts["torch_mkldnn"] is True
    assert not [name for name in facts if "cudnn" in name or "allocator" in name]


@needs_torch
def test_the_allocator_of_torch_is_told_where_torch_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build without CUDA has none, so here it is a stand-in's answer."""
    memory = SimpleNamespace(get_allocator_backend=lambda: "cudaMallocAsync")
    monkeypatch.setattr("torch.cuda.memory", memory)
    assert on_cuda()["torch_allocator"] == "cudaMallocAsync"
    assert torch_adapter._CUDA_SETTINGS["torch_cudnn"] == ("backends.cudnn.version",)


# --- CuPy, OpenCL, NumPy ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allocator", "told"),
    [(None, "MockPool"), (lambda size: None, "<lambda>"), (SimpleNamespace(), "custom")],
    ids=["a pool's", "a function", "an object"],
)
def test_cupy_tells_its_versions_and_allocator(monkeypatch: pytest.MonkeyPatch, allocator: Any, told: str) -> None:
    """Another allocator is another cost of every array."""
    mock = install(monkeypatch, MockCupy())
    monkeypatch.setattr(mock, "__version__", "14.2.0", raising=False)
    monkeypatch.setattr(mock, "runtimeGetVersion", lambda: 12090, raising=False)
    if allocator is not None:
        mock.allocator = allocator
    assert CupyBackend().open(DeviceId("cuda")).settings() == {
        "cupy": "14.2.0",
        "cupy_cuda": 12090,
        "cupy_allocator": told,
    }


def test_the_names_asked_of_cupy_exist() -> None:
    """The mock above shows what somebody wrote; this asks the real module, which needs no GPU for it."""
    cupy = pytest.importorskip("cupy", reason="NOT TESTED: the names asked of CuPy, which is not installed")
    questions = {"cupy": ("__version__",), "cupy_cuda": ("cuda.runtime.runtimeGetVersion",)}
    assert set(cupy_adapter.read_settings(cupy, questions)) == {"cupy", "cupy_cuda"}
    assert type(cupy.cuda.get_allocator().__self__).__name__ == "MemoryPool"


def test_opencl_tells_its_platform_and_driver() -> None:
    """The compiler of the kernels is the driver's."""
    pytest.importorskip("pyopencl", reason="NOT TESTED: the settings of OpenCL, because PyOpenCL is not installed")
    facts = OpenclBackend().open(DeviceId("opencl")).settings()
    assert set(facts) == {"pyopencl", "opencl_platform", "opencl_driver"}
    assert str(facts["opencl_platform"]).startswith("OpenCL ")
    assert all(facts.values())


def test_numpy_tells_its_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Matrix products are as fast as it; a build that does not tell it is left without."""
    import numpy

    device = NumpyBackend().open(DeviceId("cpu"))
    assert device.settings()["numpy"] == numpy.__version__
    blas = {"Build Dependencies": {"blas": {"name": "mkl", "version": "2026.1", "found": True}}}
    monkeypatch.setattr(numpy, "show_config", lambda mode: blas)
    assert device.settings()["numpy_blas"] == "mkl 2026.1"
    monkeypatch.setattr(numpy, "show_config", lambda mode: None)
    assert set(device.settings()) == {"numpy"}


@pytest.mark.parametrize("backend", [NumpyBackend(), TorchBackend(), OpenclBackend()], ids=lambda each: each.name)
def test_every_fact_is_a_builtin_and_the_same_when_read_again(backend: Any) -> None:
    """Else two measurements in a row could not be compared, or a record not be stored."""
    try:
        device = backend.open(DeviceId("opencl") if backend.name == "opencl" else DeviceId("cpu"))
    except Exception as error:  # an optional framework
        pytest.skip(f"NOT TESTED: the settings of {backend.name}: {error}")
    facts = device.settings()
    assert facts
    assert facts == device.settings()
    for value in facts.values():
        assert type(value) in (str, int, float, bool)
        assert not (isinstance(value, float) and math.isnan(value))
