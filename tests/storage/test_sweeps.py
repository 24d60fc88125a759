"""What a sweep found, stored and read again."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from pytest_gpuprof.core.results import Caution, Reading, spoils
from pytest_gpuprof.core.scaling import Crossover, Growth, Point, Scaling
from pytest_gpuprof.storage.parts import builtins_of
from pytest_gpuprof.storage.sweeps import scaling_from, scaling_of

NONE = Reading.unavailable("there is no GPU", "no device")
POINT = Point(64, Reading(1e-3, interval=(9e-4, 1.1e-3)), NONE, NONE)
GROWTH = Growth(1e-5, 2e-9, 2.0, (1.9, 2.1), 0.05)
DOUBT = Caution("throttled", "fact", "remedy", spoils("ratio"))


@pytest.mark.parametrize(
    "crossover",
    [
        Crossover(310.0, 256.0, 390.0, 64, 4096),
        Crossover(64.0, 0.0, 64.0, 64, 4096),
        Crossover(None, 4096.0, math.inf, 64, 4096),
        NONE,
    ],
)
def test_it_comes_back_as_it_was(crossover: Any) -> None:
    """Through JSON, which knows no infinity."""
    scaling = Scaling("n", (POINT,), crossover, {"cpu": GROWTH, "gpu": NONE}, (DOUBT,))
    stored = json.loads(json.dumps(builtins_of(scaling_of(scaling)), allow_nan=False))
    assert scaling_from(stored) == scaling
