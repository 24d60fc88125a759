"""Measured peak rates, kept per machine and user: what ``pytest-gpuprof calibrate`` found, and when.

The file is JSON. It lies where the system keeps a user's data (``~/.local/share/pytest-gpuprof/peaks.json`` on Linux),
not in a project: a rate belongs to a card, whichever project is tested on it. ``GPUPROF_PEAKS`` names another file,
e.g. one that a CI job restores.

A calibration holds for the device in the state in which it was made: the same name, memory, clocks, power limit, ECC
and partition; for a device that is no GPU, the same CPU and threads.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_gpuprof.core.environment import DeviceInfo
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.core.results import Reading

__all__ = ["SCHEMA", "Calibration", "Calibrations", "identity_of", "user_file"]

SCHEMA = "pytest-gpuprof-peaks/1"
"""Version of the file. It is raised when a reader of the old format would misread the new one."""

_OF_GPU = (
    "gpu_compute_capability", "gpu_max_sm_clock_hz", "gpu_max_memory_clock_hz", "gpu_power_limit_w",
    "gpu_ecc", "gpu_mig",
)  # fmt: skip
_OF_HOST = ("cpu", "cpu_threads")
"""Facts of a record's environment on which a rate depends. Versions are stored too, as context: a new driver that makes
the card faster shows as more than the peak."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The rates of one device.

    Args:
        identity: what the device has to be for the rates to hold, see :func:`identity_of`.
        date: when, as ``YYYY-MM-DD``.
        rates: bytes per second for ``"bandwidth"``, FLOP/s by precision.
        context: the backend and the versions with which it was measured.
    """

    identity: Mapping[str, str | int | float | bool]
    date: str
    rates: Mapping[str, Reading]
    context: Mapping[str, str | int | float | bool] = field(default_factory=dict)


def identity_of(
    info: DeviceInfo, facts: Mapping[str, str | int | float | bool]
) -> Mapping[str, str | int | float | bool]:
    """Return what a device has to be for a calibration to hold.

    Args:
        info: the device.
        facts: what identifies the machine and its board, as in a record's environment.
    """
    is_gpu = info.kind == "gpu"
    identity: dict[str, str | int | float | bool] = {"device": info.name, "kind": info.kind, "mig": info.is_mig}
    if is_gpu and info.memory_bytes is not None:
        identity["memory_gib"] = round(info.memory_bytes / 2**30)  # drivers differ by some MiB
    return identity | {key: facts[key] for key in (_OF_GPU if is_gpu else _OF_HOST) if key in facts}


def user_file() -> Path:
    """Return where this user's calibrations are kept."""
    named = os.environ.get("GPUPROF_PEAKS")
    if named:
        return Path(named)
    if sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support"
    else:  # https://specifications.freedesktop.org/basedir-spec: a relative path is to be ignored
        given = Path(os.environ.get("XDG_DATA_HOME", ""))
        folder = given if given.is_absolute() else Path.home() / ".local" / "share"
    return folder / "pytest-gpuprof" / "peaks.json"


class Calibrations:
    """The calibrations in a file.

    Args:
        path: the file, which need not exist; ``None`` for this user's.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """The file; the user's is looked for when it is wanted."""
        return self._path or user_file()

    def of(self, info: DeviceInfo, facts: Mapping[str, str | int | float | bool]) -> Calibration | Reading:
        """Return the calibration that holds for a device, or why there is none.

        Raises:
            UsageError: if the file cannot be read, is damaged, or was written by a newer version.
        """
        wanted = identity_of(info, facts)
        near = [each for each in self._all() if each.identity.get("device") == info.name]
        for each in near:
            if each.identity == wanted:
                return each
        if not near:
            return Reading.unavailable("not calibrated; run pytest-gpuprof calibrate")
        before = near[-1].identity
        changed = [
            f"{key.removeprefix('gpu_').replace('_', ' ')} was {before.get(key, 'unknown')} and is "
            f"{wanted.get(key, 'unknown')}"
            for key in dict.fromkeys((*before, *wanted))
            if before.get(key) != wanted.get(key)
        ]
        return Reading.unavailable(
            f"calibrated on {near[-1].date} in another state ({', '.join(changed)}); run pytest-gpuprof calibrate again"
        )

    def check(self) -> None:
        """Find out now, not after measuring, that the file cannot be read.

        Raises:
            UsageError: as :meth:`of`.
        """
        self._all()

    def add(self, calibration: Calibration) -> None:
        """Store a calibration in place of the one for the same state of the same device.

        Raises:
            UsageError: if the file cannot be read or written, is damaged, or was written by a newer version.
        """
        from filelock import FileLock  # only who writes needs it

        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock"):
                kept = [each for each in self._all() if each.identity != calibration.identity]
                document = {"schema": SCHEMA, "calibrations": [_stored(each) for each in (*kept, calibration)]}
                written = self.path.with_name(f"{self.path.name}.{os.getpid()}.new")
                written.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
                written.replace(self.path)  # atomic: a reader sees the old file or the new one
        except OSError as error:
            raise UsageError(
                f"the calibration file {self.path} cannot be written ({error.strerror or error}); name another with "
                "GPUPROF_PEAKS"
            ) from error

    def _all(self) -> Sequence[Calibration]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the calibration file {self.path} cannot be read ({error}); delete it") from error
        try:
            document = json.loads(text)
            if document["schema"] == SCHEMA:
                return [_from(each) for each in document["calibrations"]]
            schema = str(document["schema"])
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(
                f"the calibration file {self.path} is damaged ({type(error).__name__}: {error}); delete it and run "
                "pytest-gpuprof calibrate"
            ) from error
        raise UsageError(
            f"the calibration file {self.path} has the schema {schema!r}, and this version reads {SCHEMA!r}; upgrade "
            "pytest-gpuprof, or delete the file and run pytest-gpuprof calibrate"
        )


def _stored(calibration: Calibration) -> dict[str, Any]:
    return {
        "identity": dict(calibration.identity),
        "date": calibration.date,
        "rates": {
            what: {"value": rate.value, "interval": rate.interval, "quality": rate.quality, "source": rate.source}
            for what, rate in calibration.rates.items()
        },
        "context": dict(calibration.context),
    }


def _from(part: Mapping[str, Any]) -> Calibration:
    rates = {}
    for what, stored in part["rates"].items():
        value, interval = float(stored["value"]), stored["interval"]
        if not 0 < value < float("inf"):
            raise ValueError(f"the rate {what!r} is {value}")
        pair = None if interval is None else (float(interval[0]), float(interval[1]))
        rates[str(what)] = Reading(value, interval=pair, quality=stored["quality"], source=str(stored["source"]))
    return Calibration(dict(part["identity"]), str(part["date"]), rates, dict(part["context"]))
