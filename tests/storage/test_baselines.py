"""The file of accepted baselines: what it says, how it is written, and what becomes of one that cannot be read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.core.baseline import MOST_RUNS
from pytest_gpuprof.core.errors import UsageError
from pytest_gpuprof.storage.baselines import Accepted, Baselines
from pytest_gpuprof.storage.conditions import key_of
from pytest_gpuprof.storage.entries import Entry

T4 = {"device": "NVIDIA T4", "torch": "2.13", "gpu_power_limit_w": 70}
H200 = {"device": "NVIDIA H200", "torch": "2.13", "gpu_power_limit_w": 700}
TEST = "tests/test_a.py::test_b[4-ä]"


def entry(*values: float, test: str = TEST, figure: str = "gpu_time", on: Any = None) -> Entry:
    return Entry(test, "work", figure, T4 if on is None else on, values or (0.001,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gpuprof-baselines.json"


def accepted(path: Path, *entries: Entry, **options: Any) -> Baselines:
    kept = Baselines(path)
    kept.accept(entries or [entry()], **options)
    return Baselines(path)


# -- what it says -----------------------------------------------------------------------------------------------------


ACCEPT = "accept what it is now with pytest-gpuprof accept"


def test_what_was_accepted_is_the_baseline(path: Path) -> None:
    """Under the same conditions, for the same figure of the same workload."""
    kept = accepted(path, entry(0.001, 0.0011), entry(2048, figure="gpu_memory"))
    found = kept.before(TEST, "work", T4, "gpu_time")
    assert (found.values, found.source) == ((0.001, 0.0011), "gpuprof-baselines.json")
    assert kept.before(TEST, "work", T4, "gpu_memory").values == (2048,)
    assert kept.workloads() == {(TEST, "work")}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ((TEST, "other", "gpu_time"), "it is not in gpuprof-baselines.json"),
        (("test_c.py::test", "work", "gpu_time"), "it is not in gpuprof-baselines.json"),
        ((TEST, "work", "energy"), "its energy is not in gpuprof-baselines.json, where other figures of it are"),
    ],
)
def test_what_was_not_accepted_is_new(path: Path, asked: tuple[str, str, str], reason: str) -> None:
    """With what the file lacks."""
    test, name, figure = asked
    found = accepted(path).before(test, name, T4, figure)
    assert (found.absence, found.reason) == ("new", f"{reason}; {ACCEPT}")


def test_without_a_file_everything_is_new(path: Path) -> None:
    """And reading makes none."""
    found = Baselines(path).before(TEST, "work", T4, "gpu_time")
    assert (found.absence, found.reason) == ("new", f"there is no gpuprof-baselines.json; {ACCEPT}")
    assert not path.exists()


def test_other_conditions_are_incomparable_and_it_says_what_differs(path: Path) -> None:
    """From the nearest of the machines in the file, the device first, and not everything."""
    kept = accepted(path, entry(on=T4), entry(on=H200))
    near = kept.before(TEST, "work", {**H200, "torch": "2.14"}, "gpu_time")
    assert near.absence == "incomparable"
    told = "it is in gpuprof-baselines.json under other conditions only: torch was 2.13 and is 2.14"
    assert near.reason == f"{told}; {ACCEPT}"
    far = kept.before(TEST, "work", {"device": "NVIDIA L4", "a": 1, "b": 2, "c": 3}, "gpu_time")
    assert ": device was NVIDIA T4 and is NVIDIA L4, a was unknown and is 1, b was" in far.reason
    assert far.reason.endswith(f", and 3 more; {ACCEPT}")


def test_one_file_serves_several_cards(path: Path) -> None:
    """Accepting on one leaves the other alone, and gone machines leave the table."""
    accepted(path, entry(0.003, on=T4))
    kept = accepted(path, entry(0.001, on=H200))
    assert kept.before(TEST, "work", T4, "gpu_time").values == (0.003,)
    assert kept.before(TEST, "work", H200, "gpu_time").values == (0.001,)
    assert json.loads(path.read_text("utf-8"))["machines"].keys() == {key_of(T4), key_of(H200)}
    accepted(path, entry(test="new"), gone=[(TEST, "work")])
    assert json.loads(path.read_text("utf-8"))["machines"].keys() == {key_of(T4)}


# -- how it is written ------------------------------------------------------------------------------------------------


def test_accepting_the_same_in_another_order_writes_the_same(path: Path, tmp_path: Path) -> None:
    """Nothing in it depends on when, where or in which order; what does not change is not written."""
    entries = [entry(0.001), entry(0.002, on=H200), entry(5, figure="leak"), entry(test="a")]
    accepted(path, *entries)
    accepted(tmp_path / "other.json", *reversed(entries))
    assert path.read_bytes() == (tmp_path / "other.json").read_bytes()
    os.utime(path, ns=(1, 1))
    assert Baselines(path).accept(entries) == Accepted(new=0, changed=0, unchanged=4, removed=0)
    assert path.stat().st_mtime_ns == 1


def test_what_is_read_can_be_accepted_again(path: Path, tmp_path: Path) -> None:
    """Every entry comes back."""
    kept = accepted(path, entry(0.001, 0.002), entry(2048, on=H200, figure="gpu_memory"))
    again = accepted(tmp_path / "again.json", *kept.entries())
    assert again.entries() == kept.entries()
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_accepting_replaces_and_adding_extends(path: Path) -> None:
    """By default what was is forgotten: somebody decided that this is normal now."""
    accepted(path, entry(1, 2, 3))
    assert accepted(path, entry(4), add=True).entries()[0].values == (1, 2, 3, 4)
    assert accepted(path, entry(5)).entries()[0].values == (5,)
    many = accepted(path, entry(*range(6, 6 + MOST_RUNS)), add=True).entries()[0].values
    assert many == tuple(range(6, 6 + MOST_RUNS))


def test_accepting_tells_what_it_did(path: Path) -> None:
    """New, changed, unchanged, removed."""
    accepted(path, entry(1), entry(2, test="same"), entry(3, test="gone"), entry(3, test="gone", on=H200))
    done = Baselines(path).accept(
        [entry(9), entry(2, test="same"), entry(test="new")], gone=[("gone", "work"), ("never", "work")]
    )
    assert done == Accepted(new=1, changed=1, unchanged=1, removed=2)
    assert {each.test for each in Baselines(path).entries()} == {TEST, "same", "new"}


def test_a_link_stays_a_link_and_a_mode_a_mode(path: Path, tmp_path: Path) -> None:
    """The file may live elsewhere, and others may be allowed to read it."""
    target = tmp_path / "shared" / "base.json"
    target.parent.mkdir()
    accepted(target)
    target.chmod(0o640)
    path.symlink_to(target)
    accepted(path, entry(7))
    assert path.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o640
    assert Baselines(target).entries()[0].values == (7,)


def test_version_control_sees_nothing_but_the_file(path: Path) -> None:
    """The lock is in a folder that is ignored."""
    accepted(path)
    assert sorted(each.name for each in path.parent.iterdir()) == [".gpuprof", path.name]
    assert (path.parent / ".gpuprof" / ".gitignore").read_text() == "*\n"


WRITER = """
import sys
from pathlib import Path
from pytest_gpuprof.storage.baselines import Baselines
from pytest_gpuprof.storage.entries import Entry
path, name = Path(sys.argv[1]), sys.argv[2]
number = 0
while True:
    number += 1
    Baselines(path).accept([Entry(f"{name}-{index}", "work", "gpu_time", {"device": name}, (number,))
                            for index in range(200)])
    print(number, flush=True)
"""


def writer(path: Path, name: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE, text=True)


def test_whoever_is_killed_in_the_middle_leaves_a_whole_file(path: Path) -> None:
    """Of what it had written, all 200 figures agree; and the next one cleans up and goes on."""
    accepted(path, entry(42))
    for attempt in range(8):
        process = writer(path, "card")
        assert process.stdout is not None
        process.stdout.readline()  # it has begun, and is in the middle of the next or the one after
        time.sleep(0.003 * attempt)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        entries = Baselines(path).entries()
        values = {each.values for each in entries if each.test != TEST}
        assert (len(entries), len(values)) == (201, 1)
    accepted(path, entry(43))
    assert sorted(each.name for each in path.parent.iterdir()) == [".gpuprof", path.name]


def test_two_who_accept_at_once_lose_nothing(path: Path) -> None:
    """Each waits for the other, and reads again what is there by then."""
    both = [writer(path, name) for name in ("one", "two")]
    for process in both:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
    for process in both:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    entries = Baselines(path).entries()
    assert {each.conditions["device"] for each in entries} == {"one", "two"}
    assert len(entries) == 400


# -- files that cannot be read ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe\x00", r"is not text in UTF-8 \(byte 0\); restore it"),
        (b"<<<<<<< HEAD\n{}\n", "has a merge conflict in line 1"),
        (b"", r"is not JSON .*; restore it from version control, or delete it and run pytest-gpuprof accept"),
    ],
)
def test_a_broken_file_is_refused_in_one_sentence_and_left_alone(path: Path, content: bytes, message: str) -> None:
    """Checked early it is an error; asked for a baseline it is unreadable; accepted into it stays as it is."""
    path.write_bytes(content)
    kept = Baselines(path)
    with pytest.raises(UsageError, match=rf"^gpuprof-baselines.json .*{message}"):
        kept.check()
    found = kept.before(TEST, "work", T4, "gpu_time")
    assert found.absence == "unreadable"
    assert found.reason.startswith("gpuprof-baselines.json ")
    assert "\n" not in found.reason
    assert "; " in found.reason
    with pytest.raises(UsageError):
        kept.accept([entry()])
    assert path.read_bytes() == content


@pytest.mark.parametrize("how", ["a byte-order mark", "line ends of another system"])
def test_what_editors_and_git_do_to_a_file_does_no_harm(path: Path, how: str) -> None:
    """It reads the same."""
    accepted(path)
    text = path.read_text("utf-8")
    path.write_bytes(text.encode("utf-8-sig") if how == "a byte-order mark" else text.replace("\n", "\r\n").encode())
    assert Baselines(path).entries() == (entry(),)


def test_a_folder_in_its_place_is_told(path: Path) -> None:
    """For reading and for writing."""
    path.mkdir()
    with pytest.raises(UsageError, match=r"cannot be read \(Is a directory\); name another file"):
        Baselines(path).check()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Nothing is left behind."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"base.json cannot be (read|written) \(.*\); "):
        Baselines(tmp_path / "file" / "base.json").accept([entry()])
