"""The simulated CUDA driver, driven by the real cuda.bindings and cuda.core.

A process loads its driver once, so every test runs a short script in a process of its own. Time is real: what is
asserted of it are the device's own times, and that the host has waited for them.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BUILD
from tests.simulators import SimulatorUnavailable, cuda

REPOSITORY = Path(__file__).parents[2]
HEADERS = "cu13/include"

PRELUDE = """
import ctypes, json, sys, time
from pathlib import Path
from cuda.bindings import driver
from tests.simulators.cuda import Control, ENTRY_POINTS

BUILD = Path(sys.argv[1])
control = Control(BUILD / "cuda" / "libcuda.so.1")
PTX = b'''
.version 6.0
.target sm_50
.entry sim_busy_30ms() { ret; }
.entry sim_busy_100ms() { ret; }
.entry other_kernel() { ret; }
.entry some_spin_ns(.param .u64 asked) { ret; }
'''

def report(**values):
    print(json.dumps(values))

def status(answer):
    "The name of the error a call gave, without its beginning."
    return answer[0].name.removeprefix("CUDA_ERROR_").removeprefix("CUDA_")

def ok(answer):
    "What a call gave besides success."
    assert answer[0] == 0, answer
    return answer[1] if len(answer) == 2 else answer[1:]

def start(index=0):
    "Make a device's context current."
    ok(driver.cuInit(0))
    ok(driver.cuCtxSetCurrent(ok(driver.cuDevicePrimaryCtxRetain(index))))

def kernel(name):
    return ok(driver.cuModuleGetFunction(ok(driver.cuModuleLoadData(PTX)), name.encode()))

def launch(function, stream=0, block=1, arguments=0):
    return driver.cuLaunchKernel(function, 1, 1, 1, block, 1, 1, 0, stream, arguments, 0)

def stream(nonblocking=True):
    return ok(driver.cuStreamCreate(int(nonblocking)))

def mark(stream=0, flags=0):
    event = ok(driver.cuEventCreate(flags))
    ok(driver.cuEventRecord(event, stream))
    return event

def ms(first, last):
    return ok(driver.cuEventElapsedTime(first, last))
"""

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(on_simulated_cuda: Callable[..., dict[str, str]]) -> Run:
    """Run a script on the simulated driver, and return what it reports."""

    def script(code: str, expect_error: bool = False, **settings: Any) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + textwrap.dedent(code), str(BUILD)],
            capture_output=True,
            text=True,
            check=False,
            cwd=REPOSITORY,
            env=on_simulated_cuda(**settings),
        )
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        assert expect_error or not done.stderr, done.stderr
        return {**seen, "stderr": done.stderr} if expect_error else seen

    return script


# --- The library ------------------------------------------------------------------------------------------------------


def _nvidia_header(name: str) -> Path:
    nvidia = pytest.importorskip("nvidia", reason="NOT TESTED: NVIDIA's headers are not installed")
    found = [file for folder in nvidia.__path__ if (file := Path(folder, HEADERS, name)).exists()]
    if not found:
        pytest.skip(f"NOT TESTED: {name} is not installed (nvidia-cuda-runtime); the interface is not compared with it")
    return found[0]


def test_the_interface_is_that_of_nvidias_header() -> None:
    """With NVIDIA's declarations in place of ours, every definition still agrees with its declaration."""
    folder = _nvidia_header("cuda.h").parent
    sources = [str(cuda._FOLDER / name) for name in cuda._SOURCES]
    command = [cuda._compiler(), *cuda._COMPILER_FLAGS, "-fsyntax-only", "-DGPUPROF_USE_NVIDIA_HEADER"]
    checked = subprocess.run(
        [*command, f"-I{cuda._NVML_FOLDER}", f"-isystem{folder}", *sources], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_versions_of_entry_points_are_nvidias() -> None:
    """Each entry point is offered from the CUDA version on in which NVIDIA's header has its type."""
    known = set(re.findall(r"\bPFN_(\w+)_v(\d+)\b", _nvidia_header("cudaTypedefs.h").read_text(encoding="utf-8")))
    table = (cuda._FOLDER / "cuda_symbols.c").read_text(encoding="utf-8")
    rows = re.findall(r'\{"(\w+)", "(\w+)", (\d+)\}', table)
    assert {symbol for _, symbol, _ in rows} == set(cuda.ENTRY_POINTS)
    untyped = {"cuStreamIsCapturing"}  # the header has its type under another name
    assert [(name, since) for name, _, since in rows if (name, since) not in known and name not in untyped] == []


def test_an_up_to_date_library_is_left_alone(tmp_path: Path) -> None:
    """Building again changes nothing; a library of other sources is replaced."""
    try:
        library = cuda.build(tmp_path)
    except SimulatorUnavailable as error:
        pytest.skip(f"NOT TESTED: {error}")
    built = library.stat().st_mtime_ns
    assert cuda.build(tmp_path) == library
    assert library.stat().st_mtime_ns == built
    library.write_bytes(b"of other sources")
    assert cuda.build(tmp_path).stat().st_size > 1000


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [({"colour": 1}, "no setting 'colour'"), ({"fault": "cuMemAlloc:OUT_OF_MEMORY"}, "no entry point 'cuMemAlloc'")],
)
def test_misspelt_settings_are_refused(settings: dict[str, Any], complaint: str) -> None:
    """A setting that does nothing would test nothing."""
    with pytest.raises(ValueError, match=complaint):
        cuda.environment(Path("libcuda.so.1"), **settings)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ({"kernel": "all"}, "PATTERN:MICROSECONDS"),
        ({"crash": "k:1:NOT_READY"}, "cannot fail with NOT_READY"),
        ({"fault": "cuInit:NOTHING"}, 'unknown CUDA error "NOTHING"'),
        ({"queue_depth": 0}, "queue_depth cannot be 0"),
        ({"host_gb_s": 0}, "host_gb_s must be above 0"),
        ({"latency_us": "soon"}, "latency_us must be a number"),
        ({"order": "x"}, "order must look like"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_cannot_be_meant_stop_the_driver(run: Run, setting: dict[str, Any], complaint: str) -> None:
    """CuInit fails, and the process is told why."""
    seen = run("report(init=status(driver.cuInit(0)))", expect_error=True, **setting)
    assert seen["init"] == "UNKNOWN"
    assert complaint in seen["stderr"]


def test_settings_of_a_running_machine(run: Run) -> None:
    """They can be changed, and what cannot be meant is refused."""
    code = """
    start()
    control.apply(kernel=["other_*:3000", "other_kernel:1000"])
    first = mark(); launch(kernel("other_kernel")); last = mark()
    ok(driver.cuCtxSynchronize())
    try:
        control.apply(kernel="x")
    except ValueError as error:
        problem = str(error)
    report(ms=ms(first, last), launches=control.launches("other_kernel"), problem=problem)
    """
    seen = run(code)
    assert 1 <= seen["ms"] < 3  # the later rule goes before the earlier one
    assert seen["launches"] == 1
    assert "PATTERN:MICROSECONDS" in seen["problem"]


def test_every_entry_point_can_be_called(run: Run) -> None:
    """By the real bindings, which look each up by cuGetProcAddress, or by its symbol; none is there for show."""
    code = """
    import numpy
    start()
    K, A, P = driver, driver.CUdevice_attribute, driver.CUmemPool_attribute
    device, context = ok(K.cuDeviceGet(0)), ok(K.cuCtxGetCurrent())
    facts = dict(
        version=ok(K.cuDriverGetVersion()), count=ok(K.cuDeviceGetCount()), peer=ok(K.cuDeviceCanAccessPeer(0, 1)),
        name=ok(K.cuDeviceGetName(64, 0)).partition(b"\\0")[0].decode(), flags=ok(K.cuCtxGetFlags()),
        address=ok(K.cuDeviceGetPCIBusId(32, 0)).partition(b"\\0")[0].decode(), id=ok(K.cuCtxGetId(context)),
        warp=ok(K.cuDeviceGetAttribute(A.CU_DEVICE_ATTRIBUTE_WARP_SIZE, 0)), memory=ok(K.cuDeviceTotalMem(0)),
        state=ok(K.cuDevicePrimaryCtxGetState(0)), device=int(ok(K.cuCtxGetDevice())),
        by_address=int(ok(K.cuDeviceGetByPCIBusId(b"0000:17:00.0"))), api=ok(K.cuCtxGetApiVersion(context)),
        priorities=ok(K.cuCtxGetStreamPriorityRange()), uuid=ok(K.cuDeviceGetUuid(0)).bytes.hex(),
        error=ok(K.cuGetErrorName(K.CUresult(700))).decode(), text=ok(K.cuGetErrorString(K.CUresult(2))).decode(),
    )
    ok(K.cuDevicePrimaryCtxSetFlags(0, 4)); ok(K.cuCtxPushCurrent(context)); ok(K.cuCtxPopCurrent())
    s = ok(K.cuStreamCreateWithPriority(1, -2)); b = stream(nonblocking=False)
    streams = dict(
        priority=ok(K.cuStreamGetPriority(s)), flags=ok(K.cuStreamGetFlags(s)), device=int(ok(K.cuStreamGetDevice(s))),
        capturing=int(ok(K.cuStreamIsCapturing(s))), different=ok(K.cuStreamGetId(s)) != ok(K.cuStreamGetId(b)),
    )
    e, f = mark(s), ok(K.cuEventCreate(0)); ok(K.cuEventRecordWithFlags(f, s, 0)); ok(K.cuStreamWaitEvent(b, f, 0))
    ok(K.cuEventSynchronize(f)); ok(K.cuEventQuery(f)); ms(e, f); ok(K.cuEventDestroy(e)); ok(K.cuEventDestroy(f))
    ok(K.cuStreamSynchronize(b)); ok(K.cuStreamQuery(b)); ok(K.cuStreamDestroy(b))
    # memory
    n = 4096
    one, two = ok(K.cuMemAlloc(n)), ok(K.cuMemAllocAsync(n, s))
    pool = ok(K.cuDeviceGetDefaultMemPool(0)); assert int(ok(K.cuDeviceGetMemPool(0))) == int(pool)
    place = K.CUmemLocation(); place.type, place.id = K.CUmemLocationType.CU_MEM_LOCATION_TYPE_DEVICE, 0
    pinned = K.CUmemAllocationType.CU_MEM_ALLOCATION_TYPE_PINNED
    assert int(ok(K.cuMemGetDefaultMemPool(place, pinned))) == int(ok(K.cuMemGetMemPool(place, pinned))) == int(pool)
    properties = K.CUmemPoolProps(); properties.location = place; properties.allocType = pinned
    own = ok(K.cuMemPoolCreate(properties)); ok(K.cuDeviceSetMemPool(0, own))
    access = K.CUmemAccessDesc(); access.location = place
    access.flags = K.CUmemAccess_flags.CU_MEM_ACCESS_FLAGS_PROT_READWRITE
    ok(K.cuMemPoolSetAccess(own, [access], 1)); may = int(ok(K.cuMemPoolGetAccess(own, place)))
    three = ok(K.cuMemAllocFromPoolAsync(n, own, s))
    ok(K.cuMemPoolSetAttribute(own, P.CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, K.cuuint64_t(1 << 30)))
    used = int(ok(K.cuMemPoolGetAttribute(own, P.CU_MEMPOOL_ATTR_USED_MEM_CURRENT)))
    host, other = ok(K.cuMemHostAlloc(n, 0)), ok(K.cuMemAllocHost(n))
    data = numpy.arange(n // 4, dtype="u4"); back = numpy.zeros_like(data)
    from_, to = data.ctypes.data, back.ctypes.data
    ok(K.cuMemcpyHtoD(one, from_, n)); ok(K.cuMemcpyDtoD(two, one, n)); ok(K.cuMemcpyDtoDAsync(three, two, n, s))
    ok(K.cuMemcpyDtoHAsync(host, three, n, s)); ok(K.cuMemcpyHtoDAsync(one, host, n, s)); ok(K.cuStreamSynchronize(s))
    ok(K.cuMemcpyAsync(two, one, n, s)); ok(K.cuMemcpy(three, two, n)); ok(K.cuMemcpyDtoH(to, three, n))
    came_back = bool((back == data).all())
    ok(K.cuMemsetD8(one, 1, n)); ok(K.cuMemsetD8Async(one, 2, 16, s)); ok(K.cuMemsetD16Async(one, 770, 4, s))
    ok(K.cuMemsetD32Async(int(one) + 4, 67305985, 1, s)); ok(K.cuMemcpyDtoH(to, one, n))
    sets = back.view("u1")[[0, 1, 4, 5, 6, 7, 8, 15, 16]].tolist()
    free, total = ok(K.cuMemGetInfo()); base, size = ok(K.cuMemGetAddressRange(int(one) + 5))
    ordinal = K.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    pointer = dict(base=int(base) == int(one), size=size, device=ok(K.cuPointerGetAttribute(ordinal, one)),
                   many=list(ok(K.cuPointerGetAttributes(1, [ordinal], one))))
    ok(K.cuMemFree(one)); ok(K.cuMemFreeAsync(two, s)); ok(K.cuMemFreeAsync(three, s))
    ok(K.cuMemFreeHost(host)); ok(K.cuMemFreeHost(other)); ok(K.cuMemPoolTrimTo(own, 0)); ok(K.cuMemPoolDestroy(own))
    # modules
    library = ok(K.cuLibraryLoadData(PTX, [], [], 0, [], [], 0)); k = ok(K.cuLibraryGetKernel(library, b"other_kernel"))
    module = ok(K.cuModuleLoadDataEx(PTX, 0, [], [])); g = ok(K.cuModuleGetFunction(module, b"other_kernel"))
    threads = K.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK
    kernels = [ok(K.cuKernelGetName(k)).decode(), ok(K.cuFuncGetName(g)).decode(),
               ok(K.cuKernelGetAttribute(threads, k, 0)), ok(K.cuFuncGetAttribute(threads, g))]
    shape = K.CUlaunchConfig(); shape.gridDimX = shape.gridDimY = shape.gridDimZ = 1
    shape.blockDimX = shape.blockDimY = shape.blockDimZ = 1; shape.hStream = s
    ok(K.cuLaunchKernelEx(shape, ok(K.cuKernelGetFunction(k)), 0, 0))
    ok(launch(g, s)); ok(launch(kernel("other_kernel")))
    ok(K.cuStreamGetCtx(s)); ok(K.cuCtxSynchronize()); ok(K.cuModuleUnload(module)); ok(K.cuLibraryUnload(library))
    ok(K.cuDevicePrimaryCtxReset(0)); ok(K.cuDevicePrimaryCtxRelease(0))
    called = {name for name in ENTRY_POINTS if control.calls(name)}
    # both versions of these, which bindings of one CUDA version do not reach
    raw = ctypes.CDLL("libcuda.so.1"); start(1)
    number, pointer_out = ctypes.c_int(7), ctypes.c_void_p()
    assert [raw.cuCtxGetDevice(ctypes.byref(number)), number.value] == [0, 1]
    number.value = 7
    assert [raw.cuCtxGetDevice_v2(ctypes.byref(number), None), number.value] == [0, 1]
    assert raw.cuCtxSynchronize() == raw.cuCtxSynchronize_v2(None) == 0
    first, last, gap = int(mark()), int(mark()), ctypes.c_float(-1)
    first, last = ctypes.c_void_p(first), ctypes.c_void_p(last); raw.cuCtxSynchronize()
    assert raw.cuEventElapsedTime(ctypes.byref(gap), first, last) == 0 and gap.value >= 0
    assert raw.cuEventElapsedTime_v2(ctypes.byref(gap), first, last) == 0
    assert raw.cuGetProcAddress(b"cuInit", ctypes.byref(pointer_out), 11030, ctypes.c_uint64(0)) == 0
    assert pointer_out.value == ctypes.cast(raw.cuInit, ctypes.c_void_p).value
    assert raw.cuGetExportTable(ctypes.byref(pointer_out), b"0123456789abcdef") == 500 and not pointer_out.value
    called |= {name for name in ENTRY_POINTS if control.calls(name)}
    report(facts=facts, streams=streams, used=used, may=may, came_back=came_back, sets=sets, pointer=pointer,
           kernels=kernels, enough=free < total, uncalled=sorted(set(ENTRY_POINTS) - called))
    """
    seen = run(code)
    assert seen["facts"] == {
        "version": 13000,
        "count": 2,
        "peer": 0,
        "name": "Simulated H100",
        "flags": 0,
        "address": "0000:27:00.0",
        "id": 1,
        "warp": 32,
        "memory": (81559 - 600) << 20,
        "state": [0, 1],
        "device": 0,
        "by_address": 1,
        "api": 13000,
        "priorities": [0, -5],
        "uuid": "51510000000040008000000000000001",
        "error": "CUDA_ERROR_ILLEGAL_ADDRESS",
        "text": "out of memory",
    }
    assert seen["streams"] == {"priority": -2, "flags": 1, "device": 0, "capturing": 0, "different": True}
    assert (seen["used"], seen["may"], seen["came_back"], seen["enough"]) == (4096, 3, True, True)
    assert seen["sets"] == [2, 3, 1, 2, 3, 4, 2, 2, 1]
    assert seen["pointer"] == {"base": True, "size": 4096, "device": 0, "many": [0]}
    assert seen["kernels"] == ["other_kernel", "other_kernel", 1024, 1024]
    # What keeps no count was asserted by its answer.
    stateless = ["cuGetErrorName", "cuGetErrorString", "cuGetExportTable", "cuGetProcAddress", "cuGetProcAddress_v2"]
    assert seen["uncalled"] == stateless


def test_an_older_driver_lacks_what_came_later(run: Run) -> None:
    """It tells its version, and what it has no entry point for cannot be called."""
    code = """
    import warnings
    warnings.simplefilter("ignore")
    raw, found, result = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p(), ctypes.c_int()
    def ask(name, version):
        code = raw.cuGetProcAddress_v2(name, ctypes.byref(found), version, ctypes.c_uint64(0), ctypes.byref(result))
        return [code, result.value]
    report(
        version=ok(driver.cuDriverGetVersion()), old=ask(b"cuMemAllocAsync", 13000),
        new=ask(b"cuStreamGetDevice", 13000), caller_too_old=ask(b"cuLaunchKernelEx", 11050),
        nowhere=ask(b"cuNothing", 13000),
    )
    """
    seen = run(code, version=12040)
    assert seen["version"] == 12040
    assert seen["old"] == [0, 0]
    assert seen["new"] == [500, 2]
    assert seen["caller_too_old"] == [500, 2]
    assert seen["nowhere"] == [500, 1]


# --- Devices and the simulated NVML -----------------------------------------------------------------------------------


def test_devices_are_counted_in_another_order_than_nvmls(run: Run) -> None:
    """The UUID says which card is meant; the index does not."""
    code = """
    import pynvml
    ok(driver.cuInit(0)); pynvml.nvmlInit()
    ours = [ok(driver.cuDeviceGetUuid(index)).bytes.hex() for index in range(3)]
    cards = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(3)]
    theirs = [pynvml.nvmlDeviceGetUUID(card).removeprefix("GPU-").replace("-", "") for card in cards]
    report(order=[theirs.index(uuid) for uuid in ours])
    """
    assert run(code, nvml={"devices": 3})["order"] == [1, 2, 0]
    assert run(code, nvml={"devices": 3}, order="2,0,1")["order"] == [2, 0, 1]


def test_a_card_is_the_same_for_both(run: Run) -> None:
    """Name, compute capability, address and memory are NVML's."""
    code = """
    start()
    A = driver.CUdevice_attribute
    major = A.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
    report(name=ok(driver.cuDeviceGetName(64, 0)).partition(b"\\0")[0].decode(), bytes=ok(driver.cuDeviceTotalMem(0)),
           major=ok(driver.cuDeviceGetAttribute(major, 0)), address=ok(driver.cuDeviceGetPCIBusId(32, 0))[:12].decode())
    """
    card = {"name": "Simulated T4", "cc": "7.5", "memory_total_mb": 16000, "memory_reserved_mb": 0}
    seen = run(code, nvml={"devices": [{"pci_bus_id": "0:65:0", **card}]})
    assert seen == {"name": "Simulated T4", "bytes": 16000 << 20, "major": 7, "address": "0000:65:00.0"}


def test_work_draws_the_power_of_its_own_card_once(run: Run) -> None:
    """Two streams that overlap draw what one does; the energy of the card is its power times the time it worked."""
    code = """
    from tests.simulators import nvml
    board = nvml.Control(BUILD / "nvml" / "libnvidia-ml.so.1")
    start()
    before = board.now_s()
    gate, left, right = stream(), stream(), stream()
    long = kernel("sim_busy_100ms"); launch(long, gate); opened = mark(gate)
    for each in (left, right):
        ok(driver.cuStreamWaitEvent(each, opened, 0)); launch(long, each)
    ok(driver.cuCtxSynchronize()); after = board.now_s()
    report(busy=control.busy_s(0), idle=control.busy_s(1), window=after - before,
           worked=board.true_energy_j(1, before, after), rested=board.true_energy_j(0, before, after))
    """
    seen = run(code, nvml={"devices": 2, "idle_w": 100, "busy_w": 500})
    assert seen["busy"] == pytest.approx(0.2, rel=1e-6)
    assert seen["idle"] == 0
    assert seen["worked"] == pytest.approx(100 * seen["window"] + 400 * 0.2, rel=1e-6)
    assert seen["rested"] == pytest.approx(100 * seen["window"], rel=1e-6)


def test_memory_and_processes_are_those_of_the_card(run: Run) -> None:
    """NVML sees the context, what is allocated, and that it is this process; and nothing after both are gone."""
    code = """
    import os, pynvml
    pynvml.nvmlInit(); card = pynvml.nvmlDeviceGetHandleByIndex(1)
    def seen():
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(card)
        return [[each.pid == os.getpid(), each.usedGpuMemory >> 20] for each in processes]
    start(); context = seen()
    memory = ok(driver.cuMemAlloc(100 << 20)); held = seen(); free, total = ok(driver.cuMemGetInfo())
    ok(driver.cuMemFree(memory)); ok(driver.cuDevicePrimaryCtxRelease(0))
    report(context=context, held=held, gone=seen(), used=(total - free) >> 20)
    """
    seen = run(code, context_mb=200)
    assert seen == {"context": [[True, 200]], "held": [[True, 300]], "gone": [], "used": 300}


def test_a_virtual_clock_is_refused(run: Run) -> None:
    """A device that works on the real clock cannot draw power on another."""
    seen = run("report(init=status(driver.cuInit(0)))", expect_error=True, nvml={"clock": "virtual"})
    assert seen["init"] == "UNKNOWN"
    assert "virtual clock" in seen["stderr"]


def test_without_nvml_it_stands_alone(run: Run) -> None:
    """No card where NVML has none; and without the simulated NVML as many as are set."""
    assert run("report(init=status(driver.cuInit(0)))", nvml={"devices": 0}) == {"init": "NO_DEVICE"}
    code = """
    import os, subprocess, sys
    env = {**os.environ, "LD_LIBRARY_PATH": str(BUILD / "cuda"), "GPUPROF_SIM_CUDA": "devices=3;memory_mb=1000"}
    code = "from cuda.bindings.driver import *; cuInit(0); print(cuDeviceGetCount()[1], cuDeviceTotalMem(2)[1])"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    report(seen=done.stdout.split())
    """
    assert run(code)["seen"] == ["3", str(1000 << 20)]


# --- Streams and events -----------------------------------------------------------------------------------------------


def test_a_launch_returns_before_the_work_is_done(run: Run) -> None:
    """Events are not ready meanwhile; later they are as far apart as the work between them is long."""
    code = """
    start(); s, k = stream(), kernel("sim_busy_100ms")
    began = time.perf_counter(); first = mark(s)
    for _ in range(3): ok(launch(k, s))
    last = mark(s)
    calls = driver.cuEventQuery(last), driver.cuEventElapsedTime(first, last), driver.cuStreamQuery(s)
    early = [status(call) for call in calls]
    ok(driver.cuEventSynchronize(last)); waited = time.perf_counter() - began
    report(early=early, late=status(driver.cuEventQuery(last)), ms=ms(first, last), back=ms(last, first), waited=waited)
    """
    seen = run(code)
    assert seen["early"] == ["NOT_READY", "NOT_READY", "NOT_READY"]
    assert seen["late"] == "SUCCESS"
    assert 300 <= seen["ms"] <= 1e3 * seen["waited"]
    assert seen["back"] == -seen["ms"]


def test_kernels_take_what_their_name_or_their_argument_says(run: Run) -> None:
    """As written, as a compiler mangles it, or asked for in nanoseconds; else what is set."""
    code = """
    import numpy
    start(); s = stream()
    PTX = b".version 6.0\\n.target sm_50\\n" + b"".join(b".entry %b() {}\\n" % name for name in
        (b"_Z12sim_busy_7msPf", b"sim_busy_2000us", b"sim_busy_0.5ms", b"some_spin_ns", b"plain"))
    asked = numpy.array([3_000_000], "u8"); arguments = numpy.array([asked.ctypes.data], "u8")
    found = {}
    for name in ("_Z12sim_busy_7msPf", "sim_busy_2000us", "sim_busy_0.5ms", "some_spin_ns", "plain"):
        function, before = kernel(name), control.busy_s(0)
        ok(launch(function, s, arguments=arguments.ctypes.data))
        found[name] = round(1e6 * (control.busy_s(0) - before))
    report(us=found)
    """
    expected = {"_Z12sim_busy_7msPf": 7000, "sim_busy_2000us": 2000, "sim_busy_0.5ms": 500, "some_spin_ns": 3000}
    assert run(code, kernel_us=40)["us"] == {**expected, "plain": 40}


@pytest.mark.parametrize(("nonblocking", "waits"), [(False, True), (True, False)])
def test_the_legacy_default_stream_keeps_order_with_those_that_have_not_opted_out(
    run: Run, nonblocking: bool, waits: bool
) -> None:
    """In both directions."""
    code = f"""
    start(); s, k = stream(nonblocking={nonblocking}), kernel("sim_busy_100ms")
    origin = mark(s); launch(k, s)
    after_stream = mark(0)                  # legacy: behind the stream's kernel or not
    launch(k, 0); after_legacy = mark(s)    # the stream: behind the legacy kernel or not
    ok(driver.cuCtxSynchronize())
    report(legacy=ms(origin, after_stream), stream=ms(origin, after_legacy))
    """
    seen = run(code)
    assert (seen["legacy"] >= 100) == waits
    assert (seen["stream"] >= 200) == waits


def test_each_thread_has_a_default_stream_of_its_own(run: Run) -> None:
    """Two threads' overlap, and both keep order with the legacy one."""
    code = """
    import threading
    start(); context, k, own = ok(driver.cuCtxGetCurrent()), kernel("sim_busy_100ms"), driver.CUstream(2)
    gate = stream(); launch(k, gate); opened = mark(gate)
    def work():
        ok(driver.cuCtxSetCurrent(context)); ok(driver.cuStreamWaitEvent(own, opened, 0)); ok(launch(k, own))
    threads = [threading.Thread(target=work) for _ in range(2)]
    for each in threads: each.start()
    for each in threads: each.join()
    behind = mark(0); ok(driver.cuEventSynchronize(behind))
    report(busy=control.busy_s(0), behind=ms(opened, behind))
    """
    seen = run(code)
    assert seen["busy"] == pytest.approx(0.2, rel=1e-6)  # the gate's kernel, then two at once
    assert seen["behind"] >= 100


def test_a_stream_waits_for_an_event_and_not_for_one_that_was_never_recorded(run: Run) -> None:
    """What is behind the wait begins when the event is over."""
    code = """
    start(); a, b, k = stream(), stream(), kernel("sim_busy_100ms")
    origin = mark(a); launch(k, a); done = mark(a)
    ok(driver.cuStreamWaitEvent(b, ok(driver.cuEventCreate(0)), 0)); free = mark(b)
    ok(driver.cuStreamWaitEvent(b, done, 0)); bound = mark(b)
    ok(driver.cuCtxSynchronize()); report(free=ms(done, free), bound=ms(done, bound))
    """
    seen = run(code)
    assert seen["free"] < 0
    assert seen["bound"] >= 0


def test_a_full_queue_holds_the_host_up(run: Run) -> None:
    """The launch that does not fit returns when the first entry is over."""
    code = """
    start(); s, k = stream(), kernel("sim_busy_100ms")
    began = time.perf_counter()
    for _ in range(4): ok(launch(k, s))
    ok(launch(k, s)); report(all=time.perf_counter() - began)
    """
    assert run(code, queue_depth=4)["all"] >= 0.1


def test_handles_that_mean_nothing_are_refused(run: Run) -> None:
    """Events without time, never recorded, destroyed, or of another device; streams that are gone."""
    code = """
    start(); s = stream(); good = mark(s); ok(driver.cuCtxSynchronize())
    untimed, gone = mark(s, flags=2), mark(s)
    ok(driver.cuEventDestroy(gone)); ok(driver.cuCtxSynchronize())
    elapsed = lambda other: status(driver.cuEventElapsedTime(good, other))
    found = dict(unrecorded=elapsed(ok(driver.cuEventCreate(0))), untimed=elapsed(untimed), gone=elapsed(gone))
    other = stream(); ok(driver.cuStreamDestroy(other)); found["stream"] = status(driver.cuStreamSynchronize(other))
    start(1); found["device"] = status(driver.cuEventRecord(good, stream()))
    report(**found)
    """
    assert set(run(code).values()) == {"INVALID_HANDLE"}


def test_events_have_a_resolution(run: Run) -> None:
    """Every difference is a multiple of it."""
    code = """
    start(); s = stream(); marks = []
    for name in ("sim_busy_30ms", "other_kernel", "sim_busy_100ms"):
        launch(kernel(name), s); marks.append(mark(s))
    ok(driver.cuCtxSynchronize()); report(ms=[ms(marks[0], each) for each in marks])
    """
    seen = run(code, event_resolution_ns=8_000_000, kernel_us=1234)["ms"]
    assert all(each % 8 == 0 for each in seen)
    assert seen[2] > 90


def test_without_a_context_there_is_nothing_to_do(run: Run) -> None:
    """Not initialized, no context, and contexts that are pushed and popped."""
    code = """
    early = status(driver.cuDeviceGetCount())
    ok(driver.cuInit(0)); none = status(driver.cuCtxSynchronize())
    first, second = (ok(driver.cuDevicePrimaryCtxRetain(index)) for index in range(2))
    ok(driver.cuCtxPushCurrent(first)); ok(driver.cuCtxPushCurrent(second)); inner = int(ok(driver.cuCtxGetDevice()))
    ok(driver.cuCtxPopCurrent()); outer = int(ok(driver.cuCtxGetDevice()))
    ok(driver.cuCtxSetCurrent(driver.CUcontext(0))); left = int(ok(driver.cuCtxGetCurrent()))
    report(early=early, none=none, inner=inner, outer=outer, left=left, device=status(driver.cuDeviceGet(5)))
    """
    expected = {"early": "NOT_INITIALIZED", "none": "INVALID_CONTEXT", "inner": 1, "outer": 0, "left": 0}
    assert run(code) == {**expected, "device": "INVALID_DEVICE"}


def test_many_threads_at_once(run: Run) -> None:
    """Nothing is lost or counted twice."""
    code = """
    import threading
    start(); context, k, s = ok(driver.cuCtxGetCurrent()), kernel("other_kernel"), stream()
    def work():
        ok(driver.cuCtxSetCurrent(context))
        for _ in range(200): ok(launch(k, s)); ok(driver.cuEventDestroy(mark(s)))
    threads = [threading.Thread(target=work) for _ in range(8)]
    for each in threads: each.start()
    for each in threads: each.join()
    ok(driver.cuCtxSynchronize()); report(launches=control.launches("other_kernel"), busy=control.busy_s(0))
    """
    seen = run(code, kernel_us=5)
    assert seen["launches"] == 1600
    assert seen["busy"] == pytest.approx(1600 * 5e-6, rel=1e-6)


# --- Memory and modules -----------------------------------------------------------------------------------------------


def test_memory_runs_out_without_harm(run: Run) -> None:
    """What does not fit is refused, and the context stays good."""
    code = """
    start(); big = driver.cuMemAlloc(600 << 20); late = driver.cuMemAllocAsync(600 << 20, 0)
    ok(driver.cuMemFree(big[1])); again = driver.cuMemAllocAsync(600 << 20, 0)
    report(big=status(big), late=status(late), again=status(again), zero=status(driver.cuMemAlloc(0)),
           foreign=status(driver.cuMemFreeAsync(4096, 0)))
    """
    seen = run(code, nvml={"memory_total_mb": 1000, "memory_reserved_mb": 0}, context_mb=0)
    expected = {"big": "SUCCESS", "late": "OUT_OF_MEMORY", "again": "SUCCESS"}
    assert seen == {**expected, "zero": "INVALID_VALUE", "foreign": "INVALID_VALUE"}


def test_a_pool_keeps_its_peak_and_what_its_threshold_lets_it(run: Run) -> None:
    """The peak stays until it is set to 0; what is above the threshold goes back when the device is waited for."""
    code = """
    start(); P = driver.CUmemPool_attribute; pool, MIB = ok(driver.cuDeviceGetDefaultMemPool(0)), 1 << 20
    def attribute(name): return getattr(P, "CU_MEMPOOL_ATTR_" + name)
    def read(name): return int(ok(driver.cuMemPoolGetAttribute(pool, attribute(name)))) / MIB
    def write(name, value):
        return status(driver.cuMemPoolSetAttribute(pool, attribute(name), driver.cuuint64_t(value)))
    a, b = ok(driver.cuMemAllocAsync(3 * MIB, 0)), ok(driver.cuMemAllocAsync(MIB, 0))
    ok(driver.cuMemFreeAsync(a, 0))
    freed = [read("USED_MEM_CURRENT"), read("USED_MEM_HIGH"), read("RESERVED_MEM_CURRENT")]
    ok(driver.cuCtxSynchronize()); trimmed = read("RESERVED_MEM_CURRENT")
    refused = write("USED_MEM_HIGH", 5); write("USED_MEM_HIGH", 0); reset = read("USED_MEM_HIGH")
    write("RELEASE_THRESHOLD", 2**64 - 1); c = ok(driver.cuMemAllocAsync(7 * MIB, 0)); ok(driver.cuMemFreeAsync(c, 0))
    ok(driver.cuCtxSynchronize())
    report(freed=freed, trimmed=trimmed, refused=refused, reset=reset, kept=read("RESERVED_MEM_CURRENT"))
    """
    assert run(code) == {"freed": [1, 4, 4], "trimmed": 2, "refused": "INVALID_VALUE", "reset": 1, "kept": 8}


def test_copies_take_their_bytes_over_the_bandwidth(run: Run) -> None:
    """Across the bus and inside the device, also when no byte is really moved."""
    code = """
    start(); s, n = stream(), 64_000_000
    a, b, host = ok(driver.cuMemAlloc(n)), ok(driver.cuMemAlloc(n)), ok(driver.cuMemHostAlloc(n, 0))
    marks = [mark(s)]
    ok(driver.cuMemcpyHtoDAsync(a, host, n, s)); marks.append(mark(s))
    ok(driver.cuMemcpyDtoDAsync(b, a, n, s)); marks.append(mark(s))
    ok(driver.cuMemsetD8Async(b, 0, n, s)); marks.append(mark(s))
    ok(driver.cuCtxSynchronize()); report(ms=[ms(*pair) for pair in zip(marks, marks[1:])])
    """
    across, inside, filled = run(code, host_gb_s=1, device_gb_s=4, move_bytes=0)["ms"]
    assert across >= 64
    assert inside >= 16
    assert filled >= 16


def test_what_cannot_be_loaded_or_launched_is_refused(run: Run) -> None:
    """No image, no such kernel, too many threads, nothing to run."""
    code = """
    start(); module = ok(driver.cuModuleLoadData(PTX)); k = kernel("other_kernel")
    report(image=status(driver.cuModuleLoadData(b"nonsense, and more of it")), threads=status(launch(k, block=2048)),
           kernel=status(driver.cuModuleGetFunction(module, b"other")), none=status(launch(k, block=0)))
    """
    expected = {"image": "INVALID_IMAGE", "threads": "INVALID_VALUE", "kernel": "NOT_FOUND", "none": "INVALID_VALUE"}
    assert run(code) == expected


def test_kernels_are_found_in_what_a_compiler_makes(run: Run) -> None:
    """A cubin has the kernels that were compiled into it, and no others."""
    pytest.importorskip("cuda.bindings.nvjitlink", reason="NOT TESTED: no compiler: nvidia-nvjitlink is not installed")
    code = """
    from cuda.core import Linker, LinkerOptions, ObjectCode
    cubin = Linker(ObjectCode.from_ptx(PTX), options=LinkerOptions(arch="sm_90")).link("cubin").code
    start(); module = ok(driver.cuModuleLoadData(cubin))
    report(there=status(driver.cuModuleGetFunction(module, b"sim_busy_30ms")),
           missing=status(driver.cuModuleGetFunction(module, b"sim_busy_31ms")))
    """
    assert run(code) == {"there": "SUCCESS", "missing": "NOT_FOUND"}


# --- Errors -----------------------------------------------------------------------------------------------------------


def test_a_kernel_that_crashes_breaks_its_context_when_it_runs(run: Run) -> None:
    """Its launch succeeds; whoever waits is told, and then everybody, until the context is reset."""
    code = """
    start(); s, k = stream(), kernel("sim_busy_30ms")
    launches = [status(launch(k, s)) for _ in range(3)]; last = mark(s)
    found = dict(launches=launches, at_once=status(driver.cuEventQuery(last)))
    found["wait"] = status(driver.cuEventSynchronize(last))
    found["after"] = [status(call) for call in (
        driver.cuCtxSynchronize(), launch(k, s), driver.cuMemAlloc(16), driver.cuEventCreate(0),
        driver.cuEventQuery(last), driver.cuStreamQuery(s), driver.cuMemAllocAsync(16, s), driver.cuStreamCreate(0),
        driver.cuModuleLoadData(PTX))]
    found["facts"] = status(driver.cuDeviceGetName(64, 0)); start(1); found["other"] = status(driver.cuCtxSynchronize())
    ok(driver.cuDevicePrimaryCtxReset(0)); start(0); found["reset"] = status(launch(k, stream()))
    report(**found)
    """
    seen = run(code, crash="sim_busy_*:2")
    assert seen["launches"] == ["SUCCESS"] * 3
    assert seen["at_once"] == "NOT_READY"
    assert seen["wait"] == "ILLEGAL_ADDRESS"
    assert set(seen["after"]) == {"ILLEGAL_ADDRESS"}
    assert (seen["facts"], seen["other"], seen["reset"]) == ("SUCCESS", "SUCCESS", "SUCCESS")


def test_faults_hit_the_calls_they_name(run: Run) -> None:
    """From the second call on, twice; an error that sticks breaks the context."""
    code = """
    start(); passing = [status(driver.cuMemAlloc(16)) for _ in range(5)]; control.clear_rules()
    control.apply(fault="cuLaunchKernel:LAUNCH_FAILED:2"); k = kernel("other_kernel")
    sticking = [status(launch(k)) for _ in range(3)]; control.clear_rules()
    report(passing=passing, sticking=sticking, all=status(driver.cuCtxSynchronize()))
    """
    seen = run(code, fault="cuMemAlloc*:OUT_OF_MEMORY:2:2")
    assert seen["passing"] == ["SUCCESS", "OUT_OF_MEMORY", "OUT_OF_MEMORY", "SUCCESS", "SUCCESS"]
    assert seen["sticking"] == ["SUCCESS", "LAUNCH_FAILED", "LAUNCH_FAILED"]
    assert seen["all"] == "LAUNCH_FAILED"


def test_the_cuda_runtime_gets_nothing(run: Run) -> None:
    """So whatever needs it fails plainly, of cuda.core the device's own wait: this simulates the driver only."""
    code = """
    import cuda.core
    device = cuda.core.Device(0); device.set_current()
    try:
        device.sync()
    except Exception as error:
        report(error=str(error))
    """
    assert run(code)["error"].startswith("cudaErrorSymbolNotFound")
