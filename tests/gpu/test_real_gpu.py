"""What only real hardware can show: events, the spin kernel, allocator peaks, and NVML's card behind a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_gpuprof import Profiler, profile
from pytest_gpuprof.calibration import Calibrating
from pytest_gpuprof.core.protocols import Device
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.extensions import Extensions
from pytest_gpuprof.meters.nvml import open_board
from pytest_gpuprof.sampling.plan import Plan
from pytest_gpuprof.stats.peaks import derived_peaks

SIZE = 2048


def product(device: Any) -> Callable[[], Any]:
    """Build a matrix product for torch."""
    torch = pytest.importorskip("torch")
    a = torch.ones(SIZE, SIZE, device=device)
    return lambda: a @ a


def array_product(xp: Any) -> Callable[[], Any]:
    """Build a matrix product for an array namespace."""
    a = xp.ones((SIZE, SIZE), dtype="float32")
    return lambda: a @ a


def traced_product(device: Any) -> Callable[[], Any]:
    """Build a matrix product for JAX."""
    jax = pytest.importorskip("jax")
    a = jax.device_put(jax.numpy.ones((SIZE, SIZE)), device)
    return lambda: a @ a


def builder_for(device: Device) -> Callable[..., Any]:
    """Return the builder for a device's backend."""
    if device.info.backend == "torch":
        return product
    if device.info.backend == "cupy":
        return array_product
    if device.info.backend == "jax":
        return traced_product
    pytest.skip(f"NOT TESTED: no workload here for the backend {device.info.backend!r}")


def test_marks_are_in_order(gpu: Device) -> None:
    """Two events with work between them are at least as far apart as two without."""
    if gpu.timer is None:
        pytest.skip("NOT TESTED: this backend has no events")
    builder = builder_for(gpu)
    call = builder(gpu.arguments["device" if builder is product else "xp"])
    call()
    gpu.synchronize()
    first, second = gpu.timer.mark(), gpu.timer.mark()
    for _ in range(10):
        call()
    third = gpu.timer.mark()
    gpu.synchronize()
    assert 0 <= gpu.timer.elapsed_s(first, second) < gpu.timer.elapsed_s(second, third)


def test_backlog_is_as_long_as_it_was_asked_to_be(gpu: Device) -> None:
    """The spin kernel's time is proportional to what is asked for, within 10 %."""
    if gpu.backlog is None:
        pytest.skip("NOT TESTED: this backend has no backlog")
    assert gpu.timer is not None
    seconds = []
    for wanted in (1e-3, 1e-3, 4e-3):
        start = gpu.timer.mark()
        gpu.backlog(wanted)
        end = gpu.timer.mark()
        gpu.synchronize()
        seconds.append(gpu.timer.elapsed_s(start, end))
    assert seconds[2] / seconds[1] == pytest.approx(4, rel=0.1)


def test_profile_of_a_matrix_product(gpu: Device) -> None:
    """A matrix product is faster on the GPU, its device time is within its wall time, and its memory is known."""
    run = Profiler(devices=[str(gpu.info.id)], plan=Plan(cpu_samples=1))
    found = profile(builder_for(gpu), backend=gpu.info.backend, metrics=["time", "memory"], profiler=run)
    assert found.speedup > 1
    if gpu.timer is not None:
        assert found.gpu.device_time_s <= found.gpu.time_s * 1.05
    # Two matrices live while the product runs: its input and its result.
    assert found.gpu.memory_bytes >= 2 * SIZE * SIZE * 4


def test_energy_of_a_matrix_product(gpu: Device) -> None:
    """Where NVML has an energy counter, mean power is below the card's limit, net is below gross, and it repeats."""
    board = open_board(gpu.info)
    if isinstance(board, Reading) or isinstance(board.energy(), Reading):
        pytest.skip(f"NOT TESTED: {gpu.info.name} has no energy counter that can be read")
    found = profile(builder_for(gpu), backend=gpu.info.backend, devices=str(gpu.info.id), metrics=["net-energy"])
    limit = float(board.facts().identity["gpu_power_limit_w"])
    assert 0 < found.gpu.power_w < 1.3 * limit
    assert 0 < found.gpu.net_energy_j < found.gpu.energy_j
    assert found.gpu.reading("energy").repeatability < 0.05


def test_board_is_the_card_of_the_device(gpu: Device) -> None:
    """NVML's card is found by UUID or PCI address, and carries the name of the device."""
    board = open_board(gpu.info)
    if isinstance(board, Reading):
        pytest.skip(f"NOT TESTED: {board.reason}")
    assert str(board.facts().identity["gpu"]).removeprefix("NVIDIA ") in gpu.info.name


def test_a_calibrated_rate_is_not_beyond_the_derived_peak(gpu: Device) -> None:
    """Both are of the same card: what was measured lies below what its clocks allow, and not far below."""
    if getattr(gpu, "yardsticks", None) is None:
        pytest.skip("NOT TESTED: this backend has no work to calibrate by")
    parts = Extensions.standalone()
    facts = parts.facts(gpu)
    rates = {rate.what: rate.reading for rate in Calibrating(parts, gpu, seconds=5).rates()}
    compared = 0
    for what, reading in rates.items():
        key, precision = ("bytes", "fp32") if what == "bandwidth" else ("flops", what)
        peak = derived_peaks(facts, precision)[key]
        if reading.value is None or peak.value is None:
            continue
        compared += 1
        assert 0.3 * peak.value < reading.value < 1.03 * peak.value, what
    if not compared:
        pytest.skip(f"NOT TESTED: no peak of {gpu.info.name} is derived, or no rate of it can be measured")
