"""Our device time beside others' on a real GPU, its energy beside integrated power, and what only hardware can answer.

**This benchmark has never run on a GPU yet.** Its parts are tested on simulated devices and a simulated NVML, which
shows that they work, not what a GPU says. ``python -m benchmarks.hardware`` needs an NVIDIA GPU and PyTorch with CUDA;
Triton and CuPy are compared where they are installed. It takes about ten minutes and leaves the GPU's settings as they
are: clocks are neither locked nor reset, and the result says which clocks it saw.

* **Times**: kernels of 2 µs to 100 ms (a spin kernel, an addition of arrays, a matrix product), measured by us, by
  ``triton.testing.do_bench``, ``cupyx.profiler.benchmark`` and ``torch.utils.benchmark``, and by the replay of a CUDA
  graph of many calls. The replay launches nothing from Python, so it is what the others are compared with.
* **Questions**: figures that were chosen from sources or simulations, each now answered by a number, with what the
  package assumes beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.drawing import COLOURS, drawing
from benchmarks.hardware.answers import EXPECTED

__all__ = ["NAME", "TITLE", "measure", "plots", "result_name", "table"]

NAME = "hardware"
TITLE = "On a real GPU"

BASE = "graph replay"
"""What the other times are divided by."""


def measure(quick: bool = False) -> dict[str, Any]:
    """Return the times of all kernels by all tools, and the answers to all questions.

    Raises:
        CannotRun: without an NVIDIA GPU that torch can use.
    """
    from benchmarks.hardware.session import on_this_gpu

    return on_this_gpu(quick=quick)


def result_name(results: Mapping[str, Any]) -> str:
    """Return the stem of the result's file: the GPU and the day."""
    gpu = "-".join(str(results["machine"]["gpu"]).lower().removeprefix("nvidia ").split())
    return f"{gpu}-{results['day']}"


def table(results: Mapping[str, Any]) -> str:
    """Return the times as ratios to the graph's replay, then the questions with their answers."""
    return f"{_times(results)}\n\n{_answers(results)}"


def _times(results: Mapping[str, Any]) -> str:
    rows = results["times"]
    tools = [tool for tool in dict.fromkeys(tool for row in rows for tool in row["seconds"]) if tool != BASE]
    lines = [f"| kernel | {BASE}, µs | {' | '.join(tools)} |", "| --- | --: |" + " --: |" * len(tools)]
    for row in rows:
        base = row["seconds"].get(BASE)
        cells = [_ratio(row["seconds"].get(tool), base) for tool in tools]
        lines.append(f"| {row['kernel']} | {'' if base is None else f'{base * 1e6:.2f}'} | {' | '.join(cells)} |")
    missing = dict.fromkeys(f"{tool}: {why}" for row in rows for tool, why in row["missing"].items())
    return "\n".join([*lines, *(f"\nNot compared: {each}." for each in missing)])


def _ratio(seconds: float | None, base: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1e6:.2f} µs" if base is None else f"{seconds / base:.3f}"


def _answers(results: Mapping[str, Any]) -> str:
    lines = ["| question | assumed | found | |", "| --- | --: | --: | --- |"]
    for answer in results["answers"]:
        found = "no answer" if answer["value"] is None else f"{answer['value']:.4g} {answer['unit']}".strip()
        expected = EXPECTED[answer["key"]]
        lines.append(f"| {expected.question} | {expected.assumed} | {found} | {answer['sentence']} |")
    return "\n".join(lines)


def plots(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw each tool's time over the graph replay's, against the kernel's time."""
    rows = [row for row in results["times"] if row["seconds"].get(BASE)]
    if not rows:
        return []
    path = folder / "benchmark-hardware.svg"
    tools = [tool for tool in dict.fromkeys(tool for row in rows for tool in row["seconds"]) if tool != BASE]
    with drawing(path, title=f"Times over {BASE}", x="kernel's time, µs", y="ratio") as axes:
        for tool, colour in zip(tools, COLOURS, strict=False):
            mine = [(row["seconds"][BASE] * 1e6, row["seconds"][tool] / row["seconds"][BASE]) for row in rows
                    if tool in row["seconds"]]  # fmt: skip
            axes.scatter(*zip(*mine, strict=True), s=18, color=colour, label=tool)
        axes.axhline(1.0, color="black", linewidth=0.8)
        axes.set(xscale="log", yscale="log")
        axes.legend(fontsize=8, frameon=False)
    return [path]
