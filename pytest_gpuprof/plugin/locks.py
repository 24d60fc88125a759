"""One measurement at a time per device, between the workers of a run and between runs on the same machine."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pytest_gpuprof.core.errors import DeviceBusy, MeasurementError
from pytest_gpuprof.core.protocols import Device
from pytest_gpuprof.core.results import Caution, spoils

__all__ = ["DeviceLocks"]

_PATIENCE_S = 600.0
"""As long as the longest profiles take; a worker that waits longer is told which file to look at."""


class DeviceLocks:
    """Takes devices for oneself.

    Args:
        workers: number of xdist workers, which load the CPU whatever device they hold.
        folder: where the lock files are; ``None`` for ``GPUPROF_LOCK_DIR``, else a folder of the machine's temporary
            directory, so that independent runs meet there too.
    """

    def __init__(self, workers: int, folder: Path | None = None) -> None:
        self._workers = workers
        given = os.environ.get("GPUPROF_LOCK_DIR")
        self._folder = folder or (Path(given) if given else Path(tempfile.gettempdir()) / "pytest-gpuprof-locks")

    @contextmanager
    def __call__(self, devices: Sequence[Device]) -> Iterator[Sequence[Caution]]:
        """Hold the locks of the devices while the context lasts.

        Raises:
            DeviceBusy: if one of them cannot be had in time.
            MeasurementError: if it cannot be had at all.
        """
        import filelock

        # Always in the same order, so that two workers cannot wait for each other.
        names = sorted({_name(device) for device in devices})
        with ExitStack() as stack:
            for name in names:
                path = self._folder / f"{name}.lock"
                try:
                    self._make_folder()
                    lock = filelock.FileLock(path, mode=0o666)
                    stack.enter_context(lock.acquire(timeout=_PATIENCE_S, poll_interval=0.02))
                except filelock.Timeout:
                    raise DeviceBusy(
                        f"another process has been measuring on {name} for {_PATIENCE_S:.0f} s ({path}); "
                        "wait for it, or set GPUPROF_LOCK_DIR"
                    ) from None
                except OSError as error:
                    raise MeasurementError(
                        f"the lock {path} cannot be taken ({error.strerror or error}); set GPUPROF_LOCK_DIR to a "
                        "folder you may write to"
                    ) from error
            yield self._doubts()

    def _make_folder(self) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):
                self._folder.chmod(0o1777)  # every user of the machine measures on the same devices

    def _doubts(self) -> Sequence[Caution]:
        if self._workers < 2:
            return ()
        return (
            Caution(
                "xdist",
                f"{self._workers} xdist workers load the CPU, which slows the CPU leg and makes the speedup too good",
                "measure with -n0",
                spoils("ratio") | spoils("cpu time", outcomes=("missed",)),
            ),
        )


def _name(device: Device) -> str:
    if device.info.kind == "cpu":
        return "cpu"
    return re.sub(r"[^\w-]", "-", device.info.uuid or str(device.info.id))
