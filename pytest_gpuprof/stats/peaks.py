"""What a card could do at most, from the facts that its driver tells: derived, and said to be.

    FLOP/s = multiprocessors × FLOPs per clock and multiprocessor × highest clock of the multiprocessors
    bytes/s = 2 × highest clock of the memory × width of its bus ÷ 8

The rates per clock are those of dense products with sums in fp32, as frameworks compute them; a fused multiply-add is
two operations. They give back the figures of the datasheets (V100 125, T4 65, A100 312, A10 125, L4 121 TFLOP/s in
fp16) at the datasheets' clocks. The driver's highest clock can lie above those: by 8 % on an H100 SXM, by a quarter on
GeForce cards. So the clock stands beside every derived peak, and a calibrated one goes before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pytest_gpuprof.core.quantities import format_quantity
from pytest_gpuprof.core.results import Quality, Reading

Facts = Mapping[str, str | int | float | bool]

_CORES_PER_MULTIPROCESSOR: Final[Mapping[str, int]] = {
    "7.0": 64, "7.5": 64, "8.0": 64, "8.6": 128, "8.9": 128, "9.0": 128, "10.0": 128, "12.0": 128,
}  # fmt: skip
"""fp32 cores by compute capability (CUDA C++ Programming Guide, "Arithmetic Instructions"). A capability that is not
here (8.7, 10.3, 11.0, 12.1, …) has halved or doubled some rate against its neighbours, so it is not guessed at."""

_PER_CLOCK: Final[Mapping[str, Mapping[str, int]]] = {
    "7.0": {"fp64": 64, "fp32": 128, "fp16": 1024},
    "7.5": {"fp64": 4, "fp32": 128, "fp16": 1024, "int8": 2048},
    "8.0": {"fp64": 128, "fp32": 128, "tf32": 1024, "bf16": 2048, "fp16": 2048, "int8": 4096},
    "8.6": {"fp64": 4, "fp32": 256, "tf32": 512, "bf16": 1024, "fp16": 1024, "int8": 2048},
    "8.9": {"fp64": 4, "fp32": 256, "tf32": 512, "bf16": 1024, "fp16": 1024, "fp8": 2048, "int8": 2048},
    "9.0": {"fp64": 256, "fp32": 256, "tf32": 2048, "bf16": 4096, "fp16": 4096, "fp8": 8192, "int8": 8192},
    "10.0": {"fp64": 128, "fp32": 256, "tf32": 4096, "bf16": 8192, "fp16": 8192, "fp8": 16384, "int8": 16384},
    "12.0": {"fp64": 4, "fp32": 256, "tf32": 512, "bf16": 1024, "fp16": 1024, "fp8": 2048, "int8": 2048},
}
"""FLOPs per clock and multiprocessor, dense, by compute capability and precision; fp64 by tensor cores where they do it
(8.0, 9.0). From the vendor's architecture white papers."""

_SLOWED_ON_GEFORCE: Final = frozenset({"tf32", "bf16", "fp16", "fp8"})
"""GeForce cards sum these products in fp32 at half the rate of the same chip on a professional card."""

_UNKNOWN: Final = "no board tells the facts from which a peak of this device would follow"

_REMEDY: Final = "say it in gpu_profile_peaks, or run pytest-gpuprof calibrate"


def derived_peaks(facts: Facts, precision: str) -> dict[str, Reading]:
    """Return the peaks of a card, ``"flops"`` for one precision and ``"bytes"``, or why there is none.

    Args:
        facts: what identifies the card, by the keys of a record's environment: ``gpu``, ``gpu_compute_capability``,
            ``gpu_cores``, ``gpu_max_sm_clock_hz``, ``gpu_max_memory_clock_hz``, ``gpu_memory_bus_bits``, ``gpu_mig``.
            A board that knows its peaks tells them itself: ``gpu_peak_fp32_flops`` (a key for each precision) and
            ``gpu_peak_bytes_per_s``.
        precision: one of :data:`~pytest_gpuprof.core.quantities.PRECISIONS`.

    >>> a100 = {"gpu": "NVIDIA A100", "gpu_compute_capability": "8.0", "gpu_cores": 6912,
    ...         "gpu_max_sm_clock_hz": 1_410_000_000}
    >>> derived_peaks(a100, "fp16")["flops"].source
    '108 SMs × 2048 FLOP × 1.41 GHz, the highest clock'
    """
    return {"flops": _flops(facts, precision), "bytes": _bytes(facts)}


def _flops(facts: Facts, precision: str) -> Reading:
    told = _number(facts, f"gpu_peak_{precision}_flops")
    if isinstance(told, float):
        return Reading(told, quality=_quality(facts), source="told by the board")
    if facts.get("gpu_mig") is True:
        return _none("the peak of a part of a card (MIG) is not derived")
    capability = facts.get("gpu_compute_capability")
    if capability is None:
        return _none(_UNKNOWN)
    cores, clock_hz = _number(facts, "gpu_cores"), _number(facts, "gpu_max_sm_clock_hz")
    for part in (cores, clock_hz):
        if isinstance(part, str):
            return _none(part)
    assert isinstance(cores, float) and isinstance(clock_hz, float)
    if capability not in _PER_CLOCK:
        return _none(f"no peak is known for compute capability {capability}")
    per_clock = _PER_CLOCK[str(capability)].get(precision)
    if per_clock is None:
        return _none(f"no {precision} peak is known for compute capability {capability}")
    if precision in _SLOWED_ON_GEFORCE and "GeForce" in str(facts.get("gpu")):
        per_clock //= 2
    multiprocessors = round(cores / _CORES_PER_MULTIPROCESSOR[str(capability)])
    clock = format_quantity(clock_hz, "Hz", digits=4)
    source = f"{multiprocessors} SMs × {per_clock} FLOP × {clock}, the highest clock"
    return Reading(multiprocessors * per_clock * clock_hz, quality="derived", source=source)


def _bytes(facts: Facts) -> Reading:
    told = _number(facts, "gpu_peak_bytes_per_s")
    if isinstance(told, float):
        return Reading(told, quality=_quality(facts), source="told by the board")
    if facts.get("gpu_mig") is True:
        return _none("the peak of a part of a card (MIG) is not derived")
    if "gpu_max_memory_clock_hz" not in facts:
        return _none(_UNKNOWN)
    clock_hz, bits = _number(facts, "gpu_max_memory_clock_hz"), _number(facts, "gpu_memory_bus_bits")
    for part in (clock_hz, bits):
        if isinstance(part, str):
            return _none(part)
    assert isinstance(clock_hz, float) and isinstance(bits, float)
    clock = format_quantity(clock_hz, "Hz", digits=4)
    source = f"2 × {clock} × {bits:.0f} bit, the highest memory clock"
    return Reading(2 * clock_hz * bits / 8, quality="derived", source=source)


def _number(facts: Facts, key: str) -> float | str:
    """Return a fact as a number, or why it is none."""
    fact = facts.get(key)
    if isinstance(fact, (int, float)) and not isinstance(fact, bool) and fact > 0:
        return float(fact)
    why = str(fact).removeprefix("unavailable: ") if fact is not None else "no board tells it"
    return f"no peak can be derived without {key.removeprefix('gpu_').replace('_', ' ')} ({why})"


def _quality(facts: Facts) -> Quality:
    return "simulated" if facts.get("simulated") is True else "derived"


def _none(why: str) -> Reading:
    return Reading.unavailable(f"{why}; {_REMEDY}")
