"""A simulated ``libnvidia-ml.so.1``, read by the real ``pynvml``.

The library is compiled from the C sources beside this file. It answers for up to eight simulated graphics cards
whose power curve, sensors, faults and clock are settings, so that every number ``pynvml`` reads has a known truth::

    library = build(tmp_path)

    # another process: the library is found first, and set up by its environment
    subprocess.run([...], env={**os.environ, **environment(library, busy_w=400, load="0:10")})

    # this process: before pynvml is initialized for the first time
    control = Control(library)
    control.reset(clock="virtual", devices=2)
    with control.busy(0, watts=300):
        control.advance(5.0)
    control.true_energy_j(0, 0.0, 5.0)  # 1500 J, whatever the card's counter says

Time is counted in seconds since the library was loaded or last reset. On the real clock it passes by itself; on the
virtual clock (``clock="virtual"``) it moves only when it is told to, by :meth:`Control.advance` or by a latency.

The settings are listed, with their defaults, in :data:`MACHINE_SETTINGS` and :data:`DEVICE_SETTINGS`. A device
setting applies to every device; ``devices=[{...}, {...}]`` gives each device, in NVML's order, its own::

    control.reset(devices=[{"name": "big", "pci_bus_id": "0:65:0"}, {"name": "small", "pci_bus_id": "0:17:0"}])

What it is not: a model of a real driver. Update periods, gains and faults are inputs here, to be chosen by a test.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .. import SimulatorUnavailable

__all__ = ["DEVICE_SETTINGS", "MACHINE_SETTINGS", "Control", "build", "entry_points", "environment"]

LIBRARY_NAME = "libnvidia-ml.so.1"
ENVIRONMENT_VARIABLE = "GPUPROF_SIM_NVML"

_FOLDER = Path(__file__).parent
_SOURCES = ("nvml_simulator.c", "nvml_world.c")
_HEADERS = ("nvml_abi.h", "nvml_card.h", "nvml_world.h")
_COMPILER_FLAGS = ("-std=gnu11", "-O1", "-g0", "-shared", "-fPIC", "-pthread", "-Wall", "-Wextra")

Scalar = str | int | float
Setting = Scalar | Sequence[Scalar]
Devices = Sequence[Mapping[str, Setting]]

MACHINE_SETTINGS: Mapping[str, str] = {
    "devices": "how many cards there are (0 to 8), or a sequence of their own settings; 1",
    "clock": '"real", or "virtual": time moves only when told to; real',
    "latency_us": "how long every call takes, on either clock; 0",
    "driver": "the version of the driver; 580.65.06",
    "nvml": "the version of NVML; 13.580.65.06",
    "cuda": "the CUDA version of the driver, 1000 * major + 10 * minor; 13000",
    "fault": "one or several faults, FUNCTION[@DEVICE]:CODE[:FROM_CALL[:COUNT]], see Control.fault",
}

DEVICE_SETTINGS: Mapping[str, str] = {
    # identity
    "name": "Simulated H100",
    "uuid": "GPU-51510000-0000-4000-8000-000000000000, the last digits are the index",
    "serial": "1650023000000, the last digits are the index",
    "vbios": "96.00.74.00.01",
    "pci_bus_id": "00000000:17:00.0, then 27, 37, ...",
    "cc": "the compute capability, which also sets the architecture; 9.0",
    "architecture": "NVML's number of the architecture; 9, Hopper",
    "multiprocessors": "132",
    "cores": "16896",
    "bus_width_bits": "the width of the memory bus; 5120",
    # power and energy
    "idle_w": "the power of the card without work; 70",
    "busy_w": "the power of the card with work that does not say its own; 450",
    "load": "one or several BEGIN_S:END_S[:WATTS]: work at fixed times",
    "limit_w": "the power limit, which also moves the default limit; 700",
    "default_limit_w": "700",
    "min_limit_w": "200",
    "max_limit_w": "700",
    "power_period_ms": "how often the power reading is renewed; 100",
    "power_window_ms": "what nvmlDeviceGetPowerUsage averages over, 0 for the instantaneous power; 1000",
    "energy_period_ms": "how often the energy counter is renewed, 0 for always; 100",
    "energy_offset_ms": "when the first renewal after time zero is; 0",
    "energy_base_j": "what the counter shows at time zero; 1000",
    "energy_gain": "the part of the true energy that is counted, below 1 for a counter that under-reports; 1",
    "energy_freeze_s": "when the counter stops; never",
    "energy_reset_s": "when the counter starts again from 0; never",
    # temperature and clocks
    "temperature_c": "the temperature of the idle card; 35",
    "temperature_rise": "degrees per watt above idle, averaged over 10 s; 0.05",
    "sm_clock_mhz": "the SM clock under work; 1980",
    "idle_sm_clock_mhz": "345",
    "throttled_sm_clock_mhz": "the SM clock under work while throttled; 1200",
    "max_sm_clock_mhz": "1980",
    "mem_clock_mhz": "2619",
    "throttled_mem_clock_mhz": "1593",
    "max_mem_clock_mhz": "2619",
    "throttle": "one or several REASONS[:BEGIN_S[:END_S[:FRACTION]]]: event reason bits, and the part of that time "
    "the counters of throttled time count",
    # memory and processes
    "memory_total_mb": "81559",
    "memory_reserved_mb": "what the driver keeps for itself; 600",
    "memory_used_mb": "what is used besides the processes' memory; 0",
    "process": 'one or several PID:MEBIBYTES[:KIND[:BEGIN_S[:INSTANCE]]]; "self" is the calling process, KIND is '
    "compute, graphics or mps, INSTANCE a MIG instance",
    # modes; -1 answers NOT_SUPPORTED where that is said
    "mig": "the number of MIG instances, 0 for MIG off; 0",
    "mig_uuids": "UUID[,UUID...]: the instances by their UUIDs; MIG-51510000-0000-4000-8000-000000000000, ...",
    "mig_memory_mb": "the memory of an instance; 9984",
    "ecc": "1, or -1",
    "persistence": "1, or -1",
    "compute_mode": "0, or -1",
    "pstate": "0, or -1",
    "virtualization": "0, or -1",
    "c2c": "whether the card has a C2C link to its host; 0",
    "pcie_generation": "5",
    "pcie_width": "16",
    "max_pcie_generation": "5",
    "max_pcie_width": "16",
}


# ------------------------------------------------------------------------------------------------------- build


@functools.cache
def entry_points() -> tuple[str, ...]:
    """The names of all entry points of NVML that the installed ``pynvml`` can ask for."""
    specification = importlib.util.find_spec("pynvml")
    if specification is None or specification.origin is None:
        raise SimulatorUnavailable("the simulated NVML needs pynvml, whose entry points it offers: nvidia-ml-py")
    source = Path(specification.origin).read_text(encoding="utf-8")
    return tuple(sorted(set(re.findall(r'_nvmlGetFunctionPointer\("(nvml\w+)"\)', source))))


def build(directory: Path, omit: Iterable[str] = ()) -> Path:
    """Compile the library into ``directory`` and return its path.

    An up-to-date library is left as it is, and several processes may build into one directory at once. Entry points
    named in ``omit`` are left out, as in a driver too old to have them; give such a variant a directory of its own.

    Raises :class:`SimulatorUnavailable` where the library cannot be built: not on Linux, or without a C compiler.
    """
    omitted = sorted(set(omit))
    _require_known_functions(omitted)
    compiler = _compiler()
    stubs, exports = _stub_source(), _export_list(omitted)
    key = _build_key(compiler, stubs, exports)
    library = directory / LIBRARY_NAME
    if _is_up_to_date(library, key):
        return library
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=directory) as scratch:
        built = _compile(Path(scratch), compiler, f'{stubs}const char gpuprof_nvml_build_key[] = "{key}";\n', exports)
        built.replace(library)  # atomic: another worker sees the old library or the new one
    return library


def _compiler() -> str:
    if not sys.platform.startswith("linux"):
        raise SimulatorUnavailable(f"the simulated NVML is a Linux library; this is {sys.platform}")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise SimulatorUnavailable("the simulated NVML has to be compiled, and there is no C compiler (gcc) here")
    return compiler


def _stub_source() -> str:
    """C source that defines every entry point as not supported; the simulated ones override these weak symbols."""
    lines = [
        '#include "nvml_abi.h"',
        "nvmlReturn_t unsupported_entry_point(const char *function, nvmlDevice_t handle);",
        "#define UNSUPPORTED(function) \\",
        "    __attribute__((weak)) nvmlReturn_t function(nvmlDevice_t handle) \\",
        "    { return unsupported_entry_point(#function, handle); }",
        *(f"UNSUPPORTED({name})" for name in entry_points() if name != "nvmlErrorString"),
    ]
    return "\n".join(lines) + "\n"


def _export_list(omitted: Sequence[str]) -> str:
    """A linker version script: what the library shows to the outside."""
    hidden = "".join(f" {name};" for name in omitted)
    return f"{{ global: nvml*; gpuprof_nvml_*; local:{hidden} *; }};\n"


def _build_key(compiler: str, stubs: str, exports: str) -> str:
    digest = hashlib.sha256("\0".join((compiler, *_COMPILER_FLAGS, stubs, exports)).encode())
    for name in (*_SOURCES, *_HEADERS):
        digest.update((_FOLDER / name).read_bytes())
    return f"nvml-simulator-{digest.hexdigest()}"


def _is_up_to_date(library: Path, key: str) -> bool:
    """Whether the library carries this key: it is stored inside, so that file and key cannot disagree."""
    try:
        return key.encode() in library.read_bytes()
    except OSError:
        return False


def _compile(scratch: Path, compiler: str, stubs: str, exports: str) -> Path:
    (scratch / "stubs.c").write_text(stubs, encoding="utf-8")
    (scratch / "exports.map").write_text(exports, encoding="utf-8")
    built = scratch / LIBRARY_NAME
    command = [
        compiler,
        *_COMPILER_FLAGS,
        f"-I{_FOLDER}",
        f"-Wl,-soname,{LIBRARY_NAME}",
        f"-Wl,--version-script={scratch / 'exports.map'}",
        *("-o", str(built)),
        *(str(_FOLDER / name) for name in _SOURCES),
        str(scratch / "stubs.c"),
        "-lm",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SimulatorUnavailable(f"the simulated NVML does not compile:\n{done.stderr}")
    return built


# ---------------------------------------------------------------------------------------------------- settings


def environment(library: Path, **settings: Setting | Devices) -> dict[str, str]:
    """The environment variables that make a new process use ``library`` with these settings.

    Merge them over ``os.environ``; the search path that is there is kept behind the library's directory.
    """
    search_path = os.pathsep.join(filter(None, [str(library.parent), os.environ.get("LD_LIBRARY_PATH")]))
    return {"LD_LIBRARY_PATH": search_path, ENVIRONMENT_VARIABLE: _settings_text(settings)}


def _settings_text(settings: Mapping[str, Setting | Devices]) -> str:
    """The text the library reads: ``key=value;...``, with ``N.key`` for what concerns the device N only."""
    parts = []
    own_settings: list[Mapping[str, Setting]] = []
    devices = settings.get("devices")
    if devices is not None and not isinstance(devices, (str, int, float)):
        own_settings = _mappings(devices)
        settings = {**settings, "devices": len(own_settings)}
    for key, value in settings.items():
        parts += _assignments(key, value, known={**MACHINE_SETTINGS, **DEVICE_SETTINGS})
    for index, own in enumerate(own_settings):
        for key, setting in own.items():
            parts += [f"{index}.{part}" for part in _assignments(key, setting, known=DEVICE_SETTINGS)]
    return ";".join(parts)


def _mappings(devices: Sequence[Scalar] | Devices) -> list[Mapping[str, Setting]]:
    mappings = [device for device in devices if isinstance(device, Mapping)]
    if len(mappings) != len(devices):
        raise ValueError(f"devices must be a number, or a sequence of the devices' own settings: {devices!r}")
    return mappings


def _assignments(key: str, value: Setting | Devices, known: Mapping[str, str]) -> list[str]:
    """One assignment, or one for each of several values."""
    if key not in known:
        raise ValueError(f"the simulated NVML has no setting {key!r} here; it has {', '.join(known)}")
    values = [value] if isinstance(value, (str, int, float)) else value
    return [f"{key}={_value_text(key, one)}" for one in values]


def _value_text(key: str, value: Scalar | Mapping[str, Setting]) -> str:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if ";" in text or "\n" in text:
        raise ValueError(f"the value of {key} must fit on one line, without semicolons: {text!r}")
    if key == "fault":
        _require_known_functions([_fault_function(text)])
    return text


def _fault_function(specification: str) -> str:
    return re.split("[@:]", specification, maxsplit=1)[0]


def _require_known_functions(names: Iterable[str]) -> None:
    """Refuse a function that nobody can call: a misspelt fault would test nothing."""
    for name in names:
        is_pattern = any(character in name for character in "*?[")
        if not is_pattern and name not in entry_points() and name not in _other_entry_points():
            raise ValueError(f"neither pynvml nor the simulated NVML knows the entry point {name!r}")


@functools.cache
def _other_entry_points() -> frozenset[str]:
    """Entry points that are simulated for others than pynvml, such as nvmlInit."""
    source = (_FOLDER / "nvml_simulator.c").read_text(encoding="utf-8")
    return frozenset(re.findall(r"\bnvml(?:Init|Shutdown|System|Device)\w*", source))


# ----------------------------------------------------------------------------------------------------- control


class Control:
    """Drives the simulated machine inside this process.

    Loading the library by its path makes it the one that ``pynvml`` finds later by its name, so that neither
    ``LD_LIBRARY_PATH`` nor a new process is needed. There is one simulated machine per process, however many
    ``Control`` objects there are; it starts with the settings of the environment, until :meth:`reset`.
    """

    def __init__(self, library: Path) -> None:
        try:
            self._library = ctypes.CDLL(str(library.resolve()), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise SimulatorUnavailable(f"the simulated NVML cannot be loaded: {error}") from error
        self._declare_functions()

    def _declare_functions(self) -> None:
        """Tell ctypes the types of the control functions."""
        text, index, ns = ctypes.c_char_p, ctypes.c_uint, ctypes.c_int64
        signatures: Mapping[str, tuple[type | None, list[type]]] = {
            "reset": (ctypes.c_bool, [text]),
            "apply": (ctypes.c_bool, [text]),
            "problem": (text, []),
            "now_ns": (ns, []),
            "advance": (None, [ns]),
            "begin": (ctypes.c_int64, [index, ctypes.c_double]),
            "end": (ctypes.c_bool, [index, ctypes.c_int64]),
            "true_energy_j": (ctypes.c_double, [index, ns, ns]),
            "fault": (ctypes.c_bool, [text]),
            "clear_faults": (None, []),
            "remove_process": (ctypes.c_bool, [index, ctypes.c_uint32]),
            "calls": (ctypes.c_int64, [text]),
        }
        for name, (result, arguments) in signatures.items():
            function = getattr(self._library, f"gpuprof_nvml_{name}")
            function.restype, function.argtypes = result, arguments

    def reset(self, **settings: Setting | Devices) -> None:
        """Start again at time zero with the defaults and these settings; no load, no faults, no counted calls.

        NVML stays initialized, and the handles pynvml holds stay good for the devices that still exist.
        """
        self._require(self._library.gpuprof_nvml_reset(_settings_text(settings).encode()))

    def apply(self, **settings: Setting | Devices) -> None:
        """Change settings of the running simulation; those of its power hold for its past as well.

        For one device of several, give all of them: ``apply(devices=[{}, {"name": "other"}])``.
        """
        self._require(self._library.gpuprof_nvml_apply(_settings_text(settings).encode()))

    def now_s(self) -> float:
        """Seconds since time zero."""
        return float(self._library.gpuprof_nvml_now_ns()) / 1e9

    def advance(self, seconds: float) -> None:
        """Move the clock forward: the virtual one, or the real one ahead of the time that has passed."""
        if seconds < 0:
            raise ValueError(f"time does not go back: {seconds} s")
        self._library.gpuprof_nvml_advance(round(seconds * 1e9))

    def begin(self, device: int, watts: float | None = None) -> int:
        """Put the card under load from now on, at ``watts`` in total (default: its ``busy_w``).

        The number it returns is what :meth:`end` needs.
        """
        load = int(self._library.gpuprof_nvml_begin(device, -1.0 if watts is None else watts))
        if load < 0:
            raise ValueError(f"there is no device {device}")
        return load

    def end(self, device: int, load: int) -> None:
        """End a load now."""
        if not self._library.gpuprof_nvml_end(device, load):
            raise ValueError(f"device {device} has no load {load}")

    @contextmanager
    def busy(self, device: int, watts: float | None = None) -> Iterator[None]:
        """Keep the card under load inside a ``with`` block. Overlapping loads add up above the idle power."""
        load = self.begin(device, watts)
        try:
            yield
        finally:
            self.end(device, load)

    def true_energy_j(self, device: int, begin_s: float, end_s: float) -> float:
        """What the card really drew between two times, whatever its counter reports."""
        begin_ns, end_ns = round(begin_s * 1e9), round(end_s * 1e9)
        return float(self._library.gpuprof_nvml_true_energy_j(device, begin_ns, end_ns))

    def fault(self, specification: str) -> None:
        """Make an entry point fail: ``FUNCTION[@DEVICE]:CODE[:FROM_CALL[:COUNT]]``.

        The function may be a shell pattern (``nvmlInit*``), the code a number or a name without ``NVML_ERROR_``.
        Without a device, calls for any device fail; without the rest, every call does. ``GPU_IS_LOST`` is the end of
        the device: all its calls fail from then on. To fail ``nvmlInit`` of pynvml, name ``nvmlInitWithFlags``.
        """
        _require_known_functions([_fault_function(specification)])
        self._require(self._library.gpuprof_nvml_fault(specification.encode()))

    def clear_faults(self) -> None:
        """Repair everything, lost devices too."""
        self._library.gpuprof_nvml_clear_faults()

    def process(self, device: int, pid: int | str, used_bytes: int, kind: str = "compute") -> None:
        """Let a process use memory of the card, or change how much; ``"self"`` is whichever process asks."""
        self._require(
            self._library.gpuprof_nvml_apply(f"{device}.process={pid}:{used_bytes / 2**20!r}:{kind}".encode())
        )

    def remove_process(self, device: int, pid: int | str) -> None:
        """Take a process off the card."""
        self._library.gpuprof_nvml_remove_process(device, 0 if pid == "self" else int(pid))

    def calls(self, function: str) -> int:
        """How often an entry point has been called since the last reset."""
        _require_known_functions([function])
        return int(self._library.gpuprof_nvml_calls(function.encode()))

    def _require(self, accepted: bool) -> None:
        if not accepted:
            raise ValueError(f"simulated NVML: {self._library.gpuprof_nvml_problem().decode()}")
