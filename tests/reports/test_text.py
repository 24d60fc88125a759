"""Writing text: whole or not at all, and UTF-8 whatever the terminal says."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from pytest_gpuprof.reports.text import TextReport, encoded, write_text


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """Into folders that are made if need be, and nothing else is left there."""
    path = tmp_path / "a" / "b.md"
    write_text("x" * 1000, str(path))
    write_text("×\n", str(path))
    assert path.read_bytes() == "×\n".encode()
    assert [each.name for each in path.parent.iterdir()] == ["b.md"]


def test_a_failure_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk costs the new text, and not the old one."""
    path = tmp_path / "b.md"
    path.write_text("old", encoding="utf-8")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:1])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_text("new", str(path))
    assert [each.name for each in tmp_path.iterdir()] == ["b.md"]
    assert path.read_text(encoding="utf-8") == "old"


def test_a_hyphen_is_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """In UTF-8, also where the terminal is ASCII."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    TextReport(lambda document: f"{document['n']}×\n").write({"n": 2}, "-")
    assert raw.getvalue() == "2×\n".encode()


def test_half_a_surrogate_pair_does_not_stop_a_report() -> None:
    """A parameter may hold one, and UTF-8 cannot."""
    assert encoded("a\ud800") == rb"a\ud800"
