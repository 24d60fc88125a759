"""What a test file imports, directly or through others, found without importing anything."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_gpuprof.plugin.imports import ImportGraph


def project(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def touched(
    root: Path, changed: str, *, test: str = "tests/test_it.py", search: tuple[str, ...] = (".", "src")
) -> bool:
    """Whether a test is touched by the change of one file."""
    graph = ImportGraph(root, {str(root / changed)}, [str(root / each) for each in search])
    return graph.touched(root / test)


IMPORTS = {
    "import kernels.fft": "src/kernels/fft.py",
    "import kernels.fft as fft": "src/kernels/__init__.py",
    "import os, kernels.fft": "src/kernels/fft.py",
    "from kernels import fft": "src/kernels/fft.py",
    "from kernels.fft import plan": "src/kernels/fft.py",
    "from kernels import *": "src/kernels/__init__.py",
    "from space.deep import far": "src/space/deep/far.py",
    "def test():\n    if True:\n        import kernels.fft": "src/kernels/fft.py",
    "try:\n    import kernels.fft\nexcept ImportError:\n    pass": "src/kernels/fft.py",
    "try:\n    pass\nexcept ValueError:\n    import kernels.fft": "src/kernels/fft.py",
    "match 1:\n    case 1:\n        import kernels.fft": "src/kernels/fft.py",
    "class A:\n    with open('x'):\n        from kernels import fft": "src/kernels/fft.py",
    "pytest_plugins = ['kernels.fft']": "src/kernels/fft.py",
    "import pytest\nfft = pytest.importorskip('kernels.fft')": "src/kernels/fft.py",
    "from importlib import import_module\nx = [import_module('kernels.fft')]": "src/kernels/fft.py",
    "from kernels import (  # (of ours)\n    plan,  # :)\n    tables as t,\n)": "src/kernels/tables.py",
    "from kernels \\\n  import plan, \\\n  tables": "src/kernels/tables.py",
    "x = 1; import kernels.fft; y = 2": "src/kernels/fft.py",
    "if True: import kernels.fft  # now": "src/kernels/fft.py",
    "import kernels.fft\r\nx = 1\r\n": "src/kernels/fft.py",
    "from kernels import(plan,fft)": "src/kernels/fft.py",
    "import beside": "tests/beside.py",
    "import fast": "src/fast.abi3.so",
}

FILES = {
    "conftest.py": "import shared",
    "shared.py": "",
    "tests/conftest.py": "",
    "tests/beside.py": "import lower",
    "src/lower.py": "import beside",
    "src/kernels/__init__.py": "",
    "src/kernels/fft.py": "from . import plan\nfrom .tables import twiddle",
    "src/kernels/plan.py": "from ..kernels import tables",
    "src/kernels/tables.py": "",
    "src/space/deep/far.py": "",
    "src/fast.abi3.so": "",
    "src/other.py": "",
}


@pytest.mark.parametrize("statement", IMPORTS)
def test_every_form_of_an_import_is_seen(tmp_path: Path, statement: str) -> None:
    """Wherever it stands; and a file that is not imported does not count."""
    project(tmp_path, {**FILES, "tests/test_it.py": statement})
    assert touched(tmp_path, IMPORTS[statement])
    assert not touched(tmp_path, "src/other.py")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("tests/test_it.py", True),
        ("tests/conftest.py", True),
        ("conftest.py", True),
        ("shared.py", True),  # imported by a conftest
        ("src/kernels/fft.py", True),
        ("src/kernels/plan.py", True),  # by fft
        ("src/kernels/tables.py", True),  # by fft and by plan
        ("src/kernels/__init__.py", True),
        ("src/other.py", False),
        ("tests/test_other.py", False),
        ("tests/beside.py", False),
        ("README.md", False),
        ("src/kernels/data.bin", False),
    ],
)
def test_imports_are_followed_through_others(tmp_path: Path, changed: str, expected: bool) -> None:
    """A test's files are its own, the conftests above it, and what these import in any number of steps."""
    project(tmp_path, {**FILES, "tests/test_it.py": "import kernels.fft", "tests/test_other.py": ""})
    assert touched(tmp_path, changed) is expected


def test_a_circle_of_imports_ends(tmp_path: Path) -> None:
    """Beside imports lower, which imports beside."""
    project(tmp_path, {**FILES, "tests/test_it.py": "import beside"})
    assert touched(tmp_path, "src/lower.py")
    assert not touched(tmp_path, "src/other.py")


@pytest.mark.parametrize(
    ("statement", "gone"),
    [
        ("try:\n    import gone\nexcept ImportError:\n    gone = None", "src/gone.py"),
        ("try:\n    import kernels.gone\nexcept ImportError:\n    pass", "src/kernels/gone.py"),
        ("try:\n    from away.far import x\nexcept ImportError:\n    pass", "src/away/far.py"),
        ("", "tests/conftest.py"),
    ],
)
def test_what_is_gone_counts_as_changed(tmp_path: Path, statement: str, gone: str) -> None:
    """A deleted module, one of a deleted folder, and a deleted conftest: something else is imported now, or nothing."""
    project(tmp_path, {**FILES, "tests/test_it.py": statement})
    (tmp_path / gone).unlink(missing_ok=True)
    assert touched(tmp_path, gone)


def test_a_package_of_tests_imports_its_init(tmp_path: Path) -> None:
    """And relative imports are resolved, also out of the package."""
    files = {"tests/__init__.py": "", "tests/deep/__init__.py": "", "tests/tools.py": "", "tests/deep/near.py": ""}
    test = "tests/deep/test_it.py"
    project(tmp_path, {**files, test: "from .. import tools\nfrom .near import x"})
    for changed in files:
        assert touched(tmp_path, changed, test=test), changed


def test_both_candidates_count_where_python_decides_later(tmp_path: Path) -> None:
    """A name that two folders have means either."""
    project(tmp_path, {"tests/test_it.py": "import twin", "tests/twin.py": "", "src/twin.py": ""})
    assert touched(tmp_path, "tests/twin.py")
    assert touched(tmp_path, "src/twin.py")


def test_only_files_below_the_root_are_followed(tmp_path: Path) -> None:
    """What lies beside the project is somebody else's."""
    project(tmp_path, {"mine/test_it.py": "import theirs\nimport mine.own", "theirs.py": "", "mine/own.py": ""})
    graph = ImportGraph(tmp_path / "mine", {str(tmp_path / "theirs.py")}, [str(tmp_path)])
    assert not graph.touched(tmp_path / "mine" / "test_it.py")
    graph = ImportGraph(tmp_path / "mine", {str(tmp_path / "mine" / "own.py")}, [str(tmp_path)])
    assert graph.touched(tmp_path / "mine" / "test_it.py")


def test_a_link_counts_as_what_it_points_to(tmp_path: Path) -> None:
    """A linked file and a linked folder change with their target."""
    project(tmp_path, {"real/far.py": "", "real/deep/low.py": "", "test_it.py": "import near, linked.low"})
    (tmp_path / "near.py").symlink_to(tmp_path / "real" / "far.py")
    (tmp_path / "linked").symlink_to(tmp_path / "real" / "deep", target_is_directory=True)
    for changed in ("real/far.py", "real/deep/low.py", "near.py"):
        assert touched(tmp_path, changed, test="test_it.py"), changed


def test_a_submodule_of_git_changes_as_a_whole(tmp_path: Path) -> None:
    """Git names its folder only."""
    project(tmp_path, {"vendor/lib/part.py": "", "test_it.py": "from vendor.lib import part"})
    assert touched(tmp_path, "vendor/lib", test="test_it.py")


def test_an_editable_install_is_asked_for_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finder on ``sys.meta_path`` may know a package that lies on no path; a finder that fails is passed over."""
    from importlib.machinery import ModuleSpec
    from importlib.util import spec_from_file_location

    project(tmp_path, {"lib/mapped/__init__.py": "", "lib/mapped/part.py": "", "test_it.py": "import mapped.part"})

    class Failing:
        def find_spec(self, *args: object) -> None:
            raise RuntimeError

    class Editable:
        def find_spec(self, name: str, *args: object) -> ModuleSpec | None:
            package = tmp_path / "lib" / "mapped"
            return spec_from_file_location(name, package / "__init__.py") if name == "mapped" else None

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Failing(), Editable()])
    for changed in ("lib/mapped/__init__.py", "lib/mapped/part.py"):
        assert touched(tmp_path, changed, test="test_it.py", search=()), changed
    assert "mapped" not in sys.modules


@pytest.mark.parametrize(
    "text",
    [
        '"""To\nimport kernels, say so; from kernels\n    import nothing."""',
        "def import_module(:\n    import kernels.fft",
        "import_module(name)",
        "pytest_plugins = []",
        "\0",
        "# import kernels.fft",
    ],
)
def test_prose_and_what_cannot_be_parsed_import_nothing(tmp_path: Path, text: str) -> None:
    """A text is no statement, and a broken file cannot be run either and says so itself."""
    project(tmp_path, {**FILES, "tests/test_it.py": text})
    assert not touched(tmp_path, "src/kernels/fft.py")
    assert touched(tmp_path, "tests/test_it.py")


def test_nothing_is_imported(tmp_path: Path) -> None:
    """Looking runs none of the project's code."""
    project(tmp_path, {"test_it.py": "import loud", "loud.py": "raise SystemExit('imported')"})
    assert touched(tmp_path, "loud.py", test="test_it.py", search=())


def test_a_test_that_is_no_python_file_has_itself(tmp_path: Path) -> None:
    """A test in YAML changes with its own file and the conftests above it."""
    project(tmp_path, {"conftest.py": "", "test_it.yaml": "a: 1"})
    assert touched(tmp_path, "test_it.yaml", test="test_it.yaml")
    assert touched(tmp_path, "conftest.py", test="test_it.yaml")
    assert not touched(tmp_path, "other.py", test="test_it.yaml")


def test_an_open_parenthesis_costs_no_time(tmp_path: Path) -> None:
    """Hundreds of comments behind it are read once: an expression that went back and forth would not come to an end."""
    project(
        tmp_path, {"test_it.py": "from kernels import (\n" + "    # a comment of some length\n" * 500 + "(", "x.py": ""}
    )
    assert not touched(tmp_path, "x.py", test="test_it.py")
