"""What is told of a measurement while it runs, and that nothing is told while something is timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_gpuprof.backends.simulated import SimulatedDevice
from pytest_gpuprof.core.progress import Estimate, Progress
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.time import WallTime
from pytest_gpuprof.sampling.energy import Instruments, energy_pass
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.sampler import take_rounds
from tests.sampling.machines import After, device_of, exact_machine, leg_on, legs_on, meters, running, take


class Timed:
    """Notes what is told while something is timed."""

    def __init__(self) -> None:
        self.open = 0
        self.regions = 0
        self.events = 0
        self.between_events = False
        self.told: list[Progress] = []

    def enter(self) -> None:
        self.open += 1
        self.regions += 1

    def leave(self) -> None:
        self.open -= 1

    def watch(self, progress: Progress) -> None:
        assert not self.open, f"{progress} was told within a timed region"
        assert not self.between_events, f"{progress} was told between two events"
        self.told.append(progress)


class NotedTime(WallTime):
    """Wall time whose spans are noted."""

    def __init__(self, device: Any, timed: Timed) -> None:
        super().__init__(device)
        self._timed = timed

    def begin(self) -> Any:
        span, timed = super().begin(), self._timed
        timed.enter()

        class Noted:
            def end(self) -> None:
                span.end()
                timed.leave()

            read = span.read

        return Noted()


def test_nothing_is_told_between_begin_and_end_of_a_meter() -> None:
    """Nor between the two events of a device's time, nor while the workload runs."""
    machine, timed = exact_machine(), Timed()
    timer = device_of(machine).timer
    assert timer is not None
    mark, elapsed_s = timer.mark, timer.elapsed_s

    def marked() -> Any:
        timed.events += 1
        timed.between_events = True
        return mark()

    def read(start: Any, end: Any) -> float:
        timed.between_events = False
        return elapsed_s(start, end)

    timer.mark, timer.elapsed_s = marked, read  # type: ignore[method-assign]

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            timed.enter()
            device.run(0.005)
            timed.leave()

        return run

    take_rounds(
        legs_on(machine, work), Plan(), After(4), lambda plan: [NotedTime(plan.device, timed)],
        threads=1, device_time=("gpu",), watch=timed.watch,
    )  # fmt: skip
    assert timed.open == 0
    assert timed.events > 40
    assert timed.regions > 200
    assert [each.phase for each in timed.told] == [
        *["setting up"] * 2, *["first call"] * 2, *["warming up"] * 2, *["round"] * 4
    ]  # fmt: skip


@pytest.mark.parametrize("net", [False, True])
def test_nothing_is_told_within_an_energy_window(net: bool) -> None:
    """A window lies between two readings of the counter."""
    machine, timed = exact_machine(), Timed()
    board = device_of(machine).board()
    assert board is not None
    counter = board.energy()
    assert not isinstance(counter, Reading)

    class Noted:
        period_s, gain_error, used_j = counter.period_s, counter.gain_error, counter.used_j
        reads = 0

        def read(self) -> Reading:
            self.reads += 1
            (timed.enter if self.reads % 2 else timed.leave)()
            return counter.read()

    noted = Noted()
    # The refresh is known, so that every reading begins or ends a window.
    instruments = Instruments({"energy": noted}, board, {"energy": 0.1})
    plan = Plan(window_s=0.5, settle_s=0.2)
    energy_pass(
        leg_on(machine, running(0.01)), instruments, plan, threads=1, quality="simulated", net=net, watch=timed.watch
    )
    assert noted.reads == 2 * (plan.trials + net)
    assert [each.step for each in timed.told if each.stage == "window"] == [1, 2, 3]


def test_the_seconds_left_are_a_limit() -> None:
    """Known after the first round; never less than it then takes, also where the deadline comes first."""
    for plan in (Plan(min_rounds=12, max_rounds=12), Plan(max_time_s=3.0, min_rounds=24)):
        machine = exact_machine()
        told: list[tuple[float, Progress]] = []
        take(
            legs_on(machine, running(0.03)), rounds=99, plan=plan,
            watch=lambda progress, told=told, machine=machine: told.append((machine.clock.time, progress)),
        )  # fmt: skip
        end_s = machine.clock.time
        first, *others = [(moment, progress) for moment, progress in told if progress.phase == "round"]
        assert first[1].left_s is None
        assert len(others) >= 5
        for moment, progress in others:
            assert progress.at_most
            assert progress.left_s is not None
            assert end_s - moment <= progress.left_s <= 1.5 * (end_s - moment) + 1


def test_steps_say_whether_fewer_may_do() -> None:
    """Exactly so many rounds are not "at most" so many."""
    for least, fewer in ((3, True), (5, False)):
        told: list[Progress] = []
        take([leg_on(exact_machine(), running(0.01))], plan=Plan(min_rounds=least, max_rounds=5), watch=told.append)
        assert {(each.steps, each.fewer) for each in told if each.phase == "round"} == {(5, fewer)}


def test_the_rules_estimate_is_passed_on() -> None:
    """As the look after the round before found it, and sooner than the rule may stop."""

    class Estimating(After):
        def enough(self, legs: Any) -> str | None:
            self.estimate = Estimate("rounds", max(map(len, legs.values())), "1")
            return super().enough(legs)

    told: list[Progress] = []
    plan = Plan(min_rounds=5, max_rounds=8)
    leg = leg_on(exact_machine(), running(0.01))
    taken = take_rounds([leg], plan, Estimating(2), meters, threads=1, watch=told.append)
    assert len(taken.legs["gpu"].rounds) == 5
    assert [each.estimate and each.estimate.value for each in told if each.phase == "round"] == [None, 1, 2, 3, 4]


def test_where_nobody_watches_nothing_more_is_computed() -> None:
    """The rule is looked at from the least number of rounds on, and no sooner."""
    for watch, looks in ((None, [5, 6]), (lambda progress: None, [1, 2, 3, 4, 5, 6])):
        rule = After(6)
        leg = leg_on(exact_machine(), running(0.01))
        take_rounds([leg], Plan(min_rounds=5), rule, meters, threads=1, watch=watch)
        assert [seen["gpu"] for seen in rule.seen] == looks


def test_a_simulated_machine_is_never_lasting() -> None:
    """Its minutes pass in a moment, so whoever shows progress waits."""
    told: list[Progress] = []
    take([leg_on(exact_machine(), running(100.0))], plan=Plan(max_time_s=1.0), watch=told.append)
    assert not any(each.lasting for each in told)


def test_a_real_machine_is_from_its_first_call_on() -> None:
    """A warm-up and rounds follow, and nothing can be told within the call."""
    from pytest_gpuprof.backends.numpy import NumpyBackend
    from pytest_gpuprof.core.environment import DeviceId
    from pytest_gpuprof.core.workload import as_workload
    from pytest_gpuprof.sampling.legs import LegPlan

    device = NumpyBackend().open(DeviceId("cpu"))
    leg = LegPlan("cpu", as_workload(lambda device: lambda: sum(range(100))), device, {}, device.random.save())
    told: list[Progress] = []
    plan = Plan(warmup_s=0.001, cpu_warmup_s=0.001, warmup_cap_s=0.01, min_rounds=1, max_rounds=1)
    take_rounds([leg], plan, After(1), meters, threads=1, watch=told.append)
    assert [(each.phase, each.lasting) for each in told] == [
        ("setting up", True), ("first call", True), ("warming up", True), ("round", False)
    ]  # fmt: skip
