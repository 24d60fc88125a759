"""How far a benchmark is, on standard error: one line that is overwritten on a terminal, a few lines elsewhere."""

from __future__ import annotations

import sys

__all__ = ["say"]

_LINES = 4
"""In a log, a line each time a quarter is done."""


def say(what: str, done: int, total: int) -> None:
    """Tell that ``done`` of ``total`` are done."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{what}: {done} of {total}" + ("\n" if done == total else ""))
    elif done == total or done * _LINES // total > (done - 1) * _LINES // total:
        sys.stderr.write(f"{what}: {done} of {total}\n")
    sys.stderr.flush()
