"""What the plugin costs a run that does not use it: import time, and a thousand empty tests with it and without.

``python -m benchmarks.idle`` prints ratios to bare pytest in the same run and writes them as JSON. The runs with and
without the plugin alternate, so that a drift of the machine hits both alike.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_IMPORT = """
import time, pytest
start = time.perf_counter()
import pytest_gpuprof.plugin
print(time.perf_counter() - start)
"""

_HEAVY = """
import sys, pytest, pytest_gpuprof.plugin
print(sorted({"numpy", "scipy", "torch", "cupy", "pyopencl", "pynvml", "tabulate", "filelock"} & set(sys.modules)))
"""


def import_seconds(repeats: int) -> float:
    """Return the least time of importing the plugin into a process that has imported pytest."""
    return min(float(_python("-c", _IMPORT)) for _ in range(repeats))


def empty_tests(count: int, repeats: int) -> dict[str, list[float]]:
    """Return the seconds of runs of empty tests, with the plugin and without it."""
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"def test_{index}():\n    pass\n" for index in range(count)]
        Path(folder, "test_empty.py").write_text("\n".join(lines), encoding="utf-8")
        common = ["-m", "pytest", "-q", "-p", "no:cacheprovider", folder]
        for repeat in range(repeats):
            order = ("with", "without") if repeat % 2 == 0 else ("without", "with")
            for which in order:
                # Only our plugin is loaded, or none: other installed plugins would hide what ours costs.
                plugin = ["-p", "pytest_gpuprof.plugin"] if which == "with" else []
                start = time.perf_counter()
                _python(*common[:2], *plugin, *common[2:], PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
                seconds[which].append(time.perf_counter() - start)
    return seconds


def _python(*arguments: str, **environment: str) -> str:
    run = subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **environment}, check=True, capture_output=True, text=True
    )
    return run.stdout


def measure(count: int = 1000, repeats: int = 9) -> dict[str, Any]:
    """Return the figures of this benchmark."""
    seconds = empty_tests(count, repeats)
    ratios = [with_ / without for with_, without in zip(seconds["with"], seconds["without"], strict=True)]
    return {
        "import_s": import_seconds(repeats),
        "imported": _python("-c", _HEAVY).strip(),
        "tests": count,
        "seconds": seconds,
        "ratio_median": statistics.median(ratios),
        "ratio_of_least": min(seconds["with"]) / min(seconds["without"]),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", type=int, default=1000, metavar="N", help="empty tests per run (default: 1000)")
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="runs of each kind (default: 9)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the figures as JSON")
    chosen = parser.parse_args()
    found = measure(chosen.tests, chosen.repeats)
    print(
        f"import of the plugin after pytest: {found['import_s'] * 1e3:.2f} ms; frameworks imported: {found['imported']}"
    )
    print(
        f"{found['tests']} empty tests with the plugin / without: {found['ratio_median']:.3f} (median of pairs), "
        f"{found['ratio_of_least']:.3f} (least of each)"
    )
    if chosen.output:
        chosen.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
