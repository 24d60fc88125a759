"""Run documents made by hand, for formats without measuring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.results import Caution, Verdict
from pytest_gpuprof.reports.remarks import counts
from pytest_gpuprof.reports.workloads import workloads
from pytest_gpuprof.storage.codec import SCHEMA, record_of

from ..budgets.profiles import CARD, HOST, leg_of, profile_of

SIMULATED = DeviceInfo(DeviceId("simulated"), "Simulated GPU", "stand-in", "simulated", why_stand_in="simulated")
SIMULATED_HOST = DeviceInfo(DeviceId("cpu"), "Simulated CPU", "cpu", "simulated")

CPU_S = (20e-3, 21e-3, 19e-3)
GPU_S = (1e-3, 1.1e-3, 0.9e-3)


def verdict(outcome: Any = "missed", budget: str = "max_gpu_time", **parts: Any) -> Verdict:
    """Return a verdict; it is missed by a factor of two."""
    told = {"limit": 5e-4, "observed": 1e-3, "interval": (9e-4, 1.1e-3), "profile": "work", **parts}
    return Verdict(outcome, budget, told.pop("sentence", f"{budget} is {outcome}"), **told)


def record(
    test: str = "tests/test_a.py::test_a",
    *,
    name: str = "work",
    verdicts: Sequence[Verdict] = (),
    cautions: Sequence[Caution] = (),
    outcome: str = "passed",
    attempt: int = 1,
    simulated: bool = False,
    cpu: Sequence[float] = CPU_S,
    gpu: Sequence[float] = GPU_S,
    location: dict[str, Any] | None = None,
    readings: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return a record as a run has it."""
    card, host = (SIMULATED, SIMULATED_HOST) if simulated else (CARD, HOST)
    profile = profile_of(
        leg_of("cpu", cpu, info=host) if cpu else None,
        leg_of("gpu", gpu, info=card, readings=readings) if gpu else None,
        verdicts=tuple(verdicts),
        cautions=tuple(cautions),
        threads=8,
    )
    made = {**record_of(profile, test=test, attempt=attempt), "name": name, "outcome": outcome, **more}
    return made if location is None else {**made, "location": location}


def document(*records: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the document of a run."""
    made = {
        "schema": SCHEMA,
        "version": "0.1.0",
        "created": "2026-11-28T07:00:00Z",
        "duration_s": 12.5,
        "settings": {"devices": [], "strict": False, "inconclusive": "warn", "unavailable": None, "workers": 0},
        "records": list(records),
    }
    return {**made, "counts": counts([each.row for each in workloads(made)], 0), **more}
