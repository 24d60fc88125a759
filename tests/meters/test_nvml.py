"""The NVIDIA board's sensors, read by the real pynvml from the simulated NVML. Time is virtual: nothing sleeps."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.protocols import Board, EnergyCounter
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.nvml import open_board
from pytest_gpuprof.meters.nvml_doctor import Finding, diagnose
from pytest_gpuprof.meters.nvml_library import Library
from pytest_gpuprof.meters.nvml_processes import CardUsers, own_pids
from tests.simulators import SimulatorUnavailable
from tests.simulators.nvml import Control, build, entry_points, environment

pynvml = pytest.importorskip("pynvml", reason="NOT TESTED: the sensors of NVIDIA boards; nvidia-ml-py is missing")

REPOSITORY = Path(__file__).parents[2]

NEWER_NAMES = (
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlSystemGetCudaDriverVersion_v2",
)
"""What an old driver does not export; each has an older name that it does."""

CODES = (1, 2, 3, 4, 6, 9, 10, 12, 13, 15, 16, 18, 27, 999)


def build_or_skip(directory: Path, omit: Sequence[str] = ()) -> Path:
    try:
        return build(directory, omit)
    except SimulatorUnavailable as unavailable:
        pytest.skip(f"NOT TESTED: the sensors of NVIDIA boards: {unavailable}")


@pytest.fixture(scope="session")
def simulated_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_or_skip(tmp_path_factory.mktemp("nvml"))


@dataclass
class Machine:
    """A simulated machine, and a fresh door to its NVML that notes its pauses instead of waiting."""

    control: Control
    pauses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.library = Library(pause=self.pauses.append)

    def open(self, info: DeviceInfo | None = None) -> Board:
        board = open_board(info or gpu(), self.library)
        assert not isinstance(board, Reading), board.reason
        return board

    def refusal(self, info: DeviceInfo | None = None) -> str:
        board = open_board(info or gpu(), self.library)
        assert isinstance(board, Reading)
        assert board.value is None
        return board.reason

    def counter(self) -> EnergyCounter:
        counter = self.open().energy()
        assert not isinstance(counter, Reading), counter.reason
        return counter


Start = Callable[..., Machine]


def start_with(library: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> Machine:
    """Let pynvml use this library for the length of a test, as if it had found it by its name."""
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    machine = Machine(Control(library))
    machine.control.reset(**{"clock": "virtual", **settings})
    return machine


@pytest.fixture
def start(simulated_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Starts a simulated machine; the keywords are its settings."""
    return lambda **settings: start_with(simulated_nvml, monkeypatch, **settings)


def uuid(index: int = 0) -> str:
    return f"GPU-51510000-0000-4000-8000-{index:012d}"


def gpu(index: int = 0, **changes: Any) -> DeviceInfo:
    """The simulated card as a framework would describe it."""
    info = DeviceInfo(DeviceId("cuda"), "Simulated H100", "gpu", "torch", uuid=uuid(index), memory_bytes=81559 * 2**20)
    return replace(info, **changes)


# ------------------------------------------------------------------------------------------------------ the door


def test_pynvml_is_not_imported_before_it_is_asked() -> None:
    """Importing the meters leaves pynvml alone."""
    script = "import sys, pytest_gpuprof.meters.nvml_doctor; sys.exit('pynvml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=False).returncode == 0


def test_without_pynvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nvidia-ml-py the reason names the package."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    board = open_board(gpu(), Library())
    assert isinstance(board, Reading)
    assert board.reason == "nvidia-ml-py is not installed; install it with pip install nvidia-ml-py"


def test_another_package_called_pynvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """A namesake of pynvml is recognized and not used."""
    monkeypatch.setitem(sys.modules, "pynvml", types.ModuleType("pynvml"))
    board = open_board(gpu(), Library())
    assert isinstance(board, Reading)
    assert "pip uninstall pynvml" in board.reason


def test_broken_pynvml(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pynvml that raises anything when it is imported is not used."""

    def broken(name: str) -> None:
        raise RuntimeError("half installed")

    monkeypatch.setattr(importlib, "import_module", broken)
    board = open_board(gpu(), Library())
    assert isinstance(board, Reading)
    assert board.reason.startswith("pynvml cannot be imported (RuntimeError: half installed)")


def test_missing_function_that_pynvml_calls_a_mismatch(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error that is no NVMLError, for a symbol that the driver lacks, leads to the older name as well."""

    def mismatch(handle: object) -> None:
        raise pynvml.NVMLLibraryMismatchError("unversioned function called")

    machine = start(process=["self:1", "4711:1"])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses_v3", mismatch)
    assert machine.open().conditions().other_processes.value == 1


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a driver, or in a container that was not given NVML, the reason says both."""

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setattr(pynvml, "CDLL", missing)
    board = open_board(gpu(), Library())
    assert isinstance(board, Reading)
    assert "libnvidia-ml.so.1 is not found" in board.reason
    assert "NVIDIA_DRIVER_CAPABILITIES" in board.reason


@pytest.mark.parametrize(
    ("code", "fact", "remedy"),
    [
        (9, "driver is not loaded", "modprobe"),
        (12, "libnvidia-ml.so.1 is not found", "install the NVIDIA driver"),
        (18, "driver was updated while the old one is still loaded", "reboot, or reload the driver"),
        (4, "not permitted", "/dev/nvidia*"),
    ],
)
def test_initialization_fails(start: Start, code: int, fact: str, remedy: str) -> None:
    """Where NVML does not start, the reason says what is wrong and what to do, and it is started only once."""
    machine = start(fault=f"nvmlInitWithFlags:{code}")
    for _ in range(2):
        why, _, what_to_do = machine.refusal().partition("; ")
        assert fact in why
        assert remedy in what_to_do
    assert machine.control.calls("nvmlInitWithFlags") == 1


@pytest.mark.parametrize("error", [TypeError("bad argument"), ValueError("undecodable"), OSError("gone")])
def test_errors_that_are_not_nvmls(start: Start, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """An error from within pynvml becomes a reason like any other."""

    def broken(*arguments: object) -> None:
        raise error

    board = start().open()
    monkeypatch.setattr(pynvml, "nvmlDeviceGetClockInfo", broken)
    clock = board.conditions().sm_clock_hz
    assert clock.value is None
    assert f"{type(error).__name__}: {error}" in clock.reason


def test_function_that_an_old_pynvml_lacks(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that pynvml does not have is replaced by its older name, or else is a reason to update."""
    board = start().open()
    monkeypatch.delattr(pynvml, "nvmlDeviceGetTemperatureV")
    monkeypatch.delattr(pynvml, "nvmlDeviceGetMaxClockInfo")
    now = board.conditions()
    assert now.temperature_c.value == 35
    assert "pip install -U nvidia-ml-py" in now.rated_clock_hz.reason


@pytest.mark.parametrize("code", [27, 10, 999])
def test_what_passes_is_asked_again(start: Start, code: int) -> None:
    """A GPU that is not ready is asked twice more, 50 ms apart."""
    machine = start(fault=f"nvmlDeviceGetTotalEnergyConsumption:{code}:1:2")
    assert machine.counter().read().value is not None
    assert machine.pauses == [0.05, 0.05]


def test_what_does_not_pass_is_waited_for_once(start: Start) -> None:
    """A function that stays refused costs its pauses only once, and counts again when it answers."""
    machine = start(fault="nvmlDeviceGetClockInfo:999")
    board = machine.open()
    assert board.conditions().sm_clock_hz.value is None
    assert board.conditions().sm_clock_hz.value is None
    assert machine.pauses == [0.05, 0.05]
    machine.control.clear_faults()
    assert board.conditions().sm_clock_hz.value == 345e6
    machine.control.fault("nvmlDeviceGetClockInfo:999:1:1")
    assert board.conditions().sm_clock_hz.value == 345e6


def test_lost_gpu_stays_lost(start: Start) -> None:
    """After NVML has once asked for a reset, nothing is asked of the card any more: not by a new board either."""
    machine = start(fault="nvmlDeviceGetClockInfo:16:1:1", devices=2)
    board = machine.open()
    assert not isinstance(board.energy(), Reading)
    reason = board.conditions().sm_clock_hz.reason
    assert "must be reset" in reason
    asked = machine.control.calls("nvmlDeviceGetTemperatureV")
    energy, now, facts = board.energy(), board.conditions(), board.facts()
    assert isinstance(energy, Reading)
    assert {energy.reason, now.temperature_c.reason, now.other_processes.reason} == {reason}
    assert facts.identity["gpu"] == f"unavailable: {reason}"
    assert machine.refusal() == reason
    assert machine.control.calls("nvmlDeviceGetTemperatureV") == asked
    assert machine.open(gpu(1)).conditions().sm_clock_hz.value == 345e6


def test_card_lost_before_it_is_found(start: Start) -> None:
    """A card that is lost when it is looked up is not looked for elsewhere."""
    machine = start(fault="nvmlDeviceGetHandleByUUID:15")
    reason = machine.refusal(gpu(pci_bus_id="00000000:17:00.0"))
    assert "the GPU is lost" in reason
    assert machine.control.calls("nvmlDeviceGetHandleByPciBusId_v2") == 0


def test_someone_shuts_nvml_down(start: Start) -> None:
    """When NVML has been shut down behind our back, one reading is lost and the next one starts it again."""
    machine = start(fault="nvmlDeviceGetTotalEnergyConsumption:1:2:1")
    counter = machine.counter()
    assert "not initialized" in counter.read().reason
    assert counter.read().value == 1000
    assert machine.control.calls("nvmlInitWithFlags") == 2


def test_fork(simulated_nvml: Path) -> None:
    """A child of fork() initializes NVML for itself and looks its handles up again."""
    script = """
import json, os, sys
from pathlib import Path
from tests.meters.test_nvml import gpu
from tests.simulators.nvml import Control
from pytest_gpuprof.meters.nvml import open_board

control = Control(Path(sys.argv[1]))
counter = open_board(gpu()).energy()
calls = lambda: [control.calls("nvmlInitWithFlags"), control.calls("nvmlDeviceGetHandleByUUID")]
before = calls()
read_end, write_end = os.pipe()
if os.fork() == 0:
    os.write(write_end, json.dumps([before, counter.read().value, calls()]).encode())
    os._exit(0)
os.wait()
print(os.read(read_end, 1000).decode())
"""
    variables = {**os.environ, **environment(simulated_nvml, clock="virtual"), "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", script, str(simulated_nvml)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[1, 1], 1000.0, [2, 2]]


# ------------------------------------------------------------------------------------------ which card is which


def test_index_order_unlike_cuda_order(start: Start) -> None:
    """cuda:0 is read from the card with its UUID, wherever NVML lists it."""
    machine = start(devices=[{"temperature_c": 30}, {"temperature_c": 60}, {"temperature_c": 90}])
    second = machine.open(gpu(2))
    assert second.conditions().temperature_c.value == 90
    assert machine.open(gpu(1)).conditions().temperature_c.value == 60


def test_board_is_the_same_each_time(start: Start) -> None:
    """Opening a card twice gives one board."""
    machine = start()
    assert machine.open() is machine.open()


def test_uuid_without_its_prefix(start: Start) -> None:
    """A framework that leaves the prefix of the UUID out is understood."""
    assert start().open(gpu(uuid=uuid().removeprefix("GPU-"))).conditions().temperature_c.value == 35


def test_pci_address_where_there_is_no_uuid(start: Start) -> None:
    """The PCI address is the second choice, and used also when NVML does not know the UUID."""
    machine = start(devices=[{"pci_bus_id": "0:65:0"}, {"pci_bus_id": "0:17:0", "temperature_c": 50}])
    for device_uuid in (None, uuid(7)):
        board = machine.open(gpu(uuid=device_uuid, pci_bus_id="00000000:17:00.0"))
        assert board.conditions().temperature_c.value == 50


def test_device_that_nvml_does_not_know(start: Start) -> None:
    """A UUID and an address that NVML does not know lead nowhere, least of all to card 0."""
    reason = start().refusal(gpu(uuid=uuid(7), pci_bus_id="00000000:99:00.0"))
    assert reason.startswith("device mapping not verified: NVML finds no such device")


def test_device_that_tells_nothing(start: Start) -> None:
    """A device with neither UUID nor PCI address is not looked for by its index."""
    assert "neither its UUID nor its PCI address" in start().refusal(gpu(uuid=None))


@pytest.mark.parametrize(
    ("changes", "agrees"),
    [
        ({"name": "NVIDIA Simulated H100"}, True),
        ({"name": "another name"}, True),  # its memory agrees
        ({"name": "another name", "memory_bytes": int(81559 * 2**20 * 0.96)}, True),
        ({"name": "another name", "memory_bytes": int(81559 * 2**20 * 0.94)}, False),
        ({"name": "another name", "memory_bytes": None}, False),
    ],
)
def test_verification(start: Start, changes: dict[str, Any], agrees: bool) -> None:
    """The card that was found must have the device's name or its memory."""
    board = open_board(gpu(**changes), start().library)
    assert isinstance(board, Reading) is not agrees
    if isinstance(board, Reading):
        assert board.reason.startswith("device mapping not verified: NVML finds 'Simulated H100'")


@pytest.mark.parametrize("kind", ["cpu", "stand-in"])
def test_no_gpu(kind: str) -> None:
    """A CPU or a stand-in has no board, and NVML is not even started."""
    info = gpu(kind=kind, why_stand_in="simulated" if kind == "stand-in" else None)
    board = open_board(info, Library())
    assert isinstance(board, Reading)
    assert "is no NVIDIA GPU" in board.reason


# -------------------------------------------------------------------------------------------------------- energy


def test_energy_in_joules(start: Start) -> None:
    """The counter's millijoules are joules here: 300 W over 5 s are 1500 J."""
    machine = start()
    with machine.control.busy(0, watts=300):
        counter = machine.counter()
        before = counter.read().require("energy")
        machine.control.advance(5.0)
        after = counter.read().require("energy")
    assert counter.used_j(before, after, 5.0).value == pytest.approx(1500)


def test_window_shorter_than_the_refresh(start: Start) -> None:
    """A counter that has not moved in a short window gives no joules, not 0."""
    machine = start()
    counter = machine.counter()
    before = counter.read().require("energy")
    machine.control.advance(0.03)
    used = counter.used_j(before, counter.read().require("energy"), 0.03)
    assert used.value is None
    assert "the window of 0.03 s was shorter than the energy counter's refresh" in used.reason


def test_frozen_counter(start: Start) -> None:
    """A counter that stands still for seconds is said to stand still."""
    machine = start(energy_freeze_s=1)
    machine.control.advance(2.0)
    counter = machine.counter()
    before = counter.read().require("energy")
    machine.control.advance(5.0)
    used = counter.used_j(before, counter.read().require("energy"), 5.0)
    assert "stood still for 5 s" in used.reason


def test_backwards_counter(start: Start) -> None:
    """A counter that starts again from zero gives no joules."""
    machine = start(energy_reset_s=3)
    machine.control.advance(2.0)
    counter = machine.counter()
    before = counter.read().require("energy")
    machine.control.advance(2.0)
    used = counter.used_j(before, counter.read().require("energy"), 2.0)
    assert used.value is None
    assert "went backwards" in used.reason


def test_card_without_counter(start: Start) -> None:
    """A card before Volta has no counter, and its board says so instead of offering one."""
    energy = start(cc="6.1").open().energy()
    assert isinstance(energy, Reading)
    assert energy.reason.startswith("this card or its driver does not offer it")


@pytest.mark.parametrize("framework_writes", ["MIG", "GPU"])
def test_mig_instance(start: Start, framework_writes: str) -> None:
    """An instance is found by its UUID in either form; it has processes but no energy of its own."""
    machine = start(mig=2, process="self:100:compute:0:1")
    digits = "51510000-0000-4000-8000-000000000001"
    board = machine.open(
        gpu(uuid=f"{framework_writes}-{digits}", name="Simulated H100 MIG 1g.10gb", memory_bytes=9984 * 2**20)
    )
    energy = board.energy()
    assert isinstance(energy, Reading)
    assert energy.reason.startswith("MIG instance: NVML has no energy per instance")
    assert board.conditions().other_processes.value == 0


def test_whole_card_divided_into_instances(start: Start) -> None:
    """The UUID of a card in MIG mode, as old CUDA gives it for an instance, does not pass the card's energy for it."""
    machine = start(mig=1, mig_uuids="MIG-another")
    energy = machine.open(gpu(name="Simulated H100 MIG 7g.80gb")).energy()
    assert isinstance(energy, Reading)
    assert energy.reason.startswith("MIG instance")


# ---------------------------------------------------------------------------------------------------- conditions


def test_clocks_and_temperature(start: Start) -> None:
    """Clocks are hertz and follow the load."""
    machine = start(temperature_c=41)
    board = machine.open()
    idle = board.conditions()
    with machine.control.busy(0):
        busy = board.conditions()
    assert (idle.sm_clock_hz.value, busy.sm_clock_hz.value) == (345e6, 1980e6)
    assert idle.rated_clock_hz.value == 1980e6
    assert idle.temperature_c.value == 41
    assert "idle" in idle.reasons
    assert "idle" not in busy.reasons


def test_the_boards_own_power(start: Start) -> None:
    """Watts, on the mean of the last second; where it is not offered, the reading says so."""
    machine = start()
    board = machine.open()
    with machine.control.busy(0, watts=300):
        machine.control.advance(3.0)
        assert board.conditions().power_w.value == pytest.approx(300)
        machine.control.fault("nvmlDeviceGetPowerUsage:NOT_SUPPORTED")
        assert board.conditions().power_w.value is None


def test_throttling_by_reason(start: Start) -> None:
    """Each reason has its own seconds, and what is in force now has a name."""
    machine = start(throttle=["0x4:0:2", "0x20:1:5:0.5", "0x40:4", "0x80:4"])
    machine.control.advance(5.0)
    now = machine.open().conditions()
    assert now.throttled_s == pytest.approx({"power": 2, "thermal": 3, "sync boost": 0, "board limit": 1})
    assert now.reasons == {"idle", "thermal", "power brake"}


def test_field_values_one_by_one(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the fields, each is read by its own type, and each that failed is asked for as a violation status."""

    def fields(handle: object, identifiers: Sequence[int]) -> Any:
        values = (pynvml.c_nvmlFieldValue_t * 4)()
        values[0].valueType, values[0].value.uiVal = 1, 4_000_000_000
        values[1].nvmlReturn, values[1].valueType, values[1].value.ullVal = 3, 3, 77
        values[2].valueType, values[2].value.dVal = 0, 5e9
        values[3].valueType = 99  # a type of the future
        return values

    machine = start(throttle="0x20:0:3")
    machine.control.advance(4.0)
    board = machine.open()
    monkeypatch.setattr(pynvml, "nvmlDeviceGetFieldValues", fields)
    assert board.conditions().throttled_s == pytest.approx(
        {"power": 4, "thermal": 3, "sync boost": 5, "board limit": 0}
    )


def test_counters_that_do_not_exist(start: Start) -> None:
    """A reason that nothing counts is left out: not counted is not zero."""
    board = start(fault=["nvmlDeviceGetFieldValues:3", "nvmlDeviceGetViolationStatus:3"]).open()
    assert board.conditions().throttled_s == {}


@pytest.fixture(scope="session")
def old_nvml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_or_skip(tmp_path_factory.mktemp("old-nvml"), (*NEWER_NAMES, "nvmlDeviceGetFieldValues"))


def test_old_driver(old_nvml: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver without the newer symbols is asked by their older names, and nothing is missing."""
    machine = start_with(old_nvml, monkeypatch, throttle="0x24:0:3", process=["self:1", "4711:1", "4712:1:mps"])
    machine.control.advance(2.0)
    board = machine.open()
    now = board.conditions()
    assert now.temperature_c.value == 35
    assert now.other_processes.value == 2
    assert now.throttled_s == pytest.approx({"power": 2, "thermal": 2, "sync boost": 0, "board limit": 0})
    assert now.reasons == {"idle", "power", "thermal"}
    assert board.facts().identity["cuda_driver"] == "13.0"


# ----------------------------------------------------------------------------------------------------- processes


def others_after(machine: Machine, *arriving: tuple[int | str, str]) -> Reading:
    """Who shares the card when the board was opened first and these processes came then."""
    board = machine.open()
    for pid, kind in arriving:
        machine.control.process(0, pid, 2**20, kind)
    return board.conditions().other_processes


def test_nobody_else(start: Start) -> None:
    """Our own process is not another."""
    assert others_after(start(), ("self", "compute")).value == 0


@pytest.mark.parametrize("kind", ["compute", "mps"])
def test_foreign_process(start: Start, kind: str) -> None:
    """Another process that computes is counted, also one that computes through MPS."""
    assert others_after(start(), ("self", "compute"), (4711, kind)).value == 1


def test_process_that_leaves(start: Start) -> None:
    """A process is counted for as long as it is there."""
    machine = start(process=["self:1", "4711:1"])
    board = machine.open()
    assert board.conditions().other_processes.value == 1
    machine.control.remove_process(0, 4711)
    assert board.conditions().other_processes.value == 0


def test_child_process_is_ours(start: Start) -> None:
    """A worker of ours that uses the card does not share it with us."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert others_after(start(), ("self", "compute"), (child.pid, "compute")).value == 0
    finally:
        child.communicate()


def test_own_process_under_an_unknown_number(start: Start) -> None:
    """In a container, the one process that came after the first look is us; the others are not."""
    assert others_after(start(), (40001, "compute")) == Reading(0.0, quality="estimated")
    assert others_after(start(), (40001, "compute"), (40002, "compute")) == Reading(1.0, quality="estimated")
    assert others_after(start(process="40000:1"), (40001, "compute")) == Reading(1.0, quality="estimated")


def test_nobody_can_tell(start: Start) -> None:
    """In a container, a process that was there from the start may be us or another: that is not guessed."""
    others = others_after(start(process="40000:1"))
    assert others.value is None
    assert "--pid=host" in others.reason


def test_first_look_was_refused(start: Start) -> None:
    """Without a first look, our own process cannot be known by when it came."""
    machine = start(process="40001:1", fault="nvmlDeviceGetComputeRunningProcesses_v3:4:1:1")
    assert "not permitted" in machine.open().conditions().other_processes.reason


def test_context_closed_meanwhile(start: Start) -> None:
    """Whoever is left after our own process has left the card is another."""
    machine = start(process=["self:1", "4711:1"])
    board = machine.open()
    machine.control.remove_process(0, "self")
    assert board.conditions().other_processes.value == 1


@pytest.mark.parametrize(("percent", "count"), [(0, 0), (3, 1)])
def test_desktop(start: Start, monkeypatch: pytest.MonkeyPatch, percent: int, count: int) -> None:
    """A process that only draws counts when it has kept the multiprocessors busy since the last look."""
    sample = types.SimpleNamespace(pid=900, smUtil=percent)
    machine = start(process=["self:1", "900:50:graphics"])
    monkeypatch.setattr(pynvml, "nvmlDeviceGetProcessUtilization", lambda handle, since_us: [sample])
    assert machine.open().conditions().other_processes.value == count


def test_server_of_mps_is_no_user(start: Start, tmp_path: Path) -> None:
    """NVML lists it beside its clients, and only those compute."""
    start(process=["self:1:mps", "4711:1", "4712:1:mps"])
    (tmp_path / "4711").mkdir()
    (tmp_path / "4711" / "comm").write_text("nvidia-cuda-mps\n", encoding="ascii")
    card = Library().card("nvmlDeviceGetHandleByUUID", uuid())
    assert CardUsers(card, tmp_path).others().value == 1
    (tmp_path / "4711" / "comm").write_text("nvidia-smi\n", encoding="ascii")
    assert CardUsers(card, tmp_path).others().value == 2


def test_process_list_is_refused(start: Start) -> None:
    """Without the compute list nobody knows; the other lists may be missing."""
    refused = start(fault="nvmlDeviceGetComputeRunningProcesses*:4").open().conditions().other_processes
    assert "not permitted" in refused.reason
    partly = start(process=["self:1", "4711:1"], fault=["nvmlDeviceGetMPS*:3", "nvmlDeviceGetGraphics*:3"]).open()
    assert partly.conditions().other_processes.value == 1


def test_own_pids(tmp_path: Path) -> None:
    """Ours are the numbers in every pid namespace we see, and all descendants, also those of other threads."""
    files = {
        "self/status": "Name:\tpython\nNSpid:\t7001\t12\n",
        "self/task/12/children": "7002 7003 ",
        "self/task/13/children": "7004 ",
        "7003/task/7003/children": "7005 ",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    assert own_pids(tmp_path) == {os.getpid(), 7001, 12, 7002, 7003, 7004, 7005}


def test_own_pids_without_proc(tmp_path: Path) -> None:
    """Without a process file system only our own number is known."""
    assert own_pids(tmp_path / "none") == {os.getpid()}


# --------------------------------------------------------------------------------------------------------- facts


def test_facts(start: Start) -> None:
    """Facts are in base units, and the state is kept apart from the identity."""
    facts = start().open().facts()
    assert facts.identity == {
        "gpu": "Simulated H100",
        "gpu_compute_capability": "9.0",
        "gpu_memory_bytes": 81559 * 2**20,
        "gpu_max_sm_clock_hz": 1_980_000_000,
        "gpu_max_memory_clock_hz": 2_619_000_000,
        "gpu_cores": 16896,
        "gpu_memory_bus_bits": 5120,
        "gpu_power_limit_w": 700.0,
        "gpu_default_power_limit_w": 700.0,
        "gpu_ecc": True,
        "gpu_mig": False,
        "gpu_compute_mode": "default",
        "gpu_persistence": True,
        "gpu_virtualization": "none",
        "gpu_pcie_generation": 5,
        "gpu_pcie_width": 16,
        "gpu_vbios": "96.00.74.00.01",
        "nvidia_driver": "580.65.06",
        "cuda_driver": "13.0",
    }
    card = facts.state["gpu_card"]
    assert facts.state == {
        "gpu_card": card,
        "gpu_temperature_c": 35,
        "gpu_sm_clock_hz": 345_000_000,
        "gpu_memory_clock_hz": 2_619_000_000,
        "gpu_pstate": "P0",
        "gpu_power_w": 70.0,
    }
    assert isinstance(card, str)
    assert card not in uuid()


def test_identity_is_of_the_kind_of_card(start: Start) -> None:
    """Two cards of one kind have one identity, and another power limit is another identity."""
    machine = start(devices=[{"temperature_c": 30}, {"temperature_c": 60}, {"limit_w": 350}])
    first, second, capped = (machine.open(gpu(index)).facts() for index in range(3))
    assert first.identity == second.identity
    assert first.identity != capped.identity
    assert first.state["gpu_card"] != second.state["gpu_card"]


def test_fact_that_is_missing(start: Start) -> None:
    """A fact that the card does not tell is text that says why."""
    identity = start(ecc=-1).open().facts().identity
    assert str(identity["gpu_ecc"]).startswith("unavailable: this card or its driver does not offer it")


# -------------------------------------------------------------------------------------------------------- doctor


def found(findings: Sequence[Finding]) -> dict[str, str | None]:
    return {finding.what: finding.found for finding in findings}


def test_doctor_of_a_healthy_machine(start: Start) -> None:
    """The driver, then each card with each of its readings."""
    machine = start(devices=2, process="4711:1", throttle="0x20:0:3")
    machine.control.advance(3.0)
    findings = found(diagnose(machine.library))
    assert None not in findings.values()
    assert findings["NVIDIA driver"] == "580.65.06"
    assert findings["NVML"] == "13.580.65.06"
    assert findings["CUDA driver"] == "13.0"
    assert findings["GPUs"] == "2"
    assert findings["GPU 1"] == "Simulated H100"
    assert findings["GPU 1: UUID"] == uuid(1)
    assert findings["GPU 1: energy"] == "1210 J so far"
    assert findings["GPU 1: power"] == "70.0 W"
    assert findings["GPU 1: SM clock"] == "345 MHz"
    assert findings["GPU 1: rated SM clock"] == "1980 MHz"
    assert findings["GPU 1: temperature"] == "35 °C"
    assert findings["GPU 1: throttling"] == "power 0.0 s, thermal 3.0 s, sync boost 0.0 s, board limit 0.0 s"
    assert findings["GPU 1: processes"] == "1"
    assert findings["GPU 1: power limit"] == "700 W"
    assert findings["GPU 1: persistence"] == "on"
    assert findings["GPU 1: MIG"] == "off"
    assert findings["MPS"] == "not running"


def test_doctor_says_what_to_set(start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A lowered power limit, no persistence, MIG and MPS: what each means, and the command where there is one."""
    (tmp_path / "control").touch()
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    machine = start(limit_w=350, default_limit_w=700, persistence=0, mig=1)
    findings = found(diagnose(machine.library))
    assert findings["GPU 0: power limit"] == "350 W of 700 W by default: sudo nvidia-smi -pl 700 raises it"
    assert str(findings["GPU 0: persistence"]).startswith("off: the driver may forget its energy counter")
    assert str(findings["GPU 0: MIG"]).startswith("on: no instance has an energy of its own")
    assert findings["MPS"] == "its daemon runs: other clients compute beside this process"


def test_doctor_of_modes_that_are_not_told(start: Start) -> None:
    """Each with NVML's reason; a power limit without a default is still one."""
    refused = ["Enforced*", "PersistenceMode", "MigMode"]
    findings = diagnose(start(fault=[f"nvmlDeviceGet{name}:3" for name in refused]).library)
    reasons = {finding.what: finding.reason for finding in findings}
    for what in ("power limit", "persistence", "MIG"):
        assert "does not offer it" in reasons[f"GPU 0: {what}"]
    findings = diagnose(start(limit_w=350, fault="nvmlDeviceGetPowerManagementDefaultLimit:3").library)
    assert found(findings)["GPU 0: power limit"] == "350 W"


def test_doctor_without_a_driver(start: Start) -> None:
    """Without a driver there is one finding: that, and what to do."""
    (finding,) = diagnose(start(fault="nvmlInitWithFlags:9").library)
    assert str(finding).startswith("NVML: unavailable, because the NVIDIA driver is not loaded")
    assert "; load it with" in finding.reason


def test_doctor_of_a_card_that_cannot_be_opened(start: Start) -> None:
    """One card out of reach does not hide the others."""
    findings = diagnose(start(devices=2, fault="nvmlDeviceGetHandleByIndex_v2@0:4").library)
    assert {finding.what: finding.reason for finding in findings}["GPU 0"].startswith("it is not permitted")
    assert found(findings)["GPU 1"] == "Simulated H100"


def test_finding_is_found_or_explained() -> None:
    """A finding that is neither found nor explained cannot be made."""
    with pytest.raises(ValueError, match="either what was found, or the reason"):
        Finding("GPU 0", None)


# -------------------------------------------------------------------------------------------------- fault matrix


MAY_FAIL_UNSEEN = {
    "nvmlDeviceIsMigDeviceHandle",  # the card's MIG mode is asked as well
    "nvmlDeviceGetCurrentClocksEventReasons",  # an instant's reasons only add to the counters
    "nvmlDeviceGetFieldValues",  # the violation status tells the same
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",  # no MPS here
    "nvmlDeviceGetGraphicsRunningProcesses_v3",  # no desktop here
    "nvmlDeviceGetProcessUtilization",  # nobody draws
    "nvmlDeviceGetHandleByUUID",  # the PCI address leads there, too
}


def look_at_everything(library: Library) -> Iterator[str]:
    """Use every part of the board and the doctor, and yield the reason of all that is unavailable."""
    info = gpu(pci_bus_id="00000000:17:00.0")
    readings: list[Reading] = []
    board = open_board(info, library)
    if isinstance(board, Reading):
        readings.append(board)
    else:
        counter = board.energy()
        readings += [counter] if isinstance(counter, Reading) else [counter.read(), counter.used_j(1.0, 2.0, 1.0)]
        now = board.conditions()
        readings += [now.sm_clock_hz, now.rated_clock_hz, now.temperature_c, now.other_processes]
        facts = board.facts()
        for fact in (*facts.identity.values(), *facts.state.values()):
            if str(fact).startswith("unavailable: "):
                yield str(fact)
    yield from (finding.reason for finding in diagnose(library) if finding.found is None)
    yield from (reading.reason for reading in readings if reading.value is None)


@pytest.mark.parametrize("old", [False, True], ids=["new driver", "old driver"])
def test_fault_matrix(start: Start, old: bool) -> None:
    """Whatever fails in whichever way, nothing is raised, and all that is missing has a reason and a remedy."""
    missing = [f"{name}:13" for name in NEWER_NAMES] if old else []
    machine = start(process=["self:1", "900:1:graphics"], fault=missing)
    assert list(look_at_everything(machine.library)) == []
    used = [name for name in entry_points() if machine.control.calls(name)]
    assert len(used) > 25
    for name in (*used, "nvmlDeviceGetHandleByPciBusId_v2", "nvmlDeviceGetViolationStatus"):
        for code in CODES:
            machine.control.reset(
                clock="virtual", process=["self:1", "900:1:graphics"], fault=[f"{name}:{code}", *missing]
            )
            reasons = list(look_at_everything(Library(pause=machine.pauses.append)))
            for reason in reasons:
                assert "; " in reason, (name, code)
            if code == 4 and name in used and not old:  # a code with no way around it
                assert (reasons == []) == (name in MAY_FAIL_UNSEEN), name
    assert set(machine.pauses) == {0.05}
