"""Counting the instructions of a process with valgrind: no load of the machine changes that number."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["instructions_of"]


def instructions_of(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> int | None:
    """Return how many instructions a command executes, ``None`` without valgrind.

    Hashes are seeded alike, so that two runs of one program differ by a few in a million only.

    Raises:
        CalledProcessError: if the command fails.
        RuntimeError: if valgrind says nothing.
    """
    if shutil.which("valgrind") is None:
        return None
    with tempfile.NamedTemporaryFile("r", encoding="utf-8", dir=folder) as log:
        subprocess.run(
            ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={log.name}", *command],
            cwd=folder, env={**environment, "PYTHONHASHSEED": "0"}, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        found = re.search(r"Collected : (\d+)", Path(log.name).read_text(encoding="utf-8"))
    if found is None:
        raise RuntimeError("valgrind counted nothing; see whether valgrind --tool=callgrind true works here")
    return int(found[1])
