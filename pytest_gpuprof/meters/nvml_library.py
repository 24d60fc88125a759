"""The one door to NVML: every call of the vendor's library passes here, and none comes out as an exception.

An answer is what pynvml returned, or the :class:`~pytest_gpuprof.core.results.Reading` that says why there is none and
what to do about it. pynvml is imported when the first question is asked, never before.

Three things outlive a call:

* NVML is initialized once per process, and again in a fork: handles of the parent mean nothing there. It is never shut
  down, because the energy counter starts again from zero when the driver's last client leaves.
* A lost GPU stays lost: its :class:`Card` remembers, and answers everything with that.
* What is refused as "not ready" is asked for again after a pause, but only until it has been refused for good once.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from pytest_gpuprof.core.results import Reading

__all__ = ["CUDA_VERSION", "GPU_SENSOR", "LIBRARY", "MEMORY_CLOCK", "SM_CLOCK", "TEMPERATURE", "Card", "Library"]

SM_CLOCK, MEMORY_CLOCK = 1, 2  # NVML_CLOCK_SM, NVML_CLOCK_MEM
GPU_SENSOR = 0  # NVML_TEMPERATURE_GPU
TEMPERATURE = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature")
CUDA_VERSION = ("nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion")
"""Questions that several files ask; of several names the newer comes first."""

_UNINITIALIZED = 1
_FUNCTION_NOT_FOUND = 13

_TOO_OLD = frozenset({_FUNCTION_NOT_FOUND, 25, 26})
"""Not found, another version of its structure, withdrawn: the driver may still know the function's other name."""

_PASSING = frozenset({10, 27, 999})
"""Timed out, not ready, unknown: what NVML answers while a driver is starting or busy."""

_LOST = frozenset({15, 16})
"""Lost, reset required: nothing that this process does brings the GPU back."""

_RETRIES = 2
_RETRY_PAUSE_S = 0.05
"""An H100 was seen not ready for a moment after the driver had loaded; 0.1 s in all is not felt, and paid once."""

_FAILURES: Mapping[int, tuple[str, str]] = {
    1: ("NVML is not initialized", "find out which library shut it down in this process"),
    2: ("NVML does not accept the question", "compare with what nvidia-smi -L lists"),
    3: ("this card or its driver does not offer it", "measure on another card or with another driver"),
    4: ("it is not permitted", "run as a user, or in a container, that may open /dev/nvidia*"),
    6: ("NVML finds no such device or entry", "compare with what nvidia-smi -L lists"),
    9: ("the NVIDIA driver is not loaded", "load it with sudo modprobe nvidia, or reboot"),
    10: ("NVML timed out", "see whether nvidia-smi answers, else reboot"),
    12: (
        "the library libnvidia-ml.so.1 is not found",
        "install the NVIDIA driver, or start the container with NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ),
    13: ("the NVIDIA driver is too old to offer it", "update the driver"),
    15: ("the GPU is lost", "look for Xid messages in dmesg, and reboot"),
    16: ("the GPU must be reset before it can be used", "reset it with sudo nvidia-smi --gpu-reset, or reboot"),
    18: ("the NVIDIA driver was updated while the old one is still loaded", "reboot, or reload the driver"),
    27: ("the GPU is not ready", "wait until nvidia-smi answers, and run again"),
    999: ("NVML failed for a reason that it does not know", "see whether nvidia-smi answers, else reboot"),
}
"""By NVML's error code: what is the matter, and what to do."""


class _Refused(Exception):
    """NVML did not answer. It stays inside this module."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reading = Reading.unavailable(reason)


class Library:
    """NVML in this process.

    Args:
        pause: waits for some seconds before a question is asked again.
    """

    def __init__(self, pause: Callable[[float], None] = time.sleep) -> None:
        self.generation = 0  # how often NVML has been initialized: a handle lives as long as one generation
        self._pause = pause
        self._pynvml: Any = None
        self._owner: int | None = None  # the process that initialized NVML
        self._unusable: tuple[int | None, str] | None = None
        self._refused_for_good: set[str] = set()
        self._cards: dict[tuple[str, Any], Card] = {}

    def ask(self, functions: str | tuple[str, ...], *arguments: Any) -> Any:
        """Return what NVML answers to a question that is not about one device.

        Args:
            functions: the name of a function of pynvml; of several, the first that the driver knows is called.
            arguments: what the function is called with.

        Returns:
            What pynvml returns, with bytes as text; or the :class:`Reading` that says why there is no answer.
        """
        try:
            return self._call(functions, *arguments)
        except _Refused as refused:
            return refused.reading

    def why_unusable(self) -> Reading | None:
        """Return why NVML cannot be asked anything here, ``None`` if it can."""
        try:
            self._initialize()
        except _Refused as refused:
            return refused.reading
        return None

    def card(self, finder: str, address: Any) -> Card:
        """Return the device that NVML's function ``finder`` finds at ``address``: the same object every time."""
        return self._cards.setdefault((finder, address), Card(self, finder, address))

    def _call(self, functions: str | tuple[str, ...], *arguments: Any) -> Any:
        self._initialize()
        *newer, oldest = (functions,) if isinstance(functions, str) else functions
        for name in newer:
            try:
                return self._call_patiently(name, *arguments)
            except _Refused as refused:
                if refused.code not in _TOO_OLD:
                    raise
        return self._call_patiently(oldest, *arguments)

    def _initialize(self) -> None:
        if self._owner == os.getpid():
            if self._unusable is not None:
                raise _Refused(*self._unusable)
            return
        self._owner, self._unusable = os.getpid(), None
        self.generation += 1
        try:
            self._pynvml = _import_pynvml()
            self._call_patiently("nvmlInit")
        except _Refused as refused:
            self._unusable = refused.args
            raise

    def _call_patiently(self, name: str, *arguments: Any) -> Any:
        """Call again what is refused for the moment; but a function that was refused to the end is not waited for."""
        retries = 0 if name in self._refused_for_good else _RETRIES
        while True:
            try:
                answer = self._call_once(name, *arguments)
            except _Refused as refused:
                if refused.code not in _PASSING:
                    raise
                if retries == 0:
                    self._refused_for_good.add(name)
                    raise
            else:
                self._refused_for_good.discard(name)
                return answer
            retries -= 1
            self._pause(_RETRY_PAUSE_S)

    def _call_once(self, name: str, *arguments: Any) -> Any:
        """Call one function: the only place where NVML is called."""
        function = getattr(self._pynvml, name, None)
        if function is None:
            reason = f"the installed nvidia-ml-py has no {name}; update it with pip install -U nvidia-ml-py"
            raise _Refused(_FUNCTION_NOT_FOUND, reason)
        try:
            answer = function(*arguments)
        except Exception as error:  # besides NVMLError, pynvml's own bugs: TypeError, ValueError, OSError
            code = _code(error)
            if code == _UNINITIALIZED:
                self._owner = None  # somebody in this process shut NVML down: the next question starts it again
            raise _Refused(code, _reason(name, code, error)) from error
        return answer.decode(errors="replace") if isinstance(answer, bytes) else answer  # bytes: an old pynvml


class Card:
    """One device, asked through the door; :meth:`Library.card` makes it.

    Attributes:
        library: the door.
        lost: once NVML has called the device lost, the reading that says so, for the rest of the process.
    """

    def __init__(self, library: Library, finder: str, address: Any) -> None:
        self.nvml = library
        self.lost: Reading | None = None
        self._finder = finder
        self._address = address
        self._handle: Any = None
        self._generation: int | None = None

    def ask(self, functions: str | tuple[str, ...], *arguments: Any) -> Any:
        """Return what NVML answers about this device, as :meth:`Library.ask` does; the handle is put in front."""
        return self._unless_lost(lambda: self.nvml._call(functions, self._found(), *arguments))

    def why_missing(self) -> Reading | None:
        """Return why NVML does not find the device, ``None`` if it does."""
        answer = self._unless_lost(self._found)
        return answer if isinstance(answer, Reading) else None

    def _unless_lost(self, question: Callable[[], Any]) -> Any:
        if self.lost is not None:
            return self.lost
        try:
            return question()
        except _Refused as refused:
            if refused.code in _LOST:
                self.lost = refused.reading
            return refused.reading

    def _found(self) -> Any:
        self.nvml._initialize()
        if self._generation != self.nvml.generation:
            self._handle = self.nvml._call(self._finder, self._address)
            self._generation = self.nvml.generation
        return self._handle


def _import_pynvml() -> Any:
    install = "install it with pip install nvidia-ml-py"
    try:
        pynvml = importlib.import_module("pynvml")
    except ImportError:
        raise _Refused(None, f"nvidia-ml-py is not installed; {install}") from None
    except Exception as error:  # a broken or foreign module can raise anything
        raise _Refused(None, f"pynvml cannot be imported ({type(error).__name__}: {error}); {install}") from error
    if not hasattr(pynvml, "_nvmlGetFunctionPointer"):  # every nvidia-ml-py has it, its namesakes do not
        raise _Refused(None, f"another package than nvidia-ml-py provides pynvml; pip uninstall pynvml, then {install}")
    return pynvml


def _code(error: Exception) -> int | None:
    """Return NVML's error code, ``None`` if the error is none of NVML's."""
    if type(error).__name__ == "NVMLLibraryMismatchError":  # not an NVMLError; pynvml's word for a missing function
        return _FUNCTION_NOT_FOUND
    code = getattr(error, "value", None)
    return code if isinstance(code, int) else None


def _reason(name: str, code: int | None, error: Exception) -> str:
    if code is None:
        return f"pynvml failed in {name} ({type(error).__name__}: {error}); update it with pip install -U nvidia-ml-py"
    fact, remedy = _FAILURES.get(code, ("NVML failed", "see whether nvidia-smi answers"))
    return f"{fact} ({name}: NVML error {code}); {remedy}"


LIBRARY = Library()
"""The door of this process. NVML itself is one per process, so there is no second."""
