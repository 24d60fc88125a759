"""What must be equal for two runs to be compared: all that moves figures, and nothing that differs by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_gpuprof.core.environment import Environment, Fact
from pytest_gpuprof.storage.conditions import conditions_of, differences, key_of
from tests.budgets.profiles import profile_of


def conditions(**facts: Fact) -> Any:
    return conditions_of(replace(profile_of([1.0] * 3, [0.1] * 3, threads=8), environment=Environment(facts)))


SAME = [
    ({"torch": "2.13.0+cu130"}, {"torch": "2.13.1"}),
    ({"python": "3.12.1"}, {"python": "3.12.9"}),
    ({"nvidia_driver": "550.54.15"}, {"nvidia_driver": "550.90.07"}),
    ({"cuda_driver": "13.0"}, {"cuda_driver": "13.2"}),
    ({"numpy_blas": "scipy-openblas 0.3.29"}, {"numpy_blas": "scipy-openblas 0.3.30"}),
    ({"torch_cudnn": 91002}, {"torch_cudnn": 91005}),
    ({"gpu_memory_bytes": 85520809984}, {"gpu_memory_bytes": 85899345920}),
    ({"gpu_power_limit_w": 700.0}, {"gpu_power_limit_w": 699.97}),
    ({"gpu_vbios": "96.00"}, {"gpu_vbios": "96.01"}),
    ({"gpu_persistence": True}, {"gpu_persistence": False}),
    ({"gpu_compute_mode": "default"}, {"gpu_compute_mode": "exclusive process"}),
    ({"CUDA_MODULE_LOADING": "LAZY"}, {}),
    ({"gpu_cores": "unavailable: not supported"}, {"gpu_cores": "unavailable: too old"}),
]

OTHER = [
    ({"torch": "2.13.0"}, {"torch": "2.14.0"}),
    ({"python": "3.12.1"}, {"python": "3.13.1"}),
    ({"nvidia_driver": "550.54.15"}, {"nvidia_driver": "570.1"}),
    ({"numpy_blas": "scipy-openblas 0.3.29"}, {"numpy_blas": "mkl 2025.1"}),
    ({"torch_cudnn": 91002}, {"torch_cudnn": 91100}),
    ({"gpu_memory_bytes": 40 * 2**30}, {"gpu_memory_bytes": 80 * 2**30}),
    ({"gpu_power_limit_w": 700.0}, {"gpu_power_limit_w": 500.0}),
    ({"cpu": "AMD EPYC 9654"}, {"cpu": "AMD EPYC 9754"}),
    ({"cache": "hot"}, {"cache": "cold"}),
    ({"cpu_governor": "performance"}, {"cpu_governor": "powersave"}),
    ({"OMP_NUM_THREADS": "4"}, {}),
    ({"gpu_ecc": True}, {"gpu_ecc": "unavailable: not supported"}),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_moves_no_figure_is_no_difference(one: dict[str, Fact], other: dict[str, Fact]) -> None:
    """Bug fixes, what drivers keep for themselves, and variables that a library sets when it is first used."""
    assert key_of(conditions(**one)) == key_of(conditions(**other))


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_what_moves_figures_is_a_difference(one: dict[str, Fact], other: dict[str, Fact]) -> None:
    """And it can be told."""
    assert key_of(conditions(**one)) != key_of(conditions(**other))
    (told,) = differences(conditions(**one), conditions(**other))
    assert " was " in told
    assert " and is " in told


def test_the_device_the_backend_and_the_threads_are_conditions() -> None:
    """A simulated device says what it is."""
    assert conditions() == {"device": "NVIDIA H200", "backend": "torch", "cpu_leg_threads": 8, "procedure": 1}
    without = conditions_of(profile_of([1.0] * 3))
    assert without["device"] == "AMD EPYC 9654"
    assert conditions_of(profile_of())["device"] == "none"


def test_state_is_no_condition() -> None:
    """A temperature happens."""
    cool, warm = (
        replace(profile_of(), environment=Environment({}, {"gpu_temperature_c": degrees})) for degrees in (30, 80)
    )
    assert conditions_of(cool) == conditions_of(warm)


def test_the_key_does_not_depend_on_the_order() -> None:
    """It is short and the same on any machine."""
    assert key_of({"a": 1, "b": "x"}) == key_of({"b": "x", "a": 1}) == "ce5c626fb403"


def test_the_device_is_told_first() -> None:
    """It explains the rest."""
    told = differences({"cpu": "x", "device": "T4"}, {"cpu": "y", "device": "L4", "more": True})
    assert told == ["device was T4 and is L4", "cpu was x and is y", "more was unknown and is True"]
