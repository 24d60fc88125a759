"""The loop, on a clock set by hand: order, warm-up, calibration, stopping, and what it does not believe."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.backends.simulated import Card, SimulatedBackend, SimulatedDevice
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Measurement, Round
from pytest_gpuprof.meters.time import WallTime
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.sampler import LegRounds, take_rounds
from tests.sampling.machines import (
    EXACT,
    After,
    device_of,
    exact_machine,
    kernels,
    leg_on,
    legs_on,
    meters,
    running,
    take,
    texts,
)

repeatable = settings(derandomize=True, deadline=None, max_examples=60)

BRIEF = Plan(warmup_s=0.02, min_rounds=1)
"""For properties that need no long warm-up."""


def works(cpu: float, gpu: float) -> Callable[..., Any]:
    def work(device: Any) -> Callable[[], None]:
        return lambda: device.run(cpu=cpu, gpu=gpu)

    return work


def time_of(leg: LegRounds, metric: str = "wall_time") -> float:
    return Measurement(leg.plan.leg, None, leg.rounds).figure(metric)


def slow_at_first(seconds: float, slow: Callable[[int], float]) -> Callable[..., Any]:
    """Work whose n-th call, counted from 1, keeps the host busy for ``slow(n)`` seconds beside its work."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        calls = 0

        def run() -> None:
            nonlocal calls
            calls += 1
            device.host(slow(calls))
            device.run(seconds)

        return run

    return work


# -- order ------------------------------------------------------------------------------------------------------------


def test_legs_take_turns_to_be_first(machine: SimulatedBackend) -> None:
    """CPU GPU, GPU CPU, …: a drift of the machine hits both alike. Equal indices were side by side."""
    taken = take(legs_on(machine, works(0.02, 0.001)), rounds=4)
    assert [each.position for each in taken.legs["cpu"].rounds] == [0, 1, 0, 1]
    assert [each.position for each in taken.legs["gpu"].rounds] == [1, 0, 1, 0]
    for leg in taken.legs.values():
        assert [each.index for each in leg.rounds] == [0, 1, 2, 3]


def test_rounds_of_the_legs_are_interleaved_in_time() -> None:
    """As the positions say, and not one leg after the other."""
    machine = exact_machine()
    order: list[str] = []

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            order.append(device.info.id.type)
            device.run(0.02)

        return run

    def note(what: str) -> None:
        order.append(what.partition(",")[0])

    take(legs_on(machine, work), rounds=3, watch=texts(note))
    rounds: list[list[str]] = [[]]
    for step in order[order.index("round 1 of at most 24") :]:
        if step.startswith("round "):
            rounds.append([])
        elif not rounds[-1] or rounds[-1][-1] != step:
            rounds[-1].append(step)
    assert rounds[1:] == [["cpu", "simulated"], ["simulated", "cpu"], ["cpu", "simulated"]]


def test_a_third_leg_takes_its_turn(machine: SimulatedBackend) -> None:
    """In order and in reverse order."""
    legs = [*legs_on(machine, works(0.02, 0.001)), leg_on(machine, works(0.02, 0.002), "reference")]
    taken = take(legs, rounds=3)
    positions = {leg: [each.position for each in rounds.rounds] for leg, rounds in taken.legs.items()}
    assert positions == {"cpu": [0, 2, 0], "gpu": [1, 1, 1], "reference": [2, 0, 2]}


@settings(derandomize=True, deadline=None, max_examples=30)
@given(drift=st.floats(0.005, 0.02), sign=st.sampled_from([-1, 1]), cpu=st.sampled_from([0.2, 0.3]))
def test_a_linear_drift_cancels_in_the_ratio(drift: float, sign: int, cpu: float) -> None:
    """The machine becomes slower, or faster, second by second: each round's ratio is off, and their mean is not.

    One leg always first would leave the error of a round in the mean.
    """

    def speedups(drift: float) -> tuple[float, ...]:
        machine = exact_machine()
        began = machine.clock.time

        def work(device: SimulatedDevice) -> Callable[[], None]:
            def run() -> None:
                seconds = cpu if device.card is None else 0.02
                device.run(seconds * (1 + drift * (machine.clock.time + seconds / 2 - began)))
                device.synchronize()

            return run

        taken = take(legs_on(machine, work), rounds=4, plan=Plan(warmup_s=0.01), device_time=())
        cpu_leg, gpu_leg = (Measurement(leg, None, taken.legs[leg].rounds) for leg in ("cpu", "gpu"))
        profile = Profile("drift", cpu_leg, gpu_leg, Measurement.absent("reference", "there is none"))
        return (profile.speedup, *profile.ratio_per_round("speedup")[1])

    mean, *rounds = (
        math.log(drifted / still) for drifted, still in zip(speedups(sign * drift), speedups(0), strict=True)
    )
    assert min(map(abs, rounds)) > 0.2 * drift
    assert abs(mean) < 0.2 * max(map(abs, rounds))


# -- first call and warm-up -------------------------------------------------------------------------------------------


def test_the_first_call_is_timed_apart_and_is_in_no_round() -> None:
    """It includes compilation and lazy loading."""
    machine = exact_machine()
    taken = take([leg_on(machine, slow_at_first(0.001, lambda n: 3.0 if n == 1 else 0.0))]).legs["gpu"]
    assert taken.first_call_s == pytest.approx(3.001, rel=0.001)
    assert time_of(taken) == pytest.approx(0.001, rel=0.01)
    assert taken.cautions == ()


@pytest.mark.parametrize("seconds", [20e-6, 200e-6, 1e-3])
def test_warming_up_outlasts_slow_first_calls(seconds: float) -> None:
    """The first 20 calls are 100 times slower, as when kernels are tuned or loaded one by one."""
    machine = exact_machine()
    taken = take([leg_on(machine, slow_at_first(seconds, lambda n: 100 * seconds if n <= 20 else 0.0))]).legs["gpu"]
    assert time_of(taken) == pytest.approx(seconds, rel=0.02)
    assert taken.cautions == ()


def test_warming_up_outlasts_a_compilation_in_the_third_call() -> None:
    """Five seconds of it do not use up the two seconds of warm-up, nor does it make the samples short."""
    machine = exact_machine()
    taken = take([leg_on(machine, slow_at_first(0.001, lambda n: 5.0 if n == 3 else 0.0))]).legs["gpu"]
    assert time_of(taken) == pytest.approx(0.001, rel=0.01)
    assert taken.rounds[0].iterations == 10
    assert taken.calls > 200  # at least 0.2 s of calls after it
    assert taken.cautions == ()


def test_a_compilation_without_end_ends_the_warm_up() -> None:
    """There is a cap for all of it, and each call slower than the last is never steady."""
    machine = exact_machine()
    began = machine.clock.time
    plan = Plan(compile_cap_s=10, max_time_s=0.1, min_rounds=1)
    taken = take([leg_on(machine, slow_at_first(0.001, lambda n: 0.1 * 1.2 ** min(n, 20)))], rounds=1, plan=plan).legs[
        "gpu"
    ]
    assert machine.clock.time - began < 120
    assert [caution.code for caution in taken.cautions] == ["unsteady"]


def test_a_workload_that_never_settles_is_called_unsteady_at_the_cap() -> None:
    """With how much it varied, and what to do; it spoils no verdict by itself."""
    machine = exact_machine()
    began = machine.clock.time
    taken = take([leg_on(machine, slow_at_first(0.02, lambda n: 0.01 * (n % 2)))], plan=Plan(warmup_cap_s=1.0)).legs[
        "gpu"
    ]
    (caution,) = taken.cautions
    assert caution.code == "unsteady"
    assert "the gpu leg on simulated:0 still varied by" in caution.message
    assert caution.spoils == frozenset()
    assert machine.clock.time - began < 8


def test_a_steady_workload_is_warm_after_a_fifth_of_a_second() -> None:
    """And no sooner: clocks need that long to rise."""
    machine = exact_machine()
    stamps: list[float] = []
    take([leg_on(machine, running(0.001))], watch=lambda what: stamps.append(machine.clock.time))
    _, first_call, warm_up, first_round, *_ = stamps
    assert 0.2 <= first_round - warm_up < 0.5
    assert first_call < warm_up


def test_a_call_of_minutes_is_not_warmed_up_with_more_of_them() -> None:
    """One call is long enough to be its own warm-up."""
    machine = exact_machine()
    calls = 0

    def work(device: Any) -> Callable[[], None]:
        def run() -> None:
            nonlocal calls
            calls += 1
            device.run(100.0)

        return run

    taken = take([leg_on(machine, work, "cpu")], rounds=1, plan=Plan(min_rounds=1))
    assert calls == taken.legs["cpu"].calls <= 3


# -- calibration ------------------------------------------------------------------------------------------------------


@repeatable
@given(seconds=st.floats(1e-6, 3.0), leg=st.sampled_from(["cpu", "gpu"]))
def test_a_sample_is_long_against_the_clock(seconds: float, leg: Any) -> None:
    """At least 10 ms, so that clock reads and a synchronization stay below 1 %; and no longer than it must be."""
    machine = exact_machine()
    plan = BRIEF
    taken = take([leg_on(machine, running(seconds), leg)], rounds=1, plan=plan).legs[leg]
    for each in taken.rounds:
        for sample in each.samples["wall_time"]:
            length = sample * each.iterations
            assert length >= 0.97 * plan.sample_s
            assert length <= 1.05 * plan.sample_s + 1.05 * max(seconds, EXACT.launch_s)


@pytest.mark.parametrize(("leg", "samples"), [("cpu", 3), ("gpu", 5)])
def test_a_round_has_as_many_samples_as_planned_but_one_of_a_long_call(leg: Any, samples: int) -> None:
    """A long call averages over itself."""
    machine = exact_machine()
    short = take([leg_on(machine, running(0.001), leg)]).legs[leg].rounds
    long = take([leg_on(machine, running(1.5), leg)]).legs[leg].rounds
    assert {len(each.samples["wall_time"]) for each in short} == {samples}
    assert {len(each.samples["wall_time"]) for each in long} == {1}


def test_calls_are_counted() -> None:
    """All of them: first call, warm-up, probe's excepted, rounds."""
    machine = exact_machine()
    calls = 0

    def work(device: Any) -> Callable[[], None]:
        def run() -> None:
            nonlocal calls
            calls += 1
            device.run(0.001)

        return run

    counted = take([leg_on(machine, work)]).legs["gpu"].calls
    assert 0 <= calls - counted < 250  # what probing took


# -- reset ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leg", ["cpu", "gpu"])
def test_reset_runs_before_every_call_and_is_not_timed(leg: Any) -> None:
    """The first call, warm-up, probe and rounds: a KV cache never overflows, and its emptying is nobody's time."""
    machine = exact_machine()
    device = device_of(machine, leg)
    ready = False
    calls = 0

    def reset() -> None:
        nonlocal ready
        ready = True
        device.run(0.5)

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal ready, calls
            assert ready, "called twice without a reset"
            ready = False
            calls += 1
            device.run(0.001)

        return run

    taken = take([leg_on(machine, work, leg, reset=reset)]).legs[leg]
    assert taken.first_call_s == pytest.approx(0.001, rel=0.05)
    assert time_of(taken) == pytest.approx(0.001, rel=0.05)
    assert {each.iterations for each in taken.rounds} == {1}
    assert calls > 20


def test_short_calls_with_a_reset_get_more_samples() -> None:
    """Each sample is one call, so there are more of them; up to fifty."""
    machine = exact_machine()
    few, many = (
        take([leg_on(machine, running(seconds), reset=lambda: None)]).legs["gpu"].rounds[0] for seconds in (5e-3, 1e-5)
    )
    assert len(few.samples["wall_time"]) == 5
    assert len(many.samples["wall_time"]) == 50


# -- stopping ---------------------------------------------------------------------------------------------------------


def test_rounds_stop_when_the_rule_has_enough(machine: SimulatedBackend) -> None:
    """The rule sees all legs with equally many rounds, from the least number of rounds on."""
    rule = After(5)
    taken = take_rounds(legs_on(machine, works(0.02, 0.001)), Plan(), rule, meters, threads=1)
    assert taken.stop_reason == "that is enough"
    assert rule.seen == [{"cpu": count, "gpu": count} for count in (3, 4, 5)]
    assert [len(leg.rounds) for leg in taken.legs.values()] == [5, 5]


def test_rounds_stop_at_the_most() -> None:
    """Whatever the rule says."""
    taken = take([leg_on(exact_machine(), running(0.001))], rounds=99, plan=Plan(min_rounds=2, max_rounds=7))
    assert taken.stop_reason == "all 7 rounds taken"
    assert len(taken.legs["gpu"].rounds) == 7


def test_rounds_stop_when_the_time_is_used_up() -> None:
    """Without first call and warm-up; the round that has begun is finished, and its seconds are told."""
    machine = exact_machine()
    legs = legs_on(machine, running(1.5))
    taken = take(legs, rounds=99, plan=Plan(max_time_s=10))
    assert taken.stop_reason == f"out of time after {len(taken.legs['cpu'].rounds)} rounds"
    assert 10 <= taken.seconds < 10 + 6
    assert 2 <= len(taken.legs["gpu"].rounds) == len(taken.legs["cpu"].rounds) < 5


def test_a_gpu_that_idled_is_loaded_again_before_its_turn() -> None:
    """Its clock fell while the CPU was at work; 20 ms of load bring it back, untimed."""
    cold_until = 0.0
    last_busy = 0.0
    machine = exact_machine(replace(EXACT))

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal cold_until, last_busy
            if device.card is None:
                device.run(0.5)
                return
            now = machine.clock.time
            if now - last_busy > 0.2:
                cold_until = now + 0.015
            device.run(0.002 if now < cold_until else 0.001)
            device.synchronize()
            last_busy = machine.clock.time

        return run

    taken = take(legs_on(machine, work)).legs["gpu"]
    assert time_of(taken) == pytest.approx(0.001, rel=0.02)
    assert max(sample for each in taken.rounds for sample in each.samples["wall_time"]) < 0.00105


def test_a_gpu_that_did_not_idle_is_not_loaded_again() -> None:
    """In every second round its turn follows its last one: one call is made then, and not 20 ms of them."""
    machine = exact_machine()
    between: list[int] = []

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            device.run(cpu=0.03, gpu=0.001)
            if device.card is not None and between:
                between[-1] += 1

        return run

    def say(what: str) -> None:
        if what.startswith("round"):
            between.append(0)

    taken = take(legs_on(machine, work), rounds=4, watch=texts(say), device_time=()).legs["gpu"]
    others = [5 * each.iterations + 1 for each in taken.rounds]  # the samples, and a call to ask the board under load
    assert [calls - more for calls, more in zip(between, others, strict=True)] == [19, 1, 19, 1]


# -- what is not believed ---------------------------------------------------------------------------------------------


class Hiccup:
    """Work of 10 ms a call, and 0.2 s more in as many calls as are asked for."""

    def __init__(self, only_on: str) -> None:
        self.only_on = only_on
        self.slow_calls = 0

    def __call__(self, device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            device.run(0.01)
            if self.slow_calls and device.info.id.type == self.only_on:
                self.slow_calls -= 1
                device.host(0.2)

        return run


@pytest.mark.parametrize(("leg", "other", "kind"), [("cpu", "gpu", "cpu"), ("gpu", "cpu", "simulated")])
def test_a_round_in_which_something_was_compiled_is_a_doubt_about_its_leg(leg: Any, other: Any, kind: str) -> None:
    """Twenty times as long as the others: no verdict on that leg's time can be trusted, either way."""
    work = Hiccup(kind)

    def watch(what: str) -> None:
        work.slow_calls = 99 if what.startswith("round 2 ") else 0

    taken = take(legs_on(exact_machine(), work), watch=texts(watch))
    (caution,) = taken.legs[leg].cautions
    assert (caution.code, set(caution.legs or ())) == ("compiled", {leg})
    assert caution.spoils == {
        (family, outcome) for family in ("time", "cpu time", "ratio") for outcome in ("met", "missed")
    }
    assert " times as long as usual (0.2" in caution.message
    assert taken.legs[other].cautions == ()


def test_one_slow_sample_does_not_move_its_round() -> None:
    """A round is the median of its samples, so that is no cause for doubt."""
    work = Hiccup("cpu")

    def watch(what: str) -> None:
        work.slow_calls = 1 if what.startswith("round 2 ") else 0

    taken = take([leg_on(exact_machine(), work, "cpu")], watch=texts(watch)).legs["cpu"]
    assert max(taken.rounds[1].samples["wall_time"]) > 0.2
    assert taken.rounds[1].value("wall_time") == pytest.approx(0.01, rel=0.01)
    assert taken.cautions == ()


def test_ordinary_noise_is_no_compilation() -> None:
    """Neither samples that are a little slow, nor very short ones that are three times as long."""
    for noise in (0.003, 0.3):
        machine = SimulatedBackend((Card(noise=noise),), seed=4)
        codes = {each.code for each in take([leg_on(machine, running(0.005))], rounds=20).legs["gpu"].cautions}
        assert "compiled" not in codes


def test_an_error_of_the_workload_says_which_leg_and_call_it_was() -> None:
    """As a note on the user's own exception, which is raised as it is."""
    machine = exact_machine()
    for stage, when in (
        ("first call", "in the first call"),
        ("warming", "during warm-up"),
        ("round 2", "in round 2"),
    ):
        reached: list[str] = []

        def work(device: SimulatedDevice, reached: list[str] = reached) -> Callable[[], None]:
            def run() -> None:
                if reached:
                    raise KeyError("mine")
                device.run(0.001)

            return run

        def watch(what: str, reached: list[str] = reached, stage: str = stage) -> None:
            if what.startswith(stage):
                reached.append(what)

        with pytest.raises(KeyError, match="mine") as error:
            take([leg_on(machine, work)], watch=texts(watch))
        if sys.version_info >= (3, 11):
            assert error.value.__notes__ == [f"raised by the gpu leg on simulated:0 of 'work', {when}"]


def test_outputs_of_the_first_calls_are_compared_before_anything_is_timed(machine: SimulatedBackend) -> None:
    """A wrong result costs no measurement."""
    calls: list[str] = []

    def work(device: SimulatedDevice) -> Callable[[], str]:
        def run() -> str:
            calls.append(device.info.id.type)
            device.run(0.001)
            return f"output on {device.info.id}"

        return run

    def compare(outputs: Any) -> None:
        assert outputs == {"cpu": "output on cpu", "gpu": "output on simulated:0"}
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        take(legs_on(machine, work), compare=compare)
    assert calls == ["cpu", "simulated"]


# -- accuracy ---------------------------------------------------------------------------------------------------------


@settings(derandomize=True, deadline=None, max_examples=100)
@given(
    kernel=st.floats(2e-6, 5e-3),
    launches=st.integers(1, 5),
    prelude=st.floats(0, 100e-6),
    resolution=st.sampled_from([32e-9, 500e-9, 1024e-9]),
    latency=st.floats(0.5e-6, 4e-6),
)
def test_wall_time_is_within_one_per_cent_of_the_truth(
    kernel: float, launches: int, prelude: float, resolution: float, latency: float
) -> None:
    """Back to back, a call takes as long as the slower of host (prelude, launches) and device (kernels).

    Clock reads and one synchronization stay below 1 % of a sample.
    """
    card = Card(noise=0.0, resolution_s=resolution, latency_s=latency)
    machine = exact_machine(card)

    work = kernels(kernel, launches, prelude)
    taken = take([leg_on(machine, work)], rounds=1, plan=BRIEF).legs["gpu"]
    truth = max(prelude + launches * card.launch_s, launches * kernel)
    last_kernels = launches * kernel / taken.rounds[0].iterations  # the device is behind the host by one call at most
    assert truth * 0.99 <= time_of(taken) <= truth * 1.01 + last_kernels + 2e-6 / taken.rounds[0].iterations


@settings(derandomize=True, deadline=None, max_examples=60)
@given(seconds=st.floats(1e-6, 2.0))
def test_cpu_time_is_within_one_per_cent_of_the_truth(seconds: float) -> None:
    """A CPU is busy for as long as the call lasts."""
    taken = take([leg_on(exact_machine(), running(seconds), "cpu")], rounds=1, plan=BRIEF).legs["cpu"]
    assert time_of(taken) == pytest.approx(seconds, rel=0.01)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(factor=st.sampled_from([0.25, 0.5, 4.0, 16.0]))
def test_a_machine_slower_by_a_factor_measures_that_factor(factor: float) -> None:
    """Scale: the unit of time is nobody's business."""

    def measured(scale: float) -> float:
        return time_of(take([leg_on(exact_machine(), running(1e-3 * scale))]).legs["gpu"])

    assert measured(factor) / measured(1.0) == pytest.approx(factor, rel=0.01)


def test_noise_of_single_kernels_averages_out() -> None:
    """Kernels that vary by 10 % give medians of rounds within 2 % of the truth."""
    for seed in range(10):
        machine = SimulatedBackend((Card(noise=0.1),), seed=seed)
        taken = take([leg_on(machine, running(1e-4))], rounds=6).legs["gpu"]
        assert time_of(taken) == pytest.approx(1e-4 * math.exp(0.1**2 / 2), rel=0.02)


def test_a_round_stores_what_every_sample_was() -> None:
    """Both metrics, one figure per sample."""
    (first, *_) = take([leg_on(exact_machine(), running(0.001))]).legs["gpu"].rounds
    assert isinstance(first, Round)
    assert {name: len(samples) for name, samples in first.samples.items()} == {"wall_time": 5, "device_time": 20}


def test_what_measuring_costs_is_stated_with_each_round() -> None:
    """Of wall time one synchronization per sample, of device time the clock of the events."""
    taken = take([leg_on(exact_machine(), running(0.001))]).legs["gpu"]
    for each in taken.rounds:
        assert each.overhead["wall_time"] == pytest.approx(EXACT.sync_s / (each.iterations * 0.001), rel=0.1)
        assert each.overhead["device_time"] == pytest.approx(1.5 * EXACT.resolution_s / 0.001, rel=0.1)


def test_the_passes_of_a_round_are_mirrored_as_the_legs_are() -> None:
    """Wall time, then device time; then device time, then wall time: else a drift would hit one of them more."""
    machine = exact_machine()
    device = device_of(machine)
    order: list[str] = []
    backlog, flush_wall = device.backlog, WallTime.begin
    assert backlog is not None

    def occupy(seconds: float) -> None:
        order.append("device")
        backlog(seconds)

    class Noted(WallTime):
        def begin(self) -> Any:
            order.append("wall")
            return flush_wall(self)

    def watch(what: str) -> None:
        order.append(what.partition(",")[0])

    device.backlog = occupy
    leg = leg_on(machine, running(0.001))
    take_rounds(
        [leg], Plan(), After(2), lambda plan: [Noted(plan.device)], threads=1, device_time=("gpu",), watch=texts(watch)
    )
    first = order[order.index("round 1 of at most 24") + 1 : order.index("round 2 of at most 24")]
    second = order[order.index("round 2 of at most 24") + 1 : order.index("round 3 of at most 24")]
    assert (first[0], first[-1]) == ("wall", "device")
    assert (second[0], second[-1]) == ("device", "wall")
