"""The report page: a run document as one HTML file that needs nothing else. Pure, but for reading our own parts.

Nothing from outside can run in it or be fetched by it: all text is escaped (``markup``), and its security policy lets
only our own scripts and styles in, by their hashes, and no address at all.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from string import Template
from typing import Any, Final

from pytest_gpuprof.reports.page.content import content_of
from pytest_gpuprof.reports.page.markup import Markup, json_of, tag
from pytest_gpuprof.reports.page.overview import filters, overview
from pytest_gpuprof.reports.page.rows import table_of
from pytest_gpuprof.reports.page.sharing import shared

__all__ = ["page_text"]

_LIBRARY: Final = "vendor/plot.min.js"
_PROGRAM: Final = ("dom.js", "state.js", "charts.js", "detail.js", "table.js", "start.js")
"""Our own scripts, in the order in which they need each other; together they are one."""

_STYLE_OF_PLOT: Final = """:where(.plot-d6a7b5) {
  --plot-background: white;
  display: block;
  height: auto;
  height: intrinsic;
  max-width: 100%;
}
:where(.plot-d6a7b5 text),
:where(.plot-d6a7b5 tspan) {
  white-space: pre;
}"""
"""What Observable Plot puts into each chart; the policy has to know it."""


def page_text(document: Mapping[str, Any]) -> str:
    """Return the report page of a run.

    Args:
        document: of the run; with :func:`~pytest_gpuprof.reports.page.history.with_history` it shows earlier runs too.

    Raises:
        UsageError: for a damaged record.
    """
    content = content_of(document)
    table = table_of(content.workloads)
    return Template(_part("page.html")).substitute(
        policy=_policy(),
        title=tag("title", content.title),
        style=Markup(_part("page.css")),
        overview=overview(content),
        filters=filters(content),
        head=table.head,
        rows=table.rows,
        data=json_of(shared({**content.data, "keys": table.keys})),
        library=Markup(_part(_LIBRARY)),
        program=_program(),
        licenses=Markup(_part("vendor/LICENSES.txt").replace("<", "\u2039")),
    )


@cache
def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _program() -> str:
    return '"use strict";\n(() => {\n' + "\n".join(map(_part, _PROGRAM)) + "\n})();\n"


def _policy() -> str:
    """Return the policy: nothing but our own scripts and styles, which are told by their hashes."""
    scripts = " ".join(map(_hash, (_part(_LIBRARY), _program())))
    styles = " ".join(map(_hash, (_part("page.css"), _STYLE_OF_PLOT)))
    parts = ("default-src 'none'", f"script-src {scripts}", f"style-src {styles}", "img-src data:", *_closed())
    return "; ".join(parts)


def _closed() -> Iterator[str]:
    for part in ("base-uri", "form-action"):
        yield f"{part} 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
