"""Measured peak rates on disk: kept per device and state, never half written, refused in a sentence if damaged."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.storage.calibrations import SCHEMA, Calibration, Calibrations, identity_of, user_file

CARD = DeviceInfo(DeviceId("cuda"), "NVIDIA H200", "gpu", "torch", memory_bytes=141 * 2**30)
STAND_IN = DeviceInfo(DeviceId("opencl"), "a CPU", "stand-in", "opencl", memory_bytes=2**30, why_stand_in="no GPU")
FACTS = {
    "cpu": "AMD EPYC",
    "cpu_threads": 8,
    "torch": "2.13",
    "gpu_power_limit_w": 700.0,
    "gpu_max_sm_clock_hz": 1_980_000_000,
    "gpu_mig": False,
}
RATES = {
    "bandwidth": Reading(4e12, interval=(3.9e12, 4.1e12), source="a copy of 1 GiB by torch"),
    "fp32": Reading(51e12, quality="simulated"),
}


def calibration(date: str = "2026-07-30", info: DeviceInfo = CARD, **changes: Any) -> Calibration:
    """A calibration of a card in a state."""
    return Calibration(identity_of(info, {**FACTS, **changes}), date, RATES, {"torch": "2.13"})


@pytest.fixture
def store(tmp_path: Path) -> Calibrations:
    """An empty store, in a folder that does not exist yet."""
    return Calibrations(tmp_path / "new" / "peaks.json")


def test_what_was_kept_is_found(store: Calibrations) -> None:
    """Value, interval, quality and source of each rate; nothing else is left beside the file but its lock."""
    store.add(calibration())
    assert store.of(CARD, FACTS) == calibration()
    assert {path.suffix for path in store.path.parent.iterdir()} <= {".json", ".lock"}


def test_nothing_was_calibrated(store: Calibrations) -> None:
    """Neither without a file nor with those of other devices; the remedy is the command."""
    store.check()
    for _ in range(2):
        found = store.of(CARD, FACTS)
        assert isinstance(found, Reading)
        assert found.reason == "not calibrated; run pytest-gpuprof calibrate"
        store.add(calibration(info=STAND_IN))


def test_another_state_of_the_card_is_another_calibration(store: Calibrations) -> None:
    """A lower power limit makes another peak; the reason says what has changed."""
    store.add(calibration())
    found = store.of(CARD, {**FACTS, "gpu_power_limit_w": 500.0})
    assert isinstance(found, Reading)
    assert found.reason == (
        "calibrated on 2026-07-30 in another state (power limit w was 700.0 and is 500.0); run pytest-gpuprof "
        "calibrate again"
    )
    store.add(calibration("2026-07-31", gpu_power_limit_w=500.0))
    assert store.of(CARD, {**FACTS, "gpu_power_limit_w": 500.0}) == calibration("2026-07-31", gpu_power_limit_w=500.0)
    assert store.of(CARD, FACTS) == calibration()


def test_the_same_state_again_takes_the_place_of_the_old(store: Calibrations) -> None:
    """A new driver or framework does not make a second entry."""
    store.add(calibration())
    store.add(calibration("2026-08-01", torch="2.14"))
    assert store.of(CARD, FACTS) == calibration("2026-08-01")
    assert len(json.loads(store.path.read_text(encoding="utf-8"))["calibrations"]) == 1


def test_the_threads_matter_where_the_host_is_the_device(store: Calibrations) -> None:
    """Not to a GPU."""
    assert identity_of(CARD, FACTS) == identity_of(CARD, {**FACTS, "cpu_threads": 4})
    assert identity_of(STAND_IN, FACTS) != identity_of(STAND_IN, {**FACTS, "cpu_threads": 4})


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "7", "null", '{"schema": "%s"}', '{"schema": "%s", "calibrations": 7}',
        '{"schema": "%s", "calibrations": [{}]}',
        '{"schema": "%s", "calibrations": [{"identity": {}, "date": "", "context": {}, "rates": {"fp32": {"value": 0, '
        '"interval": null, "quality": "measured", "source": ""}}}]}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_sentence_and_a_remedy(store: Calibrations, text: str) -> None:
    """Whoever reads or adds is told, and the file stays as it is."""
    store.path.parent.mkdir()
    store.path.write_text(text.replace("%s", SCHEMA), encoding="utf-8")
    for attempt in (lambda: store.of(CARD, FACTS), store.check, lambda: store.add(calibration())):
        with pytest.raises(UsageError, match=r"^the calibration file .* is damaged \(.*\); delete it and run"):
            attempt()
    assert store.path.read_text(encoding="utf-8") == text.replace("%s", SCHEMA)


def test_a_file_of_a_newer_version_is_left_alone(store: Calibrations) -> None:
    """With both schemas."""
    store.path.parent.mkdir()
    store.path.write_text('{"schema": "pytest-gpuprof-peaks/9", "calibrations": []}', encoding="utf-8")
    with pytest.raises(UsageError, match=r"has the schema 'pytest-gpuprof-peaks/9', and .* reads .*; upgrade"):
        store.check()


def test_a_file_that_cannot_be_read_or_written_says_so(tmp_path: Path) -> None:
    """A folder in its place; a file where its folder should be; bytes that are no text."""
    with pytest.raises(UsageError, match=r"cannot be read \(.*\); delete it"):
        Calibrations(tmp_path).check()
    (tmp_path / "file").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        Calibrations(tmp_path / "file").check()
    with pytest.raises(UsageError, match=r"cannot be written \(.*\); name another with GPUPROF_PEAKS"):
        Calibrations(tmp_path / "file" / "peaks.json").add(calibration())


def test_where_the_users_file_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Named by the environment, else where the system keeps data; a relative XDG folder is ignored, as XDG says."""
    monkeypatch.setenv("GPUPROF_PEAKS", str(tmp_path / "mine.json"))
    assert user_file() == tmp_path / "mine.json"
    monkeypatch.delenv("GPUPROF_PEAKS")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert user_file() == tmp_path / "data" / "pytest-gpuprof" / "peaks.json"
    for unusable in ("relative", ""):
        monkeypatch.setenv("XDG_DATA_HOME", unusable)
        assert user_file() == tmp_path / "home" / ".local" / "share" / "pytest-gpuprof" / "peaks.json"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert user_file().parent == tmp_path / "home" / "Library" / "Application Support" / "pytest-gpuprof"
