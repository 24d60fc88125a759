"""Docstrings as Markdown: sessions of Python and literal blocks become blocks of code, for the pages of the API."""

from __future__ import annotations

import re
from typing import Any

import griffe

_SESSION = re.compile(r"^(>>> .*(?:\n(?!\s*$).*)*)", re.MULTILINE)


def as_markdown(text: str) -> str:
    """Return a docstring whose doctests are fenced and whose literal blocks have no ``::`` before them."""
    fenced = _SESSION.sub(r"```pycon\n\1\n```", text)
    return re.sub(r"^::\n", "", re.sub(r"(?<=\w)::$", ":", fenced, flags=re.MULTILINE), flags=re.MULTILINE)


class Docstrings(griffe.Extension):
    """Mends each docstring when it is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring in place."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
