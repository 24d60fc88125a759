"""What using the package costs: a run that does not use it, an iteration of its loop, and a test with a budget.

* **Idle**: a thousand empty tests with the plugin loaded, beside the same run with a plugin that does nothing. The goal
  is 1.01. Where valgrind is installed, the ratio is one of instructions, which nothing disturbs. Then as start-up cost
  (the only cost there is, as no hook of ours is called per test) over the run's time. Then of whole runs, which a
  shared machine disturbs by more than 1 %: with the 95 % interval of the median, and a control whose true ratio is 1.
* **Loop**: an iteration of the loop around the CPU leg, beside one of ``timeit``'s that calls the same empty function.
  The goal is 1.05. In instructions, where valgrind is installed; and in seconds, as the median of many ratios taken in
  turn, beside a control whose true ratio is 1.
* **Gated test**: the seconds of a test with a ``min_speedup`` that is met, beside pytest-benchmark running its two legs
  as two benchmarks: by its defaults, with one call made before, and with its calibrated warm-up. By default it derives
  its number of rounds from the very first call; where that compiles something it takes a handful of rounds, is done
  soon, and has measured little. The goal is 0.5. The phases of our own measurement are shown on this machine, and on a
  simulated one, whose seconds are simulated and undisturbed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import gated, idle, loop_cost
from benchmarks.drawing import COLOURS, drawing

__all__ = ["NAME", "TITLE", "measure", "plots", "table"]

NAME = "overhead"
TITLE = "What it costs"

GOALS = {"idle": 1.01, "loop": 1.05, "gated": 0.5}


def measure(quick: bool = False) -> dict[str, Any]:
    """Return the figures of all three parts.

    Raises:
        CannotRun: without PyOpenCL or pytest-benchmark.
    """
    return {
        "idle": idle.measure(50 if quick else 1000, 2 if quick else 30, count_instructions=not quick),
        "loop": loop_cost.measure(20 if quick else 2000, count_instructions=not quick),
        "gated": gated.measure(1 if quick else 3),
    }


def table(results: Mapping[str, Any]) -> str:
    """Return the ratios beside their goals, then the seconds of a gated test, then where ours spends them."""
    return "\n\n".join((_ratios(results), _seconds(results["gated"]), _phases(results["gated"])))


def _ratios(results: Mapping[str, Any]) -> str:
    idle, loop, gated = results["idle"], results["loop"], results["gated"]
    low, high = idle["cpu_ratio_interval"]
    control_low, control_high = idle["control_ratio_interval"]
    counted = loop["instructions"]
    loop_low, loop_high = loop["ratio_interval"]
    timeit_low, timeit_high = loop["control_ratio_interval"]
    start_ms = 1e3 * (idle["import_s"] + idle["options_s"])
    rows = [
        ("idle, by instructions", idle["instructions_ratio"], GOALS["idle"], "valgrind, one run each"),
        (
            "idle, by start-up cost", idle["parts_ratio"], GOALS["idle"],
            f"{start_ms:.1f} ms of CPU time ({1e3 * idle['import_s']:.1f} ms import) on {idle['bare_cpu_s']:.2f} s",
        ),
        (
            "idle, CPU time of whole runs", idle["cpu_ratio"], GOALS["idle"],
            f"median of {len(idle['cpu_ratios'])}, 95 % interval {low:.3f} to {high:.3f}",
        ),
        (
            "control: no plugin ÷ no plugin", idle["control_ratio"], 1.0,
            f"CPU time of as many runs, interval {control_low:.3f} to {control_high:.3f}: what this machine can tell",
        ),
        ("idle, wall time of whole runs", idle["wall_ratio"], GOALS["idle"], "the same runs"),
        (
            "loop, by instructions", None if counted is None else counted["ours"] / counted["timeit"], GOALS["loop"],
            "valgrind" if counted is None else f"{counted['ours']:.2f} against {counted['timeit']:.2f} per call",
        ),
        (
            "loop, seconds", loop["ratio"], GOALS["loop"],
            f"median of {loop['repeats']}, 95 % interval {loop_low:.3f} to {loop_high:.3f}; at least "
            f"{1e9 * loop['ours_s']:.1f} ns against {1e9 * loop['timeit_s']:.1f} ns per call",
        ),
        (
            "control: timeit ÷ timeit", loop["control_ratio"], 1.0,
            f"as many, interval {timeit_low:.3f} to {timeit_high:.3f}: what seconds can tell",
        ),
        *(
            (f"gated test ÷ {way}", ratio, GOALS["gated"], "all sizes together")
            for way, ratio in gated["ratios"].items()
        ),
    ]  # fmt: skip
    lines = ["| ratio | found | goal | how |", "| --- | --: | --: | --- |"]
    for what, ratio, goal, how in rows:
        met = ratio is None or ratio <= goal or what.startswith("control")
        found = "not counted" if ratio is None else f"{ratio:.3f}{'' if met else ' ✗'}"
        lines.append(f"| {what} | {found} | {goal:g} | {how} |")
    heavy = idle["heavy_imports"]
    lines += ["", f"Frameworks and other heavy modules imported by the idle plugin: {', '.join(heavy) or 'none'}."]
    return "\n".join(lines)


def _seconds(found: Mapping[str, Any]) -> str:
    sizes = list(next(iter(found["seconds"].values())))
    lines = [f"| seconds per test | {' | '.join(sizes)} |", "| --- |" + " --: |" * len(sizes)]
    for way, seconds in found["seconds"].items():
        lines.append(f"| {way} | {' | '.join(f'{seconds[size]:.2f}' for size in sizes)} |")
    return "\n".join(lines)


def _phases(found: Mapping[str, Any]) -> str:
    """Return where our seconds go. Between phases told lies what is not told: it counts to the phase before."""
    lines = []
    for title, phases in (("on this machine", found["phases"]), ("simulated", found["phases_simulated"])):
        names = list(dict.fromkeys(name for each in phases.values() for name in each))
        lines += [f"| seconds, {title} | {' | '.join(names)} |", "| --- |" + " --: |" * len(names)]
        for size, each in phases.items():
            lines.append(f"| {size} | {' | '.join(f'{each.get(name, 0):.2f}' for name in names)} |")
        lines.append("")
    return "\n".join(lines).rstrip()


def plots(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the seconds of a gated test by way and size."""
    seconds = results["gated"]["seconds"]
    sizes = list(next(iter(seconds.values())))
    path = folder / "benchmark-overhead.svg"
    width = 0.8 / len(seconds)
    with drawing(path, title="Seconds per test with both legs", x="size of the workload", y="seconds") as axes:
        for index, (way, each) in enumerate(seconds.items()):
            places = [place + index * width for place in range(len(sizes))]
            axes.bar(places, [each[size] for size in sizes], width, color=COLOURS[index], label=way)
        axes.set_xticks([place + 0.4 - width / 2 for place in range(len(sizes))], sizes)
        axes.set_ylim(0, 1.3 * max(max(each.values()) for each in seconds.values()))  # with room for the legend
        axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper left")
    return [path]


if __name__ == "__main__":
    from benchmarks.command import main

    sys.exit(main([NAME, *sys.argv[1:]]))
