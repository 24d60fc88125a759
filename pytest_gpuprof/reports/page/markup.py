"""HTML that is escaped by construction: text is text, and only what was made here is markup. Pure."""

from __future__ import annotations

import html
import json
import re
from typing import Any

__all__ = ["Markup", "joined", "json_of", "tag"]


class Markup(str):
    """HTML that was made by :func:`tag`; every other string is text."""

    __slots__ = ()


Child = str | None
"""Text, markup, or nothing."""

_VOID = frozenset({"br", "wbr", "line", "rect", "circle", "path", "use"})
"""Elements without content; those of SVG are closed by a slash."""

_HALVES = re.compile("[\ud800-\udfff]")
"""Half a surrogate pair, which a test's parameter may hold and UTF-8 may not."""

_IN_SCRIPT = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
"""What could end the script element, or a line, or cannot be written; in JSON each has a name of six characters."""


def tag(name: str, *children: Child, **attributes: str | None) -> Markup:
    """Return an element.

    Args:
        name: of the element.
        children: markup as it is, text escaped, ``None`` left out.
        attributes: ``class_`` is ``class``, ``data_key`` is ``data-key``; ``None`` is left out.

    >>> tag("b", "a < b", class_="x")
    '<b class="x">a &lt; b</b>'
    """
    named = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID and not children:
        return Markup(f"<{name}{named}/>")
    return Markup(f"<{name}{named}>{joined(*children)}</{name}>")


def joined(*children: Child) -> Markup:
    """Return children one after another."""
    return Markup("".join(each if isinstance(each, Markup) else _text(each) for each in children if each is not None))


def _text(text: str) -> str:
    whole = _HALVES.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
    return html.escape(whole.replace("\0", "\ufffd"), quote=True)


def json_of(value: Any) -> Markup:
    r"""Return JSON that is safe inside a script element.

    >>> print(json_of({"a": "</script>"}))
    {"a":"\u003c/script\u003e"}
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(_IN_SCRIPT.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
