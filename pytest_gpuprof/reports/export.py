"""The records of a run as JSON, in our own versioned schema."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["JsonReport"]


class JsonReport:
    """Our own format: everything that was measured and judged."""

    def write(self, document: Mapping[str, Any], path: str) -> None:
        """Write the document whole or not at all: to a neighbouring file first, which then takes the name.

        Raises:
            OSError: if it cannot be written.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            beside.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)
