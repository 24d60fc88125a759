"""What each sweep of a run found, in one line: from which size the GPU wins, and how the legs grow."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.reports.rows import Row
from pytest_gpuprof.storage.matching import short_id

__all__ = ["describe_sweep", "describe_sweeps"]


def describe_sweep(profile: Profile) -> str | None:
    """Return what a profile's sweep found, with the word of a stand-in; ``None`` if it is of none.

    Args:
        profile: of the largest size, to which what a sweep yields belongs.
    """
    scaling = profile.scaling
    if scaling is None:
        return None
    before, _, after = profile.name.rpartition("[")
    device, name = profile.gpu.device, f"{before}{after.partition(']')[2]}"  # "name@device" where there are several
    word = f" ({device.why_stand_in})" if device is not None and device.why_stand_in else ""
    return f"{name} over {scaling.parameter}{word}: {scaling.sentence}"


def describe_sweeps(rows: Sequence[Row]) -> list[str]:
    """Return a line for each sweep of a run."""
    return [f"{short_id(row.test)} {told}" for row in rows if (told := describe_sweep(row.profile)) is not None]
