"""What the plugin costs a run that does not use it: a thousand empty tests with it and without, and its import.

Runs with the plugin and without it take turns in random order, so that a drift of the machine hits both alike. On a
shared machine a whole run varies by more than the plugin costs, in CPU time too. So the median of the ratios comes with
its interval, and beside a control: a second plugin that does nothing, whose true ratio is 1.

The cost is also measured directly: the plugin has no hook that is called for each test (the tests see to that), so what
it costs is its import and what its options add to pytest's start, and both are short enough to take the least of many.
Where valgrind is installed, it counts the instructions of one run of each kind: no load changes that number.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from benchmarks.instructions import instructions_of
from benchmarks.progress import say
from benchmarks.results import ROOT

__all__ = ["measure", "median_interval"]

PLUGIN, NOTHING, CONTROL = "pytest_gpuprof.plugin", "gpuprof_benchmark_nothing", "gpuprof_benchmark_control"
"""Ours, and two plugins that do nothing: pytest looks a plugin named by ``-p`` up among all installed packages, which a
run without any would not do, and a usual run does whatever is installed."""

_IMPORT = f"""
import time, pytest, _pytest.assertion
from _pytest.config import _prepareconfig
config = _prepareconfig(["-q", "-p", "{NOTHING}"])  # the import hook is in place, as when pytest loads a plugin
config.pluginmanager.rewrite_hook.mark_rewrite("{PLUGIN}")
start = time.process_time()
import {PLUGIN}, pytest_gpuprof.hookspecs
print(time.process_time() - start)
"""

_START = f"""
import gc, sys, time
from _pytest.config import _prepareconfig
def start(plugin):
    began = time.process_time()
    config = _prepareconfig(["-q", "-p", "no:faulthandler", "--assert=plain", "-p", plugin])
    config._do_configure()
    seconds = time.process_time() - began
    config._ensure_unconfigure()
    return seconds
plugins = "{PLUGIN}", "{NOTHING}"
seconds = [[], []]
for repeat in range(int(sys.argv[1])):
    gc.collect()
    for each, plugin in zip(seconds, plugins):
        each.append(start(plugin))
with_, without = map(min, seconds)
print(with_ - without)
"""

_HEAVY = f"""
import sys, pytest, {PLUGIN}
print(*sorted({{"numpy", "scipy", "torch", "cupy", "pyopencl", "pynvml", "tabulate", "filelock"}} & set(sys.modules)))
"""


@dataclass(frozen=True, slots=True)
class _Cost:
    """What one run took."""

    wall_s: float
    cpu_s: float


def measure(tests: int, turns: int, *, count_instructions: bool) -> dict[str, Any]:
    """Return the costs of runs of empty tests, in turn with the plugin, without it, and without it again."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.joinpath("test_empty.py").write_text(
            "\n".join(f"def test_{index}():\n    pass\n" for index in range(tests)), encoding="utf-8"
        )
        for plugin in (NOTHING, CONTROL):
            folder.joinpath(f"{plugin}.py").write_text('"""PYTEST_DONT_REWRITE."""\n', encoding="utf-8")
        runner = _Runner(folder)
        costs: dict[str, list[_Cost]] = {PLUGIN: [], NOTHING: [], CONTROL: []}
        for plugin in costs:  # compiles everything, as an installation has done
            runner.run(plugin)
        rng = random.Random(20)
        for turn in range(turns):
            for plugin in rng.sample(list(costs), len(costs)):
                costs[plugin].append(runner.run(plugin))
            say("idle, turns of runs", turn + 1, turns)
        imports = [float(runner.python("-c", _IMPORT)) for _ in range(turns)]
        start_s = float(runner.python("-c", _START, str(4 * turns)))
        heavy = runner.python("-c", _HEAVY).split()
        instructions = runner.instructions() if count_instructions else None
    bare = costs[NOTHING]
    least_s = min(without.cpu_s for without in bare)
    cpu, control = (
        [with_.cpu_s / without.cpu_s for with_, without in zip(costs[plugin], bare, strict=True)]
        for plugin in (PLUGIN, CONTROL)
    )
    wall = [with_.wall_s / without.wall_s for with_, without in zip(costs[PLUGIN], bare, strict=True)]
    return {
        "tests": tests,
        "import_s": min(imports),
        "options_s": start_s,
        "parts_ratio": 1 + (min(imports) + start_s) / least_s,
        "heavy_imports": heavy,
        "instructions_ratio": instructions,
        "cpu_ratio": statistics.median(cpu),
        "cpu_ratio_interval": list(median_interval(cpu)),
        "control_ratio": statistics.median(control),
        "control_ratio_interval": list(median_interval(control)),
        "wall_ratio": statistics.median(wall),
        "wall_ratio_interval": list(median_interval(wall)),
        "bare_cpu_s": least_s,
        "bare_wall_s": min(without.wall_s for without in bare),
        "cpu_ratios": [round(ratio, 5) for ratio in cpu],
        "wall_ratios": [round(ratio, 5) for ratio in wall],
    }


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of a median by order statistics, which assumes nothing about the noise.

    The whole range where there are too few values for that confidence.

    >>> median_interval([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    (2, 9)
    """
    ordered = sorted(values)
    # The median lies below the k-th value, or above the k-th from the end, as seldom as a coin falls so one-sidedly.
    below = int(stats.binom.ppf((1 - confidence) / 2, len(ordered), 0.5)) - 1
    below = max(0, below if stats.binom.cdf(below, len(ordered), 0.5) <= (1 - confidence) / 2 else below - 1)
    return ordered[below], ordered[-1 - below]


class _Runner:
    """Runs pytest and Python in processes of their own, with bytecode cached in a folder that goes away."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Only one plugin is loaded: other installed ones would hide what ours costs.
        self._environment = {
            **{
                name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONDONTWRITE"))
            },
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
            "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder))),
        }

    def run(self, plugin: str) -> _Cost:
        """Run the empty tests once."""
        start = time.perf_counter()
        process = subprocess.Popen(
            self._command(plugin), cwd=self._folder, env=self._environment, stdout=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        if process.returncode:
            raise RuntimeError(f"pytest ended with {process.returncode}")
        return _Cost(seconds, used.ru_utime + used.ru_stime)

    def instructions(self) -> float | None:
        """Return the ratio of instructions of a run with the plugin to one without, ``None`` without valgrind."""
        counts = []
        for plugin in (PLUGIN, NOTHING):
            counted = instructions_of(self._command(plugin), self._folder, self._environment)
            if counted is None:
                return None
            counts.append(counted)
            say("idle, instructions of runs", len(counts), 2)
        return counts[0] / counts[1]

    def _command(self, plugin: str) -> list[str]:
        return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", plugin, "test_empty.py"]

    def python(self, *arguments: str) -> str:
        """Run Python and return what it prints."""
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self._folder, env=self._environment, check=True, capture_output=True,
            text=True,
        )  # fmt: skip
        return done.stdout
