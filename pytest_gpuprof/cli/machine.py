"""``doctor`` and ``calibrate``: what this machine can measure, and what it could do at most."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, TextIO

from pytest_gpuprof.cli.arguments import Subcommands, add_command
from pytest_gpuprof.cli.output import coloured, has_colours
from pytest_gpuprof.core.errors import UsageError

if TYPE_CHECKING:
    from pytest_gpuprof.core.progress import Progress
    from pytest_gpuprof.core.results import Reading
    from pytest_gpuprof.doctor import Line

__all__ = ["add"]


def add(commands: Subcommands) -> None:
    """Add ``doctor`` and ``calibrate``."""
    doctor = add_command(
        commands,
        "doctor",
        _doctor,
        "show devices, backends and readings, each available or why not and what to do",
        examples=[
            ("pytest-gpuprof doctor", "what this machine can measure"),
            ("pytest-gpuprof doctor --json", "the same for a program"),
        ],
    )
    doctor.add_argument("--json", action="store_true", help="print a JSON list instead of text")
    calibrate = add_command(
        commands,
        "calibrate",
        _calibrate,
        "measure copy bandwidth and matrix rates of each GPU, and keep them",
        "They are the peaks that utilization budgets are judged against.",
        examples=[
            ("pytest-gpuprof calibrate", "each GPU"),
            ("pytest-gpuprof calibrate --devices=cuda:0 --backend=torch", "one GPU, measured by torch"),
        ],
    )
    calibrate.add_argument(
        "--devices", metavar="LIST", default="", help="devices or backends, e.g. cuda:0,cpu (default: every GPU)"
    )
    calibrate.add_argument("--backend", metavar="NAME", help="the backend to measure with, e.g. torch or cupy")
    calibrate.add_argument(
        "--seconds", metavar="N", type=float, default=10.0, help="most seconds for each rate (default: 10)"
    )
    calibrate.add_argument(
        "--anyway", action="store_true", help="keep the rates although something disturbed the measurement"
    )
    calibrate.add_argument("--json", action="store_true", help="print a JSON list instead of text")


def _doctor(chosen: argparse.Namespace) -> int:
    from pytest_gpuprof.doctor import examine

    if chosen.json:
        print(json.dumps([asdict(line) for line in examine()], indent=2))
        return 0
    colours = has_colours(sys.stdout)
    for text in _texts(examine(), colours):
        print(text, flush=True)
    return 0


def _calibrate(chosen: argparse.Namespace) -> int:
    if not 0 < chosen.seconds < float("inf"):
        raise UsageError(f"--seconds is {chosen.seconds}; it takes seconds above 0")
    from pytest_gpuprof.calibration import Calibrating, calibration_of, targets
    from pytest_gpuprof.extensions import Extensions
    from pytest_gpuprof.storage.calibrations import Calibrations

    extensions, store = Extensions.standalone(), Calibrations()
    store.check()

    def say(text: str) -> None:
        if not chosen.json:
            print(text, flush=True)

    found, kept = [], 0
    for device in targets(
        extensions, [each.strip() for each in chosen.devices.split(",") if each.strip()], chosen.backend
    ):
        say(f"{device.info.id} {device.info.label} by {device.info.backend}")
        rates = []
        with _progress(sys.stderr) as line:
            for rate in Calibrating(extensions, device, seconds=chosen.seconds, watch=line.watch).rates():
                line.wipe()
                say(f"  {rate}")
                rates.append(rate)
        doubts = dict.fromkeys(str(caution) for rate in rates for caution in rate.cautions)
        for doubt in doubts:
            say(f"  caution: {doubt}")
        calibration = calibration_of(extensions, device, rates, date.today().isoformat())
        keep = bool(calibration.rates) and (chosen.anyway or not doubts)
        if keep:
            store.add(calibration)
            kept += 1
            say(f"  kept in {store.path}")
        else:
            say(
                "  not kept: it may reach more than this; --anyway keeps it"
                if doubts
                else "  not kept: no rate is known"
            )
        found.append({
            "device": str(device.info.id), "name": device.info.name, "backend": device.info.backend,
            "stand_in": device.info.why_stand_in, "kept": keep, "cautions": list(doubts),
            "rates": {rate.what: _rate(rate.reading) for rate in rates},
        })  # fmt: skip
    if chosen.json:
        print(json.dumps(found, indent=2))
    return 0 if kept == len(found) else 3


def _rate(reading: Reading) -> dict[str, object]:
    if reading.value is None:
        return {"unavailable": reading.reason}
    return {"value": reading.value, "interval": reading.interval, "quality": reading.quality, "source": reading.source}


class _Line:
    """One line that is written over and over, on a terminal only."""

    def __init__(self, stream: TextIO) -> None:
        from pytest_gpuprof.reports.transient import Pace, is_watched

        self._stream = stream
        self._pace = Pace(time.monotonic)
        self._shown = False
        self.watch = self._show if is_watched(stream.isatty()) else None

    def _show(self, what: str, progress: Progress) -> None:
        from pytest_gpuprof.reports.transient import columns_of, fitting

        if self._pace.is_due(progress):
            self._stream.write(f"\r\x1b[K{fitting(what, progress, columns_of(self._stream), self._stream.encoding)}")
            self._stream.flush()
            self._shown = True

    def wipe(self) -> None:
        """Wipe it out, before anything else is written."""
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
        self._shown = False


@contextmanager
def _progress(stream: TextIO) -> Iterator[_Line]:
    line = _Line(stream)
    try:
        yield line
    finally:
        line.wipe()


def _texts(lines: Iterator[Line], colours: bool) -> Iterator[str]:
    section = ""
    for line in lines:
        if line.section != section:
            section = line.section
            yield coloured(section, "bold", colours)
        if line.found is not None:
            yield f"  {coloured('yes', 'green', colours)}  {line.what}: {line.found}"
        else:
            yield f"  {coloured('no', 'yellow', colours)}   {line.what}: {line.reason}"
