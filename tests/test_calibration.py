"""Calibrating: rates come out as the device is, sizes stop in time, and what cannot be measured says why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from pytest_gpuprof import DeviceError, Unavailable, hookimpl
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend
from pytest_gpuprof.calibration import Calibrating, Rate, Sizes, calibration_of, targets
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.extensions import Extensions

CARD = Card(peak_flops=2e12, peak_bytes_per_s=1e12, resolution_s=0)


class Lab(SimulatedBackend):
    """A machine whose cards pass for GPUs, found by a backend of another name too."""

    def __init__(self, name: str = "lab", cards: Sequence[Card] = (CARD,), uuid: str | None = "GPU-1") -> None:
        super().__init__(cards, seed=1)
        self.name = self.host = name
        self._uuid = uuid

    def devices(self) -> Sequence[DeviceInfo]:
        real: dict[str, Any] = {"kind": "gpu", "why_stand_in": None, "uuid": self._uuid}
        return tuple(replace(each, **real) if each.kind == "stand-in" else each for each in super().devices())


class Plugin:
    def __init__(self, *backends: SimulatedBackend) -> None:
        self.backends = backends

    @hookimpl
    def pytest_gpuprof_backends(self) -> Sequence[SimulatedBackend]:
        return self.backends


def parts_with(*backends: SimulatedBackend) -> Extensions:
    return Extensions.standalone([Plugin(*backends)])


def rates_of(parts: Extensions, device: str = "lab:0", **options: Any) -> dict[str, Rate]:
    (opened,) = targets(parts, [device])
    return {rate.what: rate for rate in Calibrating(parts, opened, **options).rates()}


def test_rates_are_those_of_the_device() -> None:
    """Bytes that are read and bytes that are written count; a product of order n is 2 n³ operations."""
    rates = rates_of(parts_with(Lab()), seconds=1)
    assert rates.keys() == {"bandwidth", "fp32"}
    for what, truth in (("bandwidth", 1e12), ("fp32", 2e12)):
        reading = rates[what].reading
        assert reading.value == pytest.approx(truth, rel=0.02)
        assert reading.interval is not None
        assert reading.interval[0] <= reading.value <= reading.interval[1]
    assert str(rates["bandwidth"]).endswith("a copy of 1 GiB by lab")


def test_a_stand_in_says_that_it_is_simulated() -> None:
    """Wherever a rate of it is shown; it has to be named."""
    rates = rates_of(parts_with(SimulatedBackend([CARD])), "simulated:0", seconds=1)
    assert rates["fp32"].reading.quality == "simulated"
    assert str(rates["fp32"]).endswith(", simulated")


def test_larger_products_are_tried_while_their_time_allows() -> None:
    """Up to one whose rounds would not fit into the seconds."""
    orders: list[int] = []

    class Watching(Lab):
        def open(self, device: DeviceId) -> Any:
            opened = super().open(device)
            if opened.yardsticks is not None:
                product = opened.yardsticks.product
                opened.yardsticks.product = lambda n, precision: orders.append(n) or product(n, precision)  # type: ignore[func-returns-value]
            return opened

    rates_of(parts_with(Watching()), seconds=30)
    assert set(orders) == {1024, 2048, 4096, 8192}
    orders.clear()
    slow = replace(CARD, peak_flops=1e9)  # 2 s for a product of order 1024
    assert "order 1024" in rates_of(parts_with(Watching(cards=[slow])), seconds=1)["fp32"].reading.source
    assert set(orders) == {1024}


def test_buffers_fit_into_the_memory() -> None:
    """A small device copies less, and its matrices stay small."""
    small = replace(CARD, memory_bytes=2**29)
    rates = rates_of(parts_with(Lab(cards=[small])), seconds=30)
    assert rates["bandwidth"].reading.source == "a copy of 64 MiB by lab"
    assert "order 8192" not in rates["fp32"].reading.source


def test_what_a_device_cannot_do_is_unavailable_and_the_rest_is_measured() -> None:
    """A framework without a kernel for a precision raises whatever it likes."""

    class Partial(Lab):
        def open(self, device: DeviceId) -> Any:
            opened = super().open(device)
            if opened.yardsticks is not None:
                opened.yardsticks.precisions = ("bf16", "fp8", "fp32")
                product = opened.yardsticks.product

                def some(order: int, precision: str) -> Callable[[], object]:
                    if precision == "bf16":
                        raise RuntimeError("no kernel image\nmany more lines")
                    if precision == "fp8":
                        raise Unavailable("no fp8 here")
                    return product(order, precision)

                opened.yardsticks.product = some
            return opened

    parts = parts_with(Partial())
    rates = rates_of(parts, seconds=1)
    assert str(rates["bf16"]) == "bf16: no, RuntimeError: no kernel image"
    assert rates["fp8"].reading.reason == "no fp8 here"
    kept = calibration_of(parts, targets(parts, ["lab:0"])[0], list(rates.values()), "2026-07-30")
    assert kept.rates.keys() == {"bandwidth", "fp32"}


@pytest.mark.parametrize("card", [{"shared_from": 0.0}, {"speed_at": lambda now: 0.5}])
def test_what_disturbs_the_device_is_a_doubt(card: dict[str, Any]) -> None:
    """It may reach more than was measured."""
    rates = rates_of(parts_with(Lab(cards=[replace(CARD, **card)])), seconds=1)
    assert all(len(rate.cautions) == 1 for rate in rates.values())


@pytest.mark.parametrize(("card", "seconds"), [({"noise": 2.0}, 1), ({"peak_bytes_per_s": 2**31}, 1)])
def test_a_rate_that_is_hardly_known_is_a_doubt(card: dict[str, Any], seconds: float) -> None:
    """From noise, or because there was time for one round only: then there is no interval at all."""
    rate = rates_of(parts_with(Lab(cards=[replace(CARD, **card)])), seconds=seconds)["bandwidth"]
    assert [caution.code for caution in rate.cautions] == ["unsteady"]
    assert "the bandwidth rate is not known to 10% after" in str(rate.cautions[0])


def test_a_calibration_names_the_device_its_state_and_the_versions() -> None:
    """All that decides later whether it holds."""
    parts = parts_with(Lab())
    (device,) = targets(parts, [])
    kept = calibration_of(parts, device, [Rate("fp32", Reading(1e12))], "2026-07-30")
    assert kept.identity["device"] == "Simulated GPU"
    assert kept.identity["memory_gib"] == 16
    assert (kept.context["backend"], "python" in kept.context) == ("lab", True)


# -- which devices ----------------------------------------------------------------------------------------------------


def test_every_gpu_is_calibrated_once() -> None:
    """By the first backend that can, however many find it; the CPU and stand-ins are not, unless they are named."""
    parts = parts_with(Lab("first"), Lab("second"), Lab("third", uuid="GPU-3"))
    assert [device.info.backend for device in targets(parts, [])] == ["first", "third"]
    assert [device.info.backend for device in targets(parts, [], "second")] == ["second"]


def test_a_backend_that_cannot_measure_leaves_a_card_to_the_next() -> None:
    """One whose devices have no yardsticks."""
    unable = Lab("unable", cards=[Card()])
    assert [device.info.backend for device in targets(parts_with(unable, Lab("able")), [])] == ["able"]


@pytest.mark.parametrize(
    ("wanted", "backend", "error", "said"),
    [
        (["cuda:9"], None, DeviceError, "there is no device 'cuda:9' to calibrate; there are "),
        (["lab:0"], "nonsense", DeviceError, "there is no backend 'nonsense'"),
        (["cpu"], "unable", Unavailable, "no backend can measure the rates of cpu"),
        ([], "unable", Unavailable, "there is no GPU whose rates a backend can measure"),
    ],
)
def test_devices_that_cannot_be_meant(
    wanted: list[str], backend: str | None, error: type[Exception], said: str
) -> None:
    """One sentence, with what could be named."""
    with pytest.raises(error, match=said):
        targets(parts_with(Lab("unable", cards=[Card()])), wanted, backend)


def test_a_device_without_yardsticks_is_refused() -> None:
    """Also when it is given directly."""
    parts = parts_with(Lab("unable", cards=[Card()]))
    with pytest.raises(Unavailable, match="unable has no work by which the rates of unable:0 are measured"):
        Calibrating(parts, parts.registry.open("unable", DeviceId("unable")))


def test_sizes_are_larger_than_any_cache() -> None:
    """Eight times the largest of a GPU (126 MB), and no order that a small card could not hold."""
    assert Sizes().gpu_copy_bytes > 8 * 126e6
    assert list(Sizes().orders) == sorted(Sizes().orders)
