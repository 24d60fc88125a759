"""The benchmark for a real GPU, as far as simulated devices and a simulated NVML can tell that it would work."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import CannotRun, hardware
from benchmarks.hardware import energy, peers, session, timing
from benchmarks.hardware.answers import EXPECTED, Answer, asked
from benchmarks.simulation import OneMachine
from pytest_gpuprof import Profile, Profiler, profile
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend, SimulatedClock
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.results import Reading
from tests.simulators import SimulatorUnavailable
from tests.simulators.nvml import Control, build

# -- time, on a simulated device --------------------------------------------------------------------------------------


def rig(clock: SimulatedClock | None = None, side_s: float = 0.0, **about: Any) -> timing.Rig:
    """Return what questions are asked of: a simulated card, whose kernels may have company on another stream."""
    machine = SimulatedBackend((Card(**{"noise": 0.0, **about}),), seed=1)
    machine.clock = clock or machine.clock
    device = machine.open(DeviceId("simulated"))

    def kernel(seconds: float) -> Callable[[], None]:
        def call() -> None:
            device.run(seconds)
            if side_s:
                device.run(side_s, stream=1)

        return call

    def measured(call: Callable[[], Any], rounds: int) -> Profile:
        run = Profiler(plugins=[OneMachine(machine)])
        token = lambda device: lambda: device.run(1e-3)  # noqa: E731  # the CPU leg, which nobody looks at
        return profile(lambda device: call, cpu=token, backend="simulated", rounds=rounds, profiler=run)

    board = device.board()
    assert board is not None
    return timing.Rig(device, kernel, measured, board, lambda cycles: device.run(cycles / 1.5e9))


def test_a_proportional_spin_kernel_is_found_proportional() -> None:
    """Within the resolution of the events."""
    value, unit, _ = timing.spin(rig(resolution_s=32e-9))
    assert unit == "%"
    assert value < 0.1


@pytest.mark.parametrize("speed", [1.0, 0.8])
def test_the_clock_probe_agrees_with_the_sensor(speed: float) -> None:
    """Also when the clock is slow: both see it."""
    assert timing.probe(rig(speed_at=lambda _: speed))[0] == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("step", [32e-9, 0.5e-6, 1.024e-6])
def test_the_resolution_is_found(step: float) -> None:
    """The step of the event clock, in microseconds."""
    assert timing.resolution(rig(resolution_s=step))[0] == pytest.approx(step * 1e6, rel=0.01)


def test_events_with_nothing_between_them_are_close() -> None:
    """A simulated event takes no time of the device."""
    assert timing.empty(rig(resolution_s=32e-9))[0] < 0.1


@pytest.mark.parametrize("depth", [300, 1024])
def test_the_queue_is_as_deep_as_it_is(depth: int) -> None:
    """The backlog itself has a place in it."""
    assert timing.queue(rig(queue_depth=depth))[0] == pytest.approx(depth, abs=2)


def test_a_queue_without_end_is_told() -> None:
    """It says that no launch blocked."""
    value, _, sentence = timing.queue(rig(queue_depth=10**6), most=500)
    assert value == 500
    assert "None of them" in sentence


def test_honest_work_does_not_escape_and_other_work_does() -> None:
    """A kernel on another stream that outlasts the timed one is seen by its length."""
    assert timing.escape(rig())[0] < 1
    assert timing.escape(rig(side_s=500e-6))[0] == pytest.approx(450, rel=0.1)


def test_the_lowest_unthrottled_clock_is_found() -> None:
    """A clock that swings between two speeds, of which neither is below the rated one."""
    swinging = rig(speed_at=lambda moment: 1.0 if int(moment * 10) % 2 else 1.1)
    assert timing.clock(swinging, 3.0)[0] == pytest.approx(1 / 1.1, rel=0.01)


def test_a_clock_that_is_throttled_all_the_time_has_no_answer() -> None:
    """What slows it is named."""
    with pytest.raises(Unavailable, match="thermal"):
        timing.clock(rig(speed_at=lambda _: 0.7), 1.0)


def test_rounds_that_differ_have_a_spread() -> None:
    """None without noise."""
    assert timing.floor(rig(resolution_s=32e-9), 6)[0] < 0.01
    assert 0.01 < timing.floor(rig(noise=0.05), 6)[0] < 5


class Waking(SimulatedClock):
    """A clock that remembers when a long sleep ended."""

    woke = float("-inf")

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if seconds >= 0.25:
            self.woke = self.time


@pytest.mark.parametrize("ramp_s", [0.0, 0.012])
def test_the_ramp_after_an_idle_turn_is_found(ramp_s: float) -> None:
    """A card that runs at half speed for a while after it idled."""
    clock = Waking()
    slow = rig(clock, speed_at=lambda moment: 0.5 if moment < clock.woke + ramp_s else 1.0)
    assert timing.rewarm(slow)[0] == pytest.approx(ramp_s * 1e3, abs=2.1)


def test_wall_time_of_long_kernels_is_nearly_device_time() -> None:
    """One launch and one synchronization are a fiftieth of the kernel, and a sample holds several kernels."""
    assert 0 < timing.wall(rig())[0] < 3


def test_a_device_without_events_says_so() -> None:
    """The CPU's reason is passed on."""
    cpu = SimulatedBackend().open(DeviceId("cpu"))
    bare = timing.Rig(
        cpu,
        lambda seconds: lambda: None,
        lambda call, rounds: pytest.fail("nobody profiles"),
        Reading.unavailable("none"),
    )
    with pytest.raises(Unavailable, match="device events"):
        timing.escape(bare)


# -- energy, on the simulated NVML that the real pynvml reads ---------------------------------------------------------


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("pynvml", reason="NOT TESTED: questions about NVML; nvidia-ml-py is missing")
    try:
        return build(tmp_path_factory.mktemp("nvml"))
    except SimulatorUnavailable as unavailable:
        pytest.skip(f"NOT TESTED: questions about NVML: {unavailable}")


class Machine:
    """A simulated card with 300 W under load, on a clock that moves with the load."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.now, self.sleep = control.now_s, control.advance
        self.nvml = energy.Nvml("GPU-51510000-0000-4000-8000-000000000000")

    def load(self, seconds: float, meanwhile: Callable[[], object] | None = None, every_s: float = 0.02) -> None:
        with self.control.busy(0, watts=300):
            for _ in range(round(seconds / every_s)):
                self.control.advance(every_s)
                if meanwhile is not None:
                    meanwhile()


Start = Callable[..., Machine]


@pytest.fixture
def start(library: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    import pynvml

    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(library)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    def start(**settings: Any) -> Machine:
        control = Control(library)
        control.reset(clock="virtual", **settings)
        return Machine(control)

    return start


@pytest.mark.parametrize("period_ms", [20, 100])
def test_the_counters_period_is_found(start: Start, period_ms: int) -> None:
    """By polling every 5 ms."""
    machine = start(energy_period_ms=period_ms)
    value, unit, _ = energy.period(machine.nvml, machine.load, machine, 3.0)
    assert unit == "ms"
    assert value == pytest.approx(period_ms, abs=5.1)


def test_a_counter_that_stands_still_has_no_period(start: Start) -> None:
    """It says how seldom it was renewed."""
    machine = start(energy_freeze_s=0)
    with pytest.raises(Unavailable, match="only 0 times"):
        energy.period(machine.nvml, machine.load, machine, 1.0)


def test_polling_does_not_disturb_a_simulated_counter(start: Start) -> None:
    """Windows after polling have the same power."""
    machine = start(energy_period_ms=100)
    assert energy.polling(machine.nvml, machine.load, machine, 5.0)[0] < 2


@pytest.mark.parametrize("gain", [1.0, 0.9])
def test_the_counter_is_compared_with_integrated_power(start: Start, gain: float) -> None:
    """A counter that misses a tenth is found out."""
    machine = start(energy_gain=gain, energy_period_ms=20, power_window_ms=0, power_period_ms=10)
    assert energy.power(machine.nvml, machine.load, machine, 10.0)[0] == pytest.approx(gain, rel=0.02)


def test_counters_of_throttled_time_are_counted(start: Start) -> None:
    """Those that the simulated driver lacks are named."""
    machine = start()
    value, _, sentence = energy.fields(machine.nvml)
    offered = [number for number in energy.THROTTLE_FIELDS if machine.nvml.field(number) is not None]
    assert value == len(offered)
    assert all(str(number) in sentence for number in energy.THROTTLE_FIELDS.keys() - set(offered))


def test_idle_power_and_what_a_context_adds(start: Start) -> None:
    """Mean power by the counter; the difference of two such figures; none without the first."""
    machine = start(idle_w=70, energy_period_ms=20)
    assert energy.idle_watts(machine.nvml, machine, 5.0) == pytest.approx(70, rel=0.02)
    assert energy.context(70.0, 95.5)[0] == 25.5
    with pytest.raises(Unavailable, match="process of its own"):
        energy.context(None, 95.5)


def test_the_peak_is_derived_from_cores_and_clock(start: Start) -> None:
    """16896 cores, two operations each, at 1980 MHz: 66.9 TFLOP/s."""
    machine = start()
    assert machine.nvml.peak_flops() == pytest.approx(66.9e12, rel=1e-3)
    assert energy.peak(machine.nvml, 33.45e12)[0] == pytest.approx(0.5, rel=1e-3)


def test_windows_of_a_fixed_load_agree(start: Start) -> None:
    """Within what a counter renewed every 100 ms leaves over 5 s: 2 %."""
    machine = start(energy_period_ms=100)
    assert energy.spread(machine.nvml, machine.load, machine, 5.0)[0] <= 2.0


def test_devices_without_a_verified_card_are_counted() -> None:
    """With the reason."""
    value, _, sentence = energy.mapping([object(), Reading.unavailable("no UUID")])
    assert value == 0.5
    assert "no UUID" in sentence


# -- kernels, peers, answers, page ------------------------------------------------------------------------------------


def test_a_kernel_grows_until_it_is_long_enough() -> None:
    """The size whose time is closest wins, below or above; a limit on the size is kept."""
    seconds_of: Callable[[Any], float] = lambda call: call() * 1e-6  # noqa: E731

    def kernel(size: int) -> Callable[[], int]:
        return lambda: size

    assert session.grown(kernel, seconds_of, 100e-6, least=1, most=2**20)() == 128
    assert session.grown(kernel, seconds_of, 80e-6, least=1, most=2**20)() == 64
    assert session.grown(kernel, seconds_of, 1.0, least=1, most=16)() == 16


def test_a_spin_kernel_lasts_as_long_as_asked() -> None:
    """Its speed is found by timing it: here 2 cycles to the nanosecond."""
    device = SimulatedBackend((Card(noise=0.0),)).open(DeviceId("simulated"))
    spins: list[int] = []

    def spin(cycles: int) -> None:
        spins.append(cycles)
        device.run(cycles / 2e9)

    torch = SimpleNamespace(cuda=SimpleNamespace(_sleep=spin))
    simulated = timing.Rig(
        device, lambda _: lambda: None, lambda *_: pytest.fail("nobody profiles"), Reading.unavailable("none")
    )
    kernels = session.Kernels(torch, None, simulated.seconds_of)
    kernels.spin(1e-3)()
    assert spins[-1] == pytest.approx(2_000_000, rel=0.01)


def test_a_load_lasts_as_long_as_asked_and_leaves_an_idle_device() -> None:
    """It stays a few calls ahead of the device, not thousands."""
    device = SimulatedBackend((Card(noise=0.0),)).open(DeviceId("simulated"))
    began = device.clock.now()
    session.loaded(device, lambda: device.run(5e-3))(1.0)
    assert device.clock.now() - began == pytest.approx(1.0, abs=0.1)


def test_what_is_read_under_load_is_read_while_the_device_is_busy() -> None:
    """Each time there is work queued that the device has yet to do."""
    device = SimulatedBackend((Card(noise=0.0, sync_s=0.0),)).open(DeviceId("simulated"))
    queued_s: list[float] = []

    def look() -> None:
        before = device.clock.time
        queued_s.append(max(device._tails.values()) - before)

    session.loaded(device, lambda: device.run(1e-3))(0.5, look, 0.02)
    assert len(queued_s) == pytest.approx(25, abs=2)
    assert min(queued_s) > 5e-3


def test_a_peer_that_is_missing_or_fails_says_so() -> None:
    """And the others are compared all the same."""

    def absent(call: Any, seconds: float) -> float:
        raise Unavailable("triton.testing cannot be imported")

    def failing(call: Any, seconds: float) -> float:
        raise RuntimeError("no capture")

    found = peers.compared("k", lambda: None, 1e-3, lambda *_: 2.0, {"a": absent, "b": failing, "c": lambda *_: 1.0})
    assert found["seconds"] == {"gpuprof": 2.0, "c": 1.0}
    assert found["missing"] == {"a": "triton.testing cannot be imported", "b": "RuntimeError: no capture"}


def test_torchs_benchmark_times_a_call() -> None:
    """By its own code."""
    pytest.importorskip("torch", reason="NOT TESTED: torch.utils.benchmark; torch is missing")
    calls: list[int] = []
    assert peers.torch_benchmark(lambda: calls.append(1), 1e-6) > 0
    assert calls


def test_a_graph_needs_cuda() -> None:
    """Without a GPU the reason is told."""
    torch = pytest.importorskip("torch", reason="NOT TESTED: CUDA graphs; torch is missing")
    if torch.cuda.is_available():
        assert peers.graph_replay(lambda: torch.cuda._sleep(1_000_000), 1e-3) > 0
    else:
        with pytest.raises(Unavailable, match="need a CUDA device"):
            peers.graph_replay(lambda: None, 1e-3)


def test_a_question_that_fails_is_answered_by_its_reason() -> None:
    """Nothing that a driver raises ends the session."""
    assert asked("queue", lambda: (1.0, "launches", "So.")) == Answer("queue", 1.0, "launches", "So.")
    failed = asked("queue", lambda: (1 / 0, "", ""))
    assert failed.value is None
    assert "ZeroDivisionError" in failed.sentence


def test_every_question_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of time and those of energy together are all there are, each once."""
    monkeypatch.setattr(session, "asked", lambda key, question: Answer(key, None, "", "not asked"))
    simulated = rig()
    kernels = SimpleNamespace(product_of=lambda size: lambda: None)
    answers = [
        *session._timing_answers(simulated, quick=True),
        *session._energy_answers(None, simulated, kernels, None, None, quick=True),  # type: ignore[arg-type]
    ]
    assert [answer.key for answer in answers] == list(EXPECTED)


RESULTS = {
    "machine": {"gpu": "NVIDIA H200 NVL"},
    "day": "2026-01-02",
    "times": [
        {
            "kernel": "spin, about 10 µs",
            "seconds": {"gpuprof": 10.1e-6, "graph replay": 10e-6},
            "missing": {"cupyx": "no"},
        }
    ],
    "answers": [
        {"key": "queue", "value": 1023.0, "unit": "launches", "sentence": "So."},
        {"key": "period", "value": None, "unit": "", "sentence": "Unavailable, because."},
    ],
}


def test_the_table_has_ratios_to_the_graph_and_answers_beside_what_is_assumed() -> None:
    """What was not compared is named."""
    shown = hardware.table(RESULTS)
    assert "| spin, about 10 µs | 10.00 | 1.010 |" in shown
    assert "Not compared: cupyx: no." in shown
    assert "| ≥ 800 | 1023 launches | So. |" in shown
    assert "| 100 ms | no answer | Unavailable, because. |" in shown


def test_a_result_is_named_after_card_and_day(tmp_path: Path) -> None:
    """And drawn."""
    assert hardware.result_name(RESULTS) == "h200-nvl-2026-01-02"
    pytest.importorskip("matplotlib", reason="NOT TESTED: plots need matplotlib")
    (plot,) = hardware.plots(RESULTS, tmp_path)
    assert "gpuprof" in plot.read_text(encoding="utf-8")


def test_without_a_gpu_it_says_what_it_needs() -> None:
    """And runs nothing."""
    torch = pytest.importorskip("torch", reason="NOT TESTED: a machine with torch and no GPU")
    if torch.cuda.is_available():
        pytest.skip("NOT TESTED: there is a GPU here")
    with pytest.raises(CannotRun, match="needs an NVIDIA GPU"):
        hardware.measure(quick=True)
