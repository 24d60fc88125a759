"""Whatever fails in NVML, in whichever way: the session ends normally, and each budget says what became of it and why.

The matrix is every entry point that a measurement calls, as recorded by the simulated NVML and not written down by
hand, by every error that a driver is known to give.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.simulators.nvml import environment

from .nvml_lab import CONFTEST, REPOSITORY, WORK, LabRun, library_or_skip, run_lab

CODES = (1, 2, 3, 4, 6, 9, 10, 12, 13, 15, 16, 18, 27, 999)

NEWER_NAMES = (
    "nvmlDeviceGetCurrentClocksEventReasons",
    "nvmlDeviceGetTemperatureV",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetMPSComputeRunningProcesses_v3",
    "nvmlDeviceGetGraphicsRunningProcesses_v3",
    "nvmlDeviceGetFieldValues",
    "nvmlSystemGetCudaDriverVersion_v2",
)
"""What an old driver does not export; each has another name, or another way, that it does."""

BUDGETS = 'max_energy="140 J", max_power="700 W", max_gpu_time="0.5 s", min_speedup=5, max_gpu_memory="1 GiB"'

OTHERWISE = ("max_gpu_time", "min_speedup", "max_gpu_memory")
"""Budgets that need nothing of NVML. All of them are met with twice of what is needed."""

MATRIX = f"""
import os

SOUND = dict(process=["self:100", "900:1:graphics"])
OLD = dict(SOUND, fault=[name + ":13" for name in {NEWER_NAMES!r}])
WITHOUT_UUID = dict(posing=dict(OURS, uuid=None, pci_bus_id="00000000:27:00.0"))
DRIVERS = dict(new=SOUND, old=dict(OLD, **WITHOUT_UUID))

def calls_of(driver):
    "What a sound measurement asks of such a driver."
    LAB.set_up(**DRIVERS[driver])
    LAB.called.clear()
    board = LAB.board(next(info for info in LAB.machine.devices() if info.kind == "gpu"))
    counter = board.energy()
    counter.used_j(counter.read().value, counter.read().value + 1, 1.0)
    board.conditions(), board.facts()
    LAB.note_calls()
    return set(LAB.called)

def pytest_generate_tests(metafunc):
    if "driver" not in metafunc.fixturenames:
        return
    new, old = calls_of("new"), calls_of("old")
    metafunc.parametrize(
        "driver, function, code",
        [
            (driver, function, code)
            for driver, functions in (("new", new), ("old", old - new))
            for function in sorted(functions)
            for code in {CODES!r}
        ],
    )
"""

EVERYTHING = f"""
from conftest import DRIVERS

@pytest.mark.gpu_budget({BUDGETS})
def test_fault(card, gpu_profile, driver, function, code):
    settings = DRIVERS[driver]
    card(**dict(settings, fault=[f"{{function}}:{{code}}", *settings.get("fault", [])]))
    gpu_profile(work)

@pytest.mark.gpu_budget({BUDGETS})
@pytest.mark.parametrize("kind", ["new", "old"])
def test_sound(card, gpu_profile, kind):
    card(**DRIVERS[kind])
    gpu_profile(work)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated libnvidia-ml.so.1."""
    return library_or_skip(tmp_path_factory.mktemp("nvml-faults"))


@pytest.fixture(scope="module")
def matrix(library: Path, tmp_path_factory: pytest.TempPathFactory) -> LabRun:
    """One run through the whole matrix."""
    folder = tmp_path_factory.mktemp("matrix")
    return run_lab(folder, library, EVERYTHING, "--gpu-profile-rounds=3", "-q", conftest=CONFTEST + escaped(MATRIX))


def escaped(source: str) -> str:
    """Return source as a format that yields it."""
    return source.replace("{", "{{").replace("}", "}}")


def faults(matrix: LabRun) -> Mapping[str, tuple[str, int]]:
    """Return the tests of the matrix, with the function that failed in each and the error that it gave."""
    named = {test: test.removesuffix("]").split("-") for test in matrix.outcomes if test.startswith("test_fault[")}
    return {test: (parts[1], int(parts[2])) for test, parts in named.items()}


def test_the_matrix_is_of_everything_that_measuring_calls(matrix: LabRun) -> None:
    """By a new driver and by an old one; more than thirty entry points, and none is called that is not in it."""
    functions = {function for function, _ in faults(matrix).values()}
    assert functions == matrix.called
    assert len(functions) > 35
    assert functions > set(NEWER_NAMES)
    assert {"nvmlDeviceGetHandleByPciBusId_v2", "nvmlDeviceGetViolationStatus", "nvmlInitWithFlags"} < functions
    assert len(faults(matrix)) == len(functions) * len(CODES)


def test_a_sound_driver_lets_every_budget_be_judged(matrix: LabRun) -> None:
    """Else the matrix would show nothing: by a new driver and by an old one, with nothing missing."""
    for kind in ("new", "old"):
        test = f"test_sound[{kind}]"
        assert matrix.outcome(test) == "passed", matrix.shown(test)
        assert {each["outcome"] for each in matrix.verdicts(test).values()} == {"met"}
        assert not matrix.cautions(test)
        identity = matrix.records[test]["environment"]["identity"]
        assert not [name for name, fact in identity.items() if "unavailable" in str(fact)]


def test_the_session_ends_normally(matrix: LabRun) -> None:
    """Some tests fail by policy; there is no internal error and no traceback."""
    assert matrix.status == pytest.ExitCode.TESTS_FAILED
    for sign in ("INTERNALERROR", "Traceback", "Error:", "error in "):
        assert sign not in matrix.output.replace("NVML error", ""), sign
    assert {matrix.outcome(test) for test in matrix.outcomes} == {"passed", "failed"}


def test_every_budget_says_what_became_of_it_and_why(matrix: LabRun) -> None:
    """What needs nothing of NVML is met whatever fails; joules are met, or name NVML's error and a remedy."""
    for test, (function, code) in faults(matrix).items():
        verdicts = matrix.verdicts(test)
        assert len(verdicts) == 5, test
        for keyword, verdict in verdicts.items():
            assert verdict["sentence"].count(keyword) == 1, test
            if keyword in OTHERWISE:
                assert verdict["outcome"] == "met", (test, verdict["sentence"])
            elif verdict["outcome"] != "met":
                assert verdict["outcome"] in ("unavailable", "inconclusive"), (test, verdict["sentence"])
                assert f"NVML error {code})" in verdict["sentence"], (test, verdict["sentence"])
                assert function.partition("_v")[0].removesuffix("WithFlags") in verdict["sentence"], test
                assert "; " in verdict["sentence"].partition("NVML error")[2], (test, verdict["sentence"])


def test_only_a_reading_that_is_missing_fails_a_test(matrix: LabRun) -> None:
    """There is a GPU and no such reading: that is an error of the test, with the sentences and nothing else."""
    for test in faults(matrix):
        unavailable = [each for each in matrix.verdicts(test).values() if each["outcome"] == "unavailable"]
        assert matrix.outcome(test) == ("failed" if unavailable else "passed"), test
        for verdict in unavailable:
            assert verdict["sentence"] in matrix.shown(test)


def test_a_fault_spoils_only_what_it_is_about(matrix: LabRun) -> None:
    """Joules come from one counter: they survive every other question, unless the card itself is gone."""
    needed = {
        "nvmlInitWithFlags",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetHandleByUUID",  # the lab's card tells no PCI address
        "nvmlDeviceGetHandleByPciBusId_v2",  # the old driver's tells no UUID
        "nvmlDeviceGetComputeRunningProcesses_v3",  # whose joules they are
        "nvmlDeviceGetComputeRunningProcesses_v2",
        "nvmlDeviceGetName",  # which card it is
    }
    lost = (15, 16)
    for test, (function, code) in faults(matrix).items():
        energy = matrix.verdicts(test)["max_energy"]["outcome"]
        if function not in needed and code not in lost:
            assert energy == "met", test
        if function == "nvmlDeviceGetTotalEnergyConsumption":
            assert energy == "unavailable", test


SAMPLE = [
    # the error, and how many of the five budgets can still be judged
    ("nvmlInitWithFlags", 9, 3),
    ("nvmlInitWithFlags", 12, 3),
    ("nvmlInitWithFlags", 18, 3),
    ("nvmlInitWithFlags", 999, 3),
    ("nvmlDeviceGetHandleByUUID", 4, 3),
    ("nvmlDeviceGetHandleByUUID", 6, 3),
    ("nvmlDeviceGetHandleByUUID", 15, 3),
    ("nvmlDeviceGetName", 2, 3),
    ("nvmlDeviceGetMemoryInfo", 16, 3),
    ("nvmlDeviceGetMigMode", 27, 5),
    ("nvmlDeviceGetTotalEnergyConsumption", 3, 3),
    ("nvmlDeviceGetTotalEnergyConsumption", 13, 3),
    ("nvmlDeviceGetTotalEnergyConsumption", 15, 3),
    ("nvmlDeviceGetComputeRunningProcesses_v3", 1, 3),
    ("nvmlDeviceGetFieldValues", 10, 5),
    ("nvmlDeviceGetClockInfo", 16, 3),
    ("nvmlDeviceGetMaxClockInfo", 27, 5),
    ("nvmlDeviceGetTemperatureV", 999, 5),
    ("nvmlSystemGetDriverVersion", 1, 5),
    ("nvmlDeviceGetUUID", 3, 5),
]
"""A diagonal through the matrix: each error once or twice, in different functions."""

ORDINARY = """
from dataclasses import replace
from pytest_gpuprof import hookimpl
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.meters.nvml import open_board

class Machine(SimulatedBackend):
    name = "machine"
    host = "machine"

    def devices(self):
        posing = dict(kind="gpu", why_stand_in=None, name="Simulated H100", memory_bytes=None,
                      uuid="GPU-51510000-0000-4000-8000-000000000000")
        return tuple(replace(each, **posing) if each.kind == "stand-in" else each for each in super().devices())

MACHINE = Machine([Card()], seed=3)

@hookimpl
def pytest_gpuprof_backends():
    return [MACHINE]

@hookimpl
def pytest_gpuprof_board(info):
    return open_board(info)  # as for any real device; ours would take the machine's own sensors
"""
"""A project that knows nothing of the simulator: pynvml finds the library by its name, and nobody resets it."""


@pytest.mark.parametrize(("function", "code", "judged"), SAMPLE)
def test_an_ordinary_run_on_a_faulty_driver(
    library: Path, tmp_path: Path, function: str, code: int, judged: int
) -> None:
    """The real command, the real pynvml and the loader's search: a normal exit status, and a sentence per budget."""
    (tmp_path / "conftest.py").write_text(ORDINARY, encoding="utf-8")
    test = f"\n@pytest.mark.gpu_budget({BUDGETS})\ndef test_it(gpu_profile):\n    gpu_profile(work)\n"
    (tmp_path / "test_it.py").write_text(WORK + test, encoding="utf-8")
    # Each question takes half a second of the cards' time, so that their counters advance.
    simulated: dict[str, Any] = {"clock": "virtual", "latency_us": 500_000, "fault": f"{function}:{code}"}
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_CORE"))},
        **environment(library, process="self:100", **simulated),
        "PYTHONPATH": str(REPOSITORY),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # other plugins take longer to load than this run takes
        "GPUPROF_LOCK_DIR": str(tmp_path / "locks"),
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "pytest_gpuprof.plugin"]
    command += ["--gpu-profile", "--gpu-profile-backend=machine", "--gpu-profile-rounds=3"]
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), done.stdout + done.stderr
    assert done.stderr == ""
    assert "INTERNALERROR" not in done.stdout
    assert "Traceback" not in done.stdout
    (summary,) = [line for line in done.stdout.splitlines() if line.startswith("budgets: ")]
    sure, missed, doubtful, unjudged = (int(part.split()[0]) for part in summary.removeprefix("budgets: ").split(", "))
    # The cards' clock and the host's are two here, so a counter that goes on is doubted where its board tells watts.
    doubted = 2 if judged == 5 else 0
    assert ("but that is inconclusive: the energy counter went up" in done.stdout) == (doubted == 2)
    assert (sure, missed, doubtful + unjudged) == (judged - doubted, 0, 5 - judged + doubted), done.stdout
    assert done.returncode == (pytest.ExitCode.TESTS_FAILED if unjudged else pytest.ExitCode.OK)
    if judged < 5:
        assert f"NVML error {code})" in done.stdout
