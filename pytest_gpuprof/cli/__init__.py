"""The command ``pytest-gpuprof``: one file per family of subcommands. What measures is pytest; this reads what it kept."""

from __future__ import annotations

from pytest_gpuprof.cli.command import main

__all__ = ["main"]
