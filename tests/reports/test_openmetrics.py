"""OpenMetrics, read by the parser of the Prometheus project."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_gpuprof.reports.openmetrics import openmetrics_text

from ..conftest import has
from .documents import document, record, verdict

if not has("prometheus_client"):
    pytest.skip("NOT TESTED: prometheus_client is not installed to read OpenMetrics", allow_module_level=True)


def families_of(*records: dict[str, Any]) -> dict[str, Any]:
    """Return the metric families that the real parser finds."""
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    return {family.name: family for family in text_string_to_metric_families(openmetrics_text(document(*records)))}


def test_names_units_and_labels() -> None:
    """Whole words and base units; the device is a label, so that CPU and GPU are one metric."""
    families = families_of(record(readings={"memory": 2**20, "energy": 0.5}))
    assert set(families) == {
        "gpuprof_time_seconds",
        "gpuprof_speedup_ratio",
        "gpuprof_peak_memory_bytes",
        "gpuprof_energy_joules",
        "gpuprof_budgets",
    }
    times = families["gpuprof_time_seconds"]
    assert (times.type, times.unit) == ("gauge", "seconds")
    assert times.documentation
    told = {sample.labels["device"]: (sample.value, sample.labels) for sample in times.samples}
    assert told["gpu"][0] == 0.001
    assert told["gpu"][1] == {
        "test": "tests/test_a.py::test_a",
        "profile": "work",
        "device": "gpu",
        "device_name": "NVIDIA H200",
        "quality": "measured",
        "stat": "median",
    }
    assert told["cpu"][0] == 0.02


def test_every_figure_of_the_package_has_a_valid_name() -> None:
    """Whatever its unit."""
    from pytest_gpuprof.budgets.figures import kinds_by_figure

    figures = {name: {"value": 1.5, "interval": None, "rounds": 0, "quality": "measured"} for name in kinds_by_figure()}
    families = families_of(record(figures={**figures, "launches": figures["gpu_time"]}))
    assert sum(len(family.samples) for family in families.values()) == len(figures) + 1 + 4
    assert {"gpuprof_launches", "gpuprof_items_per_second", "gpuprof_items_per_joule", "gpuprof_energy_ratio"} <= set(
        families
    )


def test_words_are_labels() -> None:
    """Simulated and derived."""
    (speedup,) = families_of(record(simulated=True))["gpuprof_speedup_ratio"].samples
    assert (speedup.labels["quality"], speedup.labels["stand_in"]) == ("derived", "simulated")


def test_labels_are_escaped() -> None:
    """A test's parameter may hold quotes, backslashes and line ends."""
    test = 't.py::a["\\n\\-\n-é]'
    (speedup,) = families_of(record(test))["gpuprof_speedup_ratio"].samples
    assert speedup.labels["test"] == test


def test_figures_are_rounded() -> None:
    """GitLab compares them as text: noise in the fourth digit is no change."""
    one = openmetrics_text(document(record(gpu=(1.23412e-3,) * 3, cpu=())))
    other = openmetrics_text(document(record(gpu=(1.23398e-3,) * 3, cpu=())))
    assert "0.00123\n" in one
    assert one == other


def test_budgets_are_counted() -> None:
    """By outcome, those that nothing judged among them."""
    samples = families_of(record(verdicts=[verdict("missed"), verdict("met")]))["gpuprof_budgets"].samples
    assert {sample.labels["outcome"]: sample.value for sample in samples} == {
        "met": 1,
        "missed": 1,
        "inconclusive": 0,
        "not enforced": 0,
    }


def test_a_run_without_records_is_valid() -> None:
    """It has its counts, and its end."""
    assert set(families_of()) == {"gpuprof_budgets"}
    assert openmetrics_text(document()).endswith("# EOF\n")
