"""Results as JSON files, each with the machine it was measured on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

from pytest_gpuprof import __version__
from pytest_gpuprof.backends.host import cpu_name
from pytest_gpuprof.sampling.quiet import allowed_threads

__all__ = ["ROOT", "document", "last", "machine", "save"]

ROOT = Path(__file__).resolve().parent.parent

_DISTRIBUTIONS = (
    "pytest", "pytest-benchmark", "numpy", "scipy", "torch", "triton", "cupy-cuda12x", "cupy-cuda13x", "pyopencl",
    "pocl-binary-distribution", "nvidia-ml-py", "zeus", "matplotlib",
)  # fmt: skip
"""What the figures can depend on."""


def machine() -> dict[str, Any]:
    """Return the facts of this machine that a reader of the figures needs; nothing that tells whose it is."""
    versions = {name: version for name in _DISTRIBUTIONS if (version := _version(name))}
    facts = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "cpu": cpu_name(),
        "cpu_threads": allowed_threads(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {"pytest-gpuprof": __version__, **versions},
    }
    if hasattr(os, "getloadavg"):
        facts["load_average_1min"] = round(os.getloadavg()[0], 2)
    return facts


def document(name: str, measured: Mapping[str, Any], facts: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """Return what is stored of one run of a benchmark."""
    return {"benchmark": name, "quick": quick, "machine": dict(facts), "measured": dict(measured)}


def save(stored: Mapping[str, Any], folder: Path, stem: str) -> Path:
    """Write a result, and return its file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.json"
    path.write_text(json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    return path


def last(name: str, folder: Path) -> dict[str, Any] | None:
    """Return the latest result of a benchmark in a folder, ``None`` if there is none."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    mine = [each for each in found if isinstance(each, dict) and each.get("benchmark") == name]
    return max(mine, key=lambda each: str(each["machine"]["date"]), default=None)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    """Return the commit that was measured, and whether the tree was as committed, benchmark results aside."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--", "pytest_gpuprof", "benchmarks/*.py")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} with changes" if changed else commit


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()
