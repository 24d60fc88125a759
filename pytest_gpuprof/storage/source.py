"""What was measured, and where: the commit, as git tells it, and the machine, which nobody can read from its hash."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pytest_gpuprof.core.errors import Unavailable

__all__ = ["Source", "changes_in", "differing", "has_commit", "machine_hash", "source_of", "trees_of"]

_TIMEOUT_S = 20.0
"""``git status`` of a monorepo on a cold disk takes several seconds; more than this is a disk that hangs."""

_BRANCHES = ("GITHUB_HEAD_REF", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME", "BRANCH_NAME")
"""Where CI says which branch it checked out, for it checks out a commit: GitHub (of a pull request, else), GitLab,
Jenkins."""

_OF_A_HOOK = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")
"""Variables by which git tells a hook about the repository it works on; tests run by such a hook ask about theirs."""


@dataclass(frozen=True, slots=True)
class Source:
    """The state of the project that was measured.

    Args:
        commit: 40 hexadecimal digits.
        branch: its name, ``None`` if no branch is checked out and no CI names one.
        dirty: whether a file differs from the commit, or is unknown to git and not ignored.
        commit_time: as ``YYYY-MM-DDThh:mm:ssZ``.
        project: name of its folder.
        trees: for each path what git has of it in the commit, ``None`` if nothing.
        dirty_paths: those of these paths below which something differs.
    """

    commit: str
    branch: str | None
    dirty: bool
    commit_time: str
    project: str
    trees: Mapping[str, str | None]
    dirty_paths: tuple[str, ...]


def source_of(root: Path, paths: Sequence[str] = (".",), ignoring: Sequence[Path] = ()) -> Mapping[str, Any]:
    """Return the state of a project as builtins, or ``{"unavailable": reason}``. Nothing is raised.

    Args:
        root: the project's folder.
        paths: files and folders below it whose trees are wanted.
        ignoring: files that may change, because we write them.
    """
    try:
        commit, stamp = _git(root, "log", "-1", "--format=%H %ct", nothing="the repository has no commit").split()
        dirty = tuple(path for path in paths if _changes(root, [path], ignoring))
        source = Source(
            commit,
            _branch(root),
            bool(dirty) or ("." not in paths and bool(_changes(root, ["."], ignoring))),
            time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(stamp))),
            root.resolve().name,
            _trees(root, paths),
            dirty,
        )
    except Unavailable as error:
        return {"unavailable": str(error)}
    return {**asdict(source), "dirty_paths": list(source.dirty_paths)}


def trees_of(root: Path, paths: Iterable[str]) -> Mapping[str, str | None]:
    """Return for each path below ``root`` what git has of it in the commit that is checked out: ``None`` if nothing.

    Raises:
        Unavailable: if git cannot tell.
    """
    return _trees(root, list(paths))


def changes_in(root: Path, paths: Iterable[str], ignoring: Sequence[Path] = ()) -> list[str]:
    """Return the files below ``paths`` that differ from the commit, or are unknown to git and not ignored.

    Args:
        root: the project's folder.
        paths: relative to it.
        ignoring: files that may change.

    Raises:
        Unavailable: if git cannot tell.
    """
    return _changes(root, list(paths), ignoring)


def differing(root: Path, path: str, measured: str, ignoring: Sequence[Path] = ()) -> list[str] | None:
    """Return the files below a path that differ between what was measured of it and what is committed here.

    Args:
        root: the project's folder.
        path: relative to it.
        measured: what git had of it there.
        ignoring: files that may change.

    Returns:
        The files relative to ``root``; ``None`` if this clone does not have what was measured.

    Raises:
        Unavailable: if git cannot tell.
    """
    now = _trees(root, [path])[path]
    if now is None or _git(root, "cat-file", "--batch-check", given=f"{measured}\n").rstrip().endswith("missing"):
        return None
    try:
        shown = _git(root, "diff-tree", "-r", "--name-only", "--no-renames", "-z", measured, now)
    except Unavailable:  # one of them is a file
        shown = ""
    base = root.resolve() / path
    files = [base / name for name in shown.split("\0") if name] or [base]
    return _without(files, root, ignoring)


def has_commit(root: Path, commit: str) -> bool:
    """Whether this clone knows a commit.

    Raises:
        Unavailable: if git cannot tell.
    """
    return _git(root, "cat-file", "--batch-check", given=f"{commit}\n").split()[1:2] == ["commit"]


def machine_hash() -> str:
    """Return 12 hexadecimal digits that are the same on this machine and on no other, and do not tell its name."""
    name = ""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        try:
            name = Path(path).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if name:
            break
    # the salt keeps others from looking up the id, which systemd asks to treat as confidential
    return hashlib.sha256(f"pytest-gpuprof machine {name or platform.node()}".encode()).hexdigest()[:12]


def _trees(root: Path, paths: Sequence[str]) -> dict[str, str | None]:
    asked = "".join(f"HEAD:./{'' if path == '.' else path.rstrip('/')}\n" for path in paths)
    answers = _git(root, "cat-file", "--batch-check", given=asked).splitlines()
    return {
        path: answer.split()[0] if answer.endswith(tuple("0123456789")) else None
        for path, answer in zip(paths, answers, strict=True)
    }


def _changes(root: Path, paths: Sequence[str], ignoring: Sequence[Path]) -> list[str]:
    top = Path(_git(root, "rev-parse", "--show-toplevel").rstrip("\n"))
    shown = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *paths)
    return _without([top / line[3:] for line in shown.split("\0") if line], root, ignoring)


def _without(files: Iterable[Path], root: Path, ignoring: Sequence[Path]) -> list[str]:
    """Return files relative to the root, but for those that may change, and for what we keep ourselves."""
    here, left_out = root.resolve(), {path.resolve() for path in ignoring}
    kept = [file for file in files if file.resolve() not in left_out and not file.is_relative_to(here / ".gpuprof")]
    return sorted(_relative(file, here) for file in kept)


def _relative(file: Path, root: Path) -> str:
    return Path(os.path.relpath(file, root)).as_posix()


def _branch(root: Path) -> str | None:
    name = _git(root, "rev-parse", "--abbrev-ref", "HEAD").strip()
    if name != "HEAD":
        return name
    return next((os.environ[variable] for variable in _BRANCHES if os.environ.get(variable)), None)


def _git(root: Path, *args: str, given: str = "", nothing: str = "") -> str:
    """Return what git says.

    Raises:
        Unavailable: if it cannot say.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _OF_A_HOOK}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *args],
            input=given.encode(),
            capture_output=True,
            timeout=_TIMEOUT_S,
            env=environment,
            check=False,
        )
    except FileNotFoundError:
        raise Unavailable("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"git {args[0]} took more than {_TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise Unavailable(f"git cannot be run ({error.strerror or error})") from None
    if done.returncode:
        raise Unavailable(_why(done.stderr.decode(errors="replace"), nothing))
    return done.stdout.decode(errors="surrogateescape")


def _why(told: str, nothing: str) -> str:
    if "not a git repository" in told:
        return "the project is not in a git repository"
    if "dubious ownership" in told:
        return "git does not trust the folder, which belongs to somebody else (git config safe.directory)"
    if nothing and "does not have any commits" in told:
        return nothing
    first = told.strip().splitlines()
    return f"git failed ({first[0]})" if first else "git failed"
