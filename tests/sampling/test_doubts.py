"""What the rounds give reason to doubt, and what they do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pytest_gpuprof.backends.simulated import SimulatedDevice
from pytest_gpuprof.core.results import Caution, Round
from pytest_gpuprof.sampling import doubts
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.probe import Probe
from tests.sampling.machines import device_of, exact_machine, leg_on, legs_on, running, take, texts

LEG = leg_on(exact_machine(), running(1e-3))


def rounds_of(*samples: Sequence[float], iterations: int = 10) -> list[Round]:
    return [Round(index, 0, iterations, {"wall_time": tuple(each)}) for index, each in enumerate(samples)]


def seen(rounds: Sequence[Round], calling_s: float = 0.0) -> list[Caution]:
    return list(doubts.of_rounds(LEG, rounds, calling_s))


STEADY = (0.001, 0.001, 0.001)


@pytest.mark.parametrize(
    ("odd", "iterations", "doubtful"),
    [
        ((0.001, 0.05, 0.05), 10, True),  # the round's median, 0.5 s a sample
        ((0.001, 0.001, 0.05), 10, True),  # one sample of 0.5 s, which the median hides
        ((0.001, 0.001, 0.02), 10, False),  # one sample of 0.2 s: a busy machine does that
        ((0.0025, 0.0025, 0.0025), 1000, False),  # not three times as long
        ((0.005, 0.005, 0.005), 10, False),  # 50 ms a sample, which is not 50 ms longer
        ((0.007, 0.007, 0.007), 10, True),
    ],
)
def test_a_round_that_saw_a_compilation(odd: Sequence[float], iterations: int, doubtful: bool) -> None:
    """Three times as long, and long enough that no ordinary disturbance explains it."""
    found = seen(rounds_of(STEADY, odd, STEADY, STEADY, iterations=iterations))
    assert [caution.code for caution in found] == (["compiled"] if doubtful else [])


def test_two_rounds_do_not_tell_which_of_them_is_usual() -> None:
    """Nor does one."""
    assert seen(rounds_of(STEADY, (0.1, 0.1, 0.1))) == []
    assert seen(rounds_of((0.1, 0.1, 0.1))) == []
    assert seen([]) == []


def test_a_callable_that_is_mostly_calling() -> None:
    """A twentieth is told, with both figures; it spoils nothing by itself: the bound of the figure does."""
    (caution,) = seen(rounds_of((1e-6,)), calling_s=60e-9)
    assert (caution.code, caution.spoils) == ("call overhead", frozenset())
    assert "takes 1000 ns, of which Python needs 60 ns" in caution.message
    assert seen(rounds_of((1e-6,)), calling_s=40e-9) == []


def test_what_kind_of_workload_it_is_gives_doubts_of_its_own() -> None:
    """Escaped work, waiting inside, launching: each with its remedy, and only where it matters."""

    def codes(found: Probe, wanted: bool = True) -> list[str]:
        return [caution.code for caution in doubts.of_probe(LEG, found, wanted)]

    assert codes(Probe()) == []
    assert codes(Probe("device-bound", 5e-6, 1e-3)) == []
    assert codes(Probe("device-bound", 5e-6, 1e-3, escapes=True, leftover_s=1e-3)) == ["escaped"]
    assert codes(Probe("synchronizes", 1e-3, 1e-3)) == ["synchronizes"]
    assert codes(Probe("synchronizes", 1e-3, 1e-3), wanted=False) == []
    assert codes(Probe("launch-bound", 15e-6, 10e-6)) == []
    assert codes(Probe("launch-bound", 25e-6, 10e-6)) == ["launch-bound"]


class Compiling:
    """A framework that counts its compilations; the workload compiles at chosen calls."""

    def __init__(self) -> None:
        self.count = 0
        self.calls = 0
        self.at: set[int] = set()

    def builder(self, device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            self.calls += 1
            if device.card is not None and self.calls in self.at:
                self.count += 1
            device.run(1e-3)

        return run


@pytest.mark.parametrize(("within_rounds", "codes"), [(True, ["compiled"]), (False, [])])
def test_a_framework_that_counts_its_compilations_is_believed(within_rounds: bool, codes: list[str]) -> None:
    """One within the rounds makes verdicts inconclusive, however short; one in the warm-up is what warm-up is for."""
    machine, framework = exact_machine(), Compiling()
    device_of(machine).compilations = lambda: framework.count

    def watch(what: str) -> None:
        if what.startswith("round 2 " if within_rounds else "warming up on simulated"):
            framework.at = {framework.calls + 20, framework.calls + 40}

    taken = take(legs_on(machine, framework.builder), plan=Plan(warmup_s=0.05), watch=texts(watch))
    assert framework.count >= 1
    found = taken.legs["gpu"].cautions
    assert [caution.code for caution in found] == codes
    if codes:
        assert "the framework compiled " in found[0].message
        assert {family for family, _ in found[0].spoils} == {"time", "cpu time", "ratio"}
    assert taken.legs["cpu"].cautions == ()


def test_torch_compiling_within_the_rounds_is_seen() -> None:
    """The real torch.compile meets a new shape in the second round, and compiles again."""
    torch: Any = pytest.importorskip("torch", reason="NOT TESTED: torch is not installed")
    from pytest_gpuprof.backends.torch import TorchBackend
    from pytest_gpuprof.core.environment import DeviceId
    from pytest_gpuprof.core.workload import as_workload
    from pytest_gpuprof.sampling.legs import LegPlan

    size = [64]

    def work(device: Any) -> Callable[[], Any]:
        compiled = torch.compile(lambda x: torch.sin(x) * 2, backend="eager", dynamic=False)
        inputs = {n: torch.ones(n, n, device=device) for n in (64, 96)}
        return lambda: compiled(inputs[size[0]])

    def watch(what: str) -> None:
        size[0] = 96 if what.startswith("round 2 ") else 64

    device = TorchBackend().open(DeviceId("cpu"))
    torch.compiler.reset()
    leg = LegPlan("cpu", as_workload(work), device, {}, device.random.save())
    found = take([leg], plan=Plan(warmup_s=0.02, sample_s=0.002), watch=texts(watch)).legs["cpu"].cautions
    assert "the framework compiled once within the rounds of the cpu leg on cpu" in {each.message for each in found}
