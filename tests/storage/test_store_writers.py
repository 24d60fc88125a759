"""Many processes write to one store, are killed or lose their connection, and nothing is lost."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_gpuprof.core.errors import StoreError
from pytest_gpuprof.storage.store import Store

Make = Callable[..., dict[str, Any]]

WRITER = """
import json, sys
from pathlib import Path
from pytest_gpuprof.storage.store import Store

url, file = sys.argv[1:3]
document = json.loads(Path(file).read_text())
with Store.open(url, Path()) as store:
    store.begin({**document, "records": []})
    for number, record in enumerate(document["records"]):
        store.append(document["id"], record)
        print(number, flush=True)  # it is there now, come what may
    store.finish(document["id"], document)
"""


@pytest.fixture
def writer(url: str, tmp_path: Path) -> Callable[[dict[str, Any]], subprocess.Popen[str]]:
    """Starts processes that store a document, test by test."""

    def start(document: dict[str, Any]) -> subprocess.Popen[str]:
        file = tmp_path / f"{document['id']}.json"
        file.write_text(json.dumps(document), encoding="ascii")
        command = [sys.executable, "-c", WRITER, url, str(file)]
        return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return start


def test_several_processes_write_at_once(
    url: str, writer: Callable[..., subprocess.Popen[str]], record: Make, document: Make, tmp_path: Path
) -> None:
    """Four that create the store, of runs with the same workloads; two of them store the same run."""
    made = [document(*(record(f"t::{number}", "n") for number in range(25))) for _ in range(3)]
    processes = [writer(each) for each in (*made, made[0])]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    with Store.open(url, tmp_path) as store:
        assert sorted(info.id for info in store.runs()) == sorted(each["id"] for each in made)
        for info in store.runs():
            (expected,) = [each for each in made if each["id"] == info.id]
            assert (store.document(info), info.records, info.finished) == (expected, 25, True)
        assert len(store.workloads()) == 25


@pytest.mark.parametrize("after", [0, 1, 7])
def test_a_process_that_is_killed_loses_nothing_that_was_stored(
    url: str, writer: Callable[..., subprocess.Popen[str]], record: Make, document: Make, tmp_path: Path, after: int
) -> None:
    """The store opens again, has every record whose storing had returned, and whole ones only."""
    Store.open(url, tmp_path).close()
    made = document(*(record(f"t::{number}", "n") for number in range(100)))
    process = writer(made)
    assert process.stdout is not None
    for _ in range(after + 1):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    with process:
        rest = process.stdout.read()  # and not communicate(), which would lose what readline() has read ahead
    stored = after + 1 + len(rest.splitlines())
    with Store.open(url, tmp_path) as store:
        (info,) = store.runs()
        kept = store.document(info)["records"]
        assert stored <= len(kept) <= stored + 1 < 100
        assert kept == made["records"][: len(kept)]
        assert (info.records, info.finished) == (len(kept), False)
        assert store.add(made)  # what the journal or an export has completes it
        assert store.document(info)["records"] == made["records"]


def test_a_dropped_connection_is_made_again(record: Make, document: Make, tmp_path: Path, postgresql: Any) -> None:
    """PostgreSQL ends it between two records; neither is lost, none is stored twice."""
    with Store.open(postgresql.database(), tmp_path) as store:
        made = document(record(), record("b", "b"))
        store.begin(made)
        store.append(made["id"], made["records"][0])
        assert postgresql.drop_connections() == 1
        store.append(made["id"], made["records"][1])
        assert postgresql.drop_connections() == 1
        assert store.document(store.runs()[0]) == made


def test_a_server_that_is_gone_is_told(record: Make, document: Make, tmp_path: Path, postgresql: Any) -> None:
    """In one sentence without the password; when it is back, the store goes on."""
    with Store.open(postgresql.database(), tmp_path) as store:
        made = document(record())
        store.begin(made)
        postgresql.stop()
        try:
            with pytest.raises(StoreError) as told:
                store.append(made["id"], made["records"][0])
        finally:
            postgresql.start()
        assert "cannot be reached" in str(told.value)
        assert "start the server" in str(told.value)
        assert "s3cret" not in str(told.value)
        assert "\n" not in str(told.value)
        store.append(made["id"], made["records"][0])
        assert store.runs()[0].records == 1
