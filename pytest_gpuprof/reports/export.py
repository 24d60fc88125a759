"""The records of a run as JSON, in our own versioned schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_gpuprof.storage.document import write_document

__all__ = ["JsonReport"]


class JsonReport:
    """Our own format: everything that was measured and judged."""

    def write(self, document: Mapping[str, Any], path: str) -> None:
        """Write the document whole or not at all.

        Raises:
            OSError: if it cannot be written.
        """
        write_document(document, path)
