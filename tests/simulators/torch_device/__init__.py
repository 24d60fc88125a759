"""A simulated accelerator that the real torch drives: device type ``simgpu``, with two devices.

Everything above the device is torch's own code: ``torch.accelerator``, ``torch.Event``, ``torch.Stream``, autograd, the
optimisers, the memory statistics and ``torch.OutOfMemoryError``. Only the device at the bottom, which torch knows as
PrivateUse1, is written here, in the C++ next to this file.

What is real and what is not:

* Results are real. Device memory is host memory, and the CPU's kernels compute every operator at the call.
* Time on the device is simulated. Each stream is an in-order timeline on the monotonic clock. An operator takes
  ``Control.op_seconds`` whatever it computes, and starts when the host issues it, or when the stream is done with what
  came before. Nothing runs in between: an event is a known moment, and waiting for it is sleeping until then.
* The call returns once the host has the result, so the wall clock of a synchronised block of code is the greater of the
  time the host computes and the time the device is simulated to take. Give operators more device time than the host
  needs for them, and the device time is what a measurement finds.
* A copy that does not block leaves its data at once; reading it too early, a mistake on a real device, goes unnoticed.

The device is registered for the whole process and cannot be taken away again. Code that asks torch for the current
accelerator finds it from then on.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import SimulatorUnavailable

if TYPE_CHECKING:
    import torch

__all__ = ["DEVICE_TYPE", "Control", "SimulatorUnavailable", "load"]

DEVICE_TYPE = "simgpu"

# torch changes the C++ interface of accelerators from release to release; this is the oldest one known to fit.
MINIMUM_TORCH = (2, 13)

# Compiling is the slow step, and the time of the host's code hardly matters here.
COMPILER_FLAGS = ["-O0"]

_SOURCE_DIRECTORY = Path(__file__).parent


class Control:
    """Sets what the simulated devices do, and tells what was done to them. All devices share the settings."""

    DEFAULT_OP_SECONDS = 10e-6
    DEFAULT_LAUNCH_SECONDS = 3e-6
    DEFAULT_COPY_BYTES_PER_SECOND = 25e9
    DEFAULT_MEMORY_LIMIT_BYTES = 16 * 1024**3

    def __init__(self, ops: Any) -> None:
        """``ops`` is ``torch.ops.simgpu``."""
        self._ops = ops

    def reset(self) -> None:
        """Heal the devices, abandon their work, restore every setting and set the counters to zero."""
        self.heal()
        self._ops.abandon()
        self.op_seconds = self.DEFAULT_OP_SECONDS
        self.launch_seconds = self.DEFAULT_LAUNCH_SECONDS
        self.copy_bytes_per_second = self.DEFAULT_COPY_BYTES_PER_SECOND
        self.memory_limit_bytes = self.DEFAULT_MEMORY_LIMIT_BYTES
        self._ops.set_operations(0)
        self._ops.set_device_synchronizes(0)

    @property
    def op_seconds(self) -> float:
        """Device time that each operator takes from now on."""
        return float(self._ops.get_op_seconds())

    @op_seconds.setter
    def op_seconds(self, seconds: float) -> None:
        self._ops.set_op_seconds(_not_negative(seconds))

    @property
    def launch_seconds(self) -> float:
        """Time from the host's call to the moment at which an idle device starts the work."""
        return float(self._ops.get_launch_seconds())

    @launch_seconds.setter
    def launch_seconds(self, seconds: float) -> None:
        self._ops.set_launch_seconds(_not_negative(seconds))

    @property
    def copy_bytes_per_second(self) -> float:
        """Speed of copies between host and device, and between devices."""
        return float(self._ops.get_copy_bytes_per_second())

    @copy_bytes_per_second.setter
    def copy_bytes_per_second(self, speed: float) -> None:
        if speed <= 0:
            raise ValueError(f"a copy speed must be positive, got {speed!r}")
        self._ops.set_copy_bytes_per_second(speed)

    @property
    def memory_limit_bytes(self) -> int:
        """Memory of each device; an allocation beyond it raises ``torch.OutOfMemoryError``."""
        return int(self._ops.get_memory_limit_bytes())

    @memory_limit_bytes.setter
    def memory_limit_bytes(self, limit: int) -> None:
        self._ops.set_memory_limit_bytes(_not_negative(limit))

    @property
    def operations(self) -> int:
        """Number of operators that ran on the devices. Copies to and from a device and views are not counted."""
        return int(self._ops.get_operations())

    @property
    def device_synchronize_count(self) -> int:
        """Number of times the host waited for a whole device, as ``torch.accelerator.synchronize()`` does."""
        return int(self._ops.get_device_synchronizes())

    def busy(self, seconds: float, stream: torch.Stream | None = None) -> None:
        """Give ``stream`` (this thread's current one when None) work that takes ``seconds``; do not wait for it."""
        import torch

        target = torch.accelerator.current_stream() if stream is None else stream
        self._ops.busy(_not_negative(seconds), target.device_index, target.stream_id)

    def poison(self) -> None:
        """Corrupt the devices as an illegal memory access corrupts a CUDA context.

        Until ``heal()``, operators, copies, allocations, events and every kind of waiting raise ``RuntimeError("CUDA
        error: an illegal memory access was encountered")``; with torch, more precisely, ``torch.AcceleratorError``.
        Memory can still be freed, and the memory statistics still be read.
        """
        self._ops.set_poisoned(True)

    def heal(self) -> None:
        """Undo ``poison()``, which no real device can."""
        self._ops.set_poisoned(False)


_loaded: Control | None = None


def load(build_directory: Path) -> Control:
    """Build the device if need be, register it with torch, and return its control.

    The library lies in a folder of ``build_directory`` named after everything it was built from, so that a kept
    directory makes the next load fast and is never stale. Processes may share the directory. Later calls in the same
    process return the same control.

    Raises ``SimulatorUnavailable`` without a recent torch, a C++ compiler or ninja, and ``RuntimeError`` when the
    process has run a backward pass before: that is when torch starts its autograd threads, one for each device it
    knows, and a device that comes later has none.
    """
    global _loaded
    if _loaded is None:
        _require_torch()
        _load_library(build_directory)
        _loaded = _register()
    return _loaded


def _require_torch() -> None:
    try:
        import torch
    except ImportError as error:
        raise SimulatorUnavailable("the simulated device needs torch, which is not installed") from error
    release = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if release < MINIMUM_TORCH:
        wanted = ".".join(map(str, MINIMUM_TORCH))
        raise SimulatorUnavailable(f"the simulated device needs torch {wanted} or later, found {torch.__version__}")


def _load_library(build_directory: Path) -> None:
    from filelock import FileLock
    from torch.utils import cpp_extension

    _require_compiler(cpp_extension.get_cxx_compiler())
    sources = sorted(_SOURCE_DIRECTORY.glob("*.cpp"))
    folder = build_directory / f"{DEVICE_TYPE}-{_build_key()}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")), _ninja_on_path():
        # torch guards a build with a file of this name, which a killed process leaves behind, and then waits for it
        # for ever. The lock held here shows that no such process is left.
        (folder / "lock").unlink(missing_ok=True)
        cpp_extension.load(
            name=DEVICE_TYPE,
            sources=[str(source) for source in sources],
            extra_cflags=COMPILER_FLAGS,
            build_directory=str(folder),
            is_python_module=False,
        )


def _require_compiler(compiler: str) -> None:
    if shutil.which(compiler) is None:
        raise SimulatorUnavailable(f"the simulated device needs a C++ compiler, and there is no {compiler!r}")


def _build_key() -> str:
    """Short name for everything that the library's content depends on."""
    import torch
    from torch.utils import cpp_extension

    digest = hashlib.sha256()
    for part in (torch.__version__, torch.__file__, sys.version, cpp_extension.get_cxx_compiler(), *COMPILER_FLAGS):
        digest.update(part.encode() + b"\0")
    for file in sorted(_SOURCE_DIRECTORY.glob("*.cpp")) + sorted(_SOURCE_DIRECTORY.glob("*.h")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def _ninja_on_path() -> Iterator[None]:
    """Let torch find ninja where pip put it, also when the environment it is in is not activated."""
    before = os.environ.get("PATH", "")
    search = os.pathsep.join([before, str(Path(sys.executable).parent)])
    if shutil.which("ninja", path=search) is None:
        raise SimulatorUnavailable("the simulated device needs ninja: pip install ninja")
    os.environ["PATH"] = search
    try:
        yield
    finally:
        os.environ["PATH"] = before


def _register() -> Control:
    import torch

    control = Control(torch.ops.simgpu)
    if not hasattr(torch, DEVICE_TYPE):  # It has, if an earlier attempt failed below.
        torch.utils.rename_privateuse1_backend(DEVICE_TYPE)
        torch._register_device_module(DEVICE_TYPE, importlib.import_module(f"{__name__}.device_module"))
        torch.utils.generate_methods_for_privateuse1_backend()
    _require_autograd_thread()
    control.reset()
    return control


def _require_autograd_thread() -> None:
    import torch

    try:
        torch.ones((), device=DEVICE_TYPE, requires_grad=True).clone().backward()
    except RuntimeError as error:
        message = "load the simulated device before the process runs its first backward pass"
        raise RuntimeError(message) from error


def _not_negative(value: float) -> float:
    if value < 0:
        raise ValueError(f"must not be negative, got {value!r}")
    return value
