"""A simulated ``libcuda.so.1``, driven by the real ``cuda.core`` and ``cuda.bindings``.

The library is compiled from the C sources beside this file. It offers the documented entry points of the CUDA driver
that :data:`ENTRY_POINTS` lists: devices, primary contexts, streams, events, memory and its pools, modules and launches.
A kernel computes nothing; it occupies its stream for a known time on the real clock::

    library = build(tmp_path)
    subprocess.run([...], env={**os.environ, **environment(library, kernel="blur:250")})  # 250 µs a launch

How long a kernel takes is said by the setting ``kernel``, else by its name (``sim_busy_20ms``), else, where the name
has ``spin_ns`` in it, by its first argument, a 64-bit number of nanoseconds.

Where the simulated NVML is loaded too, both have the same cards, **in another order**: the device 0 is NVML's card 1,
and the last is NVML's card 0. Work raises the power and the energy of its card there, memory its memory, and a context
its list of processes::

    environment(library, nvml=nvml_library, nvml_settings={"devices": 2, "busy_w": 400})

What it is not: a model of a real driver's speed. There are no graphs, no stream capture, no memory shared between
processes or devices, no other contexts than primary ones. **Nothing that needs the CUDA runtime works**: libcudart asks
the driver for an undocumented table first and gets none, so CuPy cannot run on it, and of cuda.core neither
``Device.sync()`` nor ``Device.pci_bus_id``.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .. import SimulatorUnavailable
from .. import nvml as nvml_simulator

__all__ = ["ENTRY_POINTS", "SETTINGS", "Control", "build", "environment"]

LIBRARY_NAME = "libcuda.so.1"
ENVIRONMENT_VARIABLE = "GPUPROF_SIM_CUDA"

_FOLDER = Path(__file__).parent
_SOURCES = ("cuda_machine.c", "cuda_memory.c", "cuda_simulator.c", "cuda_symbols.c")
_NVML_FOLDER = _FOLDER.parent / "nvml"
_HEADERS = (_FOLDER / "cuda_abi.h", _FOLDER / "cuda_machine.h", _NVML_FOLDER / "nvml_card.h")
_COMPILER_FLAGS = ("-std=gnu11", "-O1", "-g0", "-shared", "-fPIC", "-pthread", "-Wall", "-Wextra", "-Werror")
_EXPORTS = "{ global: cu*; gpuprof_cuda_*; local: *; };\n"

Scalar = str | int | float
Setting = Scalar | Sequence[Scalar]

SETTINGS: Mapping[str, str] = {
    "devices": "how many there are without the simulated NVML, 0 to 8; 1",
    "order": "I,J,...: NVML's index of the devices 0, 1, ...; without it 1,2,...,0",
    "version": "the CUDA version of the driver, 1000 * major + 10 * minor; 13000",
    "kernel": "one or several PATTERN:MICROSECONDS: how long kernels take whose name matches; a later one goes first",
    "kernel_us": "how long a kernel takes that says nothing of it; 10",
    "crash": "one or several PATTERN[:LAUNCH[:ERROR]]: the launch of a matching kernel that fails when it is over, "
    "and breaks its context; the first, with ILLEGAL_ADDRESS",
    "fault": "one or several FUNCTION:ERROR[:FROM_CALL[:COUNT]]: calls that fail; an error "
    "that only a broken context gives breaks it",
    "latency_us": "from the call to the begin of the work on an idle device; 4",
    "launch_host_us": "how long the host needs for a launch; 2",
    "queue_depth": "how much a stream queues before the host has to wait; 1024",
    "event_resolution_ns": "the steps of an event's time; 500",
    "host_gb_s": "bandwidth between host and device; 25",
    "device_gb_s": "bandwidth inside the device; 1500",
    "memory_mb": "memory of a device without the simulated NVML; 80959",
    "context_mb": "what a context takes of it; 256",
    "move_bytes": "0 to move no bytes, so that no copy holds up the host; 1",
}


def _entry_points() -> tuple[str, ...]:
    texts = [(_FOLDER / name).read_text(encoding="utf-8") for name in _SOURCES]
    return tuple(sorted(name for text in texts for name in re.findall(r"^CUresult CUDAAPI (cu\w+)\(", text, re.M)))


ENTRY_POINTS: Sequence[str] = _entry_points()
"""The symbols of the driver that are simulated, with their versions."""


# ------------------------------------------------------------------------------------------------------- build


def build(directory: Path) -> Path:
    """Compile the library into ``directory`` and return its path.

    An up-to-date library is left as it is, and several processes may build into one directory at once.

    Raises :class:`SimulatorUnavailable` where the library cannot be built: not on Linux, or without a C compiler.
    """
    compiler = _compiler()
    key = _build_key(compiler)
    library = directory / LIBRARY_NAME
    if _is_up_to_date(library, key):
        return library
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=directory) as scratch:
        _compile(Path(scratch), compiler, key).replace(library)  # atomic: another worker sees the old or the new one
    return library


def _compiler() -> str:
    if not sys.platform.startswith("linux"):
        raise SimulatorUnavailable(f"the simulated CUDA driver is a Linux library; this is {sys.platform}")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SimulatorUnavailable("the simulated CUDA driver has to be compiled, and there is no C compiler (cc) here")
    return compiler


def _build_key(compiler: str) -> str:
    digest = hashlib.sha256("\0".join((compiler, *_COMPILER_FLAGS, _EXPORTS)).encode())
    for file in (*(_FOLDER / name for name in _SOURCES), *_HEADERS):
        digest.update(file.read_bytes())
    return f"cuda-simulator-{digest.hexdigest()}"


def _is_up_to_date(library: Path, key: str) -> bool:
    """Whether the library carries this key: it is stored inside, so that file and key cannot disagree."""
    try:
        return key.encode() in library.read_bytes()
    except OSError:
        return False


def _compile(scratch: Path, compiler: str, key: str) -> Path:
    (scratch / "key.c").write_text(f'const char gpuprof_cuda_build_key[] = "{key}";\n', encoding="utf-8")
    (scratch / "exports.map").write_text(_EXPORTS, encoding="utf-8")
    built = scratch / LIBRARY_NAME
    command = [
        compiler,
        *_COMPILER_FLAGS,
        f"-I{_NVML_FOLDER}",
        f"-Wl,-soname,{LIBRARY_NAME}",
        f"-Wl,--version-script={scratch / 'exports.map'}",
        *("-o", str(built)),
        *(str(_FOLDER / name) for name in _SOURCES),
        str(scratch / "key.c"),
        *("-lm", "-ldl"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SimulatorUnavailable(f"the simulated CUDA driver does not compile:\n{done.stderr}")
    return built


# ---------------------------------------------------------------------------------------------------- settings


def environment(
    library: Path,
    *,
    nvml: Path | None = None,
    nvml_settings: Mapping[str, nvml_simulator.Setting | nvml_simulator.Devices] | None = None,
    **settings: Setting,
) -> dict[str, str]:
    """The environment variables that make a new process use ``library`` with these settings.

    With ``nvml``, the simulated NVML (:func:`tests.simulators.nvml.build`), they make it use that too. Merge them over
    ``os.environ``; the search path that is there is kept behind the libraries' directories.
    """
    variables = {} if nvml is None else nvml_simulator.environment(nvml, **(nvml_settings or {}))
    behind = variables.get("LD_LIBRARY_PATH") or os.environ.get("LD_LIBRARY_PATH")
    search_path = os.pathsep.join(filter(None, [str(library.parent), behind]))
    return {**variables, "LD_LIBRARY_PATH": search_path, ENVIRONMENT_VARIABLE: _settings_text(settings)}


def _settings_text(settings: Mapping[str, Setting]) -> str:
    """The text the library reads: ``key=value;...``."""
    parts = []
    for key, value in settings.items():
        if key not in SETTINGS:
            raise ValueError(f"the simulated CUDA driver has no setting {key!r}; it has {', '.join(SETTINGS)}")
        values = [value] if isinstance(value, (str, int, float)) else value
        parts += [f"{key}={_value_text(key, one)}" for one in values]
    return ";".join(parts)


def _value_text(key: str, value: Scalar) -> str:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if ";" in text or "\n" in text:
        raise ValueError(f"the value of {key} must fit on one line, without semicolons: {text!r}")
    if key == "fault":
        _require_known_functions([text.partition(":")[0]])
    return text


def _require_known_functions(names: Iterable[str]) -> None:
    """Refuse a function that nobody can call: a misspelt fault would test nothing."""
    for name in names:
        is_pattern = any(character in name for character in "*?[")
        if not is_pattern and name not in ENTRY_POINTS:
            raise ValueError(f"the simulated CUDA driver has no entry point {name!r}; some end in _v2")


# ----------------------------------------------------------------------------------------------------- control


class Control:
    """Drives the simulated machine inside this process.

    Make it before anything else asks for CUDA: loading the library by its path makes it the one that is found later
    by its name. There is one simulated machine per process; it starts with the settings of the environment, and those
    of :meth:`apply` that say what devices there are count until ``cuInit``.
    """

    def __init__(self, library: Path) -> None:
        try:
            self._library = ctypes.CDLL(str(library.resolve()), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise SimulatorUnavailable(f"the simulated CUDA driver cannot be loaded: {error}") from error
        text, number = ctypes.c_char_p, ctypes.c_int64
        signatures: Mapping[str, tuple[type | None, list[type]]] = {
            "apply": (ctypes.c_bool, [text]),
            "problem": (text, []),
            "clear_rules": (None, []),
            "count": (number, [text]),
            "busy_ns": (number, [ctypes.c_int]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self._library, f"gpuprof_cuda_{name}")
            function.restype, function.argtypes = result, arguments

    def apply(self, **settings: Setting) -> None:
        """Change settings of the running machine; kernels, crashes and faults are added to those there are."""
        if not self._library.gpuprof_cuda_apply(_settings_text(settings).encode()):
            raise ValueError(f"simulated CUDA: {self._library.gpuprof_cuda_problem().decode()}")

    def clear_rules(self) -> None:
        """Forget all kernels' lengths, crashes and faults. A broken context stays broken."""
        self._library.gpuprof_cuda_clear_rules()

    def calls(self, function: str) -> int:
        """How often an entry point has been called."""
        _require_known_functions([function])
        return int(self._library.gpuprof_cuda_count(function.encode()))

    def launches(self, kernel: str) -> int:
        """How often a kernel has been launched, by its whole name."""
        return int(self._library.gpuprof_cuda_count(kernel.encode()))

    def busy_s(self, device: int) -> float:
        """How long a device has been given work for, overlapping streams counted once."""
        busy_ns = int(self._library.gpuprof_cuda_busy_ns(device))
        if busy_ns < 0:
            raise ValueError(f"there is no device {device}")
        return busy_ns / 1e9
