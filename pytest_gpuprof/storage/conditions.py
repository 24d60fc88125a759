"""Under which conditions a figure holds: what must be equal for two runs to be compared.

It is the identity of the machine (:class:`~pytest_gpuprof.core.environment.Environment`) without what moves no figure,
and with versions as coarse as they matter: a bug-fix release of a framework is the same framework, and a team that had
to accept new baselines with each of them would soon stop doing so. What a bug-fix release slows is a regression worth
seeing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from pytest_gpuprof.core.environment import Fact
from pytest_gpuprof.core.profile import Profile

__all__ = ["conditions_of", "differences", "key_of"]

PROCEDURE = 1
"""Version of the measuring procedure. It is raised when a change of ours moves figures by more than their noise."""

_LEFT_OUT = frozenset({"gpu_vbios", "gpu_persistence", "gpu_compute_mode", "CUDA_MODULE_LOADING"})
"""Facts of the identity that move no figure beyond the first call: firmware that the driver's version goes with,
whether the driver stays loaded between programs, how many programs may use the card at a time, and when code is loaded.
The last is also no fact of the machine: torch sets that variable once its CUDA is used, so it would differ between a
test that runs alone and one that runs after another."""

_MAJOR_ONLY = frozenset({"nvidia_driver", "cuda_driver"})
"""NVIDIA numbers bug fixes of a driver by minor versions: 550.54 and 550.90 are one branch."""

_STEPS: Mapping[str, int] = {"gpu_memory_bytes": 2**30, "gpu_power_limit_w": 1, "gpu_default_power_limit_w": 1}
"""Numbers that are told to the nearest of such steps: drivers keep some MiB of memory for themselves, and a limit is
enforced to a fraction of a watt."""

_VERSION = re.compile(r"(\d+)\.(\d+)(?:[.+-].*|[a-z]\w*)?")

_NAMED_VERSION = re.compile(r"(\S+) (\d+)\.(\d+)\S*")
"""How a BLAS is told: ``scipy-openblas 0.3.29``."""


def conditions_of(profile: Profile) -> Mapping[str, Fact]:
    """Return the conditions of a profile, sorted by name."""
    device = profile.gpu.device or profile.cpu.device
    facts: dict[str, Fact] = {
        "device": "none" if device is None else device.label,
        "backend": profile.backend,
        "cpu_leg_threads": profile.threads or 0,
        "procedure": PROCEDURE,
    }
    facts |= {name: _coarse(name, fact) for name, fact in profile.environment.identity.items() if name not in _LEFT_OUT}
    return dict(sorted(facts.items()))


def _coarse(name: str, fact: Fact) -> Fact:
    if name in _STEPS and isinstance(fact, (int, float)):
        return _STEPS[name] * round(fact / _STEPS[name])
    if name == "torch_cudnn" and isinstance(fact, int):
        return fact - fact % 100  # 91002 is 9.10.2
    if not isinstance(fact, str):
        return fact
    if fact.startswith("unavailable"):
        return "unavailable"  # whatever the reason, it is not known
    named = _NAMED_VERSION.fullmatch(fact) if name == "numpy_blas" else None
    if named is not None:
        return f"{named[1]} {named[2]}.{named[3]}"
    version = _VERSION.fullmatch(fact)
    if version is None:
        return fact
    return version[1] if name in _MAJOR_ONLY else f"{version[1]}.{version[2]}"


def key_of(conditions: Mapping[str, Fact]) -> str:
    """Return a short name for conditions: equal for equal ones; 48 bits tell millions of them apart.

    >>> key_of({"device": "NVIDIA T4"}) == key_of({"device": "NVIDIA T4"})
    True
    """
    text = json.dumps(dict(sorted(conditions.items())), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def differences(before: Mapping[str, Fact], now: Mapping[str, Fact]) -> list[str]:
    """Return in words how conditions differ, the device first.

    >>> differences({"device": "NVIDIA T4", "torch": "2.9"}, {"device": "NVIDIA T4", "torch": "2.13"})
    ['torch was 2.9 and is 2.13']
    """
    names = sorted({*before, *now}, key=lambda name: (name != "device", name))
    return [
        f"{name.replace('_', ' ')} was {before.get(name, 'unknown')} and is {now.get(name, 'unknown')}"
        for name in names
        if before.get(name) != now.get(name)
    ]
