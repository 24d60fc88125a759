"""The simulated machine: what is exact on it, and the troubles that it can make."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any

import pytest

from pytest_gpuprof.backends import simulated
from pytest_gpuprof.backends.simulated import (
    Card,
    SimulatedBackend,
    SimulatedClock,
    SimulatedContextError,
    SimulatedDevice,
    SimulatedOutOfMemory,
)
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.protocols import AllocatorState, EnergyCounter, Timer
from pytest_gpuprof.core.results import Reading

EXACT: dict[str, Any] = {"noise": 0.0, "launch_s": 0.0, "latency_s": 0.0, "mark_s": 0.0, "sync_s": 0.0}
"""A card on which nothing costs time but the work itself."""


def gpu(**about: Any) -> SimulatedDevice:
    return SimulatedBackend((Card(**about),), seed=1).open(DeviceId("simulated"))


def timer_of(device: SimulatedDevice) -> Timer:
    assert device.timer is not None
    return device.timer


def counter_of(device: SimulatedDevice) -> EnergyCounter:
    board = device.board()
    assert board is not None
    counter = board.energy()
    assert not isinstance(counter, Reading)
    return counter


def seconds(device: SimulatedDevice, work: Callable[[], object]) -> float:
    """Return the simulated time that work and waiting for it take."""
    before = device.clock.time
    work()
    device.synchronize()
    return device.clock.time - before


def test_the_example_of_the_docstring() -> None:
    """What the module promises to users runs."""
    results = doctest.testmod(simulated)
    assert results.attempted >= 3
    assert results.failed == 0


# --- Time -------------------------------------------------------------------------------------------------------------


def test_the_clock_moves_when_somebody_moves_it() -> None:
    """Reading costs a little, sleeping costs what it says, and nothing goes back."""
    clock = SimulatedClock(read_s=1e-3)
    start = clock.time
    assert clock.now() == pytest.approx(start + 1e-3)
    clock.sleep(2.0)
    clock.advance_to(start)
    assert clock.time == pytest.approx(start + 2.001)


def test_work_behind_a_backlog_is_measured_exactly() -> None:
    """Events give the sum of the works between them, whatever the host does meanwhile."""
    device = gpu(noise=0.0, resolution_s=0.0)
    timer = timer_of(device)
    assert device.backlog is not None
    device.backlog(1.0)
    start = timer.mark()
    for work_s in (1e-3, 2e-3, 3e-3):
        device.host(10e-3)
        device.run(work_s)
    end = timer.mark()
    timer.wait(end)
    assert timer.elapsed_s(start, end) == pytest.approx(6e-3, abs=1e-12)


def test_the_host_shows_where_there_is_no_backlog() -> None:
    """An idle device waits for the host between two launches, and the events see it."""
    device = gpu(**EXACT, resolution_s=0.0)
    timer = timer_of(device)
    start = timer.mark()
    for _ in range(2):
        device.run(1e-3)
        device.host(10e-3)
    assert timer.elapsed_s(start, timer.mark()) == pytest.approx(20e-3)


def test_events_have_the_cards_resolution() -> None:
    """Times between events are whole steps of the card's clock."""
    device = gpu(noise=0.0, resolution_s=1e-3)
    timer = timer_of(device)
    start = timer.mark()
    device.run(2.6e-3)
    steps = timer.elapsed_s(start, timer.mark()) / 1e-3
    assert steps == pytest.approx(round(steps))
    assert round(steps) in (2, 3)


def test_launch_and_latency() -> None:
    """The host pays the launch; the work starts after the latency; waiting costs a synchronization."""
    device = gpu(noise=0.0, launch_s=1e-3, latency_s=2e-3, sync_s=4e-3)
    assert seconds(device, lambda: device.run(8e-3)) == pytest.approx(15e-3)
    assert seconds(device, lambda: None) == pytest.approx(4e-3)


def test_streams_overlap() -> None:
    """Work on two streams runs at the same time, work on one stream in order."""
    device = gpu(**EXACT)

    def on_streams(*streams: int) -> None:
        for stream in streams:
            device.run(1e-3, stream=stream)

    assert seconds(device, lambda: on_streams(0, 0)) == pytest.approx(2e-3)
    assert seconds(device, lambda: on_streams(0, 1)) == pytest.approx(1e-3)


def test_events_do_not_see_other_streams() -> None:
    """Work that escapes the timed stream takes no time between its events, and synchronizing waits for it."""
    device = gpu(**EXACT)
    timer = timer_of(device)
    start = timer.mark()
    device.run(1.0, stream=1)
    assert timer.elapsed_s(start, timer.mark()) == 0
    assert seconds(device, lambda: None) == pytest.approx(1.0)


def test_a_full_queue_blocks_the_host() -> None:
    """The host goes on until the queue is full, and then at the pace of the device."""
    device = gpu(**EXACT, queue_depth=3)
    before = device.clock.time
    for _ in range(3):
        device.run(1.0)
    assert device.clock.time == before
    for _ in range(2):
        device.run(1.0)
    assert device.clock.time == pytest.approx(before + 2.0)


def test_cpu_and_gpu_take_their_own_time() -> None:
    """``run`` takes one duration for both or one for each; a CPU is busy while it works."""
    machine = SimulatedBackend((Card(**EXACT),), cpu_noise=0.0)
    cpu, card = machine.open(DeviceId("cpu")), machine.open(DeviceId("simulated"))
    before = machine.clock.time
    cpu.run(cpu=2.0, gpu=5.0)
    assert machine.clock.time == pytest.approx(before + 2.0)
    card.run(cpu=2.0, gpu=5.0)
    assert machine.clock.time == pytest.approx(before + 2.0)
    with pytest.raises(TypeError, match="seconds, or cpu= and gpu="):
        cpu.run(gpu=5.0)


def test_noise_is_repeated_by_its_seed() -> None:
    """Equal seeds give equal times, other seeds others, and the spread is the card's."""

    def times(seed: int, noise: float) -> list[float]:
        device = SimulatedBackend((Card(**{**EXACT, "noise": noise}),), seed=seed).open(DeviceId("simulated"))
        return [seconds(device, lambda: device.run(1.0)) for _ in range(200)]

    assert times(1, 0.1) == times(1, 0.1)
    assert times(1, 0.1) != times(2, 0.1)
    assert times(1, 0.0) == pytest.approx([1.0] * 200)
    inside = sum(0.9 < taken < 1.1 for taken in times(1, 0.1))
    assert 100 < inside < 180  # two thirds lie within one standard deviation


def test_a_throttled_clock_makes_work_longer() -> None:
    """At half the speed work takes twice as long, and the board says why and for how long."""
    device = gpu(**EXACT, speed_at=lambda moment: 0.5 if moment > 1001.5 else 1.0)
    board = device.board()
    assert board is not None
    assert seconds(device, lambda: device.run(1.0)) == pytest.approx(1.0)
    cool = board.conditions()
    assert (cool.reasons, cool.throttled_s["thermal"]) == (frozenset(), 0.0)
    device.host(1.0)
    hot = board.conditions()
    assert seconds(device, lambda: device.run(1.0)) == pytest.approx(2.0)
    after = board.conditions()
    assert hot.reasons == {"thermal"}
    assert after.throttled_s["thermal"] - hot.throttled_s["thermal"] == pytest.approx(2.0, abs=0.02)
    assert after.sm_clock_hz.require("clock") == after.rated_clock_hz.require("clock") / 2


def test_a_shared_card_tells_of_the_other_process() -> None:
    """From the moment on that somebody else uses it."""
    device = gpu(**EXACT, shared_from=1002.0)
    board = device.board()
    assert board is not None
    assert board.conditions().other_processes.value == 0
    device.host(2.0)
    assert board.conditions().other_processes.value == 1


# --- Memory -----------------------------------------------------------------------------------------------------------


def test_out_of_memory() -> None:
    """More than is free is refused with both numbers, and what was refused is not counted."""
    device = gpu(memory_bytes=1000)
    held = device.allocate(600)
    with pytest.raises(SimulatedOutOfMemory, match="tried to allocate 401 bytes, 400 are free"):
        device.allocate(401)
    with device.watch_memory() as memory:
        assert memory is not None
        assert (memory.live_bytes(), memory.peak_bytes()) == (600, 600)
        held.close()
        held.close()  # giving back twice gives back once
        assert memory.live_bytes() == 0
    device.allocate(1000)


def test_memory_is_live_until_its_buffer_is_gone() -> None:
    """Closing a buffer or losing it gives its memory back."""
    device = gpu()
    with device.watch_memory() as memory:
        assert memory is not None
        buffer = device.allocate(100)
        assert SimulatedBackend().owns(buffer)
        del buffer
        assert memory.live_bytes() == 0
        assert memory.peak_bytes() == 100


def test_memory_past_the_allocator_takes_room_and_is_not_counted() -> None:
    """As when a library asks the driver itself."""
    device = gpu(memory_bytes=1000)
    with device.watch_memory() as memory:
        assert isinstance(memory, AllocatorState)
        assert (memory.free_bytes(), memory.flushes()) == (1000, None)
        buffer = device.allocate(700, counted=False)
        kept = device.allocate(100)
        assert (memory.live_bytes(), memory.peak_bytes(), memory.free_bytes()) == (100, 100, 200)
        with pytest.raises(SimulatedOutOfMemory, match="tried to allocate 201 bytes, 200 are free"):
            device.allocate(201, counted=False)
        buffer.close()
        assert (memory.live_bytes(), memory.free_bytes()) == (100, 900)
        kept.close()


def test_a_cpu_has_memory_without_end() -> None:
    """Nothing is refused, and it is counted all the same."""
    cpu = SimulatedBackend().open(DeviceId("cpu"))
    held = cpu.allocate(1 << 60)
    with cpu.watch_memory() as memory:
        assert memory is not None
        assert memory.live_bytes() == 1 << 60
        assert isinstance(memory, AllocatorState)
        assert memory.free_bytes() is None
    held.close()


# --- A broken context -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        lambda device: device.run(1.0),
        lambda device: device.synchronize(),
        lambda device: device.allocate(1),
        lambda device: device.timer.mark(),
        lambda device: device.timer.wait(0.0),
        lambda device: device.backlog(1.0),
    ],
    ids=["run", "synchronize", "allocate", "mark", "wait", "backlog"],
)
def test_a_broken_context_fails_every_use(use: Callable[[SimulatedDevice], object]) -> None:
    """Each later use raises with the reason, as after a fault in a kernel; the other devices go on."""
    machine = SimulatedBackend((Card(), Card()))
    broken, sound = machine.open(DeviceId("simulated")), machine.open(DeviceId("simulated", 1))
    broken.break_context("misaligned address")
    with pytest.raises(SimulatedContextError, match="misaligned address"):
        use(broken)
    use(sound)


# --- Energy -----------------------------------------------------------------------------------------------------------


def test_energy_is_the_integral_of_power() -> None:
    """Idle power all the time, and the difference to busy power while something runs."""
    device = gpu(**EXACT, idle_w=70.0, busy_w=350.0, energy_period_s=0.5)
    counter = counter_of(device)
    before = counter.read().require("energy")
    device.host(3.0)
    device.run(2.0)
    device.synchronize()
    after = counter.read().require("energy")
    assert after - before == pytest.approx(5.0 * 70.0 + 2.0 * 280.0)
    assert counter.used_j(before, after, 5.0).value == pytest.approx(910.0)


def test_streams_that_overlap_use_power_once() -> None:
    """A card that does two things at a time is busy, not busy twice."""
    device = gpu(**EXACT, idle_w=0.0, busy_w=100.0, energy_period_s=0.5)
    counter = counter_of(device)
    before = counter.read().require("energy")
    for stream in (0, 1, 2):
        device.run(1.0, stream=stream)
    device.synchronize()
    device.host(1.0)
    assert counter.read().require("energy") - before == pytest.approx(100.0)


def test_energy_of_many_kernels() -> None:
    """The integral stays exact over thousands of kernels, whether one looks often or once."""
    often, once = (gpu(**EXACT, idle_w=10.0, busy_w=110.0, energy_period_s=0.25) for _ in range(2))
    readings = {}
    for device in (often, once):
        counter = counter_of(device)
        before = counter.read().require("energy")
        for _ in range(4000):
            device.run(1e-3)
            device.synchronize()
            device.host(1e-3)
            if device is often:
                counter.read()
        readings[device] = counter.read().require("energy") - before
    assert readings[often] == pytest.approx(readings[once], rel=1e-9)
    assert readings[once] == pytest.approx(8.0 * 10.0 + 4.0 * 100.0, rel=0.05)  # of the last quarter second


def test_the_counter_stands_still_between_refreshes() -> None:
    """It shows the energy at the last refresh, as real counters do."""
    device = gpu(**EXACT, energy_period_s=1.0)
    counter = counter_of(device)
    before = counter.read()
    device.host(0.75)
    assert counter.read() == before
    device.host(0.75)
    assert counter.read().require("energy") > before.require("energy")


def drawn(device: SimulatedDevice, seconds: float, reads: int = 1) -> float:
    """Return the joules that the counter says a busy card drew, read so often meanwhile."""
    counter = counter_of(device)
    before = counter.read().require("energy")
    for _ in range(reads):
        device.run(seconds / reads)
        device.synchronize()
        after = counter.read().require("energy")
    return after - before


def test_power_may_vary() -> None:
    """By a factor at each moment."""
    device = gpu(**EXACT, energy_period_s=0.5, busy_w=100.0, power_at=lambda now: 0.5 if now < 1001 else 1.0)
    assert drawn(device, 2.0, reads=4) == pytest.approx(50 + 100)


@pytest.mark.parametrize("gain", [0.7, 1.2])
def test_a_counter_may_count_wrongly(gain: float) -> None:
    """The board's power reading is still right, so that somebody can notice."""
    device = gpu(**EXACT, energy_period_s=0.5, busy_w=100.0, energy_gain=gain)
    assert drawn(device, 2.0) == pytest.approx(200 * gain)
    board = device.board()
    assert board is not None
    assert board.conditions().power_w.value == pytest.approx(100)


@pytest.mark.parametrize(("reads", "seen"), [(1, 0.984), (20, 0.862), (200, 0.385)])
def test_a_counter_may_lose_joules_when_it_is_read(reads: int, seen: float) -> None:
    """The more often the more: once a second little, every 10 ms most of them."""
    device = gpu(**EXACT, energy_period_s=0.001, busy_w=100.0, energy_read_s=0.016)
    assert drawn(device, 1.0 if reads == 1 else 2.0, reads) == pytest.approx(
        seen * (100 if reads == 1 else 200), rel=0.03
    )


def test_a_counter_may_lag_stop_and_start_again() -> None:
    """Each at its moment, and the clock begins at 1000."""
    assert drawn(gpu(**EXACT, energy_period_s=0.5, idle_w=0, busy_w=100.0, energy_lag_s=0.5), 2.0) == pytest.approx(150)
    assert drawn(gpu(**EXACT, energy_period_s=0.5, busy_w=100.0, energy_stops_at=1001.0), 2.0) == pytest.approx(100)
    reset = counter_of(device := gpu(**EXACT, energy_period_s=0.5, busy_w=100.0, energy_resets_at=1001.0))
    before = reset.read().require("energy")
    device.run(2.0)
    device.synchronize()
    after = reset.read().require("energy")
    assert after == pytest.approx(100)
    assert reset.used_j(before, after, 2.0).value is None


def test_the_temperature_may_change() -> None:
    """As it is told to."""
    board = gpu(temperature_at=lambda now: 30.0 if now < 1001 else 80.0).board()
    assert board is not None
    assert board.conditions().temperature_c.value == 30.0
    board._clock.sleep(2.0)
    assert board.conditions().temperature_c.value == 80.0


def test_a_counter_that_went_backwards() -> None:
    """It is unavailable, not negative."""
    assert counter_of(gpu()).used_j(2.0, 1.0, 1.0).value is None


def test_a_card_without_a_counter() -> None:
    """The reading says so, by the card's name."""
    board = gpu(name="Simulated T4", has_energy=False).board()
    assert board is not None
    energy = board.energy()
    assert isinstance(energy, Reading)
    assert energy.reason == "Simulated T4 has no energy counter (simulated)"


def test_figures_of_the_board_say_that_they_are_simulated() -> None:
    """Each reading has the quality, and the facts have the card's name."""
    device = gpu(name="Simulated T4")
    board = device.board()
    assert board is not None
    conditions = board.conditions()
    for reading in (counter_of(device).read(), conditions.sm_clock_hz, conditions.temperature_c):
        assert reading.quality == "simulated"
    assert board.facts().identity == {"gpu": "Simulated T4", "simulated": True}
    assert SimulatedBackend().open(DeviceId("cpu")).board() is None
