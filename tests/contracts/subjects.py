"""The devices that the contract of a backend is tested on, and what the tests have to know about each.

A :class:`Subject` does by the framework's own means what the tests then look at through the adapter: it gives the
device work, and knows without the adapter whether that is done.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pytest_gpuprof.backends.cuda import _SPIN, _SPIN_PTX, CudaBackend
from pytest_gpuprof.backends.cupy import CupyBackend
from pytest_gpuprof.backends.jax import JaxBackend
from pytest_gpuprof.backends.numpy import NumpyBackend
from pytest_gpuprof.backends.opencl import OpenclBackend
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend, SimulatedDevice
from pytest_gpuprof.backends.torch import TorchBackend
from pytest_gpuprof.core.environment import DeviceId, DeviceKind
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.protocols import Backend, Device

from .thirdparty import AbacusBackend, AbacusDevice, Column

if TYPE_CHECKING:
    from tests.simulators.torch_device import Control

WORK_S = 5e-3
"""Length of a piece of work where it can be chosen: long against the resolution of any event clock."""


class Subject:
    """A device under test. What a subclass leaves out, its row in ``CASES`` does not promise."""

    def __init__(self, backend: Backend, device: DeviceId) -> None:
        self.backend = backend
        self.device: Device = backend.open(device)

    def work(self) -> Callable[[], bool]:
        """Give the device work, and return what tells whether it is done."""
        raise NotImplementedError

    def known_work(self) -> Callable[[], float]:
        """Give the device work, and return what tells, once it is done, the least seconds it can have taken."""
        raise NotImplementedError

    def hold(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
        """Keep the device busy by its backlog; return what ends that and tells a moment before which it did not."""
        assert self.device.backlog is not None
        self.device.backlog(1e-3)  # finds out how fast the spin kernel's clock is
        self.device.synchronize()
        began = self.device.clock.now()
        self.device.backlog(0.5)
        return lambda: began

    def passed(self, mark: Any) -> bool:
        """Return whether the device has passed an event."""
        raise NotImplementedError

    def allocate(self, nbytes: int) -> object:
        """Return something that holds that much memory of the device."""
        raise NotImplementedError

    def array(self, values: Sequence[float]) -> Any:
        """Return an array of the framework, in double precision where the device is a CPU."""
        raise NotImplementedError

    def overwrite(self, array: Any) -> None:
        """Set all elements to 7."""
        array[...] = 7

    def draws(self) -> list[float]:
        """Draw from every generator that a builder may draw from."""
        return [random.random()]

    def threads(self) -> int:
        """Return how many CPU threads the framework computes with."""
        raise NotImplementedError

    def current(self) -> int:
        """Return the framework's current device."""
        raise NotImplementedError

    def make_other_current(self) -> None:
        """Make another device current than this one."""
        raise NotImplementedError


def _with_numpy(subject: Subject) -> list[float]:
    import numpy

    return [*Subject.draws(subject), float(numpy.random.random())]


class NumpySubject(Subject):
    draws = _with_numpy

    def __init__(self) -> None:
        super().__init__(NumpyBackend(), DeviceId("cpu"))

    def array(self, values: Sequence[float]) -> Any:
        import numpy

        return numpy.array(values)

    def threads(self) -> int:
        import numpy
        import threadpoolctl

        numpy.ones((2, 2)) @ numpy.ones((2, 2))  # loads the BLAS
        (count,) = {int(pool["num_threads"]) for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"}
        return count


class TorchSubject(Subject):
    """torch, on its CPU or on an accelerator."""

    def __init__(self, device: str) -> None:
        import torch

        super().__init__(TorchBackend(), DeviceId.parse(device))
        self._torch = torch
        self._where = torch.device(device)

    def array(self, values: Sequence[float]) -> Any:
        return self._torch.tensor(values, dtype=self._torch.float64)

    def draws(self) -> list[float]:
        drawn = [self._torch.rand(()), self._torch.rand((), device=self._where)]
        return [*_with_numpy(self), *(float(each) for each in drawn)]

    def threads(self) -> int:
        return int(self._torch.get_num_threads())


class TorchAccelerator(TorchSubject):
    """What every accelerator of torch has."""

    def _busy(self, stream: Any) -> float:
        raise NotImplementedError

    def work(self) -> Callable[[], bool]:
        stream = self._torch.Stream(self._where)  # not the current one: the device is all its streams
        self._busy(stream)
        return lambda: bool(stream.query())

    def known_work(self) -> Callable[[], float]:
        seconds = self._busy(self._torch.accelerator.current_stream(self._where))
        return lambda: seconds

    def passed(self, mark: Any) -> bool:
        return bool(mark.query())

    def allocate(self, nbytes: int) -> object:
        return self._torch.empty(nbytes, dtype=self._torch.uint8, device=self._where)

    def current(self) -> int:
        return int(self._torch.accelerator.current_device_index())

    def make_other_current(self) -> None:
        count = self._torch.accelerator.device_count()
        self._torch.accelerator.set_device_index((self.device.info.id.index + 1) % count)


class Simgpu(TorchAccelerator):
    """The simulated accelerator under the real torch."""

    def __init__(self, device: str, control: Control) -> None:
        control.reset()
        super().__init__(device)
        self._control = control

    def _busy(self, stream: Any) -> float:
        self._control.busy(WORK_S, stream)
        return WORK_S


class TorchGpu(TorchAccelerator):
    """A real GPU."""

    def _busy(self, stream: Any) -> float:
        with stream:
            self._torch.cuda._sleep(10_000_000)
        return 0.0


class CupySubject(Subject):
    """CuPy on a real GPU."""

    def __init__(self) -> None:
        import cupy

        super().__init__(CupyBackend(), DeviceId("cuda"))
        self._cupy = cupy
        self._data = cupy.ones(1 << 24)

    def work(self) -> Callable[[], bool]:
        stream = self._cupy.cuda.Stream(non_blocking=True)
        with stream:
            for _ in range(50):
                self._data.sum()
        return lambda: bool(stream.done)

    def known_work(self) -> Callable[[], float]:
        self._data.sum()
        return lambda: 0.0

    def passed(self, mark: Any) -> bool:
        return bool(mark.done)

    def allocate(self, nbytes: int) -> object:
        return self._cupy.empty(nbytes, dtype="u1")

    def array(self, values: Sequence[float]) -> Any:
        return self._cupy.array(values)

    def draws(self) -> list[float]:
        return [*_with_numpy(self), float(self._cupy.random.random())]

    def current(self) -> int:
        return int(self._cupy.cuda.Device().id)

    def make_other_current(self) -> None:
        count = self._cupy.cuda.runtime.getDeviceCount()
        self._cupy.cuda.Device((self.device.info.id.index + 1) % count).use()


class JaxSubject(Subject):
    """JAX, on its CPU or on an accelerator. Its second CPU device is a stand-in."""

    draws = _with_numpy

    def __init__(self, device: str) -> None:
        import jax

        super().__init__(JaxBackend(), DeviceId.parse(device))
        self._jax = jax
        self._where = self.device.arguments["device"]

    def array(self, values: Sequence[float]) -> Any:
        return self._jax.numpy.array(values, dtype="float64")

    def overwrite(self, array: Any) -> None:
        import numpy

        # Nobody can do that by JAX; a callable that donates an array does it, and a write to its memory is as much.
        seven = numpy.full(array.shape, 7, array.dtype)
        if self._where.platform == "cpu":
            ctypes.memmove(array.unsafe_buffer_pointer(), seven.ctypes.data, seven.nbytes)
            return
        driver, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
        ordinal, pointer = self.device.info.id.index, ctypes.c_uint64(array.unsafe_buffer_pointer())
        assert driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), ordinal) == 0
        assert driver.cuCtxSetCurrent(context) == 0
        size = ctypes.c_size_t(seven.nbytes)
        assert driver.cuMemcpyHtoD_v2(pointer, ctypes.c_void_p(seven.ctypes.data), size) == 0

    def allocate(self, nbytes: int) -> object:
        return self._jax.device_put(self._jax.numpy.zeros(nbytes, "uint8"), self._where).block_until_ready()

    def current(self) -> int:
        chosen = self._jax.numpy.zeros(())
        (where,) = chosen.devices()
        return int(where.id)

    def make_other_current(self) -> None:
        others = [each for each in self._jax.local_devices(backend=self._where.platform) if each != self._where]
        self._jax.config.update("jax_default_device", (others or [self._where])[0])


class CudaSubject(Subject):
    """cuda.core on a GPU, real or simulated. Its work is the kernel that keeps a GPU busy for a while."""

    draws = _with_numpy

    def __init__(self) -> None:
        import cuda.core
        from cuda.bindings import driver

        super().__init__(CudaBackend(), DeviceId("cuda"))
        self._core, self._driver = cuda.core, driver
        self._stream = self.device.arguments["stream"]
        with self.device.active():
            self._spin = cuda.core.ObjectCode.from_ptx(_SPIN_PTX.encode()).get_kernel(_SPIN)

    def _busy(self, stream: Any) -> float:
        import numpy

        shape = self._core.LaunchConfig(grid=1, block=1)
        self._core.launch(stream, shape, self._spin, numpy.uint64(WORK_S * 1e9))
        return WORK_S

    def work(self) -> Callable[[], bool]:
        stream = self._core.Device().create_stream()
        self._busy(stream)
        return lambda: bool(self._driver.cuStreamQuery(stream.handle)[0] == self._driver.CUresult.CUDA_SUCCESS)

    def known_work(self) -> Callable[[], float]:
        seconds = self._busy(self._stream)
        return lambda: seconds

    def hold(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
        assert self.device.backlog is not None
        self.device.synchronize()
        began = self.device.clock.now()
        self.device.backlog(0.5)
        return lambda: began

    def passed(self, mark: Any) -> bool:
        return bool(mark.is_done)

    def allocate(self, nbytes: int) -> object:
        return self._core.Device().allocate(nbytes, stream=self._stream)

    def current(self) -> int:
        return int(self._core.Device().device_id)

    def make_other_current(self) -> None:
        count = len(self._core.Device.get_all_devices())
        self._core.Device((self.device.info.id.index + 1) % count).set_current()


class OpenclSubject(Subject):
    """OpenCL on the CPU: a real queue, which really runs beside the host."""

    draws = _with_numpy

    def __init__(self) -> None:
        import pyopencl

        super().__init__(OpenclBackend(), DeviceId("opencl"))
        self._cl = pyopencl
        self._queue = self.device.arguments["queue"]
        size = 1 << 25
        flags = pyopencl.mem_flags.READ_WRITE
        self._source, self._target = (pyopencl.Buffer(self._queue.context, flags, size) for _ in range(2))

    def _copy(self) -> Any:
        return self._cl.enqueue_copy(self._queue, self._target, self._source)

    def work(self) -> Callable[[], bool]:
        copies = [self._copy() for _ in range(4)]
        self._queue.flush()
        return lambda: self.passed(copies[-1])

    def known_work(self) -> Callable[[], float]:
        copies = [self._copy() for _ in range(2)]
        return lambda: sum(each.profile.end - each.profile.start for each in copies) * 1e-9

    def hold(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
        opened: list[Callable[[], None]] = []

        class TimerByHand:
            def __init__(self, seconds: float, function: Callable[..., None], args: tuple[Any, ...]) -> None:
                assert seconds == 3600.0
                self._open = lambda: function(*args)

            def start(self) -> None:
                opened.append(self._open)

        monkeypatch.setattr(threading, "Timer", TimerByHand)
        assert self.device.backlog is not None
        self.device.backlog(3600.0)

        def release() -> float:
            moment = self.device.clock.now()
            opened.pop()()
            return moment

        return release

    def passed(self, mark: Any) -> bool:
        return bool(mark.command_execution_status == self._cl.command_execution_status.COMPLETE)

    def array(self, values: Sequence[float]) -> Any:
        import numpy
        import pyopencl.array

        return pyopencl.array.to_device(self._queue, numpy.array(values))

    def overwrite(self, array: Any) -> None:
        array.fill(7)
        array.queue.finish()


class SimulatedSubject(Subject):
    """The simulated machine. Its cards have no noise here."""

    def __init__(self, device: str) -> None:
        super().__init__(SimulatedBackend((Card(noise=0.0), Card(noise=0.0))), DeviceId.parse(device))
        assert isinstance(self.device, SimulatedDevice)
        self._device = self.device

    def work(self) -> Callable[[], bool]:
        end = self._device.clock.time + WORK_S
        self._device.run(WORK_S, stream=1)
        return lambda: self._device.clock.time >= end

    def known_work(self) -> Callable[[], float]:
        self._device.run(WORK_S)
        return lambda: WORK_S

    def hold(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[], float]:
        assert self.device.backlog is not None
        until = self._device.clock.time + 1.0
        self.device.backlog(1.0)
        self._device.host(0.5)
        return lambda: until

    def passed(self, mark: Any) -> bool:
        return bool(self._device.clock.time >= mark)

    def allocate(self, nbytes: int) -> object:
        return self._device.allocate(nbytes)


class AbacusSubject(Subject):
    """Somebody else's backend."""

    def __init__(self, device: str) -> None:
        super().__init__(AbacusBackend(), DeviceId.parse(device))
        assert isinstance(self.device, AbacusDevice)
        self._device = self.device

    def work(self) -> Callable[[], bool]:
        end = self._device.clock.time + WORK_S
        self._device.abacus.move(round(WORK_S / self._device.abacus.seconds_per_bead))
        return lambda: self._device.clock.time >= end

    def known_work(self) -> Callable[[], float]:
        self.work()
        return lambda: WORK_S

    def passed(self, mark: Any) -> bool:
        return bool(self._device.clock.time >= mark)

    def array(self, values: Sequence[float]) -> Any:
        return Column(values)

    def overwrite(self, array: Any) -> None:
        for index in range(len(array.numbers)):
            array.numbers[index] = 7


@dataclass(frozen=True)
class Case:
    """A device to test the contract on.

    Args:
        id: its name in test ids.
        subject: makes the subject.
        kind: what the adapter must say it is.
        can: what the device must offer; all else it must not.
        module: the framework.
        hardware: tells why there is no such device here, ``None`` if there is one or nobody can tell yet.
    """

    id: str
    subject: Callable[[pytest.FixtureRequest], Subject]
    kind: DeviceKind
    can: frozenset[str]
    module: str | None = None
    hardware: Callable[[], str | None] = lambda: None

    def why_not_here(self) -> str | None:
        """Return why the contract cannot be tested on it here, ``None`` if it can."""
        if self.module is not None and importlib.util.find_spec(self.module) is None:
            return f"{self.module} is not installed"
        return self.hardware()


def _simgpu(index: int) -> Callable[[pytest.FixtureRequest], Subject]:
    def subject(request: pytest.FixtureRequest) -> Subject:
        control: Control = request.getfixturevalue("simgpu")
        request.addfinalizer(control.reset)
        return Simgpu(f"simgpu:{index}", control)

    return subject


def _jax(device: str) -> Callable[[pytest.FixtureRequest], Subject]:
    def subject(request: pytest.FixtureRequest) -> Subject:
        import jax

        for name, value in (("jax_default_device", None), ("jax_enable_x64", True)):
            request.addfinalizer(functools.partial(jax.config.update, name, getattr(jax.config, name)))
            jax.config.update(name, value)
        return JaxSubject(device)

    return subject


def _torch_gpu(request: pytest.FixtureRequest) -> Subject:
    import torch

    if torch.accelerator.current_accelerator() != torch.device("cuda"):
        pytest.skip("NOT TESTED: another test has given torch a simulated accelerator; run this alone, -k torch-gpu")
    return TorchGpu("cuda:0")


def _no_torch_gpu() -> str | None:
    import torch

    return None if torch.cuda.is_available() else "torch finds no CUDA or ROCm device"


def _no_device_of(backend: Callable[[], Backend], kind: DeviceKind) -> Callable[[], str | None]:
    """Return what tells why the best device of a backend is none of this kind."""

    def why() -> str | None:
        try:
            best = backend().devices()[0]
        except Unavailable as reason:
            return str(reason)
        return None if best.kind == kind else f"{best.id} is {best.label}"

    return why


def _can(words: str) -> frozenset[str]:
    return frozenset(words.split())


CASES = (
    Case("numpy-cpu", lambda _: NumpySubject(), "cpu", _can("arrays threads")),
    Case("torch-cpu", lambda _: TorchSubject("cpu"), "cpu", _can("arrays threads"), "torch"),
    Case("torch-simgpu0", _simgpu(0), "stand-in", _can("timer backlog arrays memory current"), "torch"),
    Case("torch-simgpu1", _simgpu(1), "stand-in", _can("timer backlog arrays memory current"), "torch"),
    Case("torch-gpu", _torch_gpu, "gpu", _can("timer backlog arrays memory current"), "torch", _no_torch_gpu),
    Case(
        "cupy-gpu",
        lambda _: CupySubject(),
        "gpu",
        _can("timer backlog arrays memory current"),
        "cupy",
        _no_device_of(CupyBackend, "gpu"),
    ),
    Case("jax-cpu", _jax("cpu"), "cpu", _can("arrays"), "jax"),
    Case("jax-cpu1", _jax("jax:1"), "stand-in", _can("arrays current"), "jax"),
    Case("jax-gpu", _jax("cuda"), "gpu", _can("arrays memory current"), "jax", _no_device_of(JaxBackend, "gpu")),
    Case(
        "opencl-cpu",
        lambda _: OpenclSubject(),
        "stand-in",
        _can("timer backlog arrays"),
        "pyopencl",
        _no_device_of(OpenclBackend, "stand-in"),
    ),
    Case(
        "cuda-gpu",
        lambda _: CudaSubject(),
        "gpu",
        _can("timer backlog memory current"),
        "cuda",
        _no_device_of(CudaBackend, "gpu"),
    ),
    Case("simulated-gpu", lambda _: SimulatedSubject("simulated:1"), "stand-in", _can("timer backlog memory")),
    Case("simulated-cpu", lambda _: SimulatedSubject("cpu"), "cpu", _can("memory")),
    Case("abacus", lambda _: AbacusSubject("abacus:0"), "stand-in", _can("timer arrays")),
    Case("abacus-cpu", lambda _: AbacusSubject("cpu"), "cpu", _can("arrays")),
)
"""Every backend, on every kind of device that it has."""


def host_work() -> None:
    """Let the host do something that takes real time, however short."""
    end = time.perf_counter() + 1e-4
    while time.perf_counter() < end:
        pass
