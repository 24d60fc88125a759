"""The command ``pytest-gpuprof``: one file per family of subcommands. Pytest measures; this reads what was kept."""

from __future__ import annotations

from pytest_gpuprof.cli.command import main

__all__ = ["main"]
