"""A run of many workloads made by hand, with everything that a page can show; the real rules judge it.

The figures are said to be simulated: nothing here was measured on a GPU.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_gpuprof.budgets.budget import Budget
from pytest_gpuprof.budgets.verdict import judge
from pytest_gpuprof.core.baseline import Baseline
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo, Environment
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Caution, Leg, Measurement, Reading, Round
from pytest_gpuprof.meters.conditions import clock_cautions
from pytest_gpuprof.reports.remarks import counts
from pytest_gpuprof.reports.workloads import workloads
from pytest_gpuprof.storage.codec import SCHEMA, record_of
from pytest_gpuprof.storage.conditions import key_of

__all__ = ["many", "run_of"]

CARD = DeviceInfo(
    DeviceId("simulated"),
    "Simulated GPU",
    "stand-in",
    "simulated",
    memory_bytes=80 * 2**30,
    why_stand_in="simulated",
)
HOST = DeviceInfo(DeviceId("cpu"), "Simulated CPU", "cpu", "simulated")

PEAKS = {
    "flops": Reading(67e12, quality="derived", source="16896 cores at 1.98 GHz"),
    "bytes": Reading(3.35e12, quality="measured", source="calibrated on 2026-11-20"),
}

FULL_HZ, LOW_HZ = 1.98e9, 1.41e9

THROTTLED = Caution(
    "throttled",
    "the GPU was throttled: thermal for 34% of the time (clock 1410 of 1980 MHz)",
    "let it cool, or give it more air, and measure again",
    frozenset({("time", "missed"), ("ratio", "missed"), ("energy", "met"), ("energy", "missed")}),
    frozenset({"gpu", "reference"}),
)

NAMES = (
    "attention",
    "matmul",
    "conv2d",
    "layer_norm",
    "softmax",
    "fft",
    "sort",
    "scatter_add",
    "embedding",
    "prefix_sum",
)
FOLDERS = ("kernels", "models", "training", "data")


def _rounds(
    rng: random.Random, seconds: float, noise: float, *, count: int, slow: Sequence[int], gpu: bool
) -> tuple[Round, ...]:
    made = []
    for index in range(count):
        drift = math.exp(noise * rng.gauss(0, 1)) * (FULL_HZ / LOW_HZ if index in slow and gpu else 1.0)
        wall = tuple(seconds * drift * math.exp(noise / 2 * rng.gauss(0, 1)) for _ in range(5 if gpu else 3))
        samples = {"wall_time": wall}
        if gpu:
            samples["device_time"] = tuple(
                0.93 * seconds * drift * math.exp(noise / 3 * rng.gauss(0, 1)) for _ in range(20)
            )
            clock = LOW_HZ if index in slow else FULL_HZ - 15e6 * rng.randrange(3)
            samples["sm_clock"] = (clock,)
        made.append(Round(index, index % 2, 40, samples, {"wall_time": 0.0004}))
    return tuple(made)


def _around(value: float, part: float, quality: Any = "simulated") -> Reading:
    return Reading(value, interval=(value * (1 - part), value * (1 + part)), quality=quality)


def _leg(leg: Leg, info: DeviceInfo, rounds: tuple[Round, ...], readings: Mapping[str, Reading]) -> Measurement:
    return Measurement(leg, info, rounds, readings, calls=4000)


def swept(rng: random.Random) -> dict[str, Any]:
    """Return a sweep in the form of a record: the GPU has a fixed cost, the CPU grows faster."""

    def part(value: float) -> dict[str, Any]:
        near = value * math.exp(0.02 * rng.gauss(0, 1))
        return {"value": near, "interval": [near * 0.93, near * 1.08], "quality": "simulated"}

    points = []
    for power in range(5, 13):
        size = 2**power
        cpu, gpu = 2e-6 + 3e-11 * size**2.7, 9e-5 + 4e-13 * size**2.9
        measured = {"size": size, "cpu": part(cpu), "gpu": part(gpu), "speedup": part(cpu / gpu)}
        if size == 4096:
            why = "one call of the CPU leg takes longer than the time left"
            measured |= {name: {"unavailable": why, "cause": "out of time"} for name in ("cpu", "speedup")}
        points.append(measured)
    return {
        "parameter": "n",
        "points": points,
        "cpu_growth": {
            "fixed_s": 2e-6,
            "coefficient": 3e-11,
            "exponent": 2.7,
            "exponent_interval": [2.62, 2.78],
            "misfit": 0.03,
        },
        "gpu_growth": {
            "fixed_s": 9e-5,
            "coefficient": 4e-13,
            "exponent": 2.9,
            "exponent_interval": [2.7, 3.1],
            "misfit": 0.04,
        },
        "crossover": {"value": 251, "interval": [229, 277], "smallest": 32, "largest": 4096},
        "cautions": [],
    }


def one(
    number: int,
    rng: random.Random,
    *,
    count: int = 24,
    has_gpu: bool = True,
    name: str | None = None,
) -> dict[str, Any]:
    """Return the record of one workload; its number decides what it is like."""
    speedup = math.exp(rng.uniform(math.log(0.6), math.log(60)))
    gpu_s = math.exp(rng.uniform(math.log(2e-5), math.log(0.2)))
    noise = 0.15 if number % 11 == 5 else rng.choice((0.002, 0.004, 0.01, 0.025))
    slow = range(14, 22) if number % 9 == 4 else ()
    cpu_rounds = _rounds(rng, gpu_s * speedup, noise, count=count, slow=(), gpu=False)
    gpu_rounds = _rounds(rng, gpu_s, noise, count=count, slow=slow, gpu=True)
    memory = rng.uniform(2e6, 9e9)
    joules = 240 * gpu_s
    readings = {
        "first_call": Reading(gpu_s * 40, quality="simulated"),
        "memory": Reading(memory, quality="simulated"),
        "workspace": Reading(memory * 0.6, quality="simulated"),
        "output": Reading(memory * 0.2, quality="simulated"),
        "reserved": Reading(memory * 1.3, quality="simulated"),
        "temperature": Reading(61.0, quality="simulated"),
    }
    if number % 3:
        readings |= {
            "energy": _around(joules, 0.03),
            "net_energy": _around(joules * 0.7, 0.06),
            "power": _around(240, 0.02),
        }
        readings |= {"package_energy": _around(joules * 0.25, 0.05)}
    else:
        readings["energy"] = Reading.unavailable("this simulated card has no energy counter")
    gpu = (
        _leg("gpu", CARD, gpu_rounds, readings)
        if has_gpu
        else Measurement.absent("gpu", "torch finds no GPU here", "no device")
    )
    reference = Measurement.absent("reference", "there is no reference=")
    if has_gpu and number % 10 == 9:
        again = _rounds(rng, 1.4 * gpu_s, noise, count=count, slow=(), gpu=True)
        reference = _leg("reference", CARD, again, {})
    host = {
        "memory": Reading(memory * 0.4, quality="simulated"),
        "package_energy": _around(joules * speedup * 0.5, 0.05),
    }
    cautions: tuple[Caution, ...] = (THROTTLED,) if slow else ()
    if has_gpu:
        clocks = [Reading(each.samples["sm_clock"][0]) for each in gpu_rounds]
        cautions += tuple(each for each in clock_cautions(clocks) if not slow)
    case = name or f"test_{NAMES[number % len(NAMES)]}[{('fp32', 'bf16', 'fp16')[number % 3]}-{2 ** (6 + number % 7)}]"
    flops = 0.45 * 67e12 * gpu_s if number % 4 != 3 else None
    profile = Profile(
        "work",
        _leg("cpu", HOST, cpu_rounds, host),
        gpu,
        reference,
        backend="simulated",
        stop_reason="every budget was decided after 24 rounds",
        cautions=cautions if has_gpu else (),
        environment=Environment(
            {"cpu": "Simulated CPU", "cpu_threads": 16, "python": "3.12.4", "system": "Linux x86_64", "cache": "hot",
             "gpu_power_limit_w": 700, "nvidia_driver": "580.95.05"},
            {"load_average_1min": round(rng.uniform(0.2, 3), 2), "gpu_temperature_end_c": 55 + number % 9},
        ),
        threads=16,
        flops=flops,
        bytes=None if flops is None else flops / rng.choice((16, 40, 200)),
        items=64.0 if number % 2 else None,
        peaks=PEAKS,
        params={"n": 2 ** (6 + number % 7), "dtype": "float32"},
        baselines={"gpu_time": Baseline((gpu_s * 0.97, gpu_s * 0.98, gpu_s * 0.96), "main")} if number % 6 == 1 else {},
    )  # fmt: skip
    inside = 0.8 if number % 5 == 0 else rng.uniform(1.05, 2.5)
    wanted = [Budget("min_speedup", speedup / inside, reason="the GPU has to pay for itself")]
    if number % 5 == 2:
        wanted.append(Budget("max_gpu_memory", memory * 1.1))
    if number % 5 == 3:
        wanted += [Budget("max_energy", joules * 1.5), Budget("max_gpu_time", gpu_s * 1.3, enforce=False)]
    if number % 6 == 1:
        wanted.append(Budget("max_regression", 0.05, metric="gpu_time"))
    if number % 17 == 16:
        wanted = []
    verdicts = tuple(judge(profile, budget) for budget in wanted)
    record = record_of(
        profile.with_verdicts(verdicts),
        test=f"tests/{FOLDERS[number % len(FOLDERS)]}/test_{NAMES[number % len(NAMES)]}.py::{case}",
    )
    failed = any(each.outcome == "missed" for each in verdicts)
    record |= {
        "outcome": "failed" if failed else "passed",
        "location": {"file": "tests/test_it.py", "line": 10 + number},
    }
    if number % 8 == 2 and has_gpu:
        record["sweep"] = swept(rng)
    return record


def _history(records: Sequence[Mapping[str, Any]], rng: random.Random, runs: int) -> dict[str, Any]:
    """Return earlier runs: every fifth workload became 12 % slower on the way; the first runs had other conditions."""
    told = []
    for place in range(runs):
        rows = []
        for number, record in enumerate(records):
            key = key_of(record["conditions"]) if place >= 6 else "another00key"
            before = 0.88 if number % 5 == 0 and place < runs * 0.6 else 1.0
            values = {
                name: figure["value"] * math.exp(0.012 * rng.gauss(0, 1)) * (before if name == "gpu_time" else 1.0)
                for name, figure in record["figures"].items()
                if name in ("gpu_time", "speedup", "energy", "cpu_time")
            }
            device = "Simulated GPU (simulated)" if place >= 6 else "cpu-backed (OpenCL on the CPU)"
            rows.append([record["test"], record["name"], key, device, values])
        told.append(
            {
                "number": 100 + place,
                "created": f"2026-{9 + place // 28:02}-{1 + place % 28:02}T02:00:00Z",
                "commit": f"{rng.getrandbits(160):040x}",
                "branch": "main",
                "dirty": False,
                "workloads": rows,
            }
        )
    return {"runs": told}


def run_of(records: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """Return the document of a run."""
    made = {
        "schema": SCHEMA,
        "id": "3f9ac2d41b7e4f0c8d5a6b7c8d9e0f12",
        "version": "0.1.0",
        "created": "2026-11-28T07:00:00Z",
        "duration_s": 412.5,
        "source": {
            "commit": "03cf107f163088cd6313406dfd58dc57816ea21a",
            "branch": "main",
            "dirty": False,
            "project": "example",
        },
        "machine": "212e4cfa3123",
        "settings": {
            "devices": ["simulated:0"],
            "strict": False,
            "inconclusive": "warn",
            "unavailable": None,
            "workers": 0,
        },
        "records": list(records),
    }
    return {**made, "counts": counts([each.row for each in workloads(made)], 3), **more}


def many(count: int = 200, *, runs: int = 49, seed: int = 7) -> dict[str, Any]:
    """Return a run of so many workloads, 24 rounds of several samples each, with as many earlier runs as are shown."""
    rng = random.Random(seed)
    records = [one(number, rng, has_gpu=number % 13 != 12) for number in range(count)]
    document = run_of(
        records, comparison={"reference": "baseline", "changes": {"regressed": 2, "same": 31}, "gone": []}
    )
    return {**document, "history": _history(records, rng, runs)} if runs else document
