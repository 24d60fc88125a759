"""What git and the machine say about a project, asked of real repositories."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.storage import source
from pytest_gpuprof.storage.source import changes_in, machine_hash, source_of, trees_of

Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    """A repository with a commit: ``src/a.py``, ``src/b.py`` and ``README.md``; called, it runs git in it."""
    for name in source._BRANCHES:
        monkeypatch.delenv(name, raising=False)

    def run(*args: str) -> str:
        command = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(tmp_path), *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "-q", "-b", "trunk")
    (tmp_path / "src").mkdir()
    for name in ("src/a.py", "src/b.py", "README.md"):
        (tmp_path / name).write_text(name, encoding="ascii")
    run("add", ".")
    run("commit", "-qm", "first", "--date=2026-11-28T07:00:00Z")
    return run


def test_a_clean_project(git: Git, tmp_path: Path) -> None:
    """Its commit, branch, and trees as git itself names them."""
    found = source_of(tmp_path, [".", "src", "src/a.py", "nothing"])
    assert found["commit"] == git("rev-parse", "HEAD")
    assert (found["branch"], found["dirty"], found["dirty_paths"]) == ("trunk", False, [])
    assert found["project"] == tmp_path.name
    assert found["commit_time"].endswith("Z")
    assert len(found["commit_time"]) == 20
    assert found["trees"] == {
        ".": git("rev-parse", "HEAD^{tree}"),
        "src": git("rev-parse", "HEAD:src"),
        "src/a.py": git("rev-parse", "HEAD:src/a.py"),
        "nothing": None,
    }


def test_a_project_below_the_root_of_its_repository(git: Git, tmp_path: Path) -> None:
    """Paths are relative to the project, and what is beside it does not make it dirty."""
    (tmp_path / "README.md").write_text("changed", encoding="ascii")
    found = source_of(tmp_path / "src", [".", "a.py"])
    assert found["trees"] == {".": git("rev-parse", "HEAD:src"), "a.py": git("rev-parse", "HEAD:src/a.py")}
    assert not found["dirty"]
    (tmp_path / "src" / "new.py").touch()
    assert changes_in(tmp_path / "src", ["."]) == ["new.py"]
    assert source_of(tmp_path / "src")["dirty"]


def test_what_changed(git: Git, tmp_path: Path) -> None:
    """Changed, staged, deleted and new files count; ignored ones and those that we write do not."""
    (tmp_path / "src" / "a.py").write_text("changed", encoding="ascii")
    (tmp_path / "src" / "b.py").unlink()
    (tmp_path / "src" / "größe (1).py").touch()
    (tmp_path / "out.json").touch()
    (tmp_path / ".gitignore").write_text("*.log\n.gitignore\n", encoding="ascii")
    (tmp_path / "x.log").touch()
    git("add", "src/a.py")
    changed = ["src/a.py", "src/b.py", "src/größe (1).py"]
    assert changes_in(tmp_path, ["."]) == ["out.json", *changed]
    assert changes_in(tmp_path, ["."], ignoring=[tmp_path / "out.json"]) == changed
    assert changes_in(tmp_path, ["README.md", "nothing"]) == []
    found = source_of(tmp_path, ["src", "README.md"])
    assert (found["dirty"], found["dirty_paths"]) == (True, ["src"])
    git("checkout", "-qf", "HEAD")
    (tmp_path / "src" / "größe (1).py").unlink()
    found = source_of(tmp_path, ["src"])
    assert (found["dirty"], found["dirty_paths"]) == (True, [])  # of the project, not of these paths
    assert not source_of(tmp_path, ["src"], ignoring=[tmp_path / "out.json"])["dirty"]


def test_ci_names_the_branch_of_a_detached_head(git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitHub's name of a pull request before its merge commit's; without CI there is none."""
    git("checkout", "-q", "--detach")
    assert source_of(tmp_path)["branch"] is None
    monkeypatch.setenv("CI_COMMIT_REF_NAME", "of-gitlab")
    assert source_of(tmp_path)["branch"] == "of-gitlab"
    monkeypatch.setenv("GITHUB_REF_NAME", "12/merge")
    monkeypatch.setenv("GITHUB_HEAD_REF", "feature")
    assert source_of(tmp_path)["branch"] == "feature"


def test_a_hook_of_another_repository_does_not_mislead(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git tells its hooks by variables where they are."""
    monkeypatch.setenv("GIT_DIR", "/nonexistent")
    assert source_of(tmp_path)["branch"] == "trunk"


def test_why_git_cannot_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No repository, no commit, no git, one that hangs: each is data, and an error for who asks for trees."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert source_of(tmp_path) == {"unavailable": "the project is not in a git repository"}
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert source_of(tmp_path) == {"unavailable": "the repository has no commit"}
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    assert source_of(tmp_path) == {"unavailable": "git is not installed"}
    for asked in (trees_of, changes_in):
        with pytest.raises(Unavailable, match="git is not installed"):
            asked(tmp_path, ["."])
    (folder / "git").write_text("#!/bin/sh\nread line\n", encoding="ascii")  # waits, and is told nothing
    (folder / "git").chmod(0o755)
    (folder / "git").write_text("#!/bin/sh\necho fatal: out of luck >&2\nexit 1\n", encoding="ascii")
    assert source_of(tmp_path) == {"unavailable": "git failed (fatal: out of luck)"}
    (folder / "git").write_text("#!/bin/sh\nwhile :; do :; done\n", encoding="ascii")
    monkeypatch.setattr(source, "_TIMEOUT_S", 0.05)
    assert source_of(tmp_path) == {"unavailable": "git log took more than 0 s"}


def test_a_path_outside_the_repository_is_told(git: Git, tmp_path: Path) -> None:
    """It has no tree, and asking for changes there is an error of git's."""
    with pytest.raises(Unavailable, match="outside repository"):
        changes_in(tmp_path, ["../elsewhere"])


def test_the_machine_has_a_hash_and_no_name() -> None:
    """The same each time."""
    assert machine_hash() == machine_hash()
    assert len(machine_hash()) == 12
    int(machine_hash(), 16)


def test_a_machine_without_an_id_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hosts differ."""

    def missing(self: Path, encoding: str) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    found = []
    for name in ("one", "two"):
        monkeypatch.setattr("platform.node", lambda name=name: name)
        found.append(machine_hash())
    assert len(set(found)) == 2
