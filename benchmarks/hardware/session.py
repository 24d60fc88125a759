"""One session on the GPU of this machine: torch's kernels, then the comparison, then every question."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any

from benchmarks import CannotRun
from benchmarks.hardware import energy, timing
from benchmarks.hardware.answers import Answer, asked
from benchmarks.hardware.peers import compared
from benchmarks.progress import say
from pytest_gpuprof import Profile, profile
from pytest_gpuprof.backends.host import SYSTEM_CLOCK
from pytest_gpuprof.backends.torch import TorchBackend
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.protocols import Device
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.nvml import open_board

__all__ = ["DURATIONS_S", "Kernels", "grown", "on_this_gpu"]

DURATIONS_S = (2e-6, 5e-6, 10e-6, 50e-6, 100e-6, 1e-3, 10e-3, 100e-3)

Call = Callable[[], Any]


def grown(
    build: Callable[[int], Call], seconds_of: Callable[[Call], float], wanted_s: float, *, least: int, most: int
) -> Call:
    """Return the call whose time comes closest to ``wanted_s``, of sizes that double from ``least`` to ``most``."""
    best, distance = build(least), float("inf")
    size = least
    while size <= most:
        call = build(size)
        call()
        seconds = min(seconds_of(call) for _ in range(3))
        off = max(seconds / wanted_s, wanted_s / max(seconds, 1e-9))
        if off < distance:
            best, distance = call, off
        if seconds >= wanted_s:
            break
        size *= 2
    return best


class Kernels:
    """torch's kernels of about a given time, on one CUDA device."""

    def __init__(self, torch: Any, device: Any, seconds_of: Callable[[Call], float]) -> None:
        self._torch = torch
        self._device = device
        self._seconds_of = seconds_of
        cycles = 2_000_000
        torch.cuda._sleep(cycles)
        self._hz = cycles / min(seconds_of(lambda: torch.cuda._sleep(cycles)) for _ in range(5))

    def spin(self, seconds: float) -> Call:
        """Return a kernel that only waits: as long as one likes, and without memory."""
        return partial(self._torch.cuda._sleep, max(1, int(seconds * self._hz)))

    def addition(self, seconds: float) -> Call:
        """Return an addition of two arrays into a third."""

        def build(size: int) -> Call:
            a, b, c = (self._torch.ones(size, device=self._device) for _ in range(3))
            return lambda: self._torch.add(a, b, out=c)

        return grown(build, self._seconds_of, seconds, least=2**10, most=2**31)

    def product(self, seconds: float) -> Call:
        """Return a product of two square matrices into a third."""
        return grown(self.product_of, self._seconds_of, seconds, least=64, most=2**15)

    def product_of(self, size: int) -> Call:
        """Return a product of two square matrices of that size."""
        a, b, c = (self._torch.ones(size, size, device=self._device) for _ in range(3))
        return lambda: self._torch.mm(a, b, out=c)


def on_this_gpu(*, quick: bool) -> dict[str, Any]:
    """Return everything that is measured.

    Raises:
        CannotRun: without an NVIDIA GPU that torch can use.
    """
    try:
        import torch
    except ImportError:
        raise CannotRun("it needs PyTorch with CUDA (https://pytorch.org/get-started)") from None
    if not torch.cuda.is_available() or torch.version.cuda is None:  # which makes no context yet
        raise CannotRun("it needs an NVIDIA GPU and PyTorch with CUDA, and torch finds none here")
    uuid = _uuid_by_another_process()
    idle_w = None if uuid is None else _quietly(lambda: energy.idle_watts(energy.Nvml(uuid), SYSTEM_CLOCK, 5.0))
    info = next(each for each in TorchBackend().devices() if each.id == DeviceId("cuda", 0))
    board = open_board(info)
    device = TorchBackend().open(info.id)
    torch.backends.cuda.matmul.allow_tf32 = False  # this process is ours; the derived peak is that without
    bare = timing.Rig(device, lambda seconds: lambda: None, _profile_of, board)
    kernels = Kernels(torch, device.arguments["device"], bare.seconds_of)
    rig = timing.Rig(device, kernels.spin, _profile_of, board, torch.cuda._sleep)
    times = _times(kernels, quick=quick)
    answers = [
        *_timing_answers(rig, quick=quick),
        *_energy_answers(torch, rig, kernels, info.uuid, idle_w, quick=quick),
    ]
    facts = {"gpu": info.name}
    if not isinstance(board, Reading):
        environment = board.facts()
        facts |= {**environment.identity, **environment.state, "gpu": info.name}
    facts["cuda_runtime"] = torch.version.cuda
    return {
        "machine": facts,
        "day": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "times": times,
        "answers": [answer.as_dict() for answer in answers],
    }


def _times(kernels: Kernels, *, quick: bool) -> list[dict[str, Any]]:
    makers = {"spin": kernels.spin, "addition": kernels.addition, "matrix product": kernels.product}
    wanted = [(name, seconds) for name in makers for seconds in (DURATIONS_S[2:5:2] if quick else DURATIONS_S)]
    rows = []
    for index, (name, seconds) in enumerate(wanted):
        call = makers[name](seconds)
        rows.append(compared(f"{name}, about {1e6 * seconds:g} µs", call, seconds, _ours))
        say("kernels", index + 1, len(wanted))
    return rows


def _profile_of(call: Call, rounds: int) -> Profile:
    """Measure a call on the GPU by the package; the CPU leg is a token, since only the GPU's is looked at."""
    return profile(
        lambda device: call, cpu=lambda: lambda: sum(range(1000)), backend="torch", devices="cuda:0", rounds=rounds,
        check=False,
    )  # fmt: skip


def _ours(call: Call, seconds: float) -> float:
    return _profile_of(call, 3).gpu.device_time_s


def _timing_answers(rig: timing.Rig, *, quick: bool) -> list[Answer]:
    questions: dict[str, Callable[[], tuple[float, str, str]]] = {
        "spin": lambda: timing.spin(rig),
        "probe": lambda: timing.probe(rig),
        "resolution": lambda: timing.resolution(rig),
        "empty": lambda: timing.empty(rig),
        "queue": lambda: timing.queue(rig),
        "escape": lambda: timing.escape(rig),
        "clock": lambda: timing.clock(rig, 3.0 if quick else 60.0),
        "floor": lambda: timing.floor(rig, 5 if quick else 24),
        "rewarm": lambda: timing.rewarm(rig),
        "wall": lambda: timing.wall(rig),
    }
    return _answered("questions of time", questions)


def _energy_answers(
    torch: Any, rig: timing.Rig, kernels: Kernels, uuid: str | None, idle_w: float | None, *, quick: bool
) -> list[Answer]:
    def nvml() -> energy.Nvml:
        if uuid is None:
            raise Unavailable("torch does not tell the device's UUID")
        return energy.Nvml(uuid)

    def flops_per_s() -> float:
        size = 4096 if quick else 8192
        return 2 * size**3 / min(rig.seconds_of(kernels.product_of(size)) for _ in range(20))

    def boards() -> list[Any]:
        return [open_board(info) for info in TorchBackend().devices() if info.id.type == "cuda"]

    load = loaded(rig.device, kernels.product_of(2048))
    clock = SYSTEM_CLOCK
    window_s = 1.0 if quick else 5.0
    questions: dict[str, Callable[[], tuple[float, str, str]]] = {
        "period": lambda: energy.period(nvml(), load, clock, 1.0 if quick else 5.0),
        "polling": lambda: energy.polling(nvml(), load, clock, window_s),
        "power": lambda: energy.power(nvml(), load, clock, 2 * window_s),
        "fields": lambda: energy.fields(nvml()),
        "mapping": lambda: energy.mapping(boards()),
        "context": lambda: energy.context(idle_w, energy.idle_watts(nvml(), clock, window_s)),
        "peak": lambda: energy.peak(nvml(), flops_per_s()),
        "spread": lambda: energy.spread(nvml(), load, clock, window_s),
    }
    return _answered("questions of energy", questions)


def loaded(device: Device, call: Call) -> energy.Load:
    """Return what keeps a device busy with a call for some seconds, a few calls ahead of it at most."""
    timer, now = device.timer, device.clock.now
    assert timer is not None

    def load(seconds: float, meanwhile: Callable[[], object] | None = None, every_s: float = 0.02) -> None:
        ends = now() + seconds
        due = now() + every_s
        marks: list[Any] = []
        while now() < ends:
            call()
            marks.append(timer.mark())
            if len(marks) > 16:  # else thousands of calls are queued, and the device is busy long after the end
                timer.wait(marks.pop(0))
            if meanwhile is not None and now() >= due:
                meanwhile()
                due += every_s
        device.synchronize()

    return load


def _answered(what: str, questions: dict[str, Callable[[], tuple[float, str, str]]]) -> list[Answer]:
    answers = []
    for index, (key, question) in enumerate(questions.items()):
        answers.append(asked(key, question))
        say(what, index + 1, len(questions))
    return answers


def _uuid_by_another_process() -> str | None:
    """Return the UUID of torch's first CUDA device, without this process getting a context on it."""
    code = "import torch; print(torch.cuda.get_device_properties(0).uuid)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    time.sleep(1.0)  # the other process's context takes a moment to go
    text = done.stdout.strip()
    return text if text.startswith(("GPU-", "MIG-")) else f"GPU-{text}"


def _quietly(question: Callable[[], float]) -> float | None:
    """Return the number, ``None`` if there is none: the question that needs it says so."""
    try:
        return question()
    except Exception:  # NVML's errors are of many kinds, and pynvml itself may be missing
        return None
