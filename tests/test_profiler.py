"""The composition: only what is needed is measured, what is missed is measured again, and limits can be added later."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest

from pytest_gpuprof import Budget, Plan, Profile, Profiler, hookimpl, profile
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend, SimulatedContextError, SimulatedDevice
from pytest_gpuprof.core.errors import DeviceBusy, DeviceError, OutputsDiffer, Unavailable, UsageError, WorkloadError
from pytest_gpuprof.core.progress import Progress
from pytest_gpuprof.core.protocols import Device
from pytest_gpuprof.core.results import Caution, Reading
from pytest_gpuprof.job import METRICS_ASKED, Job
from pytest_gpuprof.sampling.plan import ENERGY_PRESETS
from tests.sampling.machines import texts

BRIEF = Plan(warmup_s=0.05, window_s=0.5, settle_s=0.2)
QUICK = Plan(warmup_s=0.05, **ENERGY_PRESETS["quick"])


class Machine:
    """Brings a simulated machine as a plugin; a package counter too, if it has one."""

    def __init__(self, backend: SimulatedBackend, package_w: float | None = None) -> None:
        self.backend = backend
        self.package_w = package_w

    @hookimpl
    def pytest_gpuprof_backends(self) -> list[SimulatedBackend]:
        return [self.backend]

    @hookimpl
    def pytest_gpuprof_package_energy(self, info: Any, device: Any) -> Any:
        return None if self.package_w is None else Package(self.backend, self.package_w)


class Package:
    """A package counter of constant power, without a refresh that could be seen."""

    period_s = 0.001
    gain_error = 0.0

    def __init__(self, backend: SimulatedBackend, watts: float) -> None:
        self._backend = backend
        self._watts = watts

    def read(self) -> Reading:
        return Reading(self._backend.clock.time * self._watts)

    def used_j(self, before: float, after: float, seconds: float) -> Reading:
        return Reading(after - before)


def profiler_on(
    backend: SimulatedBackend | None = None,
    *,
    devices: Sequence[str] = ("simulated:0",),
    package_w: float | None = None,
    plan: Plan = BRIEF,
    **options: Any,
) -> Profiler:
    """Return a profiler whose only GPUs are simulated, and judged."""
    machine = Machine(backend or SimulatedBackend(seed=1), package_w)
    return Profiler(plugins=[machine], devices=devices, backend="simulated", plan=plan, **options)


class Work:
    """A builder that counts how often it was built, by device."""

    def __init__(self, cpu: float = 0.02, gpu: float = 0.001, memory: int = 2**20) -> None:
        self.cpu, self.gpu, self.memory = cpu, gpu, memory
        self.built: Counter[str] = Counter()

    def __call__(self, device: SimulatedDevice) -> Callable[[], Any]:
        self.built[device.info.id.type] += 1
        held = device.allocate(self.memory)

        def run() -> str:
            device.run(cpu=self.cpu, gpu=self.gpu)
            return f"{held.nbytes} bytes"

        return run


def outcomes(taken: Profile) -> dict[str, str]:
    return {verdict.budget: verdict.outcome for verdict in taken.verdicts}


def measure(work: Any, *budgets: Budget, profiler: Profiler | None = None, **options: Any) -> Profile:
    return profile(work, name="work", budgets=budgets, profiler=profiler or profiler_on(), **options)


# -- only what is needed ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budgets", "built"),
    [
        ((), {"cpu": 1, "simulated": 1}),
        ((Budget("min_speedup", 5),), {"cpu": 1, "simulated": 1}),
        ((Budget("max_gpu_time", 1),), {"simulated": 1}),
        ((Budget("max_cpu_time", 1),), {"cpu": 1}),
        ((Budget("max_gpu_memory", "1 GiB"),), {"simulated": 2}),
        ((Budget("max_gpu_time", 1), Budget("max_gpu_memory", "1 GiB")), {"simulated": 3}),
        ((Budget("max_gpu_time", 1, stat="p90"),), {"simulated": 1}),
        ((Budget("max_energy", 100),), {"simulated": 1}),
        ((Budget("max_energy", 100), Budget("max_power", 1000)), {"simulated": 1}),
    ],
)
def test_builders_run_once_for_each_leg_and_pass_that_a_budget_needs(
    budgets: tuple[Budget, ...], built: dict[str, int]
) -> None:
    """No CPU leg for a GPU time, no rounds for memory; bytes are taken twice; without a budget, time on both legs."""
    work = Work()
    taken = measure(work, *budgets)
    assert dict(work.built) == built
    assert all(verdict.outcome == "met" for verdict in taken.verdicts)
    assert len(taken.verdicts) == len(budgets)


def test_energy_is_measured_only_if_somebody_asks() -> None:
    """It takes seconds."""
    taken = measure(Work(), Budget("min_speedup", 5), Budget("max_gpu_memory", "1 GiB"))
    with pytest.raises(Unavailable, match="name it in a budget or in --gpu-profile-metrics"):
        taken.gpu.energy_j
    assert measure(Work(), metrics=["energy"]).gpu.energy_j == pytest.approx(0.35, rel=0.1)


def test_metrics_that_are_asked_for_are_measured_beside_the_budgets() -> None:
    """On both legs; an unknown one is refused."""
    work = Work()
    taken = measure(work, Budget("max_gpu_time", 1), metrics="memory")
    assert taken.gpu.memory_bytes == taken.cpu.memory_bytes == 2**20
    assert not taken.cpu.rounds
    with pytest.raises(UsageError, match="there is no metric 'speed'; there are time, memory, energy, net-energy"):
        measure(work, metrics=["speed"])


@pytest.mark.parametrize("metrics", [["memory"], ["energy"], []])
def test_a_reference_is_timed_only_if_time_is_asked_for(metrics: list[str]) -> None:
    """Rounds on one leg alone would compare nothing."""
    work, other = Work(), Work(gpu=0.002)
    taken = measure(work, reference=other, metrics=metrics)
    assert not taken.reference.rounds
    assert not taken.gpu.rounds


def test_a_reference_is_compared_on_the_same_device() -> None:
    """Side by side with the GPU leg, and no CPU leg for it."""
    work, other = Work(), Work(gpu=0.002)
    taken = measure(work, Budget("min_speedup_over_reference", 1.5), reference=other)
    assert outcomes(taken) == {"min_speedup_over_reference": "met"}
    assert taken.speedup_over_reference == pytest.approx(2, rel=0.02)
    assert (dict(work.built), dict(other.built)) == ({"simulated": 1}, {"simulated": 1})
    with pytest.raises(WorkloadError, match="needs something to compare with; give it with reference="):
        measure(work, Budget("min_speedup_over_reference", 1.5))


def test_an_energy_ratio_needs_the_package_on_both_legs() -> None:
    """Without its counter the verdict says so; with it, joules of board and host are compared."""
    budget = Budget("min_energy_ratio", 2)
    lacking = measure(Work(), budget).verdicts[0]
    assert lacking.outcome == "unavailable"
    assert "no energy counter in its CPU package" in lacking.sentence
    taken = measure(Work(), budget, profiler=profiler_on(package_w=200))
    assert outcomes(taken) == {"min_energy_ratio": "met"}
    assert taken.energy_ratio == pytest.approx(20 * 200 / (200 + 350), rel=0.1)


def test_declared_work_gives_throughput() -> None:
    """Items per second and per joule."""
    taken = measure(Work(), Budget("min_throughput", "50 k/s"), Budget("min_items_per_joule", 100), items=100)
    assert outcomes(taken) == {"min_throughput": "met", "min_items_per_joule": "met"}
    assert taken.throughput == pytest.approx(100_000, rel=0.05)


# -- energy that is too close to call ---------------------------------------------------------------------------------


def energy_machine(**about: Any) -> SimulatedBackend:
    """Return a machine on which a call of 1 ms takes 0.35 J."""
    quiet = {"launch_s": 0.0, "latency_s": 0.0, "sync_s": 0.0, "noise": 0.0}
    return SimulatedBackend((Card(**{**quiet, **about}),), seed=1)


def windows_said(*budgets: Budget, machine: SimulatedBackend | None = None) -> tuple[Profile, list[str]]:
    """Measure, and return what was said before the first window of each series of them."""
    said: list[str] = []
    taken = measure(
        Work(), *budgets, profiler=profiler_on(machine or energy_machine(), plan=QUICK, watch=texts(said.append))
    )
    return taken, [each for each in said if "window 1 of" in each]


def test_an_energy_too_close_to_call_is_measured_once_more_with_longer_windows() -> None:
    """The new windows alone decide, and their figure is the one that is kept."""
    taken, said = windows_said(Budget("max_energy", 0.35 * 1.055))
    assert [each.partition(", about")[0] for each in said] == [
        "energy on simulated:0: window 1 of 3",
        "measuring again in longer windows, energy on simulated:0: window 1 of 3",
    ]
    assert outcomes(taken) == {"max_energy": "met"}
    plain, _ = windows_said(Budget("max_energy", 1))
    assert taken.gpu.reading("energy").repeatability < plain.gpu.reading("energy").repeatability


@pytest.mark.parametrize(
    ("left_s", "series", "outcome"), [(30, 2, "met"), (17, 1, "inconclusive"), (10, 0, "inconclusive")]
)
def test_energy_is_measured_only_as_far_as_time_is_left_for_it(left_s: float, series: int, outcome: str) -> None:
    """Up to 14 s, and 20 s with windows twice as long; without time for those, what was found before stays."""
    said: list[str] = []
    run = profiler_on(energy_machine(), plan=QUICK, watch=texts(said.append), left_s=lambda: left_s)
    taken = measure(Work(), Budget("max_energy", 0.35 * 1.055), profiler=run)
    assert outcomes(taken) == {"max_energy": outcome}
    assert len([each for each in said if "window 1 of" in each]) == series
    found = taken.gpu.reading("energy")
    assert (found.value is None) is (series == 0)
    if found.value is None:
        assert (found.cause, taken.gpu.reading("power").cause) == ("out of time", "out of time")
        assert taken.verdicts[0].sentence == (
            "max_energy is inconclusive: out of time, "
            "as energy takes up to 14 s on the gpu leg on simulated:0, and 10 s are left"
        )


def test_what_the_sensor_cannot_tell_is_not_measured_longer() -> None:
    """A limit within its own 5 % stays too close however long the windows are."""
    taken, said = windows_said(Budget("max_energy", 0.35 * 1.02))
    assert len(said) == 1
    assert outcomes(taken) == {"max_energy": "inconclusive"}


def test_a_doubtful_energy_is_not_measured_longer() -> None:
    """More of the same doubt decides nothing."""
    taken, said = windows_said(Budget("max_energy", 0.35 * 0.7 * 1.055), machine=energy_machine(energy_gain=0.7))
    assert len(said) == 1
    assert outcomes(taken) == {"max_energy": "inconclusive"}
    assert "suspect_counter" in {caution.code for caution in taken.cautions}


def test_an_energy_that_misses_only_in_longer_windows_is_still_measured_again() -> None:
    """With windows as long, for a miss counts only when it is seen twice."""
    taken, said = windows_said(Budget("max_energy", 0.35 * 0.925))
    assert outcomes(taken) == {"max_energy": "missed"}
    assert [each.partition(", about")[0] for each in said] == [
        "energy on simulated:0: window 1 of 3",
        "measuring again in longer windows, energy on simulated:0: window 1 of 3",
        "measuring again, energy on simulated:0: window 1 of 3",
    ]
    about_s = [float(each.partition("about ")[2].partition(" s")[0]) for each in said]
    assert about_s[0] < about_s[1] == about_s[2]


@pytest.mark.parametrize(("keyword", "limit"), [("max_energy", 0.35), ("max_power", 350.0), ("max_net_energy", 0.28)])
@pytest.mark.parametrize(("factor", "outcome"), [(0.65, "missed"), (1.5, "met")])
def test_energy_budgets_are_decided_well_away_from_their_limits(
    keyword: str, limit: float, factor: float, outcome: str
) -> None:
    """The sensor's 5 % and the windows' few are far less than that."""
    taken, _ = windows_said(Budget(keyword, limit * factor))
    assert outcomes(taken) == {keyword: outcome}


def test_a_workload_at_its_limit_fails_one_time_in_forty_at_most() -> None:
    """At twice the limit always, at a third of it never; on sensors whose gain differs by 5 % from card to card."""
    rng = random.Random(5)
    counts: Counter[tuple[float, str]] = Counter()
    for seed in range(60):
        for factor in (1 / 2, 1.0, 3.0):
            # The gain stands for a board's own; the power drifts besides.
            levels = [1 + 0.02 * rng.gauss(0, 1) for _ in range(64)]
            machine = energy_machine(
                energy_gain=1 + 0.025 * rng.gauss(0, 1),
                power_at=lambda now, levels=levels: levels[int(now / 0.37) % 64],
            )
            machine.clock.sleep(seed * 0.0371)
            run = profiler_on(machine, plan=QUICK)

            def work(device: SimulatedDevice) -> Callable[[], None]:
                return lambda: device.run(0.02)

            taken = profile(work, budgets=[Budget("max_energy", 7.0 * factor)], profiler=run)
            counts[(factor, taken.verdicts[0].outcome)] += 1
    assert counts[(1 / 2, "missed")] == counts[(3.0, "met")] == 60
    assert counts[(1.0, "missed")] <= 60 / 40


def test_the_refresh_of_a_counter_is_watched_once_per_run() -> None:
    """Later profiles know it."""
    machine = energy_machine()
    run = profiler_on(machine)
    moments = []
    for _ in range(2):
        start = machine.clock.time
        measure(Work(), Budget("max_energy", 1), profiler=run)
        moments.append(machine.clock.time - start)
    assert moments[0] - moments[1] > 1.0


def test_package_energy_is_measured_by_one_process_of_the_host_at_a_time() -> None:
    """It is counted for all of them; also where the workload has no CPU leg of its own."""
    held: list[list[str]] = []

    @contextmanager
    def exclusive(devices: Sequence[Device]) -> Iterator[Sequence[Caution]]:
        held.append([device.info.kind for device in devices])
        yield ()

    run = profiler_on(package_w=100, exclusive=exclusive)
    job = replace(run.jobs(Work())[0], cpu=Reading.unavailable("there is no CPU leg"), metrics=METRICS_ASKED["energy"])
    run.measure(job)
    run.measure(replace(job, metrics=METRICS_ASKED["memory"]))
    assert held == [["stand-in", "cpu"], ["stand-in"]]


# -- verdicts ---------------------------------------------------------------------------------------------------------


def test_every_budget_gets_its_verdict_in_order() -> None:
    """Also two of one keyword: none is lost."""
    taken = measure(Work(), Budget("max_gpu_time", 1), Budget("max_gpu_time", 1e-5), Budget("min_speedup", 5))
    assert [(each.budget, each.limit, each.outcome) for each in taken.verdicts] == [
        ("max_gpu_time", 1.0, "met"),
        ("max_gpu_time", 1e-5, "missed"),
        ("min_speedup", 5.0, "met"),
    ]


def test_what_is_missed_is_measured_again_once() -> None:
    """After a fresh warm-up, with only the legs that are needed; both figures are told."""
    work = Work()
    taken = measure(work, Budget("max_gpu_time", "100 us"), Budget("min_speedup", 5))
    assert outcomes(taken) == {"max_gpu_time": "missed", "min_speedup": "met"}
    assert dict(work.built) == {"cpu": 1, "simulated": 2}
    assert "; measured again: 1 ms" in taken.verdicts[0].sentence


def test_a_machine_that_was_slow_only_once_is_inconclusive() -> None:
    """It is not the workload's fault."""
    work = Work()

    def build(device: SimulatedDevice) -> Callable[[], Any]:
        run = work(device)
        seconds = 0.01 if work.built["simulated"] == 1 else 0.001
        return lambda: run() if device.card is None else device.run(seconds)

    verdict = measure(build, Budget("max_gpu_time", "5 ms")).verdicts[0]
    assert verdict.outcome == "inconclusive"
    assert "but measured again it was 1 ms, which does not miss it" in verdict.sentence


def test_bytes_are_not_measured_again() -> None:
    """They repeat exactly."""
    work = Work()
    assert outcomes(measure(work, Budget("max_gpu_memory", 1000))) == {"max_gpu_memory": "missed"}
    assert dict(work.built) == {"simulated": 2}


def test_resident_memory_that_is_missed_is_measured_again() -> None:
    """It does not repeat exactly, as an allocator's bytes do."""
    work = Work()
    assert outcomes(measure(work, Budget("max_cpu_memory", 1000))) == {"max_cpu_memory": "missed"}
    assert dict(work.built) == {"cpu": 4}


class Leaking(Work):
    """Keeps so many bytes of each call."""

    def __init__(self, leak: int, **amounts: Any) -> None:
        super().__init__(**amounts)
        self.leak = leak
        self.calls = 0

    def __call__(self, device: SimulatedDevice) -> Callable[[], Any]:
        run = super().__call__(device)
        kept: list[Any] = []

        def leaking() -> None:
            self.calls += 1
            kept.append(device.allocate(self.leak))
            run()

        return leaking


def test_a_leak_misses_its_budget_and_is_measured_alone() -> None:
    """No rounds, no peak, one build; it repeats exactly."""
    work = Leaking(4096)
    taken = measure(work, Budget("max_leak", "0 B"), Budget("max_leak", "4 KiB"))
    assert [verdict.outcome for verdict in taken.verdicts] == ["missed", "met"]
    assert taken.verdicts[0].sentence == ("GPU memory gained per call 4 KiB misses max_leak 0 B [exact]")
    assert dict(work.built) == {"simulated": 1}
    assert taken.gpu.calls == work.calls
    assert taken.gpu.leak_bytes == 4096
    assert outcomes(measure(Work(), Budget("max_leak", 0))) == {"max_leak": "met"}


def test_who_asks_for_memory_is_told_of_leaks_too() -> None:
    """On the GPU leg, unless its calls are long; a budget for the peak alone does not ask."""
    taken = measure(Leaking(4096), metrics="memory")
    assert taken.gpu.leak_bytes == 4096
    with pytest.raises(Unavailable, match="nothing asked for it"):
        taken.cpu.leak_bytes
    peak = measure(Work(), Budget("max_gpu_memory", "1 GiB"))
    with pytest.raises(Unavailable, match="nothing asked for it"):
        peak.gpu.leak_bytes


def test_calls_that_are_long_are_repeated_only_for_a_budget() -> None:
    """The reason names it, and requiring it later measures it."""
    taken = measure(Leaking(4096, gpu=2.0), metrics="memory")
    with pytest.raises(Unavailable, match="a call takes 2 s, and 8 more are made only for max_leak="):
        taken.gpu.leak_bytes
    assert taken.require(max_leak="1 MiB").gpu.leak_bytes == 4096


def test_memory_past_the_allocator_makes_a_met_peak_inconclusive() -> None:
    """And leaves a missed one missed."""

    def build(device: SimulatedDevice) -> Callable[[], Any]:
        held = device.allocate(2**20), device.allocate(2**30, counted=False)
        return lambda: held and None

    taken = measure(build, Budget("max_gpu_memory", "2 MiB"), Budget("max_gpu_memory", "512 KiB"))
    assert [verdict.outcome for verdict in taken.verdicts] == ["inconclusive", "missed"]
    assert "1 GiB of the device were taken that its allocator does not know of" in taken.verdicts[0].sentence


def test_throttling_spoils_only_what_was_missed() -> None:
    """The seconds are those of the machine's own clock."""
    machine = SimulatedBackend((Card(speed_at=lambda moment: 0.5 if moment > 1000.1 else 1.0),), seed=1)
    taken = measure(
        Work(), Budget("max_gpu_time", "1 ms"), Budget("max_gpu_time", "5 ms"), profiler=profiler_on(machine)
    )
    assert [verdict.outcome for verdict in taken.verdicts] == ["inconclusive", "met"]
    (caution,) = (each for each in taken.cautions if each.code == "throttled")
    percent = int(caution.message.partition("thermal for ")[2].partition("%")[0])
    assert 50 <= percent <= 100


class Hot:
    """Makes a machine whose card is at half its clock for a while, from the beginning of its second round."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began_s = math.inf
        self.machine = SimulatedBackend((Card(speed_at=self.speed_at),), seed=1)

    def speed_at(self, moment: float) -> float:
        return 0.5 if self.began_s < moment < self.began_s + self.seconds else 1.0

    def watch(self, progress: Progress) -> None:
        if progress.phase == "round" and progress.step == 2 and math.isinf(self.began_s):
            self.began_s = self.machine.clock.time

    def measure(self, *budgets: Budget, **options: Any) -> Profile:
        return measure(Work(), *budgets, profiler=profiler_on(self.machine, watch=self.watch), **options)


def test_rounds_in_which_the_gpu_was_hot_for_a_moment_are_taken_again() -> None:
    """They are in no figure and spoil nothing; that they were dropped is told, and the state is what it was."""
    taken = Hot(0.2).measure(Budget("max_gpu_time", "0.8 ms"), rounds=6)
    assert outcomes(taken) == {"max_gpu_time": "missed"}
    assert max(taken.gpu.per_round("wall_time")) < 1.05e-3
    assert [each.index for each in taken.gpu.rounds] == list(range(6))
    (caution,) = taken.cautions
    assert caution.code == "taken again"
    assert "dropped and taken again, because the GPU was throttled in" in caution.message
    assert taken.environment.state["gpu_held_back_thermal"] > 0


def test_what_stays_hot_is_kept_and_doubted() -> None:
    """After two attempts in vain; it takes no more time than those."""
    hot = Hot(1000.0)
    taken = hot.measure(Budget("max_gpu_time", "1 ms"), rounds=6)
    assert outcomes(taken) == {"max_gpu_time": "inconclusive"}
    assert [each.code for each in taken.cautions] == ["throttled", "taken again", "unstable clock"]
    assert "2 rounds were dropped and taken again" in str(taken)
    slow = [each > 1.5e-3 for each in taken.gpu.per_round("wall_time")]
    assert slow == [False, *[True] * 5]


def test_another_process_on_the_card_is_told() -> None:
    """With what it spoils."""
    machine = SimulatedBackend((Card(shared_from=1000.05),), seed=1)
    taken = measure(Work(), Budget("max_energy", 100), profiler=profiler_on(machine))
    assert outcomes(taken) == {"max_energy": "inconclusive"}
    assert "1 other process used the GPU meanwhile" in str(taken)


def test_doubts_about_having_the_device_alone_are_in_the_profile() -> None:
    """Whoever takes it says what remains doubtful."""
    taken_devices: list[list[str]] = []

    @contextmanager
    def exclusive(devices: Sequence[Device]) -> Iterator[Sequence[Caution]]:
        taken_devices.append([str(device.info.id) for device in devices])
        yield (Caution("workers", "others are at work", "use one"),)

    taken = measure(Work(), profiler=profiler_on(exclusive=exclusive))
    assert [caution.code for caution in taken.cautions] == ["workers"]
    assert taken_devices == [["cpu", "simulated:0"]]


def test_out_of_time_nothing_is_built() -> None:
    """And every budget is inconclusive."""
    work = Work()
    run = profiler_on()
    (job,) = run.jobs(work, name="work")
    taken = run.out_of_time(job, [Budget("min_speedup", 5), Budget("max_gpu_memory", 5)])
    assert outcomes(taken) == {"min_speedup": "inconclusive", "max_gpu_memory": "inconclusive"}
    assert not work.built


class Busy:
    """Others keep the devices, from some attempt on to have them."""

    def __init__(self, since: int) -> None:
        self.since = since

    def __call__(self, devices: Sequence[Device]) -> Any:
        self.since -= 1
        if self.since < 0:
            raise DeviceBusy("another process has been measuring for an hour; wait for it")
        return nullcontext(())


def test_budgets_are_inconclusive_where_others_keep_the_device() -> None:
    """As the failure table has it; a figure that nobody limits is an error, or nobody would see that it is missing."""
    taken = measure(Work(), Budget("min_speedup", 5), profiler=profiler_on(exclusive=Busy(0)))
    assert outcomes(taken) == {"min_speedup": "inconclusive"}
    assert taken.verdicts[0].sentence == (
        "min_speedup is inconclusive: out of time, as another process has been measuring for an hour; wait for it"
    )
    with pytest.raises(DeviceBusy, match="wait for it"):
        measure(Work(), profiler=profiler_on(exclusive=Busy(0)))


def test_a_miss_that_cannot_be_confirmed_for_others_is_inconclusive() -> None:
    """What was seen is told, and why it was not seen twice; of what is required later, what was measured stays."""
    taken = measure(Work(), Budget("max_gpu_time", "10 us"), profiler=profiler_on(exclusive=Busy(1)))
    assert outcomes(taken) == {"max_gpu_time": "inconclusive"}
    assert "misses max_gpu_time 10 µs [3 rounds], but it could not be measured again: " in taken.verdicts[0].sentence
    taken = measure(Work(), profiler=profiler_on(exclusive=Busy(1)))
    later = taken.require(max_gpu_memory="1 GiB", min_speedup=5)
    assert outcomes(later) == {"max_gpu_memory": "inconclusive", "min_speedup": "met"}
    assert later.environment == taken.environment
    assert later.gpu == taken.gpu


# -- require ----------------------------------------------------------------------------------------------------------


def test_requiring_measures_only_what_is_missing() -> None:
    """The rounds that are there are judged as they are."""
    work = Work()
    taken = measure(work)
    assert dict(work.built) == {"cpu": 1, "simulated": 1}
    judged = taken.require(min_speedup=5)
    assert dict(work.built) == {"cpu": 1, "simulated": 1}
    more = judged.require(max_gpu_memory="1 GiB", max_gpu_time="5 ms")
    assert dict(work.built) == {"cpu": 1, "simulated": 3}
    assert outcomes(more) == {"min_speedup": "met", "max_gpu_memory": "met", "max_gpu_time": "met"}
    assert more.gpu.memory_bytes == 2**20
    assert more.speedup == taken.speedup
    assert more.output == "1048576 bytes"


def test_rounds_stay_side_by_side_when_more_of_them_are_taken() -> None:
    """A limit too close to call is measured anew on every leg that has rounds, so that ratios stay comparable."""
    machine = SimulatedBackend((Card(noise=0.05),), seed=1, cpu_noise=0.05)
    taken = measure(Work(), profiler=profiler_on(machine))
    close = taken.require(max_gpu_time=taken.gpu.time_s * 1.001)
    assert outcomes(close) == {"max_gpu_time": "inconclusive"}
    assert len(close.cpu.rounds) == len(close.gpu.rounds) == 24
    assert close.speedup == pytest.approx(20, rel=0.05)


def test_a_doubt_about_rounds_goes_with_them() -> None:
    """Measured again without a compilation, the limit is met."""
    slow = False
    hiccups = 1

    def build(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            device.run(0.01)
            if slow:
                device.host(0.2)

        return run

    def watch(what: str) -> None:
        nonlocal slow, hiccups
        slow = what.startswith("round 2 ") and hiccups > 0
        hiccups -= slow

    run = profiler_on(watch=texts(watch))
    taken = measure(build, Budget("max_gpu_time", "20 ms"), rounds=3, profiler=run)
    assert [caution.code for caution in taken.cautions] == ["compiled"]
    assert outcomes(taken) == {"max_gpu_time": "inconclusive"}
    again = taken.require(max_gpu_time="20 ms")
    assert again.cautions == ()
    assert [verdict.outcome for verdict in again.verdicts] == ["inconclusive", "met"]


# -- devices ----------------------------------------------------------------------------------------------------------


def test_a_stand_in_that_nobody_named_is_measured_and_not_judged() -> None:
    """Naming it in the call is enough in a library, and not under pytest's own options."""
    work = Work()
    unnamed = measure(work, Budget("min_speedup", 5), profiler=profiler_on(devices=()))
    assert outcomes(unnamed) == {"min_speedup": "not enforced"}
    assert unnamed.speedup > 19
    named = measure(work, Budget("min_speedup", 5), profiler=profiler_on(devices=()), devices="simulated:0")
    assert outcomes(named) == {"min_speedup": "met"}
    strict = profiler_on(devices=(), only_devices_name=True)
    assert outcomes(measure(work, Budget("min_speedup", 5), profiler=strict, devices="simulated:0")) == {
        "min_speedup": "not enforced"
    }


@pytest.mark.parametrize(
    ("budgets", "options", "few"),
    [
        ([Budget("min_speedup", 5)], {}, True),
        ([Budget("min_speedup", 5), Budget("max_cpu_memory", "1 GiB")], {}, True),
        ([Budget("max_regression", 0.1, metric="speedup")], {}, True),
        ([Budget("min_speedup", 5), Budget("max_cpu_time", "20 ms")], {}, False),
        ([Budget("min_speedup", {"NVIDIA H200": 5})], {}, True),
        ([Budget("min_speedup", 5), Budget("max_cpu_time", {"a CPU that is not here": 1})], {}, False),
        ([Budget("min_speedup", 5)], {"metrics": ["time"]}, False),
        ([Budget("max_gpu_memory", "1 GiB")], {"metrics": ["time"]}, False),
        ([], {}, False),
    ],
)
@pytest.mark.parametrize("cards", [(), (Card(),)])
def test_what_cannot_be_judged_here_takes_the_least_rounds(
    cards: Sequence[Card], budgets: Sequence[Budget], options: Any, few: bool
) -> None:
    """Without a GPU or on a stand-in that nobody named; a figure that somebody asked for is known well all the same."""
    noisy = SimulatedBackend(cards, seed=1, cpu_noise=0.3)
    taken = measure(Work(), *budgets, profiler=profiler_on(noisy, devices=()), **options)
    assert len(taken.cpu.rounds) == (3 if few else 24)


@pytest.mark.parametrize(("cards", "few"), [((), True), ((Card(),), False)])
def test_transfers_that_somebody_asked_for_are_well_known(cards: Sequence[Card], few: bool) -> None:
    """Where there is a device to transfer to."""

    def moving(device: SimulatedDevice) -> Callable[[], Any]:
        held = device.allocate(2**20)
        return lambda: (device.run(cpu=0.02, gpu=0.001), held)

    noisy = SimulatedBackend(cards, seed=1, cpu_noise=0.3)
    taken = measure(moving, Budget("min_speedup", 5), profiler=profiler_on(noisy, devices=()), transfers=True)
    assert len(taken.cpu.rounds) == (3 if few else 24)


def test_a_limit_for_other_devices_leaves_the_figure_well_known() -> None:
    """On a device that is judged: who writes a limit for it looks at the figure first."""
    noisy = SimulatedBackend(seed=1, cpu_noise=0.3)
    taken = measure(Work(), Budget("min_speedup", {"NVIDIA H200": 5}), profiler=profiler_on(noisy))
    assert outcomes(taken) == {"min_speedup": "not enforced"}
    assert len(taken.cpu.rounds) == 24


def test_several_accelerators_are_several_profiles() -> None:
    """Each with a name of its own; a call that returns one profile refuses them."""
    run = profiler_on(SimulatedBackend((Card("A"), Card("B"))), devices=("simulated:0", "simulated:1"))
    assert [job.name for job in run.jobs(Work(), name="work")] == ["work@simulated:0", "work@simulated:1"]
    with pytest.raises(UsageError, match="2 accelerators; a profile has one, so call once for each"):
        measure(Work(), profiler=run)


def test_a_device_that_does_not_exist_is_refused_with_those_that_do() -> None:
    """Before anything is built."""
    work = Work()
    with pytest.raises(DeviceError, match=r"there is no device 'simulated:7'; there are .*simulated:0"):
        measure(work, devices="simulated:7")
    assert not work.built


def test_a_device_that_a_workload_broke_is_not_used_again() -> None:
    """The one who broke it is named, and everyone after is told; the CPU leg still runs."""

    def breaks(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            if device.card is not None:
                device.break_context()
            device.run(0.001)

        return run

    run = profiler_on()
    (job,) = run.jobs(breaks, name="breaks")
    with pytest.raises(SimulatedContextError):
        run.measure(job, owner="test_a.py::test_breaks")
    after = measure(Work(), Budget("max_gpu_time", 1), Budget("max_cpu_time", 1), profiler=run)
    assert outcomes(after) == {"max_gpu_time": "unavailable", "max_cpu_time": "met"}
    assert "simulated:0 was broken by test_a.py::test_breaks (SimulatedContextError: " in after.verdicts[0].sentence
    assert after.verdicts[0].cause == "no reading"


def test_an_error_that_breaks_nothing_leaves_the_device_usable() -> None:
    """The workload's own exception comes through, and the next one is measured."""

    def fails(device: SimulatedDevice) -> Callable[[], None]:
        raise KeyError("mine")

    run = profiler_on()
    with pytest.raises(KeyError, match="mine"):
        measure(fails, profiler=run)
    assert outcomes(measure(Work(), Budget("max_gpu_time", 1), profiler=run)) == {"max_gpu_time": "met"}


# -- check, output, run once ------------------------------------------------------------------------------------------


def answering(cpu: Any, gpu: Any) -> Callable[..., Any]:
    def build(device: SimulatedDevice) -> Callable[[], Any]:
        def run() -> Any:
            device.run(cpu=0.02, gpu=0.001)
            return cpu if device.card is None else gpu

        return run

    return build


@pytest.mark.parametrize("budget", [Budget("min_speedup", 5), Budget("max_gpu_time", 1), Budget("max_gpu_memory", 5)])
@pytest.mark.parametrize("check", [True, {"rtol": 1e-3}, {}, lambda cpu, gpu: cpu == gpu])
def test_legs_that_compute_different_things_are_not_judged(budget: Budget, check: Any) -> None:
    """Whatever is measured: a fast wrong answer is worth nothing, even if only the GPU leg has a budget."""
    with pytest.raises(OutputsDiffer, match="the legs of 'work' computed different things"):
        measure(answering(1.0, 2.0), budget, check=check)
    assert measure(answering(1.0, 1.0), budget, check=check).verdicts


def test_nothing_is_compared_unless_asked() -> None:
    """The output is the GPU leg's."""
    assert measure(answering(1.0, 2.0)).output == 2.0
    assert measure(answering(1.0, 2.0), Budget("max_cpu_time", 1)).output == 1.0


def test_running_once_measures_nothing() -> None:
    """One build, one call, the output, and a reason in place of each figure."""
    work = Work()
    run = profiler_on()
    (job,) = run.jobs(work, name="work")
    taken = run.run_once(job)
    assert dict(work.built) == {"simulated": 1}
    assert taken.output == "1048576 bytes"
    with pytest.raises(Unavailable, match="profiling is off: run with --gpu-profile"):
        taken.speedup


def test_running_once_without_a_gpu_takes_the_cpu_leg() -> None:
    """So that a test stays a functional test anywhere."""
    work = Work()
    run = profiler_on(SimulatedBackend(cards=()), devices=())
    (job,) = run.jobs(work, name="work")
    assert run.run_once(job).output == "1048576 bytes"
    assert dict(work.built) == {"cpu": 1}


def test_without_a_gpu_its_budgets_are_unavailable_for_want_of_a_device() -> None:
    """And those of the CPU are judged."""
    run = profiler_on(SimulatedBackend(cards=()), devices=())
    taken = measure(Work(), Budget("min_speedup", 5), Budget("max_cpu_time", 1), profiler=run)
    assert [(each.outcome, each.cause) for each in taken.verdicts] == [
        ("unavailable", "no device"),
        ("met", "no reading"),
    ]


# -- options of a call ------------------------------------------------------------------------------------------------


def test_a_call_can_say_how_it_is_measured() -> None:
    """Exactly so many rounds, other builders, parameters for them."""
    seen: list[Any] = []

    def build(device: SimulatedDevice, n: int = 1) -> Callable[[], None]:
        seen.append((device.info.id.type, n))
        return lambda: device.run(n * 1e-3)

    def sequential(device: SimulatedDevice) -> Callable[[], None]:
        seen.append("sequential")
        return lambda: device.run(0.05)

    taken = measure(build, rounds=5, params={"n": 3}, cpu=sequential, cpu_threads=2)
    assert seen == ["sequential", ("simulated", 3)]
    assert len(taken.gpu.rounds) == 5
    assert (taken.threads, taken.params) == (2, {"n": 3})
    assert taken.speedup == pytest.approx(0.05 / 0.003, rel=0.02)
    with pytest.raises(UsageError, match=r"params= is \[3\]; it takes a mapping"):
        measure(build, params=[3])


def test_every_leg_of_every_pass_starts_from_the_same_random_state() -> None:
    """So equal draws give equal inputs, also when something is measured again."""
    drawn: list[float] = []

    def build(device: SimulatedDevice) -> Callable[[], None]:
        drawn.append(random.random())
        return lambda: device.run(cpu=0.02, gpu=0.001)

    measure(build, Budget("min_speedup", 5), Budget("max_gpu_memory", "1 GiB"), Budget("max_gpu_time", "1 us"))
    assert len(drawn) == 5
    assert len(set(drawn)) == 1


def test_what_is_being_done_is_told_between_timed_regions() -> None:
    """For a progress line."""
    told: list[str] = []
    measure(
        Work(), Budget("min_speedup", 5), Budget("max_gpu_memory", 1), profiler=profiler_on(watch=texts(told.append))
    )
    assert told[:2] == ["setting up on cpu, then peak memory", "setting up on simulated:0, then peak memory"]
    assert "round 1 of at most 24, then peak memory" in told
    assert "peak memory on simulated:0" in told


def test_jobs_tell_what_would_be_measured() -> None:
    """Nothing is built for that."""
    work = Work()
    (job,) = profiler_on().jobs(work, name="work", items=lambda: 7)
    assert isinstance(job, Job)
    assert set(job.legs) == {"cpu", "gpu"}
    assert job.amounts["items"] == 7
    assert not work.built
