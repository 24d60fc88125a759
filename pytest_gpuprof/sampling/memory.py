"""Passes of their own: the peak of an allocator's memory on a device, and the peak of the host's resident memory."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from pytest_gpuprof.core.protocols import AllocatorState, PeakMemory
from pytest_gpuprof.core.quantities import format_quantity
from pytest_gpuprof.core.results import Caution, Quality, Reading, spoils
from pytest_gpuprof.meters.memory import BLOCK_BYTES, PythonMemory, error_on_a_block
from pytest_gpuprof.sampling.legs import BuiltLeg, LegPlan, built
from pytest_gpuprof.sampling.passes import PassResult
from pytest_gpuprof.sampling.quiet import threads_limited

__all__ = ["MOST_CALLS", "host_memory_pass", "memory_pass"]

_WARM_CALLS = 2
"""The libraries' workspaces and the workload's own caches are filled by the first calls, and not by the third."""

MOST_CALLS = 3 * (_WARM_CALLS + 1)
"""Calls at most on one leg: the allocator's memory is looked at up to three times, that of the host in eight calls."""

_ELSEWHERE_BYTES = 32 * 2**20
"""Drivers take up to some tens of MiB for themselves at any time: for code that is loaded, for stacks of kernels."""

_WORTH_TELLING = 0.1
"""Memory of which the figure does not know is told from a tenth of the figure."""

_PIECE_BYTES = 2**20
"""Python's allocator takes memory in pieces of 1 MiB, so figures that differ by less need no explanation."""

_LONG_CALL_S = 1.0
"""Of calls longer than this only four are made: each further one costs as much as everything else."""


@dataclass(frozen=True, slots=True)
class _Use:
    """What one pass saw, in bytes; ``None`` for what the allocator does not tell."""

    memory: int
    workspace: int
    output: int
    reserved: int | None
    flushes: int
    elsewhere: int


def memory_pass(plan: LegPlan, memory: PeakMemory, *, threads: int, quality: Quality) -> PassResult:
    """Measure the peak of an allocator's memory while the callable runs, above the builder and above the call.

    An allocator's statistics repeat exactly, so the leg is built and called twice and must agree. If it does not, a
    third time decides: what libraries set up once for the whole process is no memory of the workload's, and is there by
    then. Figures that still differ have an interval and a caution.

    Args:
        plan: the leg.
        memory: what is watched.
        threads: CPU threads the leg may use.
        quality: of the readings.
    """
    passes = [_one_pass(plan, memory, threads) for _ in range(2)]
    if _peaks(passes[0]) != _peaks(passes[1]):
        passes.append(_one_pass(plan, memory, threads))
    counted = passes[-2:]
    readings = {
        name: _reading([getattr(each, name) for each in counted], quality) for name in ("memory", "workspace", "output")
    }
    reserved = [each.reserved for each in counted if each.reserved is not None]
    if reserved:
        readings["reserved"] = _reading(reserved, quality)
    cautions = (*_unrepeatable(plan, counted), *_flushed(plan, counted), *_elsewhere(plan, counted[-1]))
    return PassResult(readings, cautions=cautions, calls=len(passes) * (_WARM_CALLS + 1))


def _one_pass(plan: LegPlan, memory: PeakMemory, threads: int) -> _Use:
    device = plan.device
    _settle(plan, memory)
    before_builder, held_before = memory.live_bytes(), _held(memory)
    state = memory if isinstance(memory, AllocatorState) else None
    free_before = state.free_bytes() if state else None
    flushes_before = state.flushes() if state else None
    with threads_limited(device.threads, threads), built(plan) as leg:
        _call_warm(leg)
        leg.prepare()
        _settle(plan, memory)
        before_call = memory.live_bytes()
        output = leg.function()
        device.synchronize()
        peak, after_call, held = memory.peak_bytes(), memory.live_bytes(), _held(memory)
        free = state.free_bytes() if state else None
        flushes = state.flushes() if state else None
        del output
    fell = 0 if free is None or free_before is None else free_before - free
    return _Use(
        max(0, peak - before_builder),
        max(0, peak - before_call),
        max(0, after_call - before_call),
        None if memory.reserved_bytes() is None else max(0, held - held_before),
        0 if flushes is None or flushes_before is None else flushes - flushes_before,
        fell - (held - held_before),
    )


def _settle(plan: LegPlan, memory: PeakMemory) -> None:
    """Let go of garbage, wait for the device, and begin a new peak."""
    gc.collect()
    plan.device.synchronize()
    memory.reset_peak()


def _call_warm(leg: BuiltLeg) -> None:
    for _ in range(_WARM_CALLS):
        leg.call()


def _held(memory: PeakMemory) -> int:
    """Return what the allocator holds from the driver; one that keeps no cache holds what is live."""
    reserved = memory.reserved_bytes()
    return memory.live_bytes() if reserved is None else reserved


def _peaks(use: _Use) -> tuple[int, int]:
    return use.memory, use.workspace


def _reading(values: Sequence[int], quality: Quality) -> Reading:
    low, high = float(min(values)), float(max(values))
    return Reading(high, interval=(low, high) if low < high else None, quality=quality)


def _unrepeatable(plan: LegPlan, passes: Sequence[_Use]) -> Sequence[Caution]:
    peaks = [each.memory if passes[0].memory != passes[1].memory else each.workspace for each in passes]
    if len(set(peaks)) == 1:
        return ()
    return (
        Caution(
            "memory varies",
            f"the peak memory of {plan.place} was {_shown(peaks[0])}, and {_shown(peaks[1])} when built again",
            "give each call equal work (fixed sizes, a fixed seed), or leave room for the larger one in the limit",
            legs=frozenset({plan.leg}),
        ),
    )


def _flushed(plan: LegPlan, passes: Sequence[_Use]) -> Sequence[Caution]:
    count = sum(each.flushes for each in passes)
    if count == 0:
        return ()
    return (
        Caution(
            "memory full",
            f"the allocator of {plan.device.info.id} gave its cache back {count} time{'s' if count > 1 else ''}, "
            "because the device was full; that costs time in every call that does it",
            "free memory of the device: end other programs on it, or make the workload smaller",
            legs=frozenset({plan.leg}),
        ),
    )


def _elsewhere(plan: LegPlan, use: _Use) -> Sequence[Caution]:
    if use.elsewhere <= max(_ELSEWHERE_BYTES, _WORTH_TELLING * use.memory):
        return ()
    # Only a met limit is in doubt: a figure that misses it would miss it all the more.
    return (
        Caution(
            "memory elsewhere",
            f"while {plan.place} was built and called, {_shown(use.elsewhere)} of the device were taken that its "
            "allocator does not know of, by another library or another program; no figure contains them",
            "let that library allocate through the framework, or measure when nobody else uses the device",
            spoils("memory", outcomes=("met",)),
            frozenset({plan.leg}),
        ),
    )


def host_memory_pass(plan: LegPlan, memory: PeakMemory, *, threads: int, quality: Quality) -> PassResult:
    """Measure the growth of the peak of resident memory while the callable runs, above the builder and above the call.

    The leg is built and called once before, so that libraries have set up what they keep. The high-water mark is tried
    on a block of known size, in the state in which the workload leaves the process: if the mark misses it, there is no
    figure; if it misjudges it, the interval is wider by as much. It can still miss what Python serves from memory that
    it keeps (small objects), so one more build is watched by ``tracemalloc``: what that saw and the mark did not may or
    may not have needed further memory, and the interval reaches up to it.

    Args:
        plan: the leg.
        memory: resident memory.
        threads: CPU threads the leg may use.
        quality: of the readings.
    """
    clock = plan.device.clock
    with threads_limited(plan.device.threads, threads), built(plan) as leg:
        start = clock.now()
        leg.call()
        is_long = clock.now() - start > _LONG_CALL_S
    traced: Mapping[str, int] = {}
    calls = 1
    if not is_long and not tracemalloc.is_tracing():  # whoever traces already needs the peak for himself
        with closing(PythonMemory()) as python:
            peaks, _ = _host_peaks(plan, python, threads, repeats=1, tried=False)
        traced, calls = peaks[0], calls + _WARM_CALLS + 1
    repeats = 1 if is_long else 2
    peaks, error = _host_peaks(plan, memory, threads, repeats=repeats, tried=True)
    calls += _WARM_CALLS + repeats
    if error < -BLOCK_BYTES / 2:
        unavailable = Reading.unavailable(
            f"this process keeps memory that was freed: of a new block of {_shown(BLOCK_BYTES)} only "
            f"{_shown(BLOCK_BYTES + error)} made it grow; run without an allocator that replaces the C library's "
            "(LD_PRELOAD of jemalloc, tcmalloc or mimalloc)"
        )
        return PassResult({"memory": unavailable, "workspace": unavailable}, calls=calls)
    readings, cautions = {}, list(_coarse(plan, error, max(each["memory"] for each in peaks)))
    for name in ("memory", "workspace"):
        least, most = min(each[name] for each in peaks), max(each[name] for each in peaks)
        handed_out = traced.get(name, 0)
        interval = float(max(0, least - abs(error))), float(max(most + abs(error), handed_out))
        readings[name] = Reading(float(most), interval=interval, quality=quality)
        if handed_out - most > max(_PIECE_BYTES, _WORTH_TELLING * handed_out):
            cautions.append(_unseen(plan, name, handed_out, most))
    return PassResult(readings, cautions=tuple({each.code: each for each in cautions}.values()), calls=calls)


def _host_peaks(
    plan: LegPlan, memory: PeakMemory, threads: int, *, repeats: int, tried: bool
) -> tuple[Sequence[Mapping[str, int]], int]:
    """Return the peaks of each repeat, and the error of the memory's peak on a block of known size."""
    error, peaks = 0, []
    _settle(plan, memory)
    before_builder = memory.live_bytes()
    with threads_limited(plan.device.threads, threads), built(plan) as leg:
        _call_warm(leg)
        if tried:
            gc.collect()
            error = error_on_a_block(memory)
        for _ in range(repeats):
            leg.prepare()
            _settle(plan, memory)
            before_call = memory.live_bytes()
            output = leg.function()
            peak = memory.peak_bytes()
            del output
            peaks.append({"memory": max(0, peak - before_builder), "workspace": max(0, peak - before_call)})
    return peaks, error


def _coarse(plan: LegPlan, error: int, figure: int) -> Sequence[Caution]:
    if abs(error) <= max(_PIECE_BYTES, _WORTH_TELLING * figure):
        return ()
    return (
        Caution(
            "memory coarse",
            f"resident memory of {plan.place} is known within {_shown(abs(error))} only: a block of "
            f"{_shown(BLOCK_BYTES)} made it grow by {_shown(BLOCK_BYTES + error)}",
            "give it larger inputs, or run without huge pages (NUMPY_MADVISE_HUGEPAGE=0) and with the C library's own "
            "allocator",
            legs=frozenset({plan.leg}),
        ),
    )


def _unseen(plan: LegPlan, name: str, traced: int, seen: int) -> Caution:
    above = "the builder" if name == "memory" else "the call"
    return Caution(
        "memory unseen",
        f"Python and NumPy handed out {_shown(traced)} above {above} in {plan.place}, and resident memory grew by "
        f"{_shown(seen)}: the rest was never written to, or came from memory that Python keeps",
        "run with PYTHONMALLOC=malloc to tell the two apart",
        legs=frozenset({plan.leg}),
    )


def _shown(nbytes: int) -> str:
    return format_quantity(float(nbytes), "B")
