"""The CPU packages' energy counter, on a file tree like the kernel's. Nothing here waits or computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.meters.rapl import PackageCounter, open_packages

RANGE_UJ = 65_532_610_987
"""What a package with energy units of 2⁻¹⁶ J shows as its range: 65.5 kJ."""


class Zones:
    """A fake ``/sys/class/powercap``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, zone: str, name: str, energy_uj: int = 0, range_uj: int = RANGE_UJ) -> None:
        (self.root / zone).mkdir(parents=True)
        for file, text in {"name": name, "energy_uj": energy_uj, "max_energy_range_uj": range_uj}.items():
            (self.root / zone / file).write_text(f"{text}\n", encoding="ascii")

    def use(self, zone: str, joules: float) -> None:
        """Let a counter count, and wrap around like the kernel's."""
        file = self.root / zone / "energy_uj"
        counted = int(file.read_text(encoding="ascii")) + round(joules * 1e6)
        file.write_text(f"{counted % RANGE_UJ}\n", encoding="ascii")

    def spin(self, *zones: str) -> Callable[[float], None]:
        """Return work for the probe that makes these zones count."""

        def work(seconds: float) -> None:
            for zone in zones:
                self.use(zone, 20 * seconds)

        return work

    def open(self) -> PackageCounter:
        """Open the packages; all of them count."""
        counter = open_packages(self.root, spin=self.spin(*(zone.name for zone in self.root.iterdir())))
        assert isinstance(counter, PackageCounter)
        return counter

    def refusal(self, spin: Callable[[float], None] = lambda seconds: None) -> str:
        counter = open_packages(self.root, spin=spin)
        assert isinstance(counter, Reading)
        assert counter.value is None
        return counter.reason


@pytest.fixture
def zones(tmp_path: Path) -> Zones:
    """A machine with one package."""
    zones = Zones(tmp_path / "powercap")
    zones.add("intel-rapl:0", "package-0", 1_000_000)
    return zones


def joules(counter: PackageCounter) -> float:
    return counter.read().require("CPU energy")


def test_joules_between_two_readings(zones: Zones) -> None:
    """The counter's microjoules are joules here."""
    counter = zones.open()
    before = joules(counter)
    zones.use("intel-rapl:0", 123.5)
    used = counter.used_j(before, joules(counter), seconds=2.0)
    assert used.value == pytest.approx(123.5)


def test_packages_are_summed_and_nothing_else(zones: Zones) -> None:
    """Packages add up; their parts, the memory, the platform and the duplicate of the first package do not."""
    zones.add("intel-rapl:1", "package-1-die-0")
    others = {
        "intel-rapl:0:0": "core",
        "intel-rapl:0:1": "dram",
        "intel-rapl:2": "psys",
        "intel-rapl-mmio:0": "package-0",
    }
    for zone, name in others.items():
        zones.add(zone, name)
    counter = zones.open()
    before = joules(counter)
    for zone in ("intel-rapl:0", "intel-rapl:1", *others):
        zones.use(zone, 10.0)
    assert joules(counter) - before == pytest.approx(20.0)


def test_each_package_wraps_by_itself(zones: Zones) -> None:
    """A package that starts again from zero neither hides nor adds joules, whatever the other one does."""
    zones.add("intel-rapl:1", "package-1", RANGE_UJ - 6_000_000)
    counter = zones.open()
    before = joules(counter)
    zones.use("intel-rapl:0", 100.0)
    zones.use("intel-rapl:1", 50.0)
    assert int((zones.root / "intel-rapl:1" / "energy_uj").read_text(encoding="ascii")) < RANGE_UJ - 6_000_000
    assert counter.used_j(before, joules(counter), seconds=1.0).value == pytest.approx(150.0)


def test_several_wraps_seen_one_by_one(zones: Zones) -> None:
    """The running total goes on over any number of wrap-arounds that are read in between."""
    counter = zones.open()
    start = joules(counter)
    for _ in range(5):
        zones.use("intel-rapl:0", 40_000.0)
        joules(counter)
    assert joules(counter) - start == pytest.approx(200_000.0)


@pytest.mark.parametrize(("seconds", "refused"), [(163.0, False), (164.0, True)])
def test_window_that_may_hold_two_wraps(zones: Zones, seconds: float, refused: bool) -> None:
    """65.5 kJ last 163.8 s at 400 W; what may have wrapped twice is not reported."""
    used = zones.open().used_j(1.0, 2.0, seconds)
    assert (used.value is None) is refused
    if refused:
        assert "may have wrapped around unseen in 164 s; measure windows of at most 163 s" in used.reason


def test_smallest_range_decides(zones: Zones) -> None:
    """Of two packages, the one that wraps first limits the window."""
    zones.add("intel-rapl:1", "package-1", range_uj=4_000_000_000)
    assert zones.open().used_j(1.0, 2.0, 11.0).value is None


def test_a_reset_is_no_wrap(zones: Zones) -> None:
    """A counter that starts again from zero looks wrapped, but no processor draws that much in between."""
    zones.use("intel-rapl:0", 30_000.0)
    counter = zones.open()
    before = joules(counter)
    (zones.root / "intel-rapl:0" / "energy_uj").write_text("1000000\n", encoding="ascii")
    used = counter.used_j(before, joules(counter), seconds=5.0)
    assert used.value is None
    assert "RAPL went up by 35530 J in 5 s, more than the processor can draw: it was reset" in used.reason


@pytest.mark.parametrize("after", [5.0, 4.0])
def test_no_advance_is_not_zero(zones: Zones, after: float) -> None:
    """A counter that has not advanced gives no joules."""
    used = zones.open().used_j(5.0, after, 0.0005)
    assert used.value is None
    assert "did not advance in 0.0005 s" in used.reason


def test_root_only(zones: Zones, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only root may read the counters, the remedy is the command that changes it."""
    read_text = Path.read_text

    def guarded(path: Path, *arguments: str, **options: str) -> str:
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", guarded)
    reason = zones.refusal()
    assert "by root only" in reason
    assert f"sudo chmod a+r {zones.root}/intel-rapl:*/energy_uj" in reason


def test_no_rapl(tmp_path: Path) -> None:
    """Without the tree, or with an empty one, there is no RAPL."""
    for root in (tmp_path / "absent", tmp_path):
        assert f"there is no RAPL under {root} (a virtual machine" in Zones(root).refusal()


def test_counter_that_does_not_count(zones: Zones) -> None:
    """A virtual machine may show counters that stand still: they are tried with some work before they are trusted."""
    spins: list[float] = []
    assert "RAPL is present but does not count in intel-rapl:0" in zones.refusal(spins.append)
    assert spins == [0.15]


def test_one_of_two_packages_does_not_count(zones: Zones) -> None:
    """A sum in which one package is missing would be too low, so it is none."""
    zones.add("intel-rapl:1", "package-1")
    assert "does not count in intel-rapl:1" in zones.refusal(zones.spin("intel-rapl:0"))


@pytest.mark.parametrize("file", ["energy_uj", "max_energy_range_uj", "name"])
def test_broken_file(zones: Zones, file: str) -> None:
    """A file that is missing or holds no number is a reason, never an exception."""
    (zones.root / "intel-rapl:0" / file).unlink()
    assert "RAPL cannot be read (FileNotFoundError" in zones.refusal()
    if file != "name":
        (zones.root / "intel-rapl:0" / file).write_text("\n", encoding="ascii")
        assert "RAPL cannot be read (ValueError" in zones.refusal()


def test_reading_that_fails_once(zones: Zones) -> None:
    """A reading that fails is unavailable, and the next one has all the joules."""
    counter = zones.open()
    before = joules(counter)
    file = zones.root / "intel-rapl:0" / "energy_uj"
    zones.use("intel-rapl:0", 10.0)
    text = file.read_text(encoding="ascii")
    file.write_text("", encoding="ascii")
    assert counter.read().value is None
    file.write_text(text, encoding="ascii")
    assert joules(counter) - before == pytest.approx(10.0)
