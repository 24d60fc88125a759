"""What a machine can measure, line by line: each thing available, or why not and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof import hookimpl
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.doctor import Line, examine
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.storage.calibrations import Calibration, Calibrations, identity_of


class Lab(SimulatedBackend):
    """A simulated card that a user has brought as a backend of his own."""

    name = "lab"

    def devices(self) -> Sequence[DeviceInfo]:
        """Return the card as a GPU."""
        return (DeviceInfo(DeviceId("lab"), "Simulated T4", "gpu", self.name, memory_bytes=2**34),)


class Absent(SimulatedBackend):
    """A backend whose framework is not there."""

    name = "absent"

    def devices(self) -> Sequence[DeviceInfo]:
        """Say why there is no device."""
        raise Unavailable("Absent is not installed; pip install absent")


class Closed(Lab):
    """A card that is there and cannot be opened."""

    name = "closed"

    def devices(self) -> Sequence[DeviceInfo]:
        """Return the card as a GPU."""
        return (DeviceInfo(DeviceId("closed"), "Simulated T4", "gpu", self.name),)

    def open(self, device: DeviceId) -> Any:
        """Fail as a driver does."""
        raise RuntimeError("all devices are busy")


class Plugin:
    """Brings the backends."""

    @hookimpl
    def pytest_gpuprof_backends(self) -> Iterable[SimulatedBackend]:
        """Return them."""
        return [Lab([Card()]), Absent(), Closed()]


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    """What the doctor says of this machine with the plugin's backends."""
    return list(examine(Extensions.standalone([Plugin()])))


def of(lines: Sequence[Line], what: str) -> Line:
    """Return the line about something."""
    return next(line for line in lines if line.what == what)


def test_every_line_is_available_or_says_why(lines: list[Line]) -> None:
    """Never neither, and a reason is never empty."""
    assert all((line.found is None) == bool(line.reason) or line.found for line in lines)
    assert all(line.reason for line in lines if line.found is None)


def test_a_backend_that_is_missing_says_how_to_get_it(lines: list[Line]) -> None:
    """In the words of its adapter."""
    assert of(lines, "absent") == Line("backends", "absent", None, "Absent is not installed; pip install absent")


def test_a_device_is_asked_for_each_reading(lines: list[Line]) -> None:
    """Its own events and its allocator; a simulated machine opens as ``simulated``, so its card is not asked here."""
    assert of(lines, "lab:0 by lab").found == "Simulated T4, 16 GiB"


@pytest.mark.parametrize(
    ("governor", "found", "reason"),
    [
        ("performance", "performance", ""),
        ("powersave", "powersave; sudo cpupower frequency-set -g performance holds the clock steadier", ""),
        (None, None, "Linux tells none here; in a virtual machine, ask its host"),
    ],
)
def test_the_governor_of_the_cpu_is_told_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, governor: str | None, found: str | None, reason: str
) -> None:
    """One that holds the clock needs none."""
    monkeypatch.setattr("pytest_gpuprof.doctor.cpu_governor", lambda: governor)
    assert of(list(examine(Extensions.standalone([Plugin()]))), "CPU governor") == Line(
        "host", "CPU governor", found, reason
    )


def test_a_device_that_cannot_be_opened_does_not_end_the_report(lines: list[Line]) -> None:
    """What it says is told, and the lines after it are there."""
    assert "all devices are busy" in of(lines, "closed:0 by closed: opening it").reason
    assert any(line.section == "NVIDIA driver" for line in lines)


def test_sections_are_not_interrupted(lines: list[Line]) -> None:
    """Each heading stands once."""
    sections = [line.section for line in lines]
    assert len(dict.fromkeys(sections)) == sum(
        here != before for here, before in zip(sections, ["", *sections], strict=False)
    )


def test_a_device_is_calibrated_or_says_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With the date and the rates; a damaged file is told as such."""
    opens = Opens([Card()])
    parts = Extensions.standalone([Bringing(opens)])
    what = "opens:0 by opens: peak rates"
    monkeypatch.setenv("GPUPROF_PEAKS", str(tmp_path / "peaks.json"))
    assert of(list(examine(parts)), what) == Line("devices", what, None, "not calibrated; run pytest-gpuprof calibrate")
    device = parts.registry.open("opens", DeviceId("opens"))
    rates = {"bandwidth": Reading(4e12), "fp32": Reading(51e12)}
    Calibrations().add(Calibration(identity_of(device.info, parts.facts(device)), "2026-07-30", rates))
    found = of(list(examine(parts)), what).found
    assert found == "calibrated on 2026-07-30: copy 4 TB/s, fp32 51 TFLOP/s"
    (tmp_path / "peaks.json").write_text("{", encoding="utf-8")
    assert "is damaged" in of(list(examine(parts)), what).reason


class Opens(Lab):
    """A card that opens under its own name."""

    name = "opens"

    def devices(self) -> Sequence[DeviceInfo]:
        """Return the card as a GPU."""
        return (DeviceInfo(DeviceId("opens"), "Simulated T4", "gpu", self.name),)


class Bringing:
    """Brings one backend."""

    def __init__(self, backend: SimulatedBackend) -> None:
        self.backend = backend

    @hookimpl
    def pytest_gpuprof_backends(self) -> Iterable[SimulatedBackend]:
        """Return it."""
        return [self.backend]
