"""Which files changed since a commit, by git: committed since the branches parted, staged, edited, new, or deleted."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_gpuprof.core.errors import UsageError

__all__ = ["Changes", "changes_since"]

_PATIENCE_S = 60.0
"""Comparing a working tree of a million files takes git some seconds with a cold disk; more means that it hangs."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed since a commit.

    Args:
        since: the revision, as it was asked for.
        base: the commit it was compared with: the last one that the revision and this branch have in common.
        files: with their whole paths; those that are gone too, and both names of a renamed one.
    """

    since: str
    base: str
    files: frozenset[str]


def changes_since(root: Path, revision: str) -> Changes:
    """Return what changed since a revision parted from what is checked out.

    The working tree counts, not the index: it is what the tests run.

    Raises:
        UsageError: if git cannot tell; the message ends with the remedy.
    """
    top = _top(root)
    option = revision.startswith("-")  # git would take it for one
    commit = None if option else _git(top, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if not commit:
        raise UsageError(f"git knows no commit {revision!r} in {top}; {_fetch(top, f'git fetch origin {revision}')}")
    base = _git(top, "merge-base", commit.strip(), "HEAD")
    if not base:
        unrelated = "name a commit of this branch's history"
        raise UsageError(f"{revision!r} and what is checked out have no commit in common; {_fetch(top, unrelated)}")
    base = base.strip()
    changed = _git(top, "diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", base)
    new = _git(top, "ls-files", "--others", "--exclude-standard", "-z")
    if changed is None or new is None:
        raise UsageError(f"git cannot compare {top} with {revision!r}; see what `git diff {revision}` says there")
    names = [name.rstrip("/") for name in (changed + new).split("\0") if name]
    return Changes(revision, base, frozenset(f"{top}/{name}" for name in names))


def _top(root: Path) -> str:
    top = _git(str(root), "rev-parse", "--show-toplevel")
    if not top:
        raise UsageError(
            f"{root} is in no git repository, so nobody can tell what changed; measure without "
            "--gpu-profile-changed-since, or in a checkout (git may also refuse one of another user: safe.directory)"
        )
    return str(Path(top.rstrip("\n")).resolve())


def _fetch(top: str, otherwise: str) -> str:
    """Return how to get commits that are missing: a shallow clone, as CI makes them, has hardly any."""
    shallow = (_git(top, "rev-parse", "--is-shallow-repository") or "").strip() == "true"
    return "this clone is shallow: git fetch --unshallow (in GitHub Actions: fetch-depth: 0)" if shallow else otherwise


def _git(folder: str, *arguments: str) -> str | None:
    """Return what git says, ``None`` if it says no.

    Raises:
        UsageError: if there is no git, or it hangs.
    """
    command: Sequence[str] = ("git", "-C", folder, *arguments)
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # nobody waits for our looking
        )
    except OSError as error:
        raise UsageError(
            f"git cannot be run ({error.strerror or error}), so nobody can tell what changed; install it, or measure "
            "without --gpu-profile-changed-since"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(
            f"git {arguments[0]} took more than {_PATIENCE_S:.0f} s; measure without --gpu-profile-changed-since"
        ) from error
    return os.fsdecode(done.stdout) if done.returncode == 0 else None
