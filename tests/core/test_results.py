"""Readings, rounds, measurements and profiles: missing is data, and a ratio is what its definition says."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import Unavailable
from pytest_gpuprof.core.profile import Profile
from pytest_gpuprof.core.results import Caution, Leg, Measurement, Reading, Round, Verdict, spoils

repeatable = settings(derandomize=True, deadline=None)

CARD = DeviceInfo(DeviceId("cuda"), "NVIDIA H200", "gpu", "torch")
CPU = DeviceInfo(DeviceId("cpu"), "Some CPU", "cpu", "torch")
SIMULATED = DeviceInfo(DeviceId("simulated"), "Card", "stand-in", "simulated", why_stand_in="simulated")


def measurement(leg: Leg, times: Sequence[float] = (), device: DeviceInfo = CARD, **parts: Any) -> Measurement:
    """One round per time, each with a single sample."""
    rounds = tuple(Round(index, 0, 1, {"wall_time": (time,)}) for index, time in enumerate(times))
    return Measurement(leg, device, rounds, **parts)


def profile(cpu: Measurement | None = None, gpu: Measurement | None = None, **parts: Any) -> Profile:
    absent = {leg: Measurement.absent(leg, "nobody asked") for leg in ("cpu", "gpu", "reference")}
    return Profile(
        "work", cpu or absent["cpu"], gpu or absent["gpu"], parts.pop("reference", absent["reference"]), **parts
    )


def readings(**values: Reading | float) -> Mapping[str, Reading]:
    return {name: each if isinstance(each, Reading) else Reading(each) for name, each in values.items()}


# -- readings and rounds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_reading_is_finite(value: float) -> None:
    """Not a number is not a reading."""
    with pytest.raises(ValueError, match="a finite number or unavailable"):
        Reading(value)


def test_an_unavailable_reading_says_why() -> None:
    """No figure without a reason, and asking for it tells the reason."""
    with pytest.raises(ValueError, match="says why"):
        Reading(None)
    missing = Reading.unavailable("no NVIDIA driver is loaded", cause="no device")
    assert (missing.value, missing.cause) == (None, "no device")
    with pytest.raises(Unavailable, match=r"^the energy is unavailable, because no NVIDIA driver is loaded$"):
        missing.require("the energy")


def test_zero_is_a_figure() -> None:
    """A workspace of nothing is measured, not missing."""
    assert Reading(0.0).require("the workspace") == 0.0


def test_results_are_frozen() -> None:
    """Nobody changes a figure after it was taken."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Reading(1.0).value = 2.0  # type: ignore[misc]  # what is tested
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile().name = "other"  # type: ignore[misc]  # what is tested


def test_a_round_is_the_median_of_its_samples_unless_the_mean_is_wanted() -> None:
    """One slow sample does not move the median."""
    taken = Round(0, 0, 10, {"wall_time": (1.0, 2.0, 9.0)})
    assert taken.value("wall_time") == 2.0
    assert taken.value("wall_time", "mean") == 4.0


# -- measurements -----------------------------------------------------------------------------------------------------


def test_a_figure_over_rounds_is_the_median_of_the_rounds() -> None:
    """Each round counts once."""
    assert measurement("gpu", [1.0, 5.0, 2.0]).time_s == 2.0


def test_a_reading_taken_once_comes_before_the_rounds() -> None:
    """Device time that does not see all work is unavailable even if the rounds carry it."""
    rounds = (Round(0, 0, 1, {"device_time": (1.0,)}),)
    spoilt = Measurement("gpu", CARD, rounds, {"device_time": Reading.unavailable("work finished on another stream")})
    with pytest.raises(
        Unavailable, match="device time of the gpu leg is unavailable, because work finished on another"
    ):
        spoilt.device_time_s


def test_what_was_not_measured_says_how_to_have_it() -> None:
    """The reason is the remedy."""
    with pytest.raises(Unavailable, match=r"because nothing asked for it: name it in a budget or in --gpu-profile"):
        measurement("gpu", [1.0]).energy_j


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("time_s", "wall_time"),
        ("device_time_s", "device_time"),
        ("first_call_s", "first_call"),
        ("memory_bytes", "memory"),
        ("workspace_bytes", "workspace"),
        ("output_bytes", "output"),
        ("reserved_bytes", "reserved"),
        ("leak_bytes", "leak"),
        ("energy_j", "energy"),
        ("net_energy_j", "net_energy"),
        ("power_w", "power"),
        ("package_energy_j", "package_energy"),
    ],
)
def test_every_figure_has_its_name(name: str, metric: str) -> None:
    """Each property reads its own metric and no other."""
    taken = Measurement("gpu", CARD, readings={metric: Reading(7.0)})
    assert getattr(taken, name) == 7.0
    with pytest.raises(Unavailable):
        getattr(Measurement("gpu", CARD), name)


def test_a_leg_that_was_not_run_says_why_in_each_figure() -> None:
    """One reason for all of them."""
    absent = Measurement.absent("cpu", "give the CPU leg with cpu=")
    assert absent.device is None
    assert absent.reading("memory") == absent.reading("wall_time")
    with pytest.raises(Unavailable, match="wall time of the cpu leg is unavailable, because give the CPU leg"):
        absent.time_s


# -- ratios -----------------------------------------------------------------------------------------------------------

times = st.lists(st.tuples(st.floats(1e-6, 10), st.floats(1e-6, 10)), min_size=1, max_size=24)


@repeatable
@given(times)
def test_the_speedup_is_the_geometric_mean_of_the_rounds(pairs: list[tuple[float, float]]) -> None:
    """So twice as fast and half as fast cancel, and the ratio the other way round is its inverse."""
    forth = profile(measurement("cpu", [cpu for cpu, _ in pairs]), measurement("gpu", [gpu for _, gpu in pairs]))
    back = profile(measurement("cpu", [gpu for _, gpu in pairs]), measurement("gpu", [cpu for cpu, _ in pairs]))
    expected = math.prod((cpu / gpu) ** (1 / len(pairs)) for cpu, gpu in pairs)
    assert forth.speedup == pytest.approx(expected)
    assert forth.speedup * back.speedup == pytest.approx(1)


def test_a_ratio_compares_rounds_that_were_side_by_side() -> None:
    """A machine that slows down changes both legs of a round, and not their ratio."""
    slowing = profile(measurement("cpu", [10, 20, 40]), measurement("gpu", [1, 2, 4]))
    assert slowing.ratio_per_round("speedup") == (None, (10, 10, 10))
    assert slowing.speedup == pytest.approx(10)


def test_device_speedup_is_cpu_wall_time_over_device_time() -> None:
    """The upper leg has no events, so its wall time is its time."""
    rounds = (Round(0, 0, 1, {"wall_time": (2.0,), "device_time": (0.5,)}),)
    taken = profile(measurement("cpu", [10.0]), Measurement("gpu", CARD, rounds))
    assert taken.device_speedup == pytest.approx(20)
    assert taken.speedup == pytest.approx(5)


def test_speedup_over_the_reference_is_on_the_same_device() -> None:
    """Reference over this: above 1, this one is faster."""
    taken = profile(gpu=measurement("gpu", [2.0]), reference=measurement("reference", [3.0]))
    assert taken.speedup_over_reference == pytest.approx(1.5)


@pytest.mark.parametrize(
    "figure", ["speedup", "device_speedup", "speedup_over_reference", "energy_ratio", "throughput", "items_per_joule"]
)
def test_a_missing_ratio_is_unavailable_with_the_reason(figure: str) -> None:
    """Never 0, never NaN."""
    with pytest.raises(Unavailable, match=r"nobody asked|items="):
        getattr(profile(), figure)
    with pytest.raises(Unavailable, match="nobody asked"):
        getattr(profile(items=3), figure)


def test_throughput_and_items_per_joule_need_declared_items() -> None:
    """Items over wall time, items over joules; the interval turns over with its figure."""
    gpu = measurement("gpu", [0.5], readings=readings(energy=Reading(4.0, interval=(2.0, 5.0))))
    taken = profile(gpu=gpu, items=20)
    assert taken.throughput == 40
    assert taken.items_per_joule == 5
    assert taken.ratio("items_per_joule").interval == (4.0, 10.0)
    with pytest.raises(Unavailable, match="does not declare items="):
        profile(gpu=gpu).throughput


def test_an_energy_interval_that_reaches_zero_bounds_no_items_per_joule() -> None:
    """Dividing by an interval that holds zero has no finite bound."""
    gpu = measurement("gpu", readings=readings(energy=Reading(4.0, interval=(-1.0, 9.0))))
    assert profile(gpu=gpu, items=20).ratio("items_per_joule").interval is None


def test_the_energy_ratio_counts_board_and_package_of_the_gpu_leg() -> None:
    """CPU joules over all joules that the GPU leg takes; errors of board and package add up by their shares."""
    cpu = measurement("cpu", readings=readings(package_energy=Reading(30.0, interval=(27.0, 33.0))))
    gpu = measurement(
        "gpu",
        readings=readings(energy=Reading(8.0, interval=(7.6, 8.4)), package_energy=Reading(2.0, interval=(1.8, 2.2))),
    )
    reading = profile(cpu, gpu).ratio("energy_ratio")
    spread = math.hypot(0.1, 0.8 * 0.05 + 0.2 * 0.1)
    assert profile(cpu, gpu).energy_ratio == pytest.approx(3)
    assert reading.interval == pytest.approx((3 * (1 - spread), 3 * (1 + spread)))


def test_the_gain_of_the_package_cancels_in_the_energy_ratio_but_for_the_boards_share() -> None:
    """A package sensor that errs by a tenth errs alike in both legs; the board's stands on one side only."""

    def exact(value: float, gain: float) -> Reading:
        return Reading(value, interval=(value * (1 - gain), value * (1 + gain)), gain_error=gain)

    def spread(board: float) -> float:
        cpu = measurement("cpu", readings={"package_energy": exact(30.0, 0.1)})
        gpu = measurement("gpu", readings={"energy": exact(board, 0.05), "package_energy": exact(2.0, 0.1)})
        reading = profile(cpu, gpu).ratio("energy_ratio")
        assert reading.interval is not None
        assert reading.value is not None
        assert reading.interval[1] / reading.value - 1 == pytest.approx(reading.gain_error, abs=1e-6)
        return reading.gain_error

    assert spread(8.0) == pytest.approx(0.8 * math.hypot(0.05, 0.1))
    assert spread(1e-9) == pytest.approx(0, abs=1e-9)


def test_a_gain_error_is_told_apart_from_what_repeats() -> None:
    """The interval holds both; the one that cancels in a ratio can be taken out."""
    both = Reading(2.0, interval=(1.74, 2.26), gain_error=0.05)
    assert both.repeatability == pytest.approx(0.12)
    assert (Reading(2.0).repeatability, Reading.unavailable("no").repeatability) == (0, 0)
    assert Reading(2.0, interval=(1.9, 2.1), gain_error=0.05).repeatability == pytest.approx(0, abs=1e-6)
    for wrong in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="a gain error is a part of the value"):
            Reading(2.0, gain_error=wrong)


@pytest.mark.parametrize("lacking", ["board", "gpu package", "cpu package"])
def test_the_energy_ratio_needs_all_three_counters(lacking: str) -> None:
    """With one of them unreadable there is no ratio, and its reason is told."""
    none = Reading.unavailable(f"no {lacking}")
    board, host, cpu = (none if lacking == name else Reading(1.0) for name in ("board", "gpu package", "cpu package"))
    taken = profile(
        measurement("cpu", readings={"package_energy": cpu}),
        measurement("gpu", readings={"energy": board, "package_energy": host}),
    )
    with pytest.raises(Unavailable, match=f"the energy ratio is unavailable, because no {lacking}"):
        taken.energy_ratio


# -- cautions, verdicts, the printed profile --------------------------------------------------------------------------


def test_a_caution_spoils_families_in_a_direction() -> None:
    """Both outcomes unless told."""
    assert spoils("time", "ratio", outcomes=("missed",)) == {("time", "missed"), ("ratio", "missed")}
    assert spoils("energy") == {("energy", "met"), ("energy", "missed")}


def test_a_printed_profile_shows_what_was_measured_and_nothing_else() -> None:
    """Figures with units, a stand-in's label, ratios, verdicts and cautions; nothing for what is missing."""
    text = str(
        profile(
            measurement("cpu", [20e-3], CPU),
            measurement("gpu", [1e-3], SIMULATED, readings=readings(memory=2.0**20)),
            verdicts=(Verdict("met", "min_speedup", "speedup 20x meets min_speedup 5x"),),
            cautions=(Caution("shared", "2 other processes used the GPU meanwhile", "stop them"),),
        )
    )
    assert text.splitlines() == [
        "work",
        "  cpu on Some CPU: wall time 20 ms",
        "  gpu on Card (simulated): wall time 1 ms, peak memory above the builder 1 MiB",
        "  speedup: 20x",
        "  speedup 20x meets min_speedup 5x",
        "  caution: 2 other processes used the GPU meanwhile; stop them",
    ]


def test_a_profile_of_which_nothing_was_measured_prints_its_name() -> None:
    """Nothing is made up."""
    assert str(profile()) == "work"


def test_a_stored_profile_measures_nothing_more() -> None:
    """Requiring a limit of it says why that cannot be."""
    with pytest.raises(Unavailable, match="was read from a file"):
        profile().require(min_speedup=5)
