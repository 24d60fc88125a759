"""What was compared with what: said once for a table, or for each row where the rows differ."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_gpuprof.core.profile import Profile

__all__ = ["place", "places"]


def place(profile: Profile) -> str:
    """Return the device of a row, with the word a stand-in carries, and what the speedup is against."""
    if profile.gpu.device is None:
        return "CPU only"
    return _of(_label(profile), _threads(profile))


def places(profiles: Sequence[Profile]) -> tuple[str, Sequence[str]]:
    """Return what was compared, once for all rows and then per row; the one or the other is empty.

    A row that lacks a leg says so itself, by a dash in place of its figures; so it does not differ from the others.

    Args:
        profiles: of the rows.
    """
    on_device = [profile for profile in profiles if profile.gpu.device is not None]
    labels = {_label(profile) for profile in on_device}
    threads = {found for profile in on_device if (found := _threads(profile))}
    if len(labels) > 1 or len(threads) > 1:
        return "", [place(profile) for profile in profiles]
    if not labels:
        return "CPU only", ()
    once = _of(labels.pop(), threads.pop() if threads else "")
    return (once if len(on_device) == len(profiles) else f"{once}; others CPU only"), ()


def _of(label: str, threads: str) -> str:
    return f"{label} vs {threads}, compute only" if threads else label


def _label(profile: Profile) -> str:
    device = profile.gpu.device
    assert device is not None
    return str(device.id) if device.why_stand_in is None else f"{device.id} ({device.why_stand_in})"


def _threads(profile: Profile) -> str:
    """Return what the CPU leg was allowed; empty where there is none."""
    if profile.cpu.device is None:
        return ""
    if profile.threads is None:
        return "the CPU"
    return f"{profile.threads} thread{'s' if profile.threads != 1 else ''}"
