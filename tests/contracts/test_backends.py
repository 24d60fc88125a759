"""One contract for every backend: what the measuring loop relies on, whatever framework is behind it.

Where an event clock is real, only relations are asserted that hold on a machine of any speed under any load: work
takes at least as long as the framework itself says, and no longer than the host has waited for it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import DeviceError
from pytest_gpuprof.core.protocols import Arrays, Timer

from .subjects import CASES, Case, Subject, host_work

HERE = [case for case in CASES if case.why_not_here() is None]
"""What this machine has; the first test tells what it has not."""

MIB = 1 << 20

SLACK = 1.01
"""Clocks of one machine may differ in speed by far less than 1 %."""

TICK_S = 5e-6
"""Two steps of a coarse event clock (HIP: 1 µs), and the rounding of one that counts milliseconds in 32 bits."""


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture
def subject(case: Case, request: pytest.FixtureRequest) -> Subject:
    return case.subject(request)


def every(*abilities: str) -> Callable[[Any], Any]:
    """Run a test on every case that can do all of these."""
    cases = [case for case in HERE if case.can.issuperset(abilities)]
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.id, indirect=True)


def timer_of(subject: Subject) -> Timer:
    assert subject.device.timer is not None
    return subject.device.timer


def arrays_of(subject: Subject) -> Arrays:
    assert subject.device.arrays is not None
    return subject.device.arrays


# --- What there is ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id, indirect=True)
def test_the_contract_is_tested_on(case: Case) -> None:
    """What the contract is not tested on here is told once, by name."""
    why = case.why_not_here()
    if why is not None:
        pytest.skip(f"NOT TESTED: the contract of a backend on {case.id}, because {why}")
    assert case in HERE


@every()
def test_devices_are_listed_best_first(case: Case, subject: Subject) -> None:
    """Each device has an id of its own and its backend's name, and the CPU comes last."""
    infos = subject.backend.devices()
    assert len({info.id for info in infos}) == len(infos)
    assert {info.backend for info in infos} == {subject.backend.name}
    order = [info.kind == "cpu" for info in infos]
    assert order == sorted(order)
    assert subject.device.info in infos
    assert subject.device.info.kind == case.kind


@every()
def test_a_stand_in_says_why(case: Case, subject: Subject) -> None:
    """What is measured in place of a GPU carries its word in its label, and nothing else does."""
    info = subject.device.info
    if case.kind == "stand-in":
        assert info.why_stand_in
        assert info.label == f"{info.name} ({info.why_stand_in})"
    else:
        assert info.label == info.name


@every()
@pytest.mark.parametrize("wrong", [DeviceId("cuda", 99), DeviceId("cpu", 3), DeviceId("nonsense")], ids=str)
def test_an_unknown_device_is_refused(subject: Subject, wrong: DeviceId) -> None:
    """The error lists the devices that exist."""
    with pytest.raises(DeviceError) as refusal:
        subject.backend.open(wrong)
    for info in subject.backend.devices():
        assert str(info.id) in str(refusal.value)


@every()
def test_an_index_too_high_is_refused(subject: Subject) -> None:
    """Counting beyond the last device of the type that exists is no device."""
    last = max(info.id for info in subject.backend.devices() if info.id.type == subject.device.info.id.type)
    with pytest.raises(DeviceError, match=str(subject.backend.devices()[0].id)):
        subject.backend.open(DeviceId(last.type, last.index + 1))


@every()
def test_builders_get_what_their_parameter_names(subject: Subject) -> None:
    """There is an object for each parameter that the backend serves."""
    assert subject.backend.parameters
    assert set(subject.backend.parameters) <= set(subject.device.arguments)
    assert None not in subject.device.arguments.values()


@every()
def test_abilities_are_offered_or_their_lack_is_explained(case: Case, subject: Subject) -> None:
    """An ability is an object or ``None``; a figure that needs a missing one can say why."""
    device = subject.device
    offered = {name for name in ("timer", "backlog", "arrays", "threads") if getattr(device, name) is not None}
    if device.info.backend == "simulated":
        offered.discard("arrays")  # its buffers have a size and no content, so the contract of values means nothing
    with device.watch_memory() as memory:
        if memory is not None:
            offered.add("memory")
    assert offered == case.can - {"current"}
    if "timer" not in offered:
        assert device.lacks["timer"]
    if "memory" not in offered and case.kind != "cpu":  # a CPU's memory is the process's
        assert device.lacks["memory"]


@every()
def test_the_host_clock_never_goes_back(subject: Subject) -> None:
    """It is monotonic, and no sleep is negative."""
    clock = subject.device.clock
    before = [clock.now() for _ in range(100)]
    clock.sleep(0.0)
    times = [*before, clock.now()]
    assert times == sorted(times)


# --- Work on a device -------------------------------------------------------------------------------------------------


@every("timer")
def test_synchronize_waits_for_all_work(subject: Subject) -> None:
    """When it returns, what was given to the device before is done, on whatever stream."""
    with subject.device.active():
        done = subject.work()
        subject.device.synchronize()
        assert done()
        subject.device.synchronize()  # an idle device is no error


@every("current")
def test_the_device_is_current_while_active(subject: Subject) -> None:
    """It is the framework's current device in the context, and what was current before is so again."""
    subject.make_other_current()
    before = subject.current()
    with subject.device.active():
        assert subject.current() == subject.device.info.id.index
    assert subject.current() == before


@every("current")
def test_the_current_device_is_restored_after_an_error(subject: Subject) -> None:
    """Also a workload that raises leaves the framework as it was."""
    subject.make_other_current()
    before = subject.current()

    def fail_elsewhere() -> None:
        with subject.device.active():
            subject.make_other_current()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_elsewhere()
    assert subject.current() == before


@every()
def test_errors_pass_through(subject: Subject) -> None:
    """No context of a device swallows what a workload raises."""
    with pytest.raises(ZeroDivisionError), subject.device.active(), subject.device.watch_memory():
        raise ZeroDivisionError


# --- Time -------------------------------------------------------------------------------------------------------------


@every("timer")
def test_events_are_in_order_and_add_up(subject: Subject) -> None:
    """No event is before an earlier one, and the times between neighbours sum to the time between the ends."""
    timer = timer_of(subject)
    with subject.device.active():
        marks = [timer.mark()]
        for _ in range(3):
            subject.known_work()
            marks.append(timer.mark())
        timer.wait(marks[-1])
        parts = [timer.elapsed_s(earlier, later) for earlier, later in pairwise(marks)]
        assert all(part >= 0 for part in parts)
        assert sum(parts) == pytest.approx(timer.elapsed_s(marks[0], marks[-1]), abs=TICK_S)
        assert timer.elapsed_s(marks[0], marks[0]) == 0


@every("timer")
def test_events_measure_the_work_between_them(subject: Subject) -> None:
    """In seconds: at least what the work itself is known to take, at most what the host has waited."""
    timer, clock = timer_of(subject), subject.device.clock
    with subject.device.active():
        subject.device.synchronize()
        before = clock.now()
        start = timer.mark()
        lengths = [subject.known_work() for _ in range(4)]
        end = timer.mark()
        timer.wait(end)
        waited_s = clock.now() - before
        elapsed_s = timer.elapsed_s(start, end)
        assert sum(length() for length in lengths) <= elapsed_s * SLACK + TICK_S
        assert 0 < elapsed_s <= waited_s * SLACK + TICK_S


@every("timer")
def test_waiting_for_an_event_waits(subject: Subject) -> None:
    """After ``wait`` the device has passed the event, and all work before it is done."""
    timer = timer_of(subject)
    with subject.device.active():
        subject.known_work()
        mark = timer.mark()
        timer.wait(mark)
        assert subject.passed(mark)


@every("timer", "backlog")
def test_a_backlog_hides_the_host(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is enqueued behind it does not start before it ends, however slow the host is meanwhile."""
    timer = timer_of(subject)
    with subject.device.active():
        release = subject.hold(monkeypatch)
        start = timer.mark()
        host_work()
        subject.known_work()
        end = timer.mark()
        assert not subject.passed(start)
        moment = release()
        timer.wait(end)
        assert 0 <= timer.elapsed_s(start, end) <= (subject.device.clock.now() - moment) * SLACK + TICK_S


@every("timer", "backlog")
def test_a_backlog_ends_by_itself(subject: Subject) -> None:
    """It is finite: nobody has to release it."""
    assert subject.device.backlog is not None
    timer = timer_of(subject)
    with subject.device.active():
        subject.device.backlog(1e-3)
        mark = timer.mark()
        timer.wait(mark)
        assert subject.passed(mark)
        subject.device.synchronize()


# --- Memory -----------------------------------------------------------------------------------------------------------


@every("memory")
def test_live_memory_and_its_peak(subject: Subject) -> None:
    """Live bytes follow what is allocated; the peak stays until it is reset to what is live."""
    device = subject.device
    with device.active(), device.watch_memory() as memory:
        assert memory is not None
        kept = subject.allocate(MIB)
        memory.reset_peak()
        before = memory.live_bytes()
        assert memory.peak_bytes() == before
        held = subject.allocate(3 * MIB)
        assert memory.live_bytes() == before + 3 * MIB
        del held
        assert memory.live_bytes() == before
        assert memory.peak_bytes() == before + 3 * MIB
        memory.reset_peak()
        assert memory.peak_bytes() == before
        del kept
        assert memory.live_bytes() == before - MIB


@every("memory")
def test_reserved_memory_covers_live_memory(subject: Subject) -> None:
    """What the allocator holds is no less than what is live; ``None`` means that there is no such thing."""
    device = subject.device
    with device.active(), device.watch_memory() as memory:
        assert memory is not None
        held = subject.allocate(MIB)
        reserved = memory.reserved_bytes()
        assert reserved is None or reserved >= memory.live_bytes()
        del held


@every("memory", "current")
def test_memory_of_a_device_that_is_not_current(subject: Subject) -> None:
    """Its bytes are told while another device is current: the builder has not begun."""
    device = subject.device
    with device.active():
        held = subject.allocate(MIB)
    subject.make_other_current()
    with device.watch_memory() as memory:
        assert memory is not None
        with device.active():
            inside = memory.live_bytes()
        assert memory.live_bytes() == inside
        assert inside >= MIB
        memory.reset_peak()
        assert memory.peak_bytes() == inside
    del held


# --- Values -----------------------------------------------------------------------------------------------------------

VALUES = [1.5, -2.25, 0.0, 4096.0]


@every("arrays")
def test_equal_values_come_back(subject: Subject) -> None:
    """An array that is placed on the device and brought to the host has the values it had."""
    arrays = arrays_of(subject)
    with subject.device.active():
        placed = arrays.place(subject.array(VALUES))
        assert arrays.host(placed).tolist() == VALUES


@every("arrays")
def test_placing_copies(subject: Subject) -> None:
    """Each leg has its own array: writing into one changes neither the caller's nor another leg's."""
    arrays = arrays_of(subject)
    with subject.device.active():
        original = subject.array(VALUES)
        first, second = arrays.place(original), arrays.place(original)
        again = arrays.place(first)
        subject.overwrite(first)
        for untouched in (original, second, again):
            assert arrays.host(untouched).tolist() == VALUES
        assert arrays.host(first).tolist() == [7.0] * len(VALUES)


@every("arrays")
def test_what_was_downloaded_can_be_placed_again(subject: Subject) -> None:
    """Inputs travel there and back to be timed; what is no array is handed through."""
    arrays = arrays_of(subject)
    with subject.device.active():
        placed = arrays.place(subject.array(VALUES))
        home = arrays.download(placed)
        subject.overwrite(placed)
        if subject.device.info.kind != "cpu":  # on the host there is nothing to download
            assert arrays.host(arrays.place(home)).tolist() == VALUES
        other = object()
        assert arrays.download(other) is other


@every()
def test_evicting_the_cache_leaves_the_device_in_order(subject: Subject) -> None:
    """It can be done again and again, and what is computed after it is what it was before."""
    device = subject.device
    if device.flush is None:
        assert device.info.backend == "abacus", "every device of ours can evict its cache"
        return
    with device.active():
        for _ in range(2):
            device.flush()
            device.synchronize()


@every()
def test_compilations_are_counted_up_or_not_at_all(subject: Subject) -> None:
    """A framework that counts them never takes one back."""
    counter = subject.device.compilations
    if counter is not None:
        assert 0 <= counter() <= counter()


@every("arrays")
@pytest.mark.parametrize(
    "value", [None, 3, 2.5, "text", (1, 2), {"a": 1}, print, object()], ids=lambda value: type(value).__name__
)
def test_other_values_stay_what_they_are(subject: Subject, value: object) -> None:
    """What is no array is handed through, the same object, and has no precision."""
    arrays = arrays_of(subject)
    assert arrays.place(value) is value
    assert arrays.host(value) is value
    assert arrays.precision(value) is None


@every("arrays")
def test_precision_is_that_of_the_type(subject: Subject) -> None:
    """The machine epsilon of double precision, on the device as on the host."""
    arrays = arrays_of(subject)
    with subject.device.active():
        original = subject.array(VALUES)
        assert arrays.precision(original) == 2**-52
        assert arrays.precision(arrays.place(original)) == 2**-52


@every("arrays")
def test_precision_of_what_was_brought_home(subject: Subject) -> None:
    """A callable may end with arrays on the host: they have a precision too, and integers none."""
    import numpy

    arrays = arrays_of(subject)
    assert arrays.precision(numpy.ones(2, "f4")) == 2**-23
    assert arrays.precision(numpy.float16(1)) == 2**-10
    assert arrays.precision(numpy.ones(2, "i4")) is None


@every("arrays")
def test_arrays_have_an_owner(subject: Subject) -> None:
    """The backend recognises its own arrays, and nothing else."""
    with subject.device.active():
        own = subject.array(VALUES)
        assert subject.backend.owns(own)
    for foreign in (None, 1.0, "text", [own], object(), subject.device):
        assert not subject.backend.owns(foreign)


@every()
def test_restored_generators_draw_the_same(subject: Subject) -> None:
    """After ``restore`` every generator that a builder may draw from repeats itself, as often as one likes."""
    generators = subject.device.random
    with subject.device.active():
        state = generators.save()
        generators.restore(state)
        first = subject.draws()
        subject.draws()
        generators.restore(state)
        assert subject.draws() == first
        generators.restore(state)
        assert subject.draws() == first
        assert subject.draws() != first


# --- Threads ----------------------------------------------------------------------------------------------------------


@every("threads")
def test_threads_are_limited_and_restored(subject: Subject) -> None:
    """The framework computes with that many threads in the context, and with as many as before after it."""
    threads = subject.device.threads
    assert threads is not None
    with threads.limit(2):  # a machine with one core has to change too
        before = subject.threads()
        with threads.limit(1):
            assert subject.threads() == 1
        assert subject.threads() == before == 2


@every("threads")
def test_threads_are_restored_after_an_error(subject: Subject) -> None:
    """Also a workload that raises leaves the threads as they were."""
    threads = subject.device.threads
    assert threads is not None
    with threads.limit(2):
        with pytest.raises(ZeroDivisionError), threads.limit(1):
            raise ZeroDivisionError
        assert subject.threads() == 2
