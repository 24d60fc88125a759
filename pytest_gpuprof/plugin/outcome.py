"""From verdicts to the outcome of a test: missed > unavailable-error > inconclusive > unavailable-skip > met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Verdict
from pytest_gpuprof.plugin.settings import Settings

if TYPE_CHECKING:
    from _pytest.outcomes import Failed
else:
    Failed = pytest.fail.Exception  # its public name, which type checkers cannot use as a class

__all__ = ["Failed", "GpuBudgetMissed", "GpuBudgetUnjudged", "apply", "fail", "fails"]


def fail(message: str) -> NoReturn:
    """Fail the test with one sentence and no traceback. This frame is not hidden, or pytest would tell that all are."""
    raise Failed(message, pytrace=False) from None


class GpuBudgetMissed(Failed):
    """A budget was missed."""

    __module__ = "builtins"  # so that the short summary shows the bare name


class GpuBudgetUnjudged(Failed):
    """A budget could not be judged, and the policy is that this fails."""

    __module__ = "builtins"


Judged = Sequence[tuple[Verdict, Profile]]
"""Verdicts, each with the profile it is about."""

_WORST = ("missed", "unavailable", "not enforced", "inconclusive")
"""Outcomes that can fail a test, the one that decides first."""

_MISSING_BASELINE = frozenset({"new", "unreadable"})
"""Comparisons that found nothing to compare with. One across different conditions is not among them: it never fails."""


def _policy(verdict: Verdict, profile: Profile, settings: Settings) -> str:
    """Return what a verdict does to its test: ``"fail"``, ``"skip"`` or ``"warn"``."""
    if verdict.outcome == "met" or not verdict.enforce:
        return "warn"
    if verdict.outcome == "missed":
        return "fail"
    if verdict.outcome == "inconclusive":
        return settings.inconclusive
    if verdict.outcome == "not enforced" and verdict.change in _MISSING_BASELINE:
        return settings.missing_baseline
    if verdict.outcome == "not enforced":
        return "fail" if settings.strict and profile.not_judged else "warn"
    if settings.unavailable is not None:
        return settings.unavailable
    device = profile.gpu.device
    without_gpu = verdict.cause == "no device" or (device is not None and device.kind != "gpu")
    return "skip" if without_gpu else "fail"


def fails(judged: Judged, settings: Settings) -> Failed | None:
    """Return the failure that these verdicts mean, the worst first; ``None`` if they mean none."""
    failing = [(verdict, profile) for verdict, profile in judged if _policy(verdict, profile, settings) == "fail"]
    if failing:
        failing.sort(key=lambda each: _WORST.index(each[0].outcome))
        kind = GpuBudgetMissed if failing[0][0].outcome == "missed" else GpuBudgetUnjudged
        return kind(_message(failing), pytrace=False)
    if settings.strict:
        for verdict, profile in judged:
            if verdict.enforce and (lacking := _no_gpu(profile)):
                return GpuBudgetUnjudged(f"--gpu-profile-strict requires a GPU, and {lacking}", pytrace=False)
    return None


def _no_gpu(profile: Profile) -> str:
    """Return why a profile says nothing about a GPU: there is none, or it is about a stand-in; empty if it does."""
    device = profile.gpu.device
    if device is None:
        return profile.gpu.missing.reason if profile.gpu.missing.cause == "no device" else ""
    return f"{device.id} is a stand-in ({device.why_stand_in})" if device.kind == "stand-in" else ""


def _message(failing: Judged) -> str:
    """Return the sentences of the failing verdicts, those of a profile together, each with where it was measured."""
    profiles = {profile.name: profile for _, profile in failing}
    lines = []
    for name, profile in profiles.items():
        device = profile.gpu.device
        where = f"{device.id} {device.label}" if device is not None else "the CPU only"
        lines += [verdict.sentence for verdict, owner in failing if owner.name == name]
        threads = "" if profile.threads is None else f", the CPU leg with {profile.threads} threads; compute only"
        lines.append(f"({name!r} on {where}{threads})")
    return "\n".join(lines)


def apply(profiles: Mapping[str, Profile], settings: Settings) -> None:
    """Fail or skip the test as its verdicts say; return if it may pass.

    Raises:
        GpuBudgetMissed: if a budget was missed.
        GpuBudgetUnjudged: if a budget could not be judged and the policy says that this fails.
        pytest.skip.Exception: if none of them could be judged, and the policy of one is to skip.
    """
    judged = [(verdict, profile) for profile in profiles.values() for verdict in profile.verdicts]
    failure = fails(judged, settings)
    if failure is not None:
        raise failure
    policies = [(verdict, _policy(verdict, profile, settings)) for verdict, profile in judged]
    skipping = [verdict for verdict, policy in policies if policy == "skip"]
    # An inconclusive budget that only warns goes before one that is unavailable and would skip.
    passing = any(
        verdict.outcome in ("met", "missed") or (verdict.outcome == "inconclusive" and policy == "warn")
        for verdict, policy in policies
    )
    if skipping and not passing:
        first = next((verdict for verdict in skipping if verdict.outcome == "inconclusive"), skipping[0])
        raise pytest.skip.Exception(first.sentence, _use_item_location=True)
