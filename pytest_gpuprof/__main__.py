"""``python -m pytest_gpuprof`` is the command ``pytest-gpuprof``."""

from __future__ import annotations

import sys

from pytest_gpuprof.cli import main

if __name__ == "__main__":
    sys.exit(main())
