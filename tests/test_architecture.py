"""The architecture, held to: one direction of imports, a public API that is real, and no framework at import."""

from __future__ import annotations

import ast
import doctest
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_gpuprof

PACKAGE = Path(pytest_gpuprof.__file__).parent
NAME = "pytest_gpuprof"

LAYERS = (
    ("core",),
    ("stats",),
    ("backends",),
    ("meters",),
    ("sampling",),
    ("budgets",),
    ("storage",),
    ("reports",),
    (
        "hookspecs",
        "builtin",
        "extensions",
        "ceilings",
        "placement",
        "job",
        "watching",
        "assembling",
        "leg_passes",
        "measuring",
        "joining",
        "profiler",
        "profiling",
        "sweeping",
        "calibration",
        "doctor",
    ),
    ("plugin", "cli", "__main__"),
)
"""What is in one layer may import from its own and from those before it."""

FRAMEWORKS = {"torch", "cupy", "pyopencl", "jax", "numba", "tensorflow", "cuda"}
HEAVY = (
    "numpy",
    "scipy",
    "torch",
    "cupy",
    "pynvml",
    "tabulate",
    "wcwidth",
    "filelock",
    "pyopencl",
    "threadpoolctl",
    "cuda",
)

FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = [
    ".".join((NAME, *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__") for file in FILES
]
IMPORTABLE = [name for name in MODULES if not name.endswith(".__main__")]


class _Import:
    """One import statement: what it names, and whether it stands in a function or under TYPE_CHECKING."""

    def __init__(self, line: int, module: str, *, in_function: bool, for_types: bool) -> None:
        self.line = line
        self.module = module
        self.in_function = in_function
        self.for_types = for_types


def imports_of(tree: ast.AST, *, in_function: bool = False, for_types: bool = False) -> Iterator[_Import]:
    """Yield every import below ``tree``, also those inside functions and conditions."""
    for node in ast.iter_child_nodes(tree):
        where = {"in_function": in_function, "for_types": for_types}
        if isinstance(node, ast.Import):
            yield from (_Import(node.lineno, alias.name, **where) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute, so that they can be found"
            assert node.module is not None
            submodules = {alias.name for alias in node.names if f"{node.module}.{alias.name}" in MODULES}
            yield from (_Import(node.lineno, f"{node.module}.{name}", **where) for name in sorted(submodules))
            if len(submodules) < len(node.names):
                yield _Import(node.lineno, node.module, **where)
        else:
            function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
            yield from imports_of(node, in_function=in_function or function, for_types=for_types or types)


def parsed(file: Path) -> list[_Import]:
    return list(imports_of(ast.parse(file.read_text(encoding="utf-8"))))


def layer_of(module: str) -> int | None:
    """Return the number of a module's layer, ``None`` for the package itself."""
    part = module.removeprefix(NAME).removeprefix(".").partition(".")[0]
    if not part:
        return None
    found = [number for number, names in enumerate(LAYERS) if part in names]
    assert found, f"{module} belongs to no layer; add it to LAYERS, and to ARCHITECTURE.md"
    return found[0]


each_file = pytest.mark.parametrize(("file", "module"), list(zip(FILES, MODULES, strict=True)), ids=MODULES)
each_module = pytest.mark.parametrize("module", IMPORTABLE)


def test_the_import_finder_sees_every_form(tmp_path: Path) -> None:
    """Inside functions, under TYPE_CHECKING, and submodules by name; else the tests below would prove nothing."""
    code = (
        "import a.b\n"
        "from c import d\n"
        "from pytest_gpuprof import hookspecs, __version__\n"
        "if TYPE_CHECKING:\n    import e\n"
        "def f():\n    if x:\n        try:\n            import g\n        finally: ...\n"
    )
    file = tmp_path / "code.py"
    file.write_text(code)
    seen = [(each.module, each.in_function, each.for_types) for each in parsed(file)]
    assert seen == [
        ("a.b", False, False),
        ("c", False, False),
        ("pytest_gpuprof.hookspecs", False, False),
        ("pytest_gpuprof", False, False),
        ("e", False, True),
        ("g", True, False),
    ]


# -- one direction ----------------------------------------------------------------------------------------------------


@each_file
def test_imports_point_one_way(file: Path, module: str) -> None:
    """Also those inside functions: none dodges a cycle. Names for annotations alone import nothing."""
    own = layer_of(module)
    if own is None:
        return  # the package itself names its public parts
    for each in parsed(file):
        if each.module.partition(".")[0] == NAME and not each.for_types:
            theirs = layer_of(each.module)
            assert theirs is None or theirs <= own, f"{file.name}:{each.line} imports {each.module}, a later layer"


def test_no_module_imports_itself_through_others() -> None:
    """There is no cycle at all, within a layer neither.

    Excepted are two imports inside functions of the plugin, which load what a run needs only when it does.
    """
    lazy = {(f"{NAME}.plugin.switch", f"{NAME}.plugin.starting"), (f"{NAME}.plugin.use", f"{NAME}.plugin.off")}
    graph = {
        module: {
            each.module
            for each in parsed(file)
            if each.module in MODULES
            and not each.for_types
            and not (each.in_function and (module, each.module) in lazy)
        }
        for file, module in zip(FILES, MODULES, strict=True)
    }
    graph[NAME] = set()  # its names are loaded when used
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " → ".join((*path[path.index(module) :], module))
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*path, module))
            done.add(module)

    for module in sorted(graph):
        visit(module, ())


@each_file
def test_adapters_do_not_import_each_other(file: Path, module: str) -> None:
    """A framework's file can be deleted without a trace elsewhere."""
    adapters = {"numpy", "torch", "cupy", "opencl", "pocl", "cuda", "simulated"}
    if module.rpartition(".")[0] != f"{NAME}.backends" or file.stem not in adapters:
        return
    others = {f"{NAME}.backends.{name}" for name in adapters - {file.stem}}
    own_parts = {f"{NAME}.backends.pocl"} if file.stem == "opencl" else set()
    assert not ({each.module for each in parsed(file)} & (others - own_parts))


@each_file
def test_only_the_plugin_imports_pytest(file: Path, module: str) -> None:
    """All else works with any test runner, and with none."""
    if not module.startswith(f"{NAME}.plugin"):
        assert not [each.module for each in parsed(file) if each.module.partition(".")[0] in ("pytest", "_pytest")]


@each_file
def test_frameworks_are_imported_only_by_their_adapters_and_only_when_wanted(file: Path, module: str) -> None:
    """In a function of backends/; and NVML's library only in meters/."""
    for each in parsed(file):
        top = each.module.partition(".")[0]
        if each.for_types:
            continue
        if top in FRAMEWORKS:
            assert module.startswith(f"{NAME}.backends."), f"{file.name}:{each.line} imports {top}"
            assert each.in_function, f"{file.name}:{each.line} imports {top} when it is loaded"
        if top == "pynvml":
            assert module.startswith(f"{NAME}.meters."), f"{file.name}:{each.line} imports pynvml"
        if top in HEAVY:
            assert each.in_function, f"{file.name}:{each.line} imports {top} when it is loaded"


@each_file
def test_the_words_and_the_judgement_touch_no_clock_no_file_and_no_thread(file: Path, module: str) -> None:
    """Numbers in, frozen numbers out: a stored record can be judged anywhere."""
    if module.startswith((f"{NAME}.core", f"{NAME}.stats", f"{NAME}.budgets")):
        outside = {"time", "os", "sys", "pathlib", "threading", "io", "subprocess", "socket", "random", "datetime"}
        assert not ({each.module.partition(".")[0] for each in parsed(file)} & outside)


# -- the public API ---------------------------------------------------------------------------------------------------


def test_every_public_name_can_be_had_and_is_the_one_at_its_home() -> None:
    """Lazy names are real, sorted, and all listed."""
    assert pytest_gpuprof.__all__ == sorted(pytest_gpuprof.__all__)
    assert dir(pytest_gpuprof) == pytest_gpuprof.__all__
    assert {*pytest_gpuprof._HOMES, "__version__"} == set(pytest_gpuprof.__all__)
    for name, home in pytest_gpuprof._HOMES.items():
        assert getattr(pytest_gpuprof, name) is getattr(importlib.import_module(f"{NAME}.{home}"), name)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'benchmark'"):
        pytest_gpuprof.benchmark


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING are the lazy ones."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    seen = {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{NAME}.")
        for alias in node.names
    }
    assert seen == {name: f"{NAME}.{home}" for name, home in pytest_gpuprof._HOMES.items()}


@each_module
def test_all_of_a_module_is_real(module: str) -> None:
    """Every name of ``__all__`` exists, once."""
    loaded = importlib.import_module(module)
    names: list[str] = getattr(loaded, "__all__", [])
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(loaded, name)] == []


@each_file
def test_a_module_says_what_it_offers(file: Path, module: str) -> None:
    """Whoever defines something public lists it, unless the whole module is one list of arithmetic or an entry."""
    if file.name in ("__init__.py", "__main__.py") or module.startswith(f"{NAME}.stats."):
        return
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert any(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__" for node in tree.body)


@each_module
def test_every_example_in_a_docstring_runs(module: str) -> None:
    """What documentation shows is true."""
    result = doctest.testmod(importlib.import_module(module), optionflags=doctest.IGNORE_EXCEPTION_DETAIL)
    assert result.failed == 0


def test_there_are_examples_to_run() -> None:
    """The test above finds something."""
    finder = doctest.DocTestFinder()
    found = sum(len(example.examples) for name in IMPORTABLE for example in finder.find(importlib.import_module(name)))
    assert found > 30


# -- import costs nothing, and pytest rewrites nothing that is timed --------------------------------------------------


@pytest.mark.parametrize("module", [NAME, f"{NAME}.plugin"])
def test_importing_the_package_loads_nothing_heavy(module: str) -> None:
    """It is loaded in every pytest run where it is installed."""
    heavy = (*HEAVY, "sqlalchemy", "alembic", "psycopg")
    code = f"import sys, {module}; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    assert done.stdout.split() == []


def test_the_plugin_loads_little_of_the_package() -> None:
    """Options, markers' help and two fixtures; all else when profiling is on."""
    code = f"import sys, {NAME}.plugin; print(*sorted(name for name in sys.modules if name.startswith('{NAME}.')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True)
    loaded = done.stdout.split()
    assert f"{NAME}.plugin.hooks" in loaded
    heavy_layers = tuple(f"{NAME}.{name}" for name in ("stats", "backends", "meters", "sampling", "budgets", "storage"))
    assert [name for name in loaded if name.startswith(heavy_layers)] == []


def test_no_module_has_the_name_of_somebody_elses_project() -> None:
    """``gpuprof`` belongs to others on PyPI: no module and no command of that name is ours."""
    assert not [file for file in PACKAGE.parent.glob("gpuprof*") if file.suffix == ".py" or file.is_dir()]
    assert not [file for file in FILES if file.stem == "gpuprof"]
    project = (PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8")
    scripts = project.partition("[project.scripts]")[2].partition("\n[")[0].split()
    assert scripts[0] == "pytest-gpuprof"


@pytest.mark.parametrize("module", ["", "plugin", "sampling.loop", "sampling.sampler"])
def test_pytest_does_not_rewrite_what_is_timed(module: str) -> None:
    """Assertion rewriting would put its own code into the loop; the word in the docstring keeps it out."""
    loaded = importlib.import_module(".".join(filter(None, (NAME, module))))
    assert "PYTEST_DONT_REWRITE" in (loaded.__doc__ or "")


# -- size and style ---------------------------------------------------------------------------------------------------

LONGEST = 350
"""Lines of code, without blank lines and docstrings: what a person keeps in mind of one file."""


@each_file
def test_a_file_is_one_idea(file: Path, module: str) -> None:
    """It has a docstring, and is not long."""
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree), f"{file.name} does not say what it is"
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = 0
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False):
            docstrings += (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
    lines = sum(bool(line.strip()) for line in text.splitlines())
    assert lines - docstrings <= LONGEST, f"{file.name} has {lines - docstrings} lines of code; cut it in two"


def test_no_file_is_a_drawer() -> None:
    """A file is named after its idea."""
    assert not [file for file in FILES if file.stem in ("utils", "common", "base", "misc")]
