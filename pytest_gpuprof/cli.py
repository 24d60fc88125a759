"""The command ``pytest-gpuprof``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from typing import TextIO

from pytest_gpuprof import __version__
from pytest_gpuprof.calibration import Calibrating, calibration_of, targets
from pytest_gpuprof.core.errors import Unavailable, UsageError
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.doctor import Line, examine
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.storage.calibrations import Calibrations

__all__ = ["main"]

_EXAMPLES = """examples:
  pytest-gpuprof doctor              what this machine can measure, and what to do where it cannot
  pytest-gpuprof doctor --json       the same for a program
  pytest-gpuprof calibrate           measure the peak rates of each GPU, for utilization budgets
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: what stands behind the command's name; ``None`` for this process's.

    Returns:
        0 if all went well, 2 if the arguments cannot be meant, 3 if there was nothing to do it with.
    """
    parser = argparse.ArgumentParser(
        prog="pytest-gpuprof",
        description="Measure GPU workloads against the CPU. Measuring itself is done by pytest --gpu-profile.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"pytest-gpuprof {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    doctor = commands.add_parser(
        "doctor",
        help="show devices, backends and readings, each available or why not and what to do",
        description="Show devices, backends and readings, each available or why not and what to do.",
    )
    doctor.add_argument("--json", action="store_true", help="print a JSON list instead of text")
    doctor.set_defaults(run=_doctor)
    calibrate = commands.add_parser(
        "calibrate",
        help="measure copy bandwidth and matrix rates of each GPU, and keep them",
        description="Measure the copy bandwidth and the matrix rates of each GPU, and keep them as the peaks that "
        "utilization budgets are judged against.",
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
    calibrate.set_defaults(run=_calibrate)
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except UsageError as error:
        print(f"pytest-gpuprof: error: {error}", file=sys.stderr)
        return 2
    except Unavailable as error:
        print(f"pytest-gpuprof: {error}", file=sys.stderr)
        return 3
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _doctor(chosen: argparse.Namespace) -> int:
    if chosen.json:
        print(json.dumps([asdict(line) for line in examine()], indent=2))
        return 0
    colours = _has_colours(sys.stdout)
    for text in _texts(examine(), colours):
        print(text, flush=True)
    return 0


def _calibrate(chosen: argparse.Namespace) -> int:
    if not 0 < chosen.seconds < float("inf"):
        raise UsageError(f"--seconds is {chosen.seconds}; it takes seconds above 0")
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
        with _progress(sys.stderr) as watch:
            for rate in Calibrating(extensions, device, seconds=chosen.seconds, watch=watch).rates():
                watch("")
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


@contextmanager
def _progress(stream: TextIO) -> Iterator[Callable[[str], None]]:
    """Offer one line that is written over and over, on a terminal only."""
    shown = stream.isatty() and os.environ.get("TERM") != "dumb"

    def watch(what: str) -> None:
        if shown:
            stream.write(f"\r\x1b[K{what}")
            stream.flush()

    try:
        yield watch
    finally:
        watch("")


def _texts(lines: Iterator[Line], colours: bool) -> Iterator[str]:
    section = ""
    for line in lines:
        if line.section != section:
            section = line.section
            yield _coloured(f"{section}", "1", colours)
        if line.found is not None:
            yield f"  {_coloured('yes', '32', colours)}  {line.what}: {line.found}"
        else:
            yield f"  {_coloured('no', '33', colours)}   {line.what}: {line.reason}"


def _has_colours(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _coloured(text: str, code: str, colours: bool) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if colours else text
