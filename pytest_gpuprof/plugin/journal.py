"""Every record, on disk before the next test starts, so that a killed session loses none."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Journal"]

_KEPT = 20
"""Journals of the last twenty runs are kept; they are there to recover from a crash, not to be a history."""


class Journal:
    """Appends records to ``.gpuprof/journal/``, one JSON object per line. Each worker writes a file of its own.

    Args:
        root: the project's folder.
        worker: name of the xdist worker, ``None`` without.
    """

    def __init__(self, root: Path, worker: str | None) -> None:
        self._folder = root / ".gpuprof" / "journal"
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self.path = self._folder / f"{stamp}-{os.getpid()}{f'-{worker}' if worker else ''}.jsonl"
        self.problem: str | None = None

    def append(self, record: Mapping[str, Any]) -> None:
        """Write a record through to the disk. A failure is remembered and told once; measuring goes on."""
        if self.problem is not None:
            return
        try:
            if not self.path.exists():
                self._begin()
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, allow_nan=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            self.problem = (
                f"the journal {self.path} cannot be written ({error.strerror or error}), so a killed session would "
                "lose its records; free some space, or allow writing there"
            )

    def _begin(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        ignore = self._folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="ascii")
        old = sorted(self._folder.glob("*.jsonl"))[: -_KEPT + 1]
        for path in old:
            path.unlink(missing_ok=True)
