"""cuda.core on a simulated driver: what the contract of a backend leaves open.

A process loads its driver once, so each script runs in a process of its own.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_gpuprof.backends.cuda import _SPIN, _SPIN_PTX, CudaBackend, _Timer
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.workload import first_parameter
from tests.conftest import BUILD

REPOSITORY = Path(__file__).parents[2]

PRELUDE = """
import json, sys
from pathlib import Path
from cuda.bindings import driver
from pytest_gpuprof.backends.cuda import CudaBackend, CudaError
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import DeviceError, Unavailable
from tests.simulators.cuda import Control

control = Control(Path(sys.argv[1]) / "cuda" / "libcuda.so.1")
backend = CudaBackend()

def report(**values):
    print(json.dumps(values))

def opened(index=0):
    return backend.open(DeviceId("cuda", index))

def busy(stream, name="sim_busy_30ms"):
    from cuda.core import LaunchConfig, ObjectCode, launch
    text = b".version 6.0\\n.target sm_50\\n.entry %b() {}" % name.encode()
    launch(stream, LaunchConfig(grid=1, block=1), ObjectCode.from_ptx(text).get_kernel(name))
"""

REFUSED = """
try:
    backend.devices()
except Unavailable as reason:
    report(reason=str(reason))
"""

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(on_simulated_cuda: Callable[..., dict[str, str]]) -> Run:
    """Run a script on the simulated driver, and return what it reports. A warning is an error there."""

    def script(code: str, **settings: Any) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(code), str(BUILD)],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
            env=on_simulated_cuda(**settings),
        )
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return seen

    return script


# --- Why it is not there ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["cuda", "cuda.core"])
def test_without_cuda_core(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Other packages have parts of the namespace ``cuda`` too."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(Unavailable, match=r"^cuda.core is not installed; pip install cuda-core cuda-bindings$"):
        CudaBackend().devices()


def test_an_old_cuda_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first versions had everything in another module."""
    core = pytest.importorskip("cuda.core", reason="NOT TESTED: cuda.core is not installed")
    monkeypatch.delattr(core, "Device")
    with pytest.raises(Unavailable, match=r"is too old; upgrade to 1.0 or newer with pip install -U cuda-core$"):
        CudaBackend().devices()


def test_without_a_driver() -> None:
    """The library of the driver is not found."""
    pytest.importorskip("cuda.core", reason="NOT TESTED: cuda.core is not installed")
    code = "import ctypes; ctypes.CDLL('libcuda.so.1')"
    if subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0:
        pytest.skip("NOT TESTED: this machine has an NVIDIA driver")
    with pytest.raises(Unavailable, match=r"^cuda.core finds no NVIDIA driver \(.*\); install the NVIDIA driver$"):
        CudaBackend().devices()


def test_a_driver_that_is_too_old(run: Run) -> None:
    """Told before anything warns or fails; the bindings of its own version would do."""
    reason = run(REFUSED, version=12040)["reason"]
    assert re.fullmatch(
        r"the NVIDIA driver is for CUDA 12\.4, and cuda-bindings 1[3-9]\S* is for a newer one; update the driver, or "
        r"pip install 'cuda-bindings==12\.\*'",
        reason,
    )


def test_a_driver_without_a_device(run: Run) -> None:
    """The driver is there, and shows nothing."""
    reason = run(REFUSED, nvml={"devices": 0})["reason"]
    assert reason.startswith(
        "cuda.core finds no CUDA device (CUDA_ERROR_NO_DEVICE (no CUDA-capable device is detected)"
    )
    assert reason.endswith("check CUDA_VISIBLE_DEVICES, and whether nvidia-smi lists a GPU")


def test_a_driver_that_does_not_start(run: Run) -> None:
    """As after an update that was not followed by a reboot."""
    reason = run(REFUSED, fault="cuInit:SYSTEM_DRIVER_MISMATCH")["reason"]
    assert reason.startswith("the NVIDIA driver does not start (CUDA_ERROR_SYSTEM_DRIVER_MISMATCH")
    assert reason.endswith("see whether nvidia-smi answers, else reboot")


# --- Devices ----------------------------------------------------------------------------------------------------------


def test_devices_are_described(run: Run) -> None:
    """In CUDA's order, with what leads NVML to the same card."""
    code = """
    from pytest_gpuprof.meters.nvml import open_board
    infos = backend.devices()
    try:
        opened(2)
    except DeviceError as error:
        refused = str(error)
    report(ids=[str(i.id) for i in infos], uuids=[i.uuid for i in infos], pci=[i.pci_bus_id for i in infos],
           names=[i.name for i in infos], bytes=[i.memory_bytes for i in infos], refused=refused,
           boards=[open_board(i).facts().identity["gpu"] for i in infos])
    """
    cards = [{"name": "Simulated A", "memory_total_mb": 9600}, {"name": "Simulated B"}]
    seen = run(code, nvml={"devices": cards})
    assert seen["ids"] == ["cuda:0", "cuda:1"]
    assert seen["uuids"] == [f"GPU-51510000-0000-4000-8000-00000000000{card}" for card in (1, 0)]
    assert seen["pci"] == ["0000:27:00.0", "0000:17:00.0"]
    assert seen["names"] == seen["boards"] == ["Simulated B", "Simulated A"]
    assert seen["bytes"] == [(81559 - 600) << 20, 9000 << 20]
    assert seen["refused"] == "cuda.core has no device cuda:2; it has cuda:0, cuda:1"


def test_no_context_is_made_before_it_is_needed(run: Run) -> None:
    """Listing and opening leave the card alone: the board, opened after that, has to see our process appear."""
    code = """
    backend.devices(); device = opened(); device.random.save()
    before = control.calls("cuDevicePrimaryCtxRetain")
    stream = device.arguments["stream"]
    report(before=before, after=control.calls("cuDevicePrimaryCtxRetain"), same=stream is device.arguments["stream"],
           others=sorted(device.arguments))
    """
    assert run(code) == {"before": 0, "after": 1, "same": True, "others": ["stream"]}


def test_a_thread_without_a_context_has_none_afterwards(run: Run) -> None:
    """Also waiting for the device leaves it so."""
    code = """
    device = opened()
    device.synchronize()
    with device.active():
        inside = int(driver.cuCtxGetCurrent()[1])
    report(inside=bool(inside), outside=int(driver.cuCtxGetCurrent()[1]))
    """
    assert run(code) == {"inside": True, "outside": 0}


def test_builders_ask_for_a_stream() -> None:
    """The word that no other backend serves."""
    assert CudaBackend().parameters == (first_parameter(lambda stream: stream),)
    assert not CudaBackend().owns(object())


# --- Time -------------------------------------------------------------------------------------------------------------


def test_events_see_the_legacy_default_stream_too(run: Run) -> None:
    """Our stream keeps order with it; with a stream that has opted out of that, nothing can."""
    code = """
    from cuda.core import LEGACY_DEFAULT_STREAM, Device
    device = opened(); timer = device.timer
    with device.active():
        device.synchronize()
        side = Device().create_stream()
        def between(stream):
            device.synchronize()
            start = timer.mark(); busy(stream); end = timer.mark(); timer.wait(end)
            return timer.elapsed_s(start, end)
        report(legacy=between(LEGACY_DEFAULT_STREAM), ours=between(device.arguments["stream"]), side=between(side))
    """
    seen = run(code)
    assert seen["legacy"] >= 0.03
    assert seen["ours"] >= 0.03
    assert seen["side"] < 0.03


def test_waiting_for_a_device_that_is_not_current(run: Run) -> None:
    """It waits for that device, and the other stays current."""
    code = """
    from cuda.core import Device
    device = opened(1)
    with device.active():
        busy(device.arguments["stream"]); mark = device.timer.mark()
    Device(0).set_current(); device.synchronize()
    report(done=mark.is_done, current=Device().device_id)
    """
    assert run(code) == {"done": True, "current": 0}


def test_events_of_an_older_cuda_core() -> None:
    """Their option had another name."""

    @dataclass
    class EventOptions:
        enable_timing: bool = False

    asked: list[EventOptions] = []
    stream = SimpleNamespace(record=lambda options: asked.append(options))
    context: Any = SimpleNamespace(core=SimpleNamespace(EventOptions=EventOptions), stream=stream)
    _Timer(context).mark()
    assert asked == [EventOptions(enable_timing=True)]


def test_a_backlog_lasts_as_long_as_it_is_asked_to(run: Run) -> None:
    """The kernel is told in nanoseconds, and the call returns at once."""
    code = """
    device = opened()
    with device.active():
        backlog = device.backlog; before = control.busy_s(0)
        backlog(0.25); mark = device.timer.mark()
        report(busy=control.busy_s(0) - before, early=mark.is_done, lacks=sorted(device.lacks))
    """
    seen = run(code)
    assert seen["busy"] == pytest.approx(0.25, rel=1e-9)
    assert seen["early"] is False
    assert seen["lacks"] == ["memory"]


def test_a_driver_without_a_compiler_has_no_backlog(run: Run) -> None:
    """A container can lack the driver's compiler: nothing fails, and the reason is told."""
    code = """
    device = opened()
    report(backlog=device.backlog is None, why=device.lacks["backlog"], timer=device.timer is not None)
    """
    seen = run(code, fault="cuLibraryLoadData:NOT_SUPPORTED")
    assert (seen["backlog"], seen["timer"]) == (True, True)
    assert seen["why"].startswith("the driver cannot load the spin kernel (CUDA_ERROR_NOT_SUPPORTED")


@pytest.mark.parametrize("architecture", ["sm_75", "sm_90", "sm_120"])
def test_the_spin_kernel_compiles(architecture: str) -> None:
    """By NVIDIA's own compiler, which needs no GPU: the simulated driver does not read what it is given."""
    pytest.importorskip("cuda.bindings.nvjitlink", reason="NOT TESTED: cuda.bindings is not installed")
    from cuda.core import Linker, LinkerOptions, ObjectCode

    try:
        linker = Linker(ObjectCode.from_ptx(_SPIN_PTX.encode()), options=LinkerOptions(arch=architecture))
    except RuntimeError as error:
        pytest.skip(f"NOT TESTED: the spin kernel is not compiled, because there is no nvJitLink ({error})")
    assert f".text.{_SPIN}".encode() in linker.link("cubin").code


# --- Memory -----------------------------------------------------------------------------------------------------------


def test_memory_that_no_pool_keeps_is_not_watched(run: Run) -> None:
    """The device's memory resource can be anybody's; without peaks there is no reading, and the reason is told."""
    code = """
    from cuda.core import Device, LegacyPinnedMemoryResource
    device = opened()
    with device.active():
        Device().memory_resource = LegacyPinnedMemoryResource()
    with device.watch_memory() as memory:
        report(memory=memory is None, why=device.lacks["memory"])
    """
    seen = run(code)
    assert seen["memory"] is True
    assert "none of the driver's pools" in seen["why"]


# --- Errors -----------------------------------------------------------------------------------------------------------


def test_a_broken_context_is_told_at_every_wait(run: Run) -> None:
    """By the driver's name and words; and the device can still be left."""
    code = """
    device, told = opened(), []
    with device.active():
        busy(device.arguments["stream"])
    for _ in range(2):
        try:
            device.synchronize()
        except CudaError as error:
            told.append(str(error))
    report(told=told, current=int(driver.cuCtxGetCurrent()[1]))
    """
    seen = run(code, crash="sim_busy_*")
    expected = "CUDA_ERROR_ILLEGAL_ADDRESS (an illegal memory access was encountered), told by cuCtxSynchronize"
    assert seen == {"told": [expected] * 2, "current": 0}


# --- The contract -----------------------------------------------------------------------------------------------------


def test_the_contract_of_a_backend_holds(on_simulated_cuda: Callable[..., dict[str, str]]) -> None:
    """Every test of ``tests/contracts``, on the simulated driver: this process cannot load one any more."""
    options = "-m pytest -q -ra -p no:cacheprovider tests/contracts/test_backends.py -k cuda-gpu"
    done = subprocess.run(
        [sys.executable, *options.split()],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env=on_simulated_cuda(),
    )
    assert done.returncode == 0, done.stdout
    summary = re.search(r"^(\d+) passed, \d+ deselected in", done.stdout, re.MULTILINE)  # and nothing skipped
    assert summary is not None, done.stdout
    assert int(summary[1]) >= 20
