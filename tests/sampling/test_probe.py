"""Finding out what kind of workload a leg is: does it do nothing, does its work escape the stream that is timed?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.backends.simulated import Card, SimulatedDevice
from pytest_gpuprof.core.errors import WorkloadError
from pytest_gpuprof.core.results import Leg
from pytest_gpuprof.core.workload import as_workload
from pytest_gpuprof.sampling.legs import built
from pytest_gpuprof.sampling.loop import seconds_of_calls
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.sampling.preflight import preflight
from pytest_gpuprof.sampling.probe import Probe, probe
from tests.sampling.machines import EXACT, exact_machine, kernels, leg_on, take


def probed(
    builder: Callable[..., Any], leg: Leg = "gpu", card: Card = EXACT, *, backlog: bool = True, **options: Any
) -> Probe:
    """Probe a workload after a few calls, as the sampler does after the warm-up."""
    machine = exact_machine(card)
    plan = leg_on(machine, builder, leg, **options)
    if not backlog and isinstance(plan.device, SimulatedDevice):
        plan.device.backlog = None
    with built(plan) as ready:
        return probe(ready, seconds_of_calls(ready, 4) / 4, preflight(plan.device))


def nothing(device: Any) -> Callable[[], None]:
    return lambda: None


def stored(device: Any) -> Callable[[], Any]:
    result = object()
    device.run(0.01)
    return lambda: result


@pytest.mark.parametrize("builder", [nothing, stored])
@pytest.mark.parametrize("leg", ["cpu", "gpu"])
@pytest.mark.parametrize("backlog", [True, False])
@pytest.mark.parametrize("options", [{}, {"reset": lambda: None}], ids=["plain", "reset"])
def test_a_call_that_computes_nothing_is_refused(
    builder: Callable[..., Any], leg: Leg, backlog: bool, options: dict[str, Any]
) -> None:
    """An empty function, or a result that was computed before; on either leg, with or without a backlog."""
    with pytest.raises(WorkloadError, match=r"does nothing on (cpu|simulated:0): .*computes anew each time") as error:
        probed(builder, leg, backlog=backlog, **options)
    assert repr(builder.__name__) in str(error.value)


@pytest.mark.parametrize("options", [{}, {"reset": lambda: None}], ids=["plain", "reset"])
def test_a_small_call_beside_a_slow_synchronization(options: dict[str, Any]) -> None:
    """Where there are no events each figure holds a synchronization; 5 µs beside its 100 µs are work all the same."""
    plan = leg_on(exact_machine(), lambda device: lambda: device.host(5e-6), "gpu", **options)
    assert isinstance(plan.device, SimulatedDevice)
    device, wait = plan.device, plan.device.synchronize

    def slowly() -> None:
        wait()
        device.host(100e-6)

    device.synchronize = slowly  # type: ignore[method-assign]  # as JAX waits: by a computation
    with built(plan) as ready:
        assert probe(ready, 10e-6, None) == Probe()
    with built(replace(plan, workload=as_workload(stored, **options))) as idle:
        with pytest.raises(WorkloadError, match="does nothing on simulated:0"):
            probe(idle, 1e-6, None)


def test_work_on_the_host_only_is_nothing_to_the_gpu() -> None:
    """A callable that forgot its device would be measured as a very fast GPU."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        return lambda: device.host(1e-3)

    with pytest.raises(WorkloadError, match="give its work to the device that the builder gets"):
        probed(work)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    kernel=st.floats(2e-6, 5e-3),
    launches=st.integers(1, 5),
    prelude=st.floats(0, 100e-6),
    resolution=st.sampled_from([32e-9, 500e-9, 1024e-9]),
    latency=st.floats(0.5e-6, 4e-6),
    synchronizes=st.booleans(),
)
def test_work_is_never_called_nothing_nor_said_to_escape(
    kernel: float, launches: int, prelude: float, resolution: float, latency: float, synchronizes: bool
) -> None:
    """Kernels of 2 µs to 5 ms, launched with more or less ado, whether or not the callable waits for them."""
    work = kernels(kernel, launches, prelude, synchronizes=synchronizes)
    assert not probed(work, card=replace(EXACT, resolution_s=resolution, latency_s=latency)).escapes


@settings(derandomize=True, deadline=None, max_examples=60)
@given(seconds=st.floats(1e-6, 5e-3))
def test_work_on_the_cpu_is_never_called_nothing(seconds: float) -> None:
    """A microsecond is well above calling an empty function."""
    assert probed(lambda device: lambda: device.run(seconds), "cpu") == Probe()


@settings(derandomize=True, deadline=None, max_examples=60)
@given(kernel=st.floats(2e-6, 5e-3), escaped=st.floats(60e-6, 5e-3))
def test_work_on_another_stream_is_found(kernel: float, escaped: float) -> None:
    """Events on our stream would not see it; how long the device went on is told."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            device.run(kernel)
            device.run(kernel + escaped, stream=1)

        return run

    found = probed(work)
    assert found.escapes is (escaped > max(20e-6, 0.1 * kernel) + 10e-6) or abs(escaped - 0.1 * kernel) < 40e-6
    assert found.leftover_s == pytest.approx(escaped, abs=12e-6)


def test_work_that_ends_with_the_timed_stream_does_not_escape() -> None:
    """Another stream that is done first changes nothing."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            device.run(1e-4, stream=1)
            device.run(1e-3)

        return run

    assert not probed(work).escapes


def test_all_work_on_another_stream_is_refused() -> None:
    """The stream that is timed has nothing to do, so no event and no backlog could be trusted."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        return lambda: device.run(1e-3, stream=1)

    with pytest.raises(WorkloadError, match="give its work to the device"):
        probed(work)


def test_escaped_work_is_a_doubt_with_its_remedy() -> None:
    """Wall time sees it all, so no verdict on that is spoilt."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            device.run(1e-4)
            device.run(1e-3, stream=1)

        return run

    taken = take([leg_on(exact_machine(), work)], plan=Plan(warmup_s=0.05)).legs["gpu"]
    (caution,) = taken.cautions
    assert taken.probe.escapes
    assert caution.code == "escaped"
    assert "let the current stream wait for the other one" in caution.remedy
    assert caution.spoils == frozenset()


def test_a_long_call_is_not_repeated_to_find_out_that_it_works() -> None:
    """A call of seconds does something."""
    machine = exact_machine()
    calls = 0

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal calls
            calls += 1
            device.run(5.0)

        return run

    with built(leg_on(machine, work, "cpu")) as ready:
        assert probe(ready, 5.0, None) == Probe()
    assert calls == 0


def test_a_workload_that_waits_inside_does_not_hang_behind_the_backlog() -> None:
    """The backlog is finite, and short."""
    machine = exact_machine()

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            device.run(1e-5)
            device.synchronize()

        return run

    with built(leg_on(machine, work)) as ready:
        began = machine.clock.time
        probe(ready, 3e-5, preflight(ready.plan.device))
    assert machine.clock.time - began < 0.3


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    kernel=st.floats(2e-6, 5e-3),
    launches=st.integers(1, 5),
    prelude=st.floats(0, 100e-6),
    resolution=st.sampled_from([32e-9, 500e-9, 1024e-9]),
    latency=st.floats(0.5e-6, 4e-6),
    noise=st.sampled_from([0.0, 0.01, 0.05]),
    synchronizes=st.booleans(),
)
def test_waiting_inside_is_found_and_nothing_else_is_taken_for_it(
    kernel: float, launches: int, prelude: float, resolution: float, latency: float, noise: float, synchronizes: bool
) -> None:
    """Whether a call returns before or after what it gave to the device is done."""
    work = kernels(kernel, launches, prelude, synchronizes=synchronizes)
    card = replace(EXACT, resolution_s=resolution, latency_s=latency, noise=noise)
    assert probed(work, card=card).synchronizes is synchronizes


@pytest.mark.parametrize(
    ("prelude", "kernel", "regime"), [(0.0, 100e-6, "device-bound"), (100e-6, 10e-6, "launch-bound")]
)
def test_who_waits_for_whom(prelude: float, kernel: float, regime: str) -> None:
    """The device for the host, or the host for the device; both times are told."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            device.host(prelude)
            device.run(kernel)

        return run

    found = probed(work)
    assert found.regime == regime
    assert found.host_s == pytest.approx(prelude + EXACT.launch_s, abs=1e-6)
    assert found.device_s == pytest.approx(kernel, abs=2e-6)


def test_a_call_of_seconds_is_probed_by_two_calls_at_most() -> None:
    """What it is has to be found out, and minutes must not be spent on that."""
    calls = 0

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal calls
            calls += 1
            device.run(5.0)
            device.synchronize()

        return run

    with built(leg_on(exact_machine(), work)) as ready:
        events = preflight(ready.plan.device)
        found = probe(ready, 5.0, events)
    assert calls <= 2
    assert not found.escapes


def growing(
    seconds: float, factor: float, *, synchronizes: bool = False
) -> Callable[[SimulatedDevice], Callable[[], None]]:
    """Return a builder of calls that keep the host busy for so long, and each by a factor longer than the last."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        takes = seconds

        def run() -> None:
            nonlocal takes
            device.host(takes)
            device.run(2e-5)
            if synchronizes:
                device.synchronize()
            takes *= factor

        return run

    return work


@pytest.mark.parametrize("seconds", [20e-6, 1e-3, 0.1, 3.0])
@pytest.mark.parametrize("factor", [1.05, 1.2, 1 / 1.2])
@pytest.mark.parametrize("synchronizes", [True, False])
def test_calls_that_grow_are_told_apart_from_calls_that_wait(seconds: float, factor: float, synchronizes: bool) -> None:
    """Each call takes the host a fifth longer than the last, or less long; only the device can be waited for."""
    work = growing(seconds, factor, synchronizes=synchronizes)
    with built(leg_on(exact_machine(), work)) as ready:
        seconds_per_call = seconds_of_calls(ready, 1)
        found = probe(ready, seconds_per_call, preflight(ready.plan.device))
    # What keeps the host busy for longer than the longest backlog finds it gone, and has nothing to wait for.
    assert found.synchronizes is (synchronizes and seconds < 1)


@pytest.mark.parametrize("factor", [1.2, 1.8])
@pytest.mark.parametrize("seconds", [1e-3, 0.02, 0.2, 0.8])
def test_calls_that_grew_while_they_were_warmed_up_do_not_wait(seconds: float, factor: float) -> None:
    """A mean over many calls of the warm-up says little about the next one, which may be longer than any backlog."""
    with built(leg_on(exact_machine(), growing(seconds, factor))) as ready:
        found = probe(ready, 0.1 * seconds, preflight(ready.plan.device))
    assert not found.synchronizes


@pytest.mark.parametrize("synchronizes", [True, False])
def test_every_second_call_may_be_slow(synchronizes: bool) -> None:
    """As with two buffers in turn: looks with and without a backlog meet both kinds."""

    def work(device: SimulatedDevice) -> Callable[[], None]:
        slow = False

        def run() -> None:
            nonlocal slow
            device.host(1e-4 if slow else 5e-3)
            device.run(1e-4)
            if synchronizes:
                device.synchronize()
            slow = not slow

        return run

    assert probed(work).synchronizes is synchronizes


def test_what_plainly_works_is_not_called_many_times_over() -> None:
    """Ten looks at single calls tell all there is to tell of kernels of a millisecond."""
    calls = 0

    def work(device: SimulatedDevice) -> Callable[[], None]:
        def run() -> None:
            nonlocal calls
            calls += 1
            device.run(1e-3)

        return run

    probed(work)
    assert calls == 4 + 10  # four before the probe


@pytest.mark.parametrize("prelude", [5e-3, 0.1])
def test_a_host_that_is_slow_by_itself_does_not_wait(prelude: float) -> None:
    """It returns no later behind a backlog than without one."""
    found = probed(kernels(1e-4, prelude=prelude))
    assert (found.regime, found.synchronizes) == ("launch-bound", False)
