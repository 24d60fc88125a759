"""Locks: one measurement at a time per device, and a lock that cannot be had is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.core.environment import DeviceId
from pytest_gpuprof.core.errors import DeviceBusy
from pytest_gpuprof.plugin import locks
from pytest_gpuprof.plugin.locks import DeviceLocks

from .conftest import Runs, text_of

fcntl = pytest.importorskip("fcntl")

MACHINE = SimulatedBackend([Card(), Card()])
CPU, FIRST, SECOND = (MACHINE.open(DeviceId.parse(name)) for name in ("cpu", "simulated:0", "simulated:1"))


def test_a_measurement_holds_its_devices(tmp_path: Path) -> None:
    """While measuring, each device's lock file is held; afterwards it can be had again."""
    with DeviceLocks(0, tmp_path)([CPU, FIRST]) as doubts:
        assert doubts == ()
        for name in ("cpu", "simulated-0"):
            with (tmp_path / f"{name}.lock").open("a") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert not (tmp_path / "simulated-1.lock").exists()
    with (tmp_path / "cpu.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_failure_gives_the_locks_back(tmp_path: Path) -> None:
    """A workload that raises leaves no lock held."""
    with pytest.raises(ZeroDivisionError), DeviceLocks(0, tmp_path)([FIRST]):
        raise ZeroDivisionError
    with DeviceLocks(0, tmp_path)([FIRST]):
        pass


def test_another_process_that_never_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that is not given back in time is an error that names the file; other devices are free."""
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.001)
    with (tmp_path / "simulated-0.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DeviceBusy, match="another process has been measuring on simulated-0") as error:
            with DeviceLocks(0, tmp_path)([FIRST]):
                pass
        with DeviceLocks(0, tmp_path)([SECOND]):
            pass
    assert str(tmp_path) in str(error.value)


@pytest.mark.parametrize(("workers", "doubts"), [(0, 0), (1, 0), (2, 1)])
def test_other_workers_are_a_doubt(tmp_path: Path, workers: int, doubts: int) -> None:
    """Several workers load the CPU whatever device they hold."""
    with DeviceLocks(workers, tmp_path)([CPU]) as found:
        assert len(found) == doubts


def test_a_lock_folder_that_cannot_be_used_fails_the_test(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure says which file, and what to set."""
    (runs.path / "a_file").touch()
    monkeypatch.setenv("GPUPROF_LOCK_DIR", str(runs.path / "a_file" / "locks"))
    result = runs("def test_it(gpu_profile): gpu_profile(fast)\ndef test_other(): pass")
    result.assert_outcomes(passed=1, failed=1)
    assert "set GPUPROF_LOCK_DIR to a folder you may write to" in text_of(result)
    result.stdout.no_fnmatch_line("*Traceback*")
