"""Which files of the project a test file imports, directly or through others, found without importing anything.

Where it cannot be known which of two files Python would take, both count: a test measured in vain costs a minute, one
left out by mistake lets a slow change through. What is only known when a program runs (a module's name that is
computed, a data file) is not seen.
"""

from __future__ import annotations

import ast
import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder, all_suffixes
from pathlib import Path

__all__ = ["ImportGraph"]

_NEVER = (BuiltinImporter, FrozenImporter, PathFinder)
"""Finders that need not be asked: the first two bring no file, and the folders of the third are looked at here."""

_BY_NAME = ("import_module", "importorskip", "__import__", "pytest_plugins")
"""What imports a module by its name: functions, and a variable of pytest's."""

_IMPORTS = re.compile(
    r"(?:^|[;:])[ \t\f]*((?:from|import)\b(?:[^\n;(\\#]|\\\r?\n|\((?:[^()#]|#[^\n]*\n)*\))*)", re.MULTILINE
)
"""A statement that imports: to the end of its line, which goes on after a backslash and within parentheses. Where it
stands in a text, a file may count that is not imported."""


class ImportGraph:
    """Follows imports between the files below a folder.

    Args:
        root: the folder.
        changed: files that changed, with their whole real paths; those that are gone too.
        search: where Python looks for modules; ``None`` for ``sys.path``.
    """

    def __init__(self, root: Path, changed: Collection[str], search: Sequence[str] | None = None) -> None:
        self._root = os.path.realpath(root)
        self._changed = frozenset(changed)
        self._suffixes = tuple(all_suffixes())
        # A submodule of git changes as a whole.
        self._changed_folders = tuple(f"{path}{os.sep}" for path in self._changed if Path(path).is_dir())
        self._importable = self._changed_folders or any(path.endswith(self._suffixes) for path in self._changed)
        self._also_in = _children(self._changed, self._root)
        folders = (os.path.realpath(each) for each in (sys.path if search is None else search))
        self._search = tuple(dict.fromkeys(each for each in folders if self._below(each) or _is_in(self._root, each)))
        self._names: dict[str, frozenset[str]] = {}
        self._imports: dict[str, frozenset[str]] = {}
        self._found: dict[tuple[tuple[str, ...], tuple[str, ...]], frozenset[str]] = {}
        self._untouched: set[str] = set()

    def touched(self, file: Path) -> bool:
        """Whether a test file changed, or a conftest above it, or anything that these import."""
        name = _real(str(file))
        if self._has_changed(name):
            return True
        if not self._importable:
            return False
        waiting = [name, *self._conftests(name)]
        seen = set(waiting)
        while waiting:
            each = waiting.pop()
            if self._has_changed(each):
                return True
            new = self._imports_of(each) - seen - self._untouched
            seen |= new
            waiting += new
        self._untouched |= seen
        return False

    def _has_changed(self, file: str) -> bool:
        return file in self._changed or file.startswith(self._changed_folders or ("\0",))

    def _below(self, path: str) -> bool:
        return _is_in(path, self._root)

    def _conftests(self, file: str) -> Iterator[str]:
        """Yield every conftest.py above a file, also one that is gone."""
        folder = os.path.dirname(file)
        while self._below(folder):
            if "conftest.py" in self._in(folder):
                yield os.path.join(folder, "conftest.py")
            folder = os.path.dirname(folder)

    def _in(self, folder: str) -> frozenset[str]:
        """Return the names in a folder, also of what is gone from it."""
        if folder not in self._names:
            try:
                there = os.listdir(folder)
            except OSError:
                there = []
            self._names[folder] = frozenset(there) | self._also_in.get(folder, frozenset())
        return self._names[folder]

    def _imports_of(self, file: str) -> frozenset[str]:
        """Return the files below the root that a file imports itself."""
        if file not in self._imports:
            found = set(self._packages_of(file))
            if file.endswith(".py"):
                home = os.path.dirname(file)
                base = self._base_of(file)
                for level, names in _imported_by(file):
                    if level == 0:
                        found |= self._resolved(names, self._search)
                        if base not in self._search:
                            found |= self._resolved(names, (base,))
                    else:
                        folder = home
                        for _ in range(level - 1):
                            folder = os.path.dirname(folder)
                        found |= self._resolved(names, (folder,))
            real = os.path.realpath(file)
            self._imports[file] = frozenset(found | ({real} if real != file else set()))
        return self._imports[file]

    def _packages_of(self, file: str) -> Iterator[str]:
        """Yield the ``__init__.py`` that run before a file of a package."""
        folder = os.path.dirname(file)
        while self._below(folder) and "__init__.py" in self._in(folder):
            yield os.path.join(folder, "__init__.py")
            folder = os.path.dirname(folder)

    def _base_of(self, file: str) -> str:
        """Return the folder that pytest puts on ``sys.path`` for a test file: the first that is no package."""
        folder = os.path.dirname(file)
        while self._below(folder) and "__init__.py" in self._in(folder):
            folder = os.path.dirname(folder)
        return folder

    def _resolved(self, names: tuple[str, ...], folders: tuple[str, ...]) -> frozenset[str]:
        """Return the files that run when ``names[0].names[1]…`` is imported from one of the folders."""
        key = names, folders
        if key not in self._found:
            found = set(self._walk(names, folders))
            if not found and folders == self._search and names:
                found = set(self._by_finders(names))
            self._found[key] = frozenset(found)
        return self._found[key]

    def _walk(self, names: Sequence[str], folders: Sequence[str]) -> Iterator[str]:
        for name in names:
            inside = []
            for folder in folders:
                there = self._in(folder)
                yield from (
                    os.path.join(folder, each) for each in self._forms(name) if each in there and self._below(folder)
                )
                if name in there:
                    package = os.path.realpath(os.path.join(folder, name))
                    inside.append(package)
                    if "__init__.py" in self._in(package) and self._below(package):
                        yield os.path.join(package, "__init__.py")
            folders = inside
            if not folders:
                return

    def _forms(self, name: str) -> Iterator[str]:
        return (f"{name}{suffix}" for suffix in self._suffixes)

    def _by_finders(self, names: Sequence[str]) -> Iterator[str]:
        """Yield the files of a package that a finder of an editable install knows, which is on no path."""
        for finder in sys.meta_path:
            kind = finder if isinstance(finder, type) else type(finder)
            if finder in _NEVER or kind.__module__.startswith("_pytest."):
                continue
            try:
                spec = finder.find_spec(names[0], None)
            except Exception:  # a stranger's finder may raise anything, and then it is the import that fails
                continue
            if spec is None:
                continue
            if spec.origin and self._below(_real(spec.origin)):
                yield _real(spec.origin)
            yield from self._walk(names[1:], [_real(each) for each in spec.submodule_search_locations or ()])
            return


def _imported_by(file: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield what a file imports: how many levels up it starts (0 is absolute), and the names on the way."""
    try:
        text = Path(file).read_bytes().decode("utf-8", "replace")
    except OSError:  # it is gone
        return
    if any(name in text for name in _BY_NAME):
        nodes = list(ast.walk(_parsed(text)))
    else:  # statements that import, parsed by themselves: ten times as fast as the whole of a file
        nodes = [node for found in _IMPORTS.finditer(text) for node in _parsed(found[1].strip()).body]
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((0, tuple(alias.name.split("."))) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            yield from ((node.level, module if alias.name == "*" else (*module, alias.name)) for alias in node.names)
        else:
            for name in _named(node):
                bare = name.lstrip(".")
                yield len(name) - len(bare), tuple(bare.split("."))


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):  # prose that reads like a statement, or a file that cannot be run either
        return ast.Module([], [])


def _named(node: ast.AST) -> list[str]:
    """Return the modules that an expression imports by their names."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value and _assigns(node, "pytest_plugins"):
        return _texts(node.value)
    if isinstance(node, ast.Call) and node.args and _called(node.func) in _BY_NAME:
        return _texts(node.args[0])
    return []


def _assigns(node: ast.Assign | ast.AnnAssign, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return any(isinstance(each, ast.Name) and each.id == name for each in targets)


def _texts(node: ast.expr) -> list[str]:
    return [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def _called(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _children(paths: Collection[str], root: str) -> dict[str, frozenset[str]]:
    """Return the names that paths have in each folder above them, up to the root."""
    found: dict[str, set[str]] = {}
    for path in paths:
        while _is_in(path, root) and path != root:
            folder, name = os.path.split(path)
            found.setdefault(folder, set()).add(name)
            path = folder
    return {folder: frozenset(names) for folder, names in found.items()}


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _real(path: str) -> str:
    """Return a path through no linked folder; the last part may be a link, which git tracks as such."""
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)
