"""Who else uses a card: NVML's process lists, less the processes that are our own.

In a container NVML may number processes as the host does, so that our own process is listed under a number that we
cannot know. Then it is known by when it came: whoever uses the card only since we looked first may be us.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.nvml_library import Card

__all__ = ["CardUsers", "mps_runs", "own_pids"]

_COMPUTE = ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2")
_MPS = ("nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceGetMPSComputeRunningProcesses_v2")
_GRAPHICS = ("nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v2")

_MPS_DAEMON = "nvidia-cuda-mps"
"""The names of MPS's control daemon and of its server begin so; Linux cuts a process's name to these 15 characters."""

_MPS_FOLDER = "/tmp/nvidia-mps"
"""Where the daemon makes its pipes, unless CUDA_MPS_PIPE_DIRECTORY says another place (NVIDIA, "Multi-Process Service",
environment variables)."""

_FIRST_LOOK_BACK_S = 1.0
"""The driver samples utilization every 1/6 s to 1 s (nvml.h), so a second back there is at least one sample."""


class CardUsers:
    """The processes on one card.

    Make it before the framework makes its context on the card: see :meth:`others`.

    Args:
        card: the card.
        proc: the process file system.
    """

    def __init__(self, card: Card, proc: Path = Path("/proc")) -> None:
        self._card = card
        self._proc = proc
        self._looked_s = time.time() - _FIRST_LOOK_BACK_S
        self._at_first = self.pids()

    def pids(self) -> frozenset[int] | Reading:
        """Return the processes that compute on the card, as NVML numbers them.

        A process that only draws (a desktop) counts if it has used the multiprocessors since the last look. Where NVML
        does not tell of drawing, or of MPS clients, there are none; without the compute list there is no answer.
        """
        computing = self._listed(_COMPUTE)
        if isinstance(computing, Reading):
            return computing
        clients, drawing = self._listed(_MPS), self._listed(_GRAPHICS)
        if not isinstance(clients, Reading):
            computing |= clients
        if not isinstance(drawing, Reading) and drawing - computing:
            computing |= drawing & self._busy()
        return computing

    def others(self) -> Reading:
        """Return how many other processes use the card now.

        Where our own process is not listed under any number that it knows, NVML counts in another pid namespace.
        Then one of those that came since the first look is taken to be us, which makes the count an estimate; if none
        came, nobody can tell. The server of MPS is listed too, and is no user: its clients are.
        """
        now = self.pids()
        if isinstance(now, Reading):
            return now
        own = own_pids(self._proc)
        strangers = frozenset(pid for pid in now - own if not self._serves_mps(pid))
        if not strangers or own & now:
            return Reading(float(len(strangers)))
        first = self._at_first
        if isinstance(first, Reading):
            return first
        if own & first:  # our context is closed again, under a number that we do know
            return Reading(float(len(strangers)))
        if now - first:
            return Reading(float(len(strangers) - 1), quality="estimated")
        return Reading.unavailable(
            "NVML numbers processes in another pid namespace, so that ours is not told from others (a container?); "
            "start the container with --pid=host"
        )

    def _listed(self, functions: tuple[str, ...]) -> frozenset[int] | Reading:
        processes = self._card.ask(functions)
        if isinstance(processes, Reading):
            return processes
        return frozenset(process.pid for process in processes)

    def _serves_mps(self, pid: int) -> bool:
        return _text(self._proc / str(pid) / "comm").startswith(_MPS_DAEMON)

    def _busy(self) -> frozenset[int]:
        since_us = int(self._looked_s * 1e6)
        self._looked_s = time.time()
        samples = self._card.ask("nvmlDeviceGetProcessUtilization", since_us)
        if isinstance(samples, Reading):  # also when there has been no sample since
            return frozenset()
        return frozenset(sample.pid for sample in samples if sample.smUtil > 0)


def own_pids(proc: Path = Path("/proc")) -> frozenset[int]:
    """Return every number that this process and its descendants are known to have.

    Besides its own number, that is the one in each pid namespace that ``proc`` tells of (``NSpid``). Without a process
    file system it is the own number alone.
    """
    pids = {os.getpid()}
    for line in _text(proc / "self" / "status").splitlines():
        if line.startswith("NSpid:"):
            pids.update(map(int, line.split()[1:]))
    unvisited = ["self"]
    while unvisited:
        for children in (proc / unvisited.pop() / "task").glob("*/children"):
            for child in _text(children).split():
                if int(child) not in pids:
                    pids.add(int(child))
                    unvisited.append(child)
    return frozenset(pids)


def mps_runs(root: Path = Path("/"), variables: Mapping[str, str] = os.environ) -> bool:
    """Return whether the daemon of CUDA MPS, by which processes compute on a GPU at the same time, takes clients here.

    Args:
        root: of the file system.
        variables: the environment variables.
    """
    folder = variables.get("CUDA_MPS_PIPE_DIRECTORY") or _MPS_FOLDER
    return (root / folder.lstrip("/") / "control").exists()


def _text(path: Path) -> str:
    """Return the file's text; a process that is gone has none."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
