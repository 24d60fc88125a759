"""The failure table: for everything that is known to go wrong, what becomes of the figure, the budget and the test.

Each row is a test of an inner run, by default and under strict; one process goes through all of them. Rows about other
instruments than NVML are tested where those are: RAPL in ``tests/meters/test_rapl.py``, locks in ``test_locks.py``,
``fork`` in ``tests/meters/test_nvml.py``, counters that freeze or fall there and in ``test_energy_by_nvml.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from .nvml_lab import LabRun, library_or_skip, run_lab


@dataclass(frozen=True)
class Row:
    """One thing that goes wrong.

    Args:
        what: goes wrong.
        setup: code before the workload is measured.
        outcomes: of budgets, by keyword. The budgets are ``max_energy`` and ``max_gpu_memory``, both met with room; and
            ``max_gpu_time``, met with room too unless the row says ``slow``.
        said: what the sentence on joules says, or what is shown of the test.
        caution: the doubt that the profile carries, ``None`` for none; ``"throttled"`` comes with the rounds that were
            taken again in vain.
        ends: the outcome of the test, by default and under strict.
        slow: whether the budget of time and the one of joules are half of what is needed.
        body: what the test does; it measures once.
    """

    what: str
    setup: str
    outcomes: Mapping[str, str]
    said: Sequence[str] = ()
    caution: str | None = None
    ends: tuple[str, str] = ("passed", "passed")
    slow: bool = False
    body: str = "gpu_profile(work)"

    @property
    def name(self) -> str:
        """The name of the inner test."""
        return "test_" + "_".join("".join(each if each.isalnum() else " " for each in self.what).lower().split())

    @property
    def source(self) -> str:
        """The inner test."""
        energy, seconds = ("35 J", "0.1 s") if self.slow else ("140 J", "0.5 s")
        budgets = f"max_energy={energy!r}, max_gpu_time={seconds!r}, max_gpu_memory='1 GiB'"
        body = "\n".join(f"    {line}" for line in (*self.setup.splitlines(), *self.body.splitlines()))
        return f"@pytest.mark.gpu_budget({budgets})\ndef {self.name}(card, gpu_profile, monkeypatch):\n{body}\n\n"


ALL = {"max_energy": "met", "max_gpu_time": "met", "max_gpu_memory": "met"}
NO_JOULES = {**ALL, "max_energy": "unavailable"}
DOUBTED_JOULES = {**ALL, "max_energy": "inconclusive"}
FAILED = ("failed", "failed")
"""There is a GPU and no such reading: that fails by default too, so that no gate passes by not running."""
DOUBTED = ("passed", "failed")
"""Inconclusive warns by default and fails a gate."""

PROCESSES = "nvmlDeviceGetComputeRunningProcesses_v3"

TABLE = (
    Row("Nothing", "card()", ALL),
    # -- the library and the driver
    Row(
        "no pynvml",
        "monkeypatch.setitem(sys.modules, 'pynvml', None)",
        NO_JOULES,
        ["nvidia-ml-py is not installed; install it with pip install nvidia-ml-py"],
        ends=FAILED,
    ),
    Row(
        "another package called pynvml",
        "monkeypatch.setitem(sys.modules, 'pynvml', types.ModuleType('pynvml'))",
        NO_JOULES,
        ["another package than nvidia-ml-py provides pynvml; pip uninstall pynvml"],
        ends=FAILED,
    ),
    Row(
        "library missing",
        "card(fault='nvmlInitWithFlags:12')",
        NO_JOULES,
        ["libnvidia-ml.so.1 is not found", "install the NVIDIA driver, or start the container with"],
        ends=FAILED,
    ),
    Row(
        "driver not loaded",
        "card(fault='nvmlInitWithFlags:9')",
        NO_JOULES,
        ["the NVIDIA driver is not loaded", "; load it with sudo modprobe nvidia"],
        ends=FAILED,
    ),
    Row(
        "driver and library mismatch",
        "card(fault='nvmlInitWithFlags:18')",
        NO_JOULES,
        ["the NVIDIA driver was updated while the old one is still loaded", "; reboot, or reload the driver"],
        ends=FAILED,
    ),
    Row(
        "no permission",
        "card(fault='nvmlDeviceGetHandleByUUID:4')",
        NO_JOULES,
        ["it is not permitted", "may open /dev/nvidia*"],
        ends=FAILED,
    ),
    Row(
        "not supported",
        "card(fault='nvmlDeviceGetTotalEnergyConsumption:3')",
        NO_JOULES,
        ["this card or its driver does not offer it"],
        ends=FAILED,
    ),
    Row(
        "symbol missing that has an older name",
        f"card(fault=['{PROCESSES}:13', 'nvmlDeviceGetTemperatureV:13'])",
        ALL,
    ),
    Row(
        "symbol missing that pynvml calls a mismatch",
        "import pynvml\n"
        "def mismatch(handle):\n"
        "    raise pynvml.NVMLLibraryMismatchError('unversioned function called')\n"
        f"monkeypatch.setattr(pynvml, '{PROCESSES}', mismatch)",
        ALL,
    ),
    Row(
        "symbol missing that has none",
        "card(fault='nvmlDeviceGetTotalEnergyConsumption:13')",
        NO_JOULES,
        ["the NVIDIA driver is too old to offer it", "; update the driver"],
        ends=FAILED,
    ),
    # -- the card
    Row(
        "GPU lost",
        "card(fault='nvmlDeviceGetTotalEnergyConsumption:15:3')",
        NO_JOULES,
        ["the GPU is lost", "; look for Xid messages in dmesg, and reboot"],
        "sharing unknown",
        ends=FAILED,
    ),
    Row(
        "reset required",
        "card(fault='nvmlDeviceGetClockInfo:16')",
        NO_JOULES,
        ["the GPU must be reset before it can be used", "; reset it with sudo nvidia-smi --gpu-reset"],
        "sharing unknown",
        ends=FAILED,
    ),
    *(
        Row(f"{word} at first", f"card(fault='nvmlDeviceGetTotalEnergyConsumption:{code}:1:2')", ALL)
        for word, code in (("not ready", 27), ("timeout", 10), ("unknown", 999))
    ),
    *(
        Row(
            f"{word} for good",
            f"card(fault='nvmlDeviceGetTotalEnergyConsumption:{code}')",
            NO_JOULES,
            [f"NVML error {code})"],
            ends=FAILED,
        )
        for word, code in (("not ready", 27), ("timeout", 10), ("unknown", 999))
    ),
    Row(
        "MIG",
        "card(mig=1)",
        NO_JOULES,
        ["MIG instance: NVML has no energy per instance; measure on a whole card"],
        ends=FAILED,
    ),
    # -- who else is there
    *(
        Row(
            f"process list that WSL refuses with {code}",
            f"card(fault='nvmlDeviceGetComputeRunningProcesses*:{code}')",
            DOUBTED_JOULES,
            ["inconclusive: nobody can tell who else used the GPU", f"NVML error {code})"],
            "sharing unknown",
            ends=DOUBTED,
        )
        for code in (3, 999)
    ),
    *(
        Row(
            f"shared GPU with {what}",
            f"card(process=['self:100', {process!r}])",
            DOUBTED_JOULES,
            ["inconclusive: 1 other process used the GPU meanwhile; stop them"],
            "shared",
            ends=DOUBTED,
        )
        for what, process in (
            ("a process", "4711:1"),
            ("a client of MPS", "4711:1:mps"),
            ("a process that appears meanwhile", "4711:1:compute:5"),
        )
    ),
    Row(
        "shared GPU and missed budgets",
        "card(process=['self:100', '4711:1'])",
        {"max_energy": "inconclusive", "max_gpu_time": "inconclusive", "max_gpu_memory": "met"},
        ["inconclusive: 1 other process used the GPU meanwhile"],
        "shared",
        ends=DOUBTED,
        slow=True,
    ),
    Row(
        "own process invisible",
        "card(process='40001:100:compute:5')",
        ALL,
        caution="sharing estimated",
    ),
    Row(
        "own process invisible and missed budgets",
        "card(process='40001:100:compute:5')",
        {"max_energy": "missed", "max_gpu_time": "missed", "max_gpu_memory": "met"},
        caution="sharing estimated",
        ends=FAILED,
        slow=True,
    ),
    # -- the clock
    *(
        Row(
            f"throttled by {what}",
            f"card(throttle='{bits}')",
            DOUBTED_JOULES,
            [f"inconclusive: the GPU was throttled: {counted}", "; let it cool"],
            "throttled",
            ends=DOUBTED,
        )
        for what, bits, counted in (
            ("heat", "0x20", "thermal"),
            ("heat in hardware", "0x40", "thermal"),
            ("hardware", "0x8", "hardware when it was looked at"),  # which nothing counts
            ("power brake", "0x80", "board limit"),
        )
    ),
    Row(
        "throttled and missed budgets",
        "card(throttle='0x40')",
        {"max_energy": "inconclusive", "max_gpu_time": "inconclusive", "max_gpu_memory": "met"},
        ["inconclusive: the GPU was throttled: thermal for"],
        "throttled",
        ends=DOUBTED,
        slow=True,
    ),
    Row("held at its power limit", "card(throttle='0x4')", ALL, caution="power capped"),
    Row(
        "held at its power limit and missed budgets",
        "card(throttle='0x4')",
        {"max_energy": "missed", "max_gpu_time": "missed", "max_gpu_memory": "met"},
        caution="power capped",
        ends=FAILED,
        slow=True,
    ),
    Row("a lowered power limit", "card(limit_w=350, default_limit_w=700)", ALL, caution="power limit"),
    # -- which card
    Row(
        "odd CUDA_VISIBLE_DEVICES: no card has the UUID",
        "card(posing=dict(OURS, uuid=OURS['uuid'].replace('5151', '9999')))",
        NO_JOULES,
        ["device mapping not verified: NVML finds no such device"],
        ends=FAILED,
    ),
    Row(
        "odd CUDA_VISIBLE_DEVICES: the card has another name",
        "card(posing=dict(OURS, name='Simulated A100'))",
        NO_JOULES,
        ["device mapping not verified: NVML finds 'Simulated H100' where the framework has 'Simulated A100'"],
        ends=FAILED,
    ),
    # -- the workload and its framework
    Row(
        "out of memory in the workload",
        "def greedy(device):\n    return lambda: device.allocate(2**60)",
        {},
        ["OutOfMemory", "tried to allocate 1152921504606846976 bytes"],
        ends=FAILED,
        body="gpu_profile(greedy)",
    ),
    Row(
        "no allocator to watch",
        "card(watches_memory=False)",
        {**ALL, "max_gpu_memory": "unavailable"},
        ends=FAILED,
    ),
)

BY_NAME = {row.name: row for row in TABLE}

HEAD = "import sys\nimport types\nfrom conftest import OURS\n\n"


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulated libnvidia-ml.so.1."""
    return library_or_skip(tmp_path_factory.mktemp("nvml-table"))


def run(library: Path, folder: Path, *args: str) -> LabRun:
    """Run all rows."""
    source = HEAD + "".join(row.source for row in TABLE)
    taken = run_lab(folder, library, source, "--gpu-profile-rounds=3", *args)
    assert set(taken.outcomes) == set(BY_NAME), taken.output
    return taken


@pytest.fixture(scope="module")
def by_default(library: Path, tmp_path_factory: pytest.TempPathFactory) -> LabRun:
    """All rows, by the default policies."""
    return run(library, tmp_path_factory.mktemp("by-default"))


@pytest.fixture(scope="module")
def strict(library: Path, tmp_path_factory: pytest.TempPathFactory) -> LabRun:
    """All rows, as a gate."""
    return run(library, tmp_path_factory.mktemp("strict"), "--gpu-profile-strict")


each_row = pytest.mark.parametrize("row", TABLE, ids=[row.what for row in TABLE])


@each_row
def test_the_budget_and_what_is_said_of_it(by_default: LabRun, row: Row) -> None:
    """The outcome of each budget; the reason and the remedy in the sentence on joules; the doubt."""
    if not row.outcomes:  # the workload's own error: nothing was measured
        shown = by_default.shown(row.name)
        assert row.name not in by_default.records
        assert all(part in shown for part in row.said), shown
        return
    verdicts = by_default.verdicts(row.name)
    assert {keyword: verdict["outcome"] for keyword, verdict in verdicts.items()} == row.outcomes
    sentence = verdicts["max_energy"]["sentence"]
    for part in row.said:
        assert part in sentence
    more = ["taken again"] if row.caution == "throttled" else []
    assert sorted(by_default.cautions(row.name)) == ([*more, row.caution] if row.caution else [])


@each_row
def test_the_figure(by_default: LabRun, row: Row) -> None:
    """A figure that cannot be read is a reason, in the same words as the verdict; one that can be doubted is shown."""
    if not row.outcomes:
        return
    readings, verdicts = by_default.readings(row.name), by_default.verdicts(row.name)
    for metric, keyword in (("energy", "max_energy"), ("memory", "max_gpu_memory")):
        reading = readings[metric]
        if row.outcomes[keyword] == "unavailable":
            assert "value" not in reading
            assert reading["unavailable"] in verdicts[keyword]["sentence"]
        else:
            assert "unavailable" not in reading
    if row.outcomes["max_energy"] != "unavailable":
        assert readings["energy"]["value"] == pytest.approx(70.0, rel=0.1)


@each_row
def test_the_test(by_default: LabRun, strict: LabRun, row: Row) -> None:
    """By default a doubt warns and a missing reading fails; under strict both fail."""
    assert (by_default.outcome(row.name), strict.outcome(row.name)) == row.ends


def test_a_lost_card_is_lost_with_one_message(by_default: LabRun) -> None:
    """All that is missing of it, figures and facts, is missing for the one reason."""
    name = next(row.name for row in TABLE if row.what == "GPU lost")
    reasons = {each["unavailable"] for each in by_default.readings(name).values() if "unavailable" in each}
    (reason,) = {each for each in reasons if "NVML" in each}
    facts = by_default.records[name]["environment"]["identity"].values()
    assert {fact for fact in facts if "unavailable" in str(fact)} == {f"unavailable: {reason}"}


def test_what_failed_once_does_not_fail_the_next(by_default: LabRun, strict: LabRun) -> None:
    """Each row ran on the machine that the row before had left, and the sessions ended normally."""
    assert (by_default.status, strict.status) == (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.TESTS_FAILED)
    for taken in (by_default, strict):
        assert "INTERNALERROR" not in taken.output
