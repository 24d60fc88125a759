"""What exports read: the last attempt of each workload, its figures, and the words they carry."""

from __future__ import annotations

from pytest_gpuprof.reports.workloads import workloads

from .documents import document, record


def test_the_last_attempt_counts() -> None:
    """A rerun takes the place of what it repeats, whatever the order; another profile of the test does not."""
    first, second = record(attempt=1), record(attempt=2, gpu=(5e-3, 5e-3, 5e-3))
    for records in ((first, second), (second, first)):
        (found,) = workloads(document(*records))
        assert found.profile.gpu.time_s == 5e-3
        assert not found.many
    found_two = workloads(document(first, record(name="other")))
    assert [(each.profile.name, each.many) for each in found_two] == [("work", True), ("other", True)]


def test_a_group_of_xdist_is_no_part_of_a_name() -> None:
    """The same test has the same name with and without loadgroup; an @ among its parameters stays."""
    found = workloads(document(record("t.py::a@gpu0"), record("t.py::a[x@y]"), record("t.py::a[x@y]@gpu0", name="b")))
    assert [each.test for each in found] == ["t.py::a", "t.py::a[x@y]", "t.py::a[x@y]"]


def test_figures_carry_their_words() -> None:
    """A ratio is derived; whatever a simulated machine says is simulated, its CPU's time too."""
    (real,) = workloads(document(record()))
    assert {each.name: each.words for each in real.figures} == {"speedup": ("derived",), "gpu_time": (), "cpu_time": ()}
    (simulated,) = workloads(document(record(simulated=True)))
    assert {each.name: each.words for each in simulated.figures} == {
        "speedup": ("derived", "simulated"),
        "gpu_time": ("simulated",),
        "cpu_time": ("simulated",),
    }


def test_stored_figures_are_taken_as_they_are() -> None:
    """A record that tells its figures has those of hooks too, which nothing here could compute."""
    stored = {"launches": {"value": 3, "interval": None, "rounds": 0, "quality": "estimated"}}
    (found,) = workloads(document(record(figures=stored)))
    (launches,) = found.figures
    assert (launches.name, launches.unit, launches.figure.value, launches.words) == (
        "launches",
        "",
        3.0,
        ("estimated",),
    )


def test_figures_know_unit_device_and_interval() -> None:
    """In base units, with the device they are of."""
    (found,) = workloads(document(record()))
    told = {each.name: (each.unit, each.device, each.device_name) for each in found.figures}
    assert told["gpu_time"] == ("s", "cuda:0", "NVIDIA H200")
    assert told["cpu_time"] == ("s", "cpu", "AMD EPYC 9654")
    assert told["speedup"] == ("x", "cuda:0", "NVIDIA H200")
    time = next(each.figure for each in found.figures if each.name == "gpu_time")
    assert time.interval is not None
    assert time.interval[0] < time.value < time.interval[1]
