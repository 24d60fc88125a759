"""Every code block of README.md and docs/ is run, or, where that takes a GPU, run up to the point that needs one.

* Python with tests in it is run by pytest, unmeasured, and then planned with every budget read; on the simulated device
  it is measured too. Other Python is executed, and may only end in ``Unavailable``, which is how a missing GPU is told.
* A block may use what earlier blocks of its page import and define. A name that is then still unknown is an error.
* Commands are read by the real parsers, ini and TOML by pytest itself, YAML by a YAML parser.
* What the tutorial and the pages on energy, sweeps and output quote from the simulated device is measured again and
  compared.

What is quoted from OpenCL on the CPU is not compared: it was true on one machine. Blocks for torch and OpenCL are
skipped, and say so, where those are not installed.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import contextlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pytest_gpuprof import Unavailable
from pytest_gpuprof.budgets.kinds import KINDS
from pytest_gpuprof.cli.command import parser
from pytest_gpuprof.plugin.hooks import OPTIONS

from .conftest import has
from .test_recipes import loaded

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
TEXTS = {name: path.read_text(encoding="utf-8") for name, path in zip(NAMES, PAGES, strict=True)}

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Args:
        page: where it stands.
        number: which of the page's blocks it is.
        line: where it begins.
        language: what the fence says it is.
        text: what stands in it.
    """

    page: str
    number: int
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str, text: str) -> list[Block]:
    """Return the fenced blocks of a page, in their order."""
    return [
        Block(page, number, text.count("\n", 0, found.start()) + 1, found[2], found[3])
        for number, found in enumerate(_FENCE.finditer(text))
    ]


BLOCKS = [block for name, text in TEXTS.items() for block in blocks_of(name, text)]


def written_in(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def generator() -> ModuleType:
    """Return the module that fills the site's pages."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "_site" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- Python -----------------------------------------------------------------------------------------------------------


def parsed(block: Block) -> ast.Module:
    """Return a block as Python; decorators without a function get one each."""
    text = block.text
    if all(line.startswith("@") for line in text.splitlines()):
        text = "".join(f"{line}\ndef test_{n}(gpu_profile): ...\n" for n, line in enumerate(text.splitlines()))
    return ast.parse(text, str(block))


def defined(statements: Sequence[ast.stmt]) -> set[str]:
    """Return every name that the statements bind anywhere."""
    names: set[str] = set()
    for node in (each for statement in statements for each in ast.walk(statement)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names


def unknown(statements: Sequence[ast.stmt]) -> set[str]:
    """Return the names that the statements use and nobody defines."""
    nodes = (node for statement in statements for node in ast.walk(statement))
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    return used - defined(statements) - set(dir(builtins))


def completed(block: Block) -> str:
    """Return a block with what it takes from earlier blocks of its page in front."""
    earlier = [
        statement
        for other in written_in("python")
        if other.page == block.page and other.number < block.number
        for statement in parsed(other).body
        if not isinstance(statement, ast.Expr) and not getattr(statement, "name", "").startswith("test_")
    ]
    statements = list(parsed(block).body)
    for statement in reversed(earlier):
        if defined([statement]) & unknown(statements):
            statements.insert(0, statement)
    if "pytest" in unknown(statements):  # what every test file begins with
        statements.insert(0, ast.parse("import pytest").body[0])
    assert not unknown(statements), f"{block} uses {sorted(unknown(statements))}, which nothing on its page defines"
    return ast.unparse(ast.fix_missing_locations(ast.Module(statements, [])))


def needs(text: str) -> None:
    """Skip, loudly, where a framework that a block imports is not installed."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if not has(alias.name.partition(".")[0]):
                    pytest.skip(f"NOT TESTED: {alias.name} is not installed, so this block was compiled and not run")


PYTHON = written_in("python")
WITH_TESTS = [block for block in PYTHON if "def test_" in block.text or block.text.startswith("@")]
PROGRAMS = [block for block in PYTHON if block not in WITH_TESTS]


@pytest.mark.parametrize("block", WITH_TESTS, ids=str)
def test_every_block_with_tests_runs(pytester: pytest.Pytester, block: Block) -> None:
    """Unmeasured, every test passes; with profiling on, every marker and budget can be meant."""
    text = completed(block)
    needs(text)
    pytester.makepyfile(test_block=text)
    result = pytester.runpytest_inprocess("--strict-markers", "-rs")
    outcomes = result.parseoutcomes()
    assert outcomes.get("passed", 0) >= 1
    assert set(outcomes) <= {"passed", "skipped"}
    # the one good reason: the test reads a figure, and this run has none
    skips = [line for line in result.outlines if line.startswith("SKIPPED")]
    assert len(skips) == outcomes.get("skipped", 0)
    assert all("is unavailable, because" in line for line in skips), skips
    planned = pytester.runpytest_inprocess("--gpu-profile", "--gpu-profile-plan")
    assert not {"failed", "errors"} & set(planned.parseoutcomes())
    assert planned.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)


@pytest.mark.parametrize("block", [block for block in WITH_TESTS if "simulated" in block.text], ids=str)
def test_every_block_for_the_simulated_device_is_measured(pytester: pytest.Pytester, block: Block) -> None:
    """And ends in verdicts; only a test that says so misses its budget."""
    pytester.makepyfile(test_block=completed(block))
    result = pytester.runpytest_subprocess("--gpu-profile", "--gpu-profile-devices=simulated:0")
    outcomes = result.parseoutcomes()
    assert outcomes.get("failed", 0) == block.text.count("def test_too_much")
    assert outcomes["passed"] >= 1
    assert not outcomes.get("errors")


@pytest.mark.parametrize("block", PROGRAMS, ids=str)
def test_every_other_block_runs(block: Block) -> None:
    """To its end, or until it says that it needs a GPU."""
    text = completed(block)
    needs(text)
    code = compile(text, str(block), "exec")
    with contextlib.suppress(Unavailable):
        exec(code, {"__name__": "block"})


def test_a_name_that_nobody_defines_is_found() -> None:
    """The check of names can fail."""
    with pytest.raises(AssertionError, match="uses \\['nobody'\\]"):
        completed(Block("README.md", 10**6, 1, "python", "def test_it(gpu_profile):\n    gpu_profile(nobody)\n"))


# --- What is quoted ---------------------------------------------------------------------------------------------------


def comparable(line: str) -> str:
    """Return a line of output without what differs between machines: threads, widths of columns."""
    return re.sub(r"[\s=_-]+", " ", re.sub(r"vs \d+ threads?|with \d+ threads?", "threads", line)).strip()


_TIED = re.compile(r"^\$|^…$|\bcommit\b|\d in \d|^ +\d+  20|^ *run  when|^-+  -|^[▂█]+$")
"""Lines that are no output, or tell of commits, days and seconds."""


def quoted(block: Block) -> list[str]:
    """Return the lines of a console block that have to come out again."""
    return [line for line in block.text.splitlines() if line.strip() and not _TIED.search(line)]


def consoles_after(page: str, heading: str) -> list[Block]:
    """Return the console blocks of a page from a heading on."""
    line = TEXTS[page][: TEXTS[page].index(heading)].count("\n")
    return [block for block in written_in("console") if block.page == page and block.line > line]


def check_quotes(blocks: Sequence[Block], output: str) -> None:
    """Compare what blocks quote with what came out."""
    came = {comparable(line) for line in output.splitlines()}
    for block in blocks:
        lines = quoted(block)
        assert lines, block
        missing = [line for line in lines if comparable(line) not in came]
        assert not missing, f"{block} quotes what does not come out: {missing}"


def test_the_simulated_half_of_the_tutorial_comes_out_as_quoted(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first run over the accepted baseline to the regression."""
    monkeypatch.setenv("COLUMNS", "200")

    def command(*words: str) -> pytest.RunResult:
        return pytester.run(sys.executable, "-m", "pytest_gpuprof", *words)

    (file,) = [block for block in PYTHON if block.page == "docs/tutorial.md" and "def step(" in block.text]
    (ini,) = [block for block in written_in("ini") if block.page == "docs/tutorial.md"]
    step = pytester.makepyfile(test_step=file.text)
    pytester.makeini(ini.text)
    said = [pytester.runpytest_subprocess("--gpu-profile").stdout.str() for _ in range(5)]
    told = [command("accept", "latest", "--runs", "5")]
    gate = ("--gpu-profile-compare=baseline",)
    said.append(pytester.runpytest_subprocess("--gpu-profile", *gate).stdout.str())
    step.write_text(file.text.replace("gpu=1e-3", "gpu=1.3e-3"), encoding="utf-8")
    said.append(pytester.runpytest_subprocess("--gpu-profile-strict", *gate).stdout.str())
    told.append(command("compare", "latest~1", "latest", "--fail-on", "regressed"))
    told.append(command("history", "test_step"))
    assert [each.ret for each in told] == [0, 1, 0]
    said += [line for each in told for line in (*each.outlines, *each.errlines)]
    check_quotes(consoles_after("docs/tutorial.md", "## 6."), "\n".join(said))


def test_the_energies_come_out_as_quoted(pytester: pytest.Pytester) -> None:
    """On the simulated card."""
    (file, *_) = [block for block in PYTHON if block.page == "docs/energy.md"]
    pytester.makepyfile(test_energy=file.text)
    result = pytester.runpytest_subprocess("--gpu-profile", "--gpu-profile-devices=simulated:0", "-s")
    check_quotes(consoles_after("docs/energy.md", "# "), result.stdout.str())


def test_the_sweep_comes_out_as_quoted(pytester: pytest.Pytester) -> None:
    """On the simulated device."""
    (file, *_) = [block for block in PYTHON if block.page == "docs/sweeps.md"]
    pytester.makepyfile(test_sweeps=file.text)
    result = pytester.runpytest_subprocess("--gpu-profile", "--gpu-profile-devices=simulated:0", "-s")
    check_quotes(consoles_after("docs/sweeps.md", "# "), result.stdout.str())


def test_the_table_comes_out_as_quoted(pytester: pytest.Pytester) -> None:
    """On the simulated device."""
    (file, *_) = [block for block in PYTHON if block.page == "docs/output.md"]
    pytester.makepyfile(test_output=file.text)
    result = pytester.runpytest_subprocess("--gpu-profile", "--gpu-profile-devices=simulated:0")
    check_quotes(consoles_after("docs/output.md", "## The table"), result.stdout.str())


def test_a_quote_that_does_not_come_out_is_found() -> None:
    """The comparison can fail."""
    with pytest.raises(AssertionError, match="does not come out"):
        check_quotes([Block("page", 0, 1, "console", "$ pytest\nspeedup 21x\n")], "speedup 20x\n")


# --- Commands and settings --------------------------------------------------------------------------------------------


def commands(block: Block) -> Iterator[list[str]]:
    """Yield the commands of a console or shell block, word by word."""
    text = block.text.replace("\\\n", " ")
    for line in text.splitlines():
        if block.language == "console":
            said = re.match(r"(?:\w+)?\$ (.*)", line)
            line = said[1] if said else ""
        for part in re.split(r"&&|\|\|", line):
            words = shlex.split(part, comments=True)
            if words:
                yield words


def of_pytest() -> argparse.ArgumentParser:
    """Return a parser with the options that the plugin adds, as pytest would read them."""
    whole = argparse.ArgumentParser(allow_abbrev=False, exit_on_error=False)
    for names, how in generator().added().options:
        whole.add_argument(*names, **how)
    return whole


@pytest.mark.parametrize("block", written_in("console", "bash"), ids=str)
def test_every_command_can_be_meant(block: Block) -> None:
    """With its options and their values, as pytest and ``pytest-gpuprof`` read them."""
    for words in commands(block):
        if words[0] == "pytest-gpuprof":
            parser().parse_args(words[1:])
        elif words[0] == "pytest":
            _, rest = of_pytest().parse_known_args(words[1:])
            assert not [word for word in rest if "gpu-profile" in word]


def test_there_are_commands_to_check() -> None:
    """The parser of blocks finds them."""
    found = [words[0] for block in written_in("console", "bash") for words in commands(block)]
    assert found.count("pytest") > 20
    assert found.count("pytest-gpuprof") > 8


def test_a_wrong_option_is_found() -> None:
    """The check of commands can fail."""
    with pytest.raises(AssertionError):
        test_every_command_can_be_meant(Block("page", 0, 1, "bash", "pytest --gpu-profile-stric\n"))
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        test_every_command_can_be_meant(Block("page", 0, 1, "bash", "pytest --gpu-profile-energy=slow\n"))
    with pytest.raises(SystemExit):
        test_every_command_can_be_meant(Block("page", 0, 1, "bash", "pytest-gpuprof accpt\n"))


@pytest.mark.parametrize("block", written_in("ini", "toml"), ids=str)
def test_every_setting_is_read(pytester: pytest.Pytester, block: Block) -> None:
    """By pytest, which refuses unknown keys, and by the plugin, which refuses wrong values."""
    name = "pytest.ini" if block.language == "ini" else "pyproject.toml"
    (pytester.path / name).write_text(block.text, encoding="utf-8")
    pytester.makepyfile("def test_nothing(): pass")
    result = pytester.runpytest_inprocess("--strict-config", "--gpu-profile", "--gpu-profile-plan")
    assert result.ret in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert re.search(rf"configfile: {re.escape(name)}", result.stdout.str())


@pytest.mark.parametrize("block", written_in("yaml"), ids=str)
def test_every_yaml_is_yaml(block: Block) -> None:
    """``test_recipes`` looks closer at those of docs/ci.md."""
    assert loaded(block.text)


def test_every_block_is_of_a_kind_that_is_tested() -> None:
    """A new language needs a test of its own."""
    assert {block.language for block in BLOCKS} <= {"python", "console", "bash", "ini", "toml", "yaml"}


@pytest.mark.parametrize("name", NAMES)
def test_every_option_and_key_that_is_named_exists(name: str) -> None:
    """In sentences and tables too."""
    added = generator().added()
    options = {option for names, _ in added.options for option in names}
    assert set(re.findall(r"--(?:no-)?gpu-profile(?:-[a-z]+)*", TEXTS[name])) <= options
    keys = {key for key, *_ in added.inis} | {"gpu_profile_device"}
    assert set(re.findall(r"\bgpu_profile\w*", TEXTS[name])) <= keys


@pytest.mark.parametrize("name", NAMES)
def test_every_link_to_a_file_leads_somewhere(name: str) -> None:
    """From where the page lies."""
    for target in re.findall(r"\]\((?!\w+:)([^)#]+)", TEXTS[name]):
        assert ((ROOT / name).parent / target).exists(), target


# --- The site ---------------------------------------------------------------------------------------------------------


def listed(nav: Any) -> Iterator[str]:
    """Yield the pages of a navigation."""
    if isinstance(nav, str):
        yield nav
    else:
        for each in nav.values() if isinstance(nav, Mapping) else nav:
            yield from listed(each)


def test_every_page_is_in_the_navigation() -> None:
    """And nothing else is."""
    settings = loaded((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(f"docs/{page}" for page in listed(settings["nav"])) == sorted(NAMES[1:])


def test_the_reference_is_whole() -> None:
    """Every option, key, budget, subcommand, hook and part of the schema has its place on the site."""
    site = generator()
    options, inis = site.options(), site.inis()
    for option, *_ in OPTIONS:
        assert f"`--gpu-profile-{option}" in options
        assert f"`gpu_profile_{option.replace('-', '_')}`" in inis
    assert all(f"`{keyword}`" in site.budgets() for keyword in KINDS)
    for each in ("doctor", "list", "show", "compare", "accept", "history", "export", "check", "prune", "import"):
        assert f"usage: pytest-gpuprof {each}" in site.command()
    assert "def pytest_gpuprof_board(\n    info: DeviceInfo, device: Device\n) ->" in site.hooks()
    assert "## record" in site.schema()
    assert "::: pytest_gpuprof.profiling.profile" in site.api()
    assert "## gpu_budget" in site.markers()


def test_nothing_that_was_asked_for_is_left_out() -> None:
    """Each comment is replaced; one that asks for something unknown is an error."""
    site = generator()
    asking = [text for text in TEXTS.values() if "<!-- generated: " in text]
    assert len(asking) > 6
    for text in asking:
        assert "<!-- generated" not in site.filled(text)
    with pytest.raises(KeyError):
        site.filled("<!-- generated: nothing -->")


def test_links_that_leave_the_site_lead_to_the_repository() -> None:
    """And others are left alone."""
    site = generator()
    text = "[a](../pytest_gpuprof/hookspecs.py) [b](history.md#x) [c](../README.md#limits)"
    assert site.linked(text) == (
        f"[a]({site.REPOSITORY}pytest_gpuprof/hookspecs.py) [b](history.md#x) [c]({site.REPOSITORY}README.md#limits)"
    )
