"""Which files changed since a commit: where git is missing or hangs, that is one sentence with a remedy."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage.changes import changes_since


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (FileNotFoundError(2, "No such file or directory"), "git cannot be run .No such file.* install it, or measure"),
        (subprocess.TimeoutExpired("git", 60), "git rev-parse took more than 60 s; measure without"),
    ],
)
def test_without_git_it_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    """Not installed, or hanging on a network disk."""

    def fails(*args: object, **how: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(UsageError, match=sentence):
        changes_since(tmp_path, "main")


def test_names_are_whole_and_as_git_has_them(tmp_path: Path) -> None:
    """Spaces, umlauts and line breaks in a name are part of it; the names of a renamed file are two."""

    def git(*arguments: str) -> None:
        who = ("-c", "user.name=someone", "-c", "user.email=someone@example.org")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    names = ("plain.py", "with space.py", "ümlaut.py", "line\nbreak.py")
    git("init")
    for name in names:
        (tmp_path / name).write_text("x = 1\n" * 20, encoding="ascii")
    git("add", "--all")
    git("commit", "--message=Begin")
    assert changes_since(tmp_path, "HEAD").files == frozenset()
    git("mv", "plain.py", "moved.py")
    for name in names[1:]:
        (tmp_path / name).unlink()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "ñ.py").touch()
    found = changes_since(tmp_path, "HEAD")
    assert found.files == {str(tmp_path.resolve() / name) for name in (*names, "moved.py", "new/ñ.py")}
    assert len(found.base) == 40
