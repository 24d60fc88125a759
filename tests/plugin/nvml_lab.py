"""Inner runs of pytest on a machine whose GPU is read by the real pynvml from a simulated NVML.

The workload runs on a simulated machine that poses as the *second* card of the simulated NVML (its UUID says which);
both share one virtual clock. The fixture ``card`` of the inner run sets the cards up anew, by the simulator's settings,
so that one run can go through hundreds of faulty drivers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.simulators import SimulatorUnavailable
from tests.simulators.nvml import build

__all__ = ["WORK", "LabRun", "library_or_skip", "run_lab"]

REPOSITORY = Path(__file__).parents[2]

WORK = """
import pytest

def work(device):
    return lambda: device.run(cpu=2, gpu=0.2)  # at 350 W, 70 J a call
"""
"""At the top of each inner test file: ten times faster on the GPU. Calls are long, so that few fill a window."""

CONFTEST = """
import gc
import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, {root!r})
from pytest_gpuprof import hookimpl
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.meters.nvml import open_board
from pytest_gpuprof.meters.nvml_library import Library
from tests.simulators.nvml import Control, entry_points

UUIDS = ["GPU-51510000-0000-4000-8000-00000000000" + digit for digit in "01"]
OURS = dict(kind="gpu", why_stand_in=None, uuid=UUIDS[1], name="Simulated H100", memory_bytes=None)
CONTROL = Control(Path({library!r}))

class Machine(SimulatedBackend):
    name = "machine"
    host = "machine"
    watches_memory = True

    def devices(self):
        return tuple(replace(each, **OURS) if each.kind == "stand-in" else each for each in super().devices())

    def open(self, device):
        opened = super().open(device)
        watch_memory = opened.watch_memory
        opened.watch_memory = lambda: watch_memory() if self.watches_memory else nullcontext()
        opened.lacks = {{"memory": "its allocator tells nothing"}}
        return opened

class Follower(Library):
    "Lets the cards' clock catch up with the machine's before each question."

    def _call_once(self, name, *arguments):
        CONTROL.advance(LAB.machine.clock.time - LAB.seen)
        LAB.seen = LAB.machine.clock.time
        return super()._call_once(name, *arguments)

class Lab:
    called = set()
    outcomes = {{}}

    def __init__(self):
        self.machine = Machine([Card(name="Simulated H100")], seed=3)
        self.set_up()

    def set_up(self, *, posing=OURS, watches_memory=True, **settings):
        self.note_calls()
        self.posing, self.machine.watches_memory = posing, watches_memory
        CONTROL.reset(**{{"clock": "virtual", "devices": [{{"uuid": uuid}} for uuid in UUIDS], "process": "self:100",
                         **settings}})
        CONTROL.begin(0, 111.0)  # the other card: whoever reads it is wrong
        CONTROL.begin(1, 350.0)
        self.seen = self.machine.clock.time
        self.library = Follower(pause=lambda seconds: None)

    def board(self, info):
        "The board of the device as it is told now: a run keeps the devices that it has found."
        return open_board(replace(info, **self.posing), self.library)

    def note_calls(self):
        "What has been asked of NVML, by measurements only."
        self.called |= {{name for name in entry_points() if CONTROL.calls(name)}}

LAB = Lab()

def pytest_collection_finish():
    LAB.set_up()
    LAB.called.clear()

@pytest.fixture
def card():
    gc.freeze()  # every measurement collects garbage several times, and this run is long
    LAB.set_up()
    yield LAB.set_up
    LAB.set_up()

@hookimpl
def pytest_gpuprof_backends():
    return [LAB.machine]

@hookimpl
def pytest_gpuprof_board(info, device):
    return LAB.board(info)

def pytest_runtest_logreport(report):
    if report.when == "call" or not report.passed:
        LAB.outcomes[report.nodeid.partition("::")[2]] = [report.when, report.outcome, str(report.longrepr or "")]

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    LAB.note_calls()
    seen = dict(outcomes=LAB.outcomes, called=sorted(LAB.called))
    Path("lab.json").write_text(json.dumps(seen), encoding="utf-8")
"""


@dataclass(frozen=True)
class LabRun:
    """What an inner run did.

    Args:
        status: its exit status.
        output: standard output and error.
        outcomes: by test: the phase that decided, its outcome, and what was shown of a failure.
        called: the entry points of NVML that measuring called.
        records: by test.
    """

    status: int
    output: str
    outcomes: Mapping[str, Sequence[str]]
    called: frozenset[str]
    records: Mapping[str, Mapping[str, Any]]

    def outcome(self, test: str) -> str:
        """Return ``"passed"``, ``"failed"`` or ``"skipped"``; an error outside the call is none of them."""
        phase, outcome, _ = self.outcomes[test]
        return outcome if phase == "call" or outcome == "skipped" else f"error in {phase}"

    def shown(self, test: str) -> str:
        """Return what was shown of a test that did not pass."""
        return self.outcomes[test][2]

    def verdicts(self, test: str) -> Mapping[str, Mapping[str, Any]]:
        """Return a test's verdicts by keyword."""
        return {verdict["budget"]: verdict for verdict in self.records[test]["verdicts"]}

    def cautions(self, test: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the doubts of a test's profile by their code."""
        return {caution["code"]: caution for caution in self.records[test]["cautions"]}

    def readings(self, test: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the readings of a test's GPU leg."""
        found: Mapping[str, Mapping[str, Any]] = self.records[test]["legs"]["gpu"]["readings"]
        return found


def library_or_skip(directory: Path) -> Path:
    """Return the simulated libnvidia-ml.so.1; without one, or without pynvml, skip."""
    pytest.importorskip("pynvml", reason="NOT TESTED: runs on faulty NVIDIA drivers; nvidia-ml-py is missing")
    try:
        return build(directory)
    except SimulatorUnavailable as error:
        pytest.skip(f"NOT TESTED: runs on faulty NVIDIA drivers: {error}")


def run_lab(folder: Path, library: Path, tests: str, *args: str, conftest: str = CONFTEST, **variables: str) -> LabRun:
    """Run one inner test file in a process of its own.

    Args:
        folder: an empty one, where the run takes place.
        library: the simulated NVML.
        tests: source of the test file, after :data:`WORK`.
        args: of the command line, besides those that switch profiling on.
        conftest: source of the ``conftest.py``.
        variables: of the environment.
    """
    (folder / "conftest.py").write_text(conftest.format(root=str(REPOSITORY), library=str(library)), encoding="utf-8")
    (folder / "test_lab.py").write_text(WORK + tests, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "pytest_gpuprof.plugin"]
    command += ["--gpu-profile", "--gpu-profile-backend=machine", "--gpu-profile-export=json:out.json", *args]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_CORE"))}
    environment |= {
        "PYTHONPATH": str(REPOSITORY),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # other plugins take longer to load than this run takes
        "GPUPROF_LOCK_DIR": str(folder / "locks"),
        **variables,
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seen = _read(folder / "lab.json")
    return LabRun(
        done.returncode,
        done.stdout + done.stderr,
        seen.get("outcomes", {}),
        frozenset(seen.get("called", ())),
        {record["test"].partition("::")[2]: record for record in _read(folder / "out.json").get("records", ())},
    )


def _read(file: Path) -> dict[str, Any]:
    """Return a document; a run that ended before writing it has none."""
    if not file.exists():
        return {}
    document: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return document
