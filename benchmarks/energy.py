"""How often the true energy of a call lies in our interval, how wide that is, and the real zeus beside it.

``python -m benchmarks.energy`` prints two tables and can write the figures as JSON. Nothing here measures a real board:
the truth is known only on simulated ones. All time is virtual, so it takes minutes of computing and no waiting.

1. Our energy pass on a simulated card, for each preset, refresh period of the counter and kind of load: how many of the
   runs have the truth in their interval, with the sensor's own error (the card's gain is drawn from ±5 %) and without
   (the interval is then held against what the card itself can know), and half the width of the latter.
2. The real zeus (``ZeusMonitor``) and our energy pass, both through the real pynvml on one simulated
   ``libnvidia-ml.so.1`` whose counter is refreshed every 0.1 s: the errors of windows from 0.05 to 5 s.
"""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import logging
import random
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.drawing import COLOURS, drawing
from pytest_gpuprof.backends.host import HostDevice
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.protocols import Device
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.core.workload import as_workload
from pytest_gpuprof.meters.nvml import open_board
from pytest_gpuprof.sampling.energy import Instruments, energy_pass
from pytest_gpuprof.sampling.legs import LegPlan
from pytest_gpuprof.sampling.plan import ENERGY_PRESETS, Plan
from tests.simulators import SimulatorUnavailable

NAME = "energy"
TITLE = "Energy per call (simulated)"

PERIODS_S = (0.02, 0.1, 0.2)
WINDOWS_S = (0.05, 0.35, 2.0, 5.0)
WATTS, IDLE_W = 350.0, 70.0

CARD = Card(
    noise=0.0, launch_s=0.0, latency_s=0.0, sync_s=0.0, idle_w=IDLE_W, busy_w=WATTS
)  # busy without pause, so that the truth is a product

LOADS: Mapping[str, tuple[float, float, bool]] = {
    "20 ms, steady": (0.020, 0.0, False),
    "20 ms, power differs by 1 %": (0.020, 0.01, False),
    "20 ms, power differs by 2 %": (0.020, 0.02, False),
    "20 ms, power wanders by 2 %": (0.020, 0.02, True),
    "70 ms (lengths not jittered)": (0.070, 0.005, False),
    "430 ms (longer than a refresh)": (0.430, 0.005, False),
}
"""By name: seconds of a call, relative spread of the power, and how it varies: from window to window independently, or
in stretches as long as a window that begin anywhere, so that neighbouring windows are alike. The latter is what no
interval from the spread of a few windows can see; it is here to show how much that matters."""


def coverage(runs: int) -> Iterator[dict[str, Any]]:
    """Yield a row per preset, refresh period and load, of that many simulated runs each."""
    for preset, windows in ENERGY_PRESETS.items():
        for period_s in PERIODS_S:
            for load, (call_s, spread, wanders) in LOADS.items():
                rng = random.Random(f"{preset} {period_s} {load}")
                known, whole, widths = 0, 0, []
                for seed in range(runs):
                    gain = 1 + rng.uniform(-0.05, 0.05)
                    reading = _simulated(Plan(**windows), period_s, call_s, spread, wanders, gain, rng, seed)
                    truth = WATTS * call_s
                    assert reading.value is not None, reading.reason
                    assert reading.interval is not None
                    known += abs(truth * gain - reading.value) <= reading.repeatability * reading.value
                    whole += reading.interval[0] <= truth <= reading.interval[1]
                    widths.append(reading.repeatability)
                yield {
                    "preset": preset,
                    "period_s": period_s,
                    "load": load,
                    "runs": runs,
                    "inside": known / runs,
                    "inside_with_gain": whole / runs,
                    "half_width_mean": statistics.fmean(widths),
                    "half_width_p95": sorted(widths)[int(0.95 * (runs - 1))],
                }


def _simulated(
    plan: Plan, period_s: float, call_s: float, spread: float, wanders: bool, gain: float, rng: random.Random, seed: int
) -> Reading:
    """Return the energy of a call as measured on a card of known mean power, at a random phase of its counter."""
    levels = [1 + spread * rng.gauss(0, 1) for _ in range(128)]
    stretch_s = plan.window_for(period_s)
    windows = 0

    def power_at(now: float) -> float:
        return levels[int(now / stretch_s) % 128 if wanders else windows % 128]

    def watch(what: str) -> None:
        nonlocal windows
        windows += 1  # it is told before each window, while the card is idle

    card = replace(CARD, energy_period_s=period_s, energy_gain=gain, power_at=power_at)
    machine = SimulatedBackend((card,))
    machine.clock.sleep(rng.uniform(0, 1))
    device = machine.open(DeviceId("simulated"))
    board = device.board()
    counter = None if board is None else board.energy()
    assert board is not None
    assert counter is not None
    assert not isinstance(counter, Reading)
    instruments = Instruments({"energy": counter}, board)
    return _measured(device, lambda on: lambda: on.run(call_s), instruments, plan, seed, watch)


def _measured(
    device: Device,
    builder: Callable[[Any], Callable[[], object]],
    instruments: Instruments,
    plan: Plan,
    seed: int,
    watch: Callable[[str], None] = lambda what: None,
) -> Reading:
    def work(device: Any) -> Callable[[], object]:
        return builder(device)

    leg = LegPlan("gpu", as_workload(work), device, {}, device.random.save())
    taken = energy_pass(leg, instruments, plan, threads=1, quality="simulated", seed=seed, watch=watch)
    return taken.readings["energy"]


# -- beside zeus ------------------------------------------------------------------------------------------------------


class _Rig:
    """A device whose only clock is that of the simulated NVML: busy while it runs, idle while it sleeps."""

    def __init__(self, control: Any) -> None:
        self.control = control
        self._load: int | None = None

    def start(self) -> None:
        """Begin anew, idle."""
        self._load = None
        self.control.reset(clock="virtual", idle_w=IDLE_W, busy_w=WATTS, energy_period_ms=100)
        self.control.advance(3.0)

    def now(self) -> float:
        return float(self.control.now_s())

    def sleep(self, seconds: float) -> None:
        if self._load is not None:
            self.control.end(0, self._load)
            self._load = None
        self.control.advance(seconds)

    def run(self, seconds: float) -> None:
        if self._load is None:
            self._load = self.control.begin(0, WATTS)
        self.control.advance(seconds)


class _RigDevice(HostDevice):
    def __init__(self, rig: _Rig) -> None:
        info = DeviceInfo(
            DeviceId("cuda"), "Simulated H100", "gpu", "rig", uuid="GPU-51510000-0000-4000-8000-000000000000"
        )
        super().__init__(info, {"device": self})
        self.clock = rig  # type: ignore[assignment]  # a clock, though not the system's


def beside_zeus(runs: int) -> dict[str, Any]:
    """Return a row per length of window, or why zeus cannot be run here."""
    try:
        from zeus.monitor import ZeusMonitor

        from tests.simulators.nvml import Control, build

        version = importlib.metadata.version("zeus")
        control = Control(build(Path(tempfile.gettempdir()) / "pytest-gpuprof-nvml"))
    except (ImportError, SimulatorUnavailable) as error:
        return {"unavailable": str(error)}
    logging.getLogger("zeus").setLevel(logging.ERROR)
    gc.collect()
    gc.freeze()  # zeus brings much that is no garbage either
    rig = _Rig(control)
    rig.start()
    monitor = ZeusMonitor(gpu_indices=[0], cpu_indices=[])
    device = _RigDevice(rig)
    board = open_board(device.info)
    assert not isinstance(board, Reading), board.reason
    counter = board.energy()
    assert not isinstance(counter, Reading), counter.reason
    call_s = 0.0097  # no multiple of it is one of the refresh, as with real calls
    rows = []
    for window_s in WINDOWS_S:
        rng = random.Random(str(window_s))
        errors: dict[str, list[float]] = {"zeus": [], "zeus, load before": [], "ours": []}
        widths: list[float] = []
        spent_s: list[float] = []
        inside, refused = 0, 0
        for seed in range(runs):
            for name, before in (("zeus", rig.sleep), ("zeus, load before", rig.run)):
                rig.start()
                before(rng.uniform(1, 1.1))  # at any phase of the counter
                errors[name].append(_zeus(monitor, rig, window_s, call_s) - 1)
            rig.start()
            rig.sleep(rng.uniform(0, 0.1))
            start = rig.now()
            # The refresh of the counter is known from the first pass of a session on, as zeus takes it as known.
            known = Instruments({"energy": counter}, board, {"energy": 0.1})
            plan = Plan(window_s=window_s, trials=3, settle_s=1.0)
            reading = _measured(device, lambda on: lambda: rig.run(call_s), known, plan, seed)
            spent_s.append(rig.now() - start)
            if reading.value is None:
                refused += 1  # a window in which the counter stood still
                continue
            error = reading.value / (WATTS * call_s) - 1
            errors["ours"].append(error)
            inside += abs(error) <= reading.repeatability * (1 + error)
            widths.append(reading.repeatability)
        rows.append(
            {
                "window_s": window_s,
                "runs": runs,
                "errors": {name: _summary(each) for name, each in errors.items()},
                "half_width_mean": statistics.fmean(widths) if widths else None,
                "inside": inside / len(widths) if widths else None,
                "refused": refused / runs,
                "our_seconds": statistics.fmean(spent_s),
            }
        )
    return {"zeus": version, "rows": rows}


def _zeus(monitor: Any, rig: _Rig, window_s: float, call_s: float) -> float:
    """Return what zeus says of a window of calls, relative to what the board really drew in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of windows that are exactly 0, and only of these
        start = rig.now()
        monitor.begin_window("window", sync_execution=False)
        for _ in range(round(window_s / call_s)):
            rig.run(call_s)
        taken = monitor.end_window("window", sync_execution=False)
    return float(taken.gpu_energy[0]) / float(rig.control.true_energy_j(0, start, rig.now()))


def _summary(errors: Sequence[float]) -> dict[str, float] | None:
    if not errors:
        return None
    return {
        "mean": statistics.fmean(errors),
        "rms": statistics.fmean(each**2 for each in errors) ** 0.5,
        "worst": max(errors, key=abs),
    }


# -- what is shown ----------------------------------------------------------------------------------------------------


def measure(quick: bool = False) -> dict[str, Any]:
    """Return the figures of this benchmark.

    Args:
        quick: whether a twentieth of the runs is enough, for a look.
    """
    gc.collect()
    gc.freeze()  # each pass collects garbage, and what is loaded so far is none
    try:
        return {"coverage": list(coverage(50 if quick else 1000)), "beside_zeus": beside_zeus(20 if quick else 200)}
    finally:
        gc.unfreeze()


def table(results: Mapping[str, Any]) -> str:
    """Return the figures as two Markdown tables."""
    covered = tabulate(
        [
            [
                row["preset"],
                f"{row['period_s'] * 1e3:.0f} ms",
                row["load"],
                f"{row['inside']:.1%}",
                f"{row['inside_with_gain']:.1%}",
                f"{row['half_width_mean']:.1%}",
                f"{row['half_width_p95']:.1%}",
            ]
            for row in results["coverage"]
        ],
        headers=["preset", "refresh", "a call", "truth inside", "with gain ±5 %", "half-width", "its p95"],
        tablefmt="github",
        disable_numparse=True,
    )
    beside = results["beside_zeus"]
    if "unavailable" in beside:
        return f"{covered}\n\nzeus was not run: {beside['unavailable']}"
    names = list(beside["rows"][0]["errors"])
    errors = tabulate(
        [
            [
                f"{row['window_s']:g} s",
                *(_shown(row["errors"][name]) for name in names),
                "-" if row["half_width_mean"] is None else f"±{row['half_width_mean']:.1%}",
                "-" if row["inside"] is None else f"{row['inside']:.1%}",
                f"{row['refused']:.0%}",
            ]
            for row in beside["rows"]
        ],
        headers=["window", *(f"{name}: rms, worst" for name in names), "our interval", "truth inside", "we refuse"],
        tablefmt="github",
        disable_numparse=True,
    )
    return f"{covered}\n\nBeside zeus {beside['zeus']} (which tells no interval):\n\n{errors}"


def _shown(summary: Mapping[str, float] | None) -> str:
    return "-" if summary is None else f"{summary['rms']:.1%}, {summary['worst']:+.1%}"


def plots(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw how often the truth lies inside the interval against how wide that is, one series per preset."""
    path = folder / "benchmark-energy.svg"
    with drawing(
        path, title="Energy per call (simulated)", x="mean half-width of the interval, %", y="truth inside, %"
    ) as axes:
        for preset, colour in zip(ENERGY_PRESETS, COLOURS, strict=False):
            rows = [row for row in results["coverage"] if row["preset"] == preset]
            axes.scatter(
                [100 * row["half_width_mean"] for row in rows],
                [100 * row["inside"] for row in rows],
                s=20, color=colour, label=preset, linewidths=0,
            )  # fmt: skip
        axes.axhline(95, color="black", linewidth=0.8, linestyle="--")
        axes.legend(fontsize=8, frameon=False, loc="lower right")
    return [path]


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a twentieth of the runs")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures as JSON")
    chosen = parser.parse_args()
    results = measure(chosen.quick)
    print(table(results))
    if chosen.output:
        chosen.output.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
