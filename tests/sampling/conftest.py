"""Measuring collects garbage often, and the frameworks that all tests import make each collection slow."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def _old_objects_rest() -> Iterator[None]:
    """Keep what was there before these tests out of their collections."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
