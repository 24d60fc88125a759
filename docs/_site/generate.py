"""What the documentation site takes from the code while it is built, so that no page of it can go stale.

mkdocs calls the two hooks at the end. A page asks for a part by a comment of its own line, which nobody sees where the
page is read as a file::

    <!-- generated: options -->
    <!-- generated: source tests/contracts/thirdparty.py AbacusBackend -->
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent

REPOSITORY = "https://github.com/pytest-gpuprof/pytest-gpuprof/blob/main/"
"""Where links go that leave docs/."""

_COLUMNS = "96"
"""How wide argparse lays its help out: what fits beside the navigation."""


_WIDEST = 80
"""From where on a signature takes three lines: what fits without scrolling."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    titles = tuple(head)
    lines = [titles, ("---",) * len(titles), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markers() -> str:
    """Return the markers, as ``pytest --markers`` tells them."""
    from pytest_gpuprof.plugin.switch import marker_help

    parts = []
    for line in marker_help():
        signature, _, text = line.partition("): ")
        parts.append(f"## {signature.partition('(')[0]}\n\n```text\n{signature})\n```\n\n{_sentence(text)}")
    return "\n\n".join(parts)


class Recorder:
    """Stands where pytest's parser would, and remembers what is added."""

    def __init__(self) -> None:
        self.options: list[tuple[tuple[str, ...], Mapping[str, Any]]] = []
        self.inis: list[tuple[str, str, str]] = []

    def getgroup(self, *_: str) -> Recorder:
        """Return itself: there is one group."""
        return self

    def addoption(self, *names: str, **how: Any) -> None:
        """Remember an option."""
        self.options.append((names, how))

    def addini(self, name: str, help: str, type: str = "string", default: object = None) -> None:  # noqa: A002
        """Remember an ini key."""
        self.inis.append((name, help, type))


def added() -> Recorder:
    """Return what the plugin adds to pytest."""
    from pytest_gpuprof.plugin.hooks import pytest_addoption

    recorder = Recorder()
    pytest_addoption(recorder)  # type: ignore[arg-type]  # it asks a parser for no more
    return recorder


def options() -> str:
    """Return the options on the command line."""
    rows = []
    for names, how in added().options:
        value = "{" + ",".join(how["choices"]) + "}" if how.get("choices") else how.get("metavar")
        shown = ", ".join(f"`{name}={value}`" if value else f"`{name}`" for name in names)
        rows.append((shown, how["help"].replace("%%", "%")))
    return table(("option", "what it does"), rows)


def inis() -> str:
    """Return the ini keys."""
    return table(("key", "type", "what it says"), ((f"`{name}`", kind, text) for name, text, kind in added().inis))


def budgets() -> str:
    """Return the budget keywords."""
    from pytest_gpuprof.budgets.kinds import KINDS

    rows = []
    for kind in KINDS.values():
        needs = ", ".join(sorted(kind.needs)) or "what its figure needs"
        if kind.work:
            needs += f"; the workload says `{kind.work}=`"
        legs = " and ".join(sorted(kind.legs)).replace("cpu", "CPU").replace("gpu", "GPU") or "those of its figure"
        bound = "at least" if kind.at_least else "at most"
        rows.append((f"`{kind.keyword}`", f"{bound} so much {kind.title}", kind.unit, legs, needs))
    return table(("keyword", "limits", "base unit", "runs", "measures"), rows)


def hooks() -> str:
    """Return the hooks with their arguments."""
    from pytest_gpuprof import hookspecs

    parts = []
    for name in hookspecs.__all__:
        function = getattr(hookspecs, name)
        if not name.startswith("pytest_"):
            continue
        first = function.pytest_spec["firstresult"]
        many = "The first result that is not `None` counts." if first else "All results are taken."
        text = inspect.getdoc(function) or ""
        code = f"def {name}{inspect.signature(function)}: ...".replace("'", "")
        if len(code) > _WIDEST:
            code = code.replace(") ->", "\n) ->").replace("(", "(\n    ", 1)
        parts.append(f"## {name}\n\n```python\n{code}\n```\n\n{_markdown(text)} {many}")
    return "\n\n".join(parts)


def command() -> str:
    """Return the help of the command and of each of its subcommands."""
    from pytest_gpuprof.cli.command import parser

    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = _COLUMNS
    try:
        whole = parser()
        (found,) = [action for action in whole._actions if isinstance(action, argparse._SubParsersAction)]
        parts = [f"```text\n{_plain(whole.format_help())}```"]
        for name, each in found.choices.items():
            parts.append(f"## {name}\n\n```text\n{_plain(each.format_help())}```")
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    return "\n\n".join(parts)


def schema() -> str:
    """Return the keys of the JSON document, object by object."""
    text = (files("pytest_gpuprof") / "storage" / "document.schema.json").read_text(encoding="utf-8")
    whole = json.loads(text)
    parts = [f"{whole['description']}\n\n{_keys(whole)}"]
    for name, each in whole["$defs"].items():
        parts.append(f"## {name}\n\n{each.get('description', '')}\n\n{_keys(each)}")
    return "\n\n".join(parts)


def _keys(of: Mapping[str, Any]) -> str:
    rows = []
    for option in (of, *of.get("oneOf", ()), *of.get("anyOf", ())):
        required = option.get("required", ())
        for key, each in option.get("properties", {}).items():
            rows.append((f"`{key}`", _type(each), "yes" if key in required else "", each.get("description", "")))
    return table(("key", "type", "always there", "meaning"), rows) if rows else _type(of)


def _type(of: Any) -> str:
    """Return what a value may be, in a few words; a part with a section of its own is linked."""
    if of is True or not of:
        return "anything"
    if "$ref" in of:
        name = of["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in of:
        return f"`{json.dumps(of['const'])}`"
    if "enum" in of:
        return ", ".join(f"`{json.dumps(each)}`" for each in of["enum"])
    for several in ("oneOf", "anyOf"):
        if several in of:
            return " or ".join(_type(each) for each in of[several])
    kinds = of.get("type", "anything")
    shown = " or ".join(kinds) if isinstance(kinds, list) else str(kinds)
    if "items" in of:
        return f"{shown} of {_type(of['items'])}"
    if isinstance(of.get("additionalProperties"), dict):
        return f"{shown} of {_type(of['additionalProperties'])}"
    return shown


def api() -> str:
    """Return mkdocstrings' word for each public name, under the module where it lives; exceptions have their page."""
    import pytest_gpuprof

    homes = pytest_gpuprof._HOMES
    public = (name for name in pytest_gpuprof.__all__ if homes.get(name, "core.errors") != "core.errors")
    return "\n\n".join(f"::: pytest_gpuprof.{homes[name]}.{name}" for name in public)


def source(path: str, *names: str) -> str:
    """Return parts of a Python file by the names they define, as they stand there."""
    text = (ROOT / path).read_text(encoding="utf-8")
    lines = text.splitlines()
    found = dict(_defined(ast.parse(text)))
    parts = []
    for name in names:
        node = found[name]
        first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])
        parts.append("\n".join(lines[first - 1 : node.end_lineno]))
    return "```python\n{}\n```".format("\n\n\n".join(parts))


def _defined(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node


GENERATORS: Mapping[str, Callable[..., str]] = {
    each.__name__: each for each in (markers, options, inis, budgets, hooks, command, schema, api, source)
}

_WANTED = re.compile(r"^<!-- generated: (\w+)((?: [^\s>]+)*) -->$", re.MULTILINE)


def filled(text: str) -> str:
    """Return a page with the generated parts in place of the comments that ask for them."""
    return _WANTED.sub(lambda found: GENERATORS[found[1]](*found[2].split()), text)


def linked(text: str) -> str:
    """Return a page whose links to files beside docs/ lead to the repository."""
    return re.sub(r"\]\((?:\.\./)+((?!docs/)[\w./-]+)", rf"]({REPOSITORY}\1", text)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def _markdown(text: str) -> str:
    """Return a docstring with code as Markdown writes it."""
    return re.sub(r":\w+:(?=`)", "", text.replace("``", "`"))


def _plain(text: str) -> str:
    """Return help without the colours that Python 3.14 may give it."""
    return re.sub(r"\x1b\[[\d;]*m", "", text)


# -- what mkdocs calls -------------------------------------------------------------------------------------------------


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Fill in what is generated, and mend links that leave the site."""
    text = filled(markdown)
    return text if page.file.src_uri.startswith("reference/") else linked(text)


def on_page_content(html: str, **_: Any) -> str:
    """Take the roles out that docstrings of our code have before names."""
    return re.sub(r":(?:class|data|attr|func|meth|mod|exc):(?=<code)", "", html)
