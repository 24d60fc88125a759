"""The run document: every record of a run with where, when and by what it was measured.

It is what the JSON export writes, what the store gives back, and what every command reads. Builtins only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_gpuprof import __version__
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage.codec import SCHEMA
from pytest_gpuprof.storage.parts import builtins_of

__all__ = ["SCHEMA", "checked", "figures_by_workload", "new_document", "read_document", "unenforced", "write_document"]

_NAME, _, _NUMBER = SCHEMA.rpartition("/")

_CONFLICT = re.compile(r"^(<{7}|={7}|>{7})(?: |$)", re.MULTILINE)
"""What git leaves in a file that it could not merge."""


def new_document(
    records: Iterable[Mapping[str, Any]],
    *,
    run_id: str,
    created: str,
    duration_s: float,
    source: Mapping[str, Any],
    machine: str,
    settings: Mapping[str, Any],
    counts: Mapping[str, int],
    comparison: Mapping[str, Any] | None = None,
    spared: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Return the document of a run.

    Args:
        records: what :func:`~pytest_gpuprof.storage.codec.record_of` returns, with the ``"outcome"`` of the test.
        run_id: 32 hexadecimal digits that no other run has.
        created: when the run began, as ``YYYY-MM-DDThh:mm:ssZ``.
        duration_s: how long it took.
        source: of :func:`~pytest_gpuprof.storage.source.source_of`.
        machine: of :func:`~pytest_gpuprof.storage.source.machine_hash`.
        settings: what the run was told about measuring.
        counts: budgets by outcome.
        comparison: with what the run was compared, how many figures changed how, and what is gone; ``None`` if with
            nothing.
        spared: of the budgets that were judged, those that fail nothing, by outcome; ``None`` to count them.
    """
    records = list(records)
    document: dict[str, Any] = builtins_of(
        {
            "schema": SCHEMA,
            "id": run_id,
            "version": __version__,
            "created": created,
            "duration_s": duration_s,
            "source": source,
            "machine": machine,
            "settings": settings,
            "counts": counts,
            "unenforced": unenforced({"records": records}) if spared is None else spared,
            **({} if comparison is None else {"comparison": comparison}),
            "records": records,
        }
    )
    return document


def read_document(path: str | Path) -> dict[str, Any]:
    """Return the document in a file.

    Args:
        path: of a JSON export or of a journal; ``"-"`` is standard input.

    Raises:
        UsageError: in one sentence with a remedy, if there is no such document.
    """
    name = "standard input" if str(path) == "-" else str(path)
    try:
        text = sys.stdin.read() if str(path) == "-" else Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"there is no file {name}; write one with pytest --gpu-profile --gpu-profile-export=json:{name}"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"{name} is no text; name a file that --gpu-profile-export=json:… wrote") from None
    except OSError as error:
        raise UsageError(f"{name} cannot be read ({error.strerror or error}); allow reading it") from error
    conflict = _CONFLICT.search(text)
    if conflict is not None:
        line = text.count("\n", 0, conflict.start()) + 1
        raise UsageError(f"{name} has a merge conflict in line {line}; take one side of it, or measure again")
    try:
        document = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        document = _journal(text)
        if document is None:
            raise UsageError(
                f"{name} is not JSON ({_where(error)}); it was cut off or is something else: export it again"
            ) from None
    if isinstance(document, dict) and "journal" in document:  # a journal of one line
        document = _journal(text)
    return checked(document, name)


def _refuse(constant: str) -> float:
    raise ValueError(f"it has the number {constant}")


def _where(error: ValueError) -> str:
    return f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else str(error)


def _journal(text: str) -> dict[str, Any] | None:
    """Return what a journal holds as a document; ``None`` if it is none.

    The first line is the head of the run, every other one is a record. The last line of a killed session may be torn.
    """
    lines = text.splitlines()
    parsed = []
    for number, line in enumerate(lines):
        try:
            parsed.append(json.loads(line))
        except json.JSONDecodeError:
            if number + 1 < len(lines):
                return None
    if not parsed or not isinstance(parsed[0], dict) or not isinstance(parsed[0].get("journal"), dict):
        return None
    return {**parsed[0]["journal"], "records": parsed[1:]}


def checked(document: Any, name: str) -> dict[str, Any]:
    """Return a document with every key that one has.

    Args:
        document: what was read.
        name: what it was read from, for the error.

    Raises:
        UsageError: if it has another schema, or is damaged.
    """
    if not isinstance(document, dict) or not isinstance(document.get("schema"), str):
        raise UsageError(f"{name} is not of pytest-gpuprof; name a file that --gpu-profile-export=json:… wrote")
    if document["schema"] != SCHEMA:
        known, _, number = document["schema"].rpartition("/")
        newer = known == _NAME and number.isdigit() and int(number) > int(_NUMBER)
        remedy = "upgrade pytest-gpuprof" if newer else "measure again"
        raise UsageError(f"{name} has the schema {document['schema']!r}, and this version reads {SCHEMA!r}; {remedy}")
    problem = _damage(document)
    if problem:
        raise UsageError(f"{name} is damaged ({problem}); export it again, or measure again")
    if "id" not in document:  # of an older version: the same file is always the same run
        stable = json.dumps(document, sort_keys=True)
        document = {**document, "id": hashlib.sha256(stable.encode()).hexdigest()[:32]}
    return {**_ABSENT, **document}


_ABSENT: Mapping[str, Any] = {
    "version": "",
    "created": "1970-01-01T00:00:00Z",
    "duration_s": 0.0,
    "source": {"unavailable": "the version that wrote it did not keep it"},
    "machine": "",
    "settings": {},
    "counts": {},
}
"""What older documents lack."""


def _damage(document: Mapping[str, Any]) -> str:
    """Return what is wrong with a document of our schema, or nothing."""
    records = document.get("records")
    if not isinstance(records, list):
        return "it has no list of records"
    kinds = {
        "id": str,
        "created": str,
        "machine": str,
        "version": str,
        "source": dict,
        "settings": dict,
        "counts": dict,
        "unenforced": dict,
    }
    for key, kind in kinds.items():
        if key in document and not isinstance(document[key], kind):
            return f"{key} is {document[key]!r}"
    if not isinstance(document.get("duration_s", 0.0), (int, float)):
        return f"duration_s is {document['duration_s']!r}"
    if "id" in document and re.fullmatch("[0-9a-f]{32}", document["id"]) is None:
        return f"id is {document['id']!r}"
    if "created" in document and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document["created"]) is None:
        return f"created is {document['created']!r}"
    if not all(type(number) is int for number in document.get("unenforced", {}).values()):
        return f"unenforced is {document['unenforced']!r}"
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            return f"record {number} is {type(record).__name__}"
        for key in ("test", "name"):
            if not isinstance(record.get(key), str):
                return f"record {number} has no {key}"
        if not isinstance(record.get("legs"), dict):
            return f"record {number} has no legs"
        if type(record.get("attempt", 1)) is not int:
            return f"record {number} has the attempt {record['attempt']!r}"
        if not _is_note(record.get("quarantine", {"reason": "", "until": ""})):
            return f"record {number} has the quarantine {record['quarantine']!r}"
    return ""


def _is_note(quarantine: object) -> bool:
    return isinstance(quarantine, dict) and all(isinstance(quarantine.get(key), str) for key in ("reason", "until"))


def write_document(document: Mapping[str, Any], path: str | Path) -> None:
    """Write a document whole or not at all: to a neighbouring file first, which then takes the name.

    Raises:
        OSError: if it cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def unenforced(document: Mapping[str, Any]) -> dict[str, int]:
    """Return how many budgets were judged and fail nothing, by outcome: ``enforce=False``, or a test in quarantine."""
    verdicts = (verdict for record in figures_by_workload(document).values() for verdict in record.get("verdicts", ()))
    spared = Counter(verdict["outcome"] for verdict in verdicts if not verdict.get("enforce", True))
    return {outcome: spared[outcome] for outcome in ("met", "missed", "inconclusive") if spared[outcome]}


def figures_by_workload(document: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the record of each workload by test and name; of a test that was run again, the last attempt's."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for record in document["records"]:
        key = (record["test"], record["name"])
        if key not in found or record.get("attempt", 1) >= found[key].get("attempt", 1):
            found[key] = record
    return found
