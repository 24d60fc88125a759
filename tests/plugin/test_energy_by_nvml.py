"""Energy from end to end: a test's budget in joules, judged on what the real pynvml reads from a simulated NVML.

The workload runs on a simulated machine that poses as the second card of the simulated NVML (its UUID says which); both
share one virtual clock, and the card draws a known power.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.simulators import SimulatorUnavailable
from tests.simulators.nvml import build

CONFTEST = """
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, {root!r})
from pytest_gpuprof import hookimpl
from pytest_gpuprof.backends.simulated import SimulatedBackend
from pytest_gpuprof.meters.nvml import open_board
from tests.simulators.nvml import Control

UUIDS = ["GPU-51510000-0000-4000-8000-00000000000" + digit for digit in "01"]
CONTROL = Control(Path({library!r}))
CONTROL.reset(clock="virtual", devices=[{{"uuid": UUIDS[0]}}, {{"uuid": UUIDS[1]}}])
CONTROL.apply({settings})
CONTROL.begin(0, 111.0)  # the other card: whoever reads it is wrong
CONTROL.begin(1, 350.0)

class Machine(SimulatedBackend):
    name = "machine"
    host = "machine"

    def devices(self):
        posing = dict(kind="gpu", why_stand_in=None, uuid=UUIDS[1], name="Simulated H100", memory_bytes=None)
        return tuple(replace(each, **posing) if each.kind == "stand-in" else each for each in super().devices())

MACHINE = Machine()
CLOCK, behind = MACHINE.clock, [MACHINE.clock.time]

def follow(board):
    "Let the board's clock catch up with the machine's before it is asked."
    CONTROL.advance(CLOCK.time - behind[0])
    behind[0] = CLOCK.time
    return board

@hookimpl
def pytest_gpuprof_backends():
    return [MACHINE]

class Following:
    def __init__(self, counter): self.counter, self.period_s, self.gain_error = counter, counter.period_s, 0.0
    def read(self): return follow(self.counter).read()
    def used_j(self, *window): return self.counter.used_j(*window)

class Board:
    def __init__(self, board): self.board = board
    def energy(self):
        counter = follow(self.board).energy()
        return Following(counter) if hasattr(counter, "period_s") else counter
    def conditions(self): return follow(self.board).conditions()
    def facts(self): return follow(self.board).facts()

@hookimpl
def pytest_gpuprof_board(info, device):
    board = open_board(info)
    return Board(board) if hasattr(board, "energy") else board
"""

TEST = """
import pytest

def work(device):
    return lambda: device.run(cpu=20e-3, gpu=2e-3)

@pytest.mark.gpu_budget(max_energy="1 J", max_power="400 W")
def test_frugal(gpu_profile):
    gpu_profile(work, backend="machine")

@pytest.mark.gpu_budget(max_energy="0.5 J")
def test_hungry(gpu_profile):
    gpu_profile(work, backend="machine")
"""


@pytest.fixture
def prepared(pytester: pytest.Pytester, tmp_path_factory: pytest.TempPathFactory) -> pytest.Pytester:
    """A project whose machine is read by NVML."""
    pytester.makepyfile(TEST)
    return pytester


def _run(pytester: pytest.Pytester, library: Path, settings: str = "") -> pytest.RunResult:
    root = str(Path(__file__).parents[2])
    pytester.makeconftest(CONFTEST.format(root=root, library=str(library), settings=settings))
    return pytester.runpytest_subprocess(
        "--gpu-profile", "--gpu-profile-export=json:out.json", "-p", "no:cacheprovider"
    )


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated libnvidia-ml.so.1."""
    try:
        return build(tmp_path_factory.mktemp("nvml-energy"))
    except SimulatorUnavailable as error:
        pytest.skip(f"NOT TESTED: energy budgets on the real pynvml: {error}")


def test_joules_and_watts_are_those_of_the_right_card(prepared: pytest.Pytester, library: Path) -> None:
    """The device is matched by its UUID, not by its index, and the truth lies in the interval."""
    result = _run(prepared, library)
    result.assert_outcomes(passed=1, failed=1)
    records = json.loads((prepared.path / "out.json").read_text(encoding="utf-8"))["records"]
    readings = {record["test"].rpartition("::")[2]: record["legs"]["gpu"]["readings"] for record in records}
    energy, power = readings["test_frugal"]["energy"], readings["test_frugal"]["power"]
    assert power["value"] == pytest.approx(350, rel=0.07)
    low, high = energy["interval"]
    # A call takes 2 ms, and a little for its launch and the synchronizations between.
    assert low <= 350 * 2.01e-3 <= high
    result.stdout.fnmatch_lines(["energy 7?? mJ * misses max_energy 500 mJ *measured again: 7?? mJ"])


def test_a_card_without_a_counter_fails_its_budget(prepared: pytest.Pytester, library: Path) -> None:
    """There is a GPU and no such reading: a budget that nobody can judge is an error, with NVML's reason."""
    result = _run(prepared, library, 'fault="nvmlDeviceGetTotalEnergyConsumption:NOT_SUPPORTED"')
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["max_energy cannot be judged: energy is unavailable, because *"])


def test_a_throttled_card_makes_energy_inconclusive(prepared: pytest.Pytester, library: Path) -> None:
    """Joules per call go either way when the clock is held down, so neither verdict is trusted."""
    result = _run(prepared, library, 'throttle="0x40"')
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*inconclusive: the GPU was throttled: thermal*"])
