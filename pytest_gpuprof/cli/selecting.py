"""``-k EXPR``: which workloads are meant, in the language of pytest's ``-k``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_gpuprof.core.errors import Unavailable, UsageError

if TYPE_CHECKING:
    from pytest_gpuprof.cli.referring import Named

__all__ = ["Wanted", "selected", "wanted"]

Wanted = Callable[[str], bool]
"""Whether a text, a test id with its workload's name, is meant."""

_TOKEN = re.compile(r"\s*(?:([()])|([^\s()]+))")


def wanted(expression: str) -> Wanted:
    """Return who is meant by an expression: parts of the text, joined by ``and``, ``or``, ``not`` and parentheses.

    Parts are compared without regard to upper and lower case. An empty expression means all.

    Raises:
        UsageError: for an expression that is none.

    >>> wanted("matmul and not (fp16 or bf16)")("test_it.py::test_matmul[fp32]")
    True
    """
    tokens = [one or other for one, other in _TOKEN.findall(expression.strip())]
    if not tokens:
        return lambda text: True
    reader = _Reader(expression, iter([*tokens, ""]))
    found = reader.either()
    reader.end()
    return lambda text: found(text.lower())


class _Reader:
    """Reads an expression by recursive descent: ``or`` binds least, ``not`` most."""

    def __init__(self, expression: str, tokens: Iterator[str]) -> None:
        self._expression = expression
        self._tokens = tokens
        self._next = next(tokens)

    def either(self) -> Wanted:
        parts = [self.both()]
        while self._takes("or"):
            parts.append(self.both())
        return lambda text: any(part(text) for part in parts)

    def both(self) -> Wanted:
        parts = [self.one()]
        while self._takes("and"):
            parts.append(self.one())
        return lambda text: all(part(text) for part in parts)

    def one(self) -> Wanted:
        if self._takes("not"):
            other = self.one()
            return lambda text: not other(text)
        if self._takes("("):
            inner = self.either()
            if not self._takes(")"):
                raise self._wrong("a ) is missing")
            return inner
        word = self._next
        if word in ("", ")", "and", "or"):
            raise self._wrong(f"a part of a name is missing before {word!r}" if word else "it ends too early")
        self._step()
        return lambda text: word.lower() in text

    def end(self) -> None:
        if self._next:
            raise self._wrong(f"and, or is missing before {self._next!r}")

    def _takes(self, token: str) -> bool:
        if self._next != token:
            return False
        self._step()
        return True

    def _step(self) -> None:
        self._next = next(self._tokens)

    def _wrong(self, why: str) -> UsageError:
        return UsageError(
            f"-k {self._expression!r} cannot be read, because {why}; write e.g. -k 'matmul and not (fp16 or bf16)'"
        )


def selected(run: Named, selection: str) -> dict[str, Any]:
    """Return the document of a run with the records that ``-k`` means.

    Of a part of a run the budgets are counted anew, and how the whole run compares is left out.

    Args:
        run: as somebody named it.
        selection: the expression; an empty one means all records.

    Raises:
        Unavailable: if no record is meant.
        UsageError: if the expression means nothing.
    """
    is_wanted = wanted(selection)
    document = dict(run.document())
    document["records"] = [each for each in document["records"] if is_wanted(f"{each['test']} {each['name']}")]
    if not document["records"]:
        raise Unavailable(f"{run.label} has no record that is meant; give a wider -k, or name another run")
    if selection:
        from pytest_gpuprof.reports.remarks import counts
        from pytest_gpuprof.reports.workloads import workloads
        from pytest_gpuprof.storage.document import unenforced

        document.pop("comparison", None)
        document["counts"] = counts([each.row for each in workloads(document)], 0)
        document["unenforced"] = unenforced(document)
    return document
