"""``doctor`` and ``calibrate``: what they print for people and for programs, and their status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_gpuprof import cli, doctor, hookimpl
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.doctor import Line
from pytest_gpuprof.extensions import Extensions


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of which one thing can be had and one cannot."""
    lines = [
        Line("host", "CPU", "two threads"),
        Line("devices", "energy", None, "no driver is loaded; load it"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: iter(lines))


@pytest.mark.usefixtures("found")
def test_doctor_says_yes_or_no_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    """One line per thing under its heading; what is missing has its reason and remedy."""
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "host",
        "  yes  CPU: two threads",
        "devices",
        "  no   energy: no driver is loaded; load it",
    ]


@pytest.mark.usefixtures("found")
def test_doctor_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, standard output is JSON and nothing else."""
    assert cli.main(["doctor", "--json"]) == 0
    captured = capsys.readouterr()
    assert [line["found"] for line in json.loads(captured.out)] == ["two threads", None]
    assert captured.err == ""


@pytest.mark.parametrize(
    ("terminal", "no_color", "coloured"), [(True, "", True), (True, "1", False), (False, "", False)]
)
@pytest.mark.usefixtures("found")
def test_colours_only_on_a_terminal(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    terminal: bool,
    no_color: str,
    coloured: bool,
) -> None:
    """And not there either if NO_COLOR is set."""
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    cli.main(["doctor"])
    assert ("\x1b[32m" in capsys.readouterr().out) is coloured


def test_a_reader_that_has_seen_enough() -> None:
    """``pytest-gpuprof doctor | head -1`` ends without a traceback."""
    run = subprocess.run(
        f"{sys.executable} -m pytest_gpuprof doctor | head -1", shell=True, check=True, capture_output=True, text=True
    )
    assert run.stdout == "host\n"
    assert run.stderr == ""


# -- calibrate --------------------------------------------------------------------------------------------------------


PEAK = Card(peak_flops=2e12, peak_bytes_per_s=1e12)


class Machine:
    """Brings a simulated machine with one card."""

    def __init__(self, card: Card) -> None:
        self.backend = SimulatedBackend([card], seed=1)

    @hookimpl
    def pytest_gpuprof_backends(self) -> list[SimulatedBackend]:
        return [self.backend]


@pytest.fixture
def card() -> Card:
    """The card of the machine: it reaches 2 TFLOP/s and 1 TB/s."""
    return PEAK


@pytest.fixture
def peaks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, card: Card) -> Path:
    """The file of calibrations, on a machine with that card."""
    parts = Extensions.standalone([Machine(card)])
    monkeypatch.setattr(Extensions, "standalone", lambda: parts)
    monkeypatch.setenv("GPUPROF_PEAKS", str(tmp_path / "peaks.json"))
    return tmp_path / "peaks.json"


def test_calibrate_shows_and_keeps_the_rates(peaks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line per rate with its interval, and where they are kept; nothing on standard error without a terminal."""
    assert cli.main(["calibrate", "--devices=simulated:0", "--seconds=1"]) == 0
    captured = capsys.readouterr()
    device, bandwidth, fp32, kept = captured.out.splitlines()
    assert device == "simulated:0 Simulated GPU (simulated) by simulated"
    assert re.fullmatch(r"  bandwidth: .* (GB|TB)/s \(.* to .*\), a copy of 256 MiB by simulated, simulated", bandwidth)
    assert re.fullmatch(r"  fp32: .* TFLOP/s \(.* to .*\), a product of order \d+ by simulated, simulated", fp32)
    assert kept == f"  kept in {peaks}"
    assert captured.err == ""
    stored = json.loads(peaks.read_text(encoding="utf-8"))["calibrations"][0]["rates"]
    assert stored["fp32"]["value"] == pytest.approx(2e12, rel=0.05)


def test_calibrate_for_a_program(peaks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json, standard output is JSON and nothing else."""
    assert cli.main(["calibrate", "--devices=simulated:0", "--seconds=1", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["device"], found["kept"], found["stand_in"]) == ("simulated:0", True, "simulated")
    assert found["rates"].keys() == {"bandwidth", "fp32"}
    assert peaks.exists()


ON_A_TERMINAL = """
from pytest_gpuprof import cli, hookimpl
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.reports import transient

class Machine:
    @hookimpl
    def pytest_gpuprof_backends(self):
        return [SimulatedBackend([Card(peak_flops=2e12, peak_bytes_per_s=1e12)], seed=1)]

parts = Extensions.standalone([Machine()])
Extensions.standalone = lambda: parts
transient._HELD_BACK_S = transient._EVERY_S = 0.0
raise SystemExit(cli.main(["calibrate", "--devices=simulated:0", "--seconds=1"]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo terminals on Windows")
@pytest.mark.parametrize("environment", [{}, {"CI": "true"}, {"TERM": "dumb"}], ids=str)
def test_calibrate_shows_progress_on_a_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    """One line, written over and over, and gone when a rate is told and at the end."""
    from tests.screens import Screen

    command = [sys.executable, "-c", ON_A_TERMINAL]
    with Screen(command, tmp_path, 100, 20, GPUPROF_PEAKS=str(tmp_path / "peaks.json"), **environment) as screen:
        rows = screen.until_end()
        assert screen.status == 0
        shown = re.findall(r"\r\x1b\[K(\w+: [^\r\x1b]+)", screen.written.decode())
    assert [row.partition(":")[0].strip() for row in rows[:3]] == ["simulated", "bandwidth", "fp32"]
    assert not any("round" in row for row in rows)
    if environment:
        assert shown == []
        return
    assert shown[0] == "bandwidth: setting up on simulated:0"
    estimated = re.compile(r"fp32: round \d+ of at most 24, GPU time .* \(.*, simulated\), at most \d+ s left")
    assert any(estimated.fullmatch(each) for each in shown)


@pytest.mark.parametrize("card", [replace(PEAK, shared_from=0.0)], ids=["shared"])
@pytest.mark.parametrize("anyway", [False, True])
def test_disturbed_rates_are_kept_only_if_that_is_wanted(
    peaks: Path, capsys: pytest.CaptureFixture[str], anyway: bool
) -> None:
    """A peak that is too low would flatter every utilization."""
    code = cli.main(["calibrate", "--devices=simulated:0", "--seconds=1", *(["--anyway"] if anyway else [])])
    shown = capsys.readouterr().out
    assert "  caution: 1 other process used the GPU meanwhile; stop them" in shown
    assert (code, peaks.exists()) == ((0, True) if anyway else (3, False))
    assert ("--anyway keeps it" in shown) is not anyway


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--devices=cuda:77"], 2, "error: there is no device 'cuda:77' to calibrate; there are"),
        (["--backend=nonsense"], 2, "error: there is no backend 'nonsense'"),
        (["--seconds=0"], 2, "error: --seconds is 0.0; it takes seconds above 0"),
        (["--backend=simulated"], 3, "there is no GPU whose rates a backend can measure"),
    ],
)
@pytest.mark.usefixtures("peaks")
def test_what_cannot_be_calibrated(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One sentence on standard error."""
    assert cli.main(["calibrate", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.err.startswith("pytest-gpuprof: ")
    assert said in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_a_damaged_file_is_told_before_anything_is_measured(peaks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And left as it is."""
    peaks.write_text("{", encoding="utf-8")
    assert cli.main(["calibrate", "--devices=simulated:0"]) == 2
    captured = capsys.readouterr()
    assert "is damaged" in captured.err
    assert captured.out == ""
    assert peaks.read_text(encoding="utf-8") == "{"
