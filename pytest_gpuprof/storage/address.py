"""Where the store is: what ``--gpu-profile-store`` names, without opening it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pytest_gpuprof.core.errors import StoreError

__all__ = ["HISTORY", "NOWHERE", "Address"]

HISTORY = Path(".gpuprof") / "history.sqlite3"
"""The default store, below the project's folder."""

NOWHERE = "none"
"""The word for keeping nothing."""

_SCHEME = re.compile(r"([A-Za-z][\w.-]*)(?:\+([\w.-]+))?://(.*)", re.DOTALL)
_PASSWORD = re.compile(r"^([^:/@]*):.*@", re.DOTALL)  # up to the last @: a password may hold one that nobody quoted
_PASSWORD_IN_QUERY = re.compile(r"((?:^|[?&])(?:ssl)?password=)[^&]*")


@dataclass(frozen=True, slots=True)
class Address:
    """The place of a store.

    Args:
        path: of a SQLite file, ``None`` for PostgreSQL.
        url: for SQLAlchemy.
        shown: for people; it holds no password.
        is_default: whether nobody chose the place, and the folder is ours.
    """

    path: Path | None
    url: str
    shown: str
    is_default: bool = False

    @classmethod
    def of(cls, url: str | None, root: Path) -> Address:
        """Return the address that ``url`` means.

        Args:
            url: ``None`` for the default, a path of a SQLite file, ``sqlite:///PATH`` or ``postgresql://…``.
            root: the project's folder, to which a path is relative.

        Raises:
            StoreError: if it means nothing.

        >>> Address.of("postgresql://ci:secret@db/gpuprof", Path()).shown
        'postgresql://ci:***@db/gpuprof'
        """
        if url is None:
            return cls._file(root / HISTORY, str(HISTORY), is_default=True)
        match = _SCHEME.fullmatch(url)
        if match is None:
            return cls._file(root / Path(url).expanduser(), url)
        scheme, driver, rest = match[1].lower(), match[2], match[3]
        if scheme == "sqlite" and driver is None and rest.startswith("/") and rest.strip("/"):
            return cls._file(root / rest[1:], url)  # three slashes are relative, four absolute, as SQLAlchemy has it
        if scheme in ("postgresql", "postgres") and driver in (None, "psycopg") and rest:
            return cls(None, f"postgresql+psycopg://{rest}", f"postgresql://{_without_password(rest)}")
        raise StoreError(
            f"{match[1]}{f'+{driver}' if driver else ''}://{_without_password(rest)} is no store; name a SQLite file, "
            "e.g. gpu/history.sqlite3 or sqlite:///gpu/history.sqlite3, or a PostgreSQL database, e.g. "
            "postgresql://user@host/database"
        )

    @classmethod
    def _file(cls, path: Path, shown: str, is_default: bool = False) -> Address:
        return cls(path, f"sqlite:///{path}", shown, is_default)


def _without_password(rest: str) -> str:
    return _PASSWORD_IN_QUERY.sub(r"\1***", _PASSWORD.sub(r"\1:***@", rest))
