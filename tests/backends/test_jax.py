"""JAX: what an installation can lack, what devices tell, waiting without a stream, and values of its own types."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_gpuprof import call, profile
from pytest_gpuprof.backends import jax as adapter
from pytest_gpuprof.backends.cuda_driver import identity_of
from pytest_gpuprof.backends.host import HostDevice
from pytest_gpuprof.backends.jax import JaxBackend
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import DeviceError, Unavailable, UsageError
from pytest_gpuprof.core.protocols import Arrays
from pytest_gpuprof.profiler import Profiler
from pytest_gpuprof.sampling.plan import Plan

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="NOT TESTED: JAX's devices, because JAX is not installed"
)

QUICK = Plan(min_rounds=3, max_rounds=3, warmup_s=0.01, cpu_warmup_s=0.01, warmup_cap_s=0.1, sample_s=1e-3)


@pytest.fixture(params=["cpu", "jax:1"])
def device(request: pytest.FixtureRequest) -> HostDevice:
    """The CPU, and a second CPU device that JAX drives like any accelerator."""
    return JaxBackend().open(DeviceId.parse(request.param))


@pytest.fixture
def double() -> Iterator[None]:
    """Double precision, which JAX has off by default."""
    import jax

    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def arrays_of(device: HostDevice) -> Arrays:
    assert device.arrays is not None
    return device.arrays


# --- What there is ----------------------------------------------------------------------------------------------------


def test_jax_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason says what to install."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="JAX is not installed; pip install jax"):
        JaxBackend().devices()


def test_jax_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken installation is unavailable, with the import's own words."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: "here")
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(Unavailable, match=r"cannot be imported \(.*jax.*\); reinstall it"):
        JaxBackend().devices()


@needs_jax
def test_jax_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason has both versions."""
    monkeypatch.setattr("jax.__version__", "0.4.38")
    with pytest.raises(Unavailable, match=r"JAX 0\.4\.38 is too old; upgrade to 0\.5"):
        JaxBackend().devices()


@needs_jax
def test_a_platform_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """What JAX says of it is handed on."""

    def refuse(backend: str | None = None) -> list[Any]:
        raise RuntimeError("Unable to initialize backend 'cuda'")

    monkeypatch.setattr("jax.local_devices", refuse)
    with pytest.raises(
        Unavailable, match=r"JAX cannot start \(Unable to initialize backend 'cuda'\); see JAX_PLATFORMS"
    ):
        JaxBackend().devices()


def fake(platform: str, kind: str, index: int = 0, version: str = "") -> Any:
    client = SimpleNamespace(platform_version=version)
    return SimpleNamespace(platform=platform, device_kind=kind, id=index, local_hardware_id=index, client=client)


def described(monkeypatch: pytest.MonkeyPatch, *devices: Any, cpus: int = 1) -> list[DeviceInfo]:
    """Return what is told of devices that are not here."""

    def local_devices(backend: str | None = None) -> list[Any]:
        if backend == "cpu" and not cpus:
            raise RuntimeError("Unknown backend cpu")
        return [fake("cpu", "cpu", index) for index in range(cpus)] if backend or not devices else [*devices]

    monkeypatch.setattr(adapter, "_import", lambda: SimpleNamespace(local_devices=local_devices))
    return [*JaxBackend().devices()]


def test_a_cuda_device_is_found_by_its_sensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the id that other frameworks give it, and what the driver tells of it."""
    monkeypatch.setattr(adapter, "identity_of", lambda ordinal: (f"GPU-{ordinal}", "00000000:65:01.0", 80 << 30))
    cards = [fake("gpu", "NVIDIA H200", index, "PJRT C API\ncuda 13000") for index in range(2)]
    first, second, cpu = described(monkeypatch, *cards)
    assert (str(first.id), first.name, first.kind, first.backend) == ("cuda:0", "NVIDIA H200", "gpu", "jax")
    assert (second.uuid, second.pci_bus_id, second.memory_bytes) == ("GPU-1", "00000000:65:01.0", 80 << 30)
    assert (str(cpu.id), cpu.kind) == ("cpu", "cpu")


def test_other_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    """ROCm is a GPU whose UUID nobody asks CUDA for; a TPU is no GPU and says so."""
    card, _ = described(monkeypatch, fake("gpu", "AMD Instinct MI300X", 0, "rocm 60300"))
    assert (str(card.id), card.kind, card.uuid) == ("rocm:0", "gpu", None)
    chip, _ = described(monkeypatch, fake("tpu", "TPU v5e"))
    assert (str(chip.id), chip.kind) == ("tpu:0", "stand-in")
    assert chip.why_stand_in == "no GPU: a JAX device of platform 'tpu'"


def test_further_cpu_devices_are_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is the CPU, wherever it stands; those that XLA_FLAGS makes of it besides say what they are."""
    infos = described(monkeypatch, cpus=3)
    assert [str(info.id) for info in infos] == ["jax:1", "jax:2", "cpu"]
    assert {info.why_stand_in for info in infos[:2]} == {"JAX on the CPU"}


def test_a_cpu_that_was_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX_PLATFORMS=cuda takes the CPU away; the reason says how to get it back."""
    monkeypatch.setattr(adapter, "identity_of", lambda ordinal: (None, None, None))
    (card,) = described(monkeypatch, fake("gpu", "NVIDIA T4", 0, "cuda 12080"), cpus=0)
    assert str(card.id) == "cuda:0"
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(Unavailable, match=r"while JAX_PLATFORMS='cuda' leaves it out; add cpu"):
        JaxBackend().open(DeviceId("cpu"))
    monkeypatch.delenv("JAX_PLATFORMS")
    with pytest.raises(DeviceError, match="JAX has no device cpu; it has cuda:0"):
        JaxBackend().open(DeviceId("cpu"))


def test_the_driver_tells_what_jax_does_not(on_simulated_cuda: Callable[..., dict[str, str]]) -> None:
    """On a simulated driver: UUID and address as NVML writes them, memory in bytes, nothing of a device too many."""
    code = "from pytest_gpuprof.backends.cuda_driver import identity_of; print([identity_of(i) for i in (0, 1, 2)])"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=on_simulated_cuda(), capture_output=True, text=True, check=True, timeout=60
    )
    first, second, none = eval(ran.stdout)
    assert none == (None, None, None)
    for uuid, pci, memory in (first, second):
        assert uuid.startswith("GPU-")
        assert len(uuid) == 40
        assert len(pci) == len("00000000:65:01.0")
        assert memory > 1 << 30
    assert first[:2] != second[:2]


def test_without_a_driver_nothing_is_told(tmp_path: Path) -> None:
    """Neither where there is none, nor where a library of its name is something else."""
    assert identity_of(0, str(tmp_path / "libcuda.so.1")) == (None, None, None)
    if sys.platform == "linux":
        assert identity_of(0, "libm.so.6") == (None, None, None)


# --- Work on a device -------------------------------------------------------------------------------------------------


@needs_jax
def test_synchronizing_waits_for_all_computations(device: HostDevice) -> None:
    """Those whose outputs are kept, and those whose outputs nobody keeps."""
    import jax

    with device.active():
        seen: list[int] = []
        a = jax.numpy.ones((1000, 1000))

        def noted(x: Any, index: int) -> Any:
            product = x @ x
            jax.debug.callback(lambda _: seen.append(index), product[0, 0])
            return product

        step = jax.jit(noted, static_argnums=1)
        for index in range(4):
            step(a, index)
        kept = [a @ a for _ in range(4)]
        device.synchronize()
        assert all(each.is_ready() for each in kept)
        assert seen == [0, 1, 2, 3]


@needs_jax
def test_what_is_made_while_active_is_on_the_device(device: HostDevice) -> None:
    """By ``jax.numpy`` too, which a builder gets as ``xp``, and so is what is computed from it."""
    with device.active():
        made = device.arguments["xp"].ones(3)
        assert made.devices() == {device.arguments["device"]} == (made + 1).devices()


@needs_jax
def test_compilations_are_counted(device: HostDevice) -> None:
    """Each new one, and none for a second call of it, nor for synchronizing under other settings."""
    import jax

    assert device.compilations is not None
    with device.active():
        twice = jax.jit(lambda x: x * 2)
        a, b = jax.numpy.ones(7), jax.numpy.ones(9)
        before = device.compilations()
        twice(a)
        assert device.compilations() == before + 1
        twice(a)
        device.synchronize()
        with jax.default_matmul_precision("float32"), jax.numpy_rank_promotion("raise"), jax.disable_jit():
            device.synchronize()
        assert device.compilations() == before + 1
        twice(b)
        assert device.compilations() == before + 2


@needs_jax
def test_what_jax_lacks_has_a_reason(device: HostDevice) -> None:
    """There are no events on any device, and no memory statistics on the CPU."""
    assert device.timer is None
    assert device.lacks["timer"]
    with device.watch_memory() as memory:
        assert memory is None
    if device.info.kind != "cpu":
        assert device.lacks["memory"] == (
            "JAX's allocator here tells no peak; on a GPU, unset XLA_PYTHON_CLIENT_ALLOCATOR"
        )


@needs_jax
def test_settings_that_change_the_speed(device: HostDevice, request: pytest.FixtureRequest) -> None:
    """Versions, and what somebody set, as it is at the moment."""
    import jax
    import jaxlib

    told = device.settings()
    assert (told["jax"], told["jaxlib"], told["jax_platform"]) == (jax.__version__, jaxlib.__version__, "cpu")
    assert told["jax_x64"] is False
    assert "jax_matmul_precision" not in told
    request.getfixturevalue("double")
    with jax.default_matmul_precision("float32"):
        changed = device.settings()
    assert changed["jax_x64"] is True
    assert changed["jax_matmul_precision"] == "float32"


# --- Threads ----------------------------------------------------------------------------------------------------------


def pool(folder: Path, *names: str) -> Path:
    for index, name in enumerate(names):
        (folder / str(index)).mkdir()
        (folder / str(index) / "comm").write_text(f"{name}\n")
    return folder


def test_the_threads_of_xla_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name that XLA gives them; where nobody tells names, they are as many as XLA starts."""
    assert adapter._pool_threads(pool(tmp_path, "python", "tf_XLAEigen", "tf_XLAEigen", "grpc")) == 2
    monkeypatch.setenv("NPROC", "7")
    assert adapter._pool_threads(tmp_path / "none") == 7
    monkeypatch.delenv("NPROC")
    assert adapter._pool_threads(tmp_path / "none") >= 1


@needs_jax
@pytest.mark.skipif(sys.platform != "linux", reason="NOT TESTED: only Linux tells the names of threads")
def test_as_many_threads_as_the_environment_says() -> None:
    """NPROC decides; the figure is a part of the identity."""
    code = (
        "from pytest_gpuprof.backends.jax import JaxBackend; from pytest_gpuprof.core.environment import DeviceId; "
        "d = JaxBackend().open(DeviceId('cpu')); print(d.fixed_threads, d.settings()['jax_cpu_threads'])"
    )
    environment = {**os.environ, "NPROC": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert ran.stdout.split() == ["1", "1"]


@needs_jax
def test_other_threads_than_there_are_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """JAX cannot be told to compute with fewer once it runs, and nobody shall believe that it did."""
    monkeypatch.setattr(adapter, "_pool_threads", lambda: 5)
    run = Profiler(devices=["jax:1"])
    (job,) = run.jobs(product, backend="jax")
    assert job.threads == 5
    assert run.jobs(product, backend="jax", cpu_threads=5)[0].threads == 5
    with pytest.raises(UsageError, match=r"cpu_threads=1: jax computes with 5 on the CPU; .*say NPROC=1 in the env"):
        run.jobs(product, backend="jax", cpu_threads=1)


# --- Values -----------------------------------------------------------------------------------------------------------


@needs_jax
@pytest.mark.parametrize(
    ("name", "epsilon", "on_host"),
    [("bfloat16", 2**-7, "float32"), ("float8_e4m3fn", 2**-3, "float32"), ("float16", 2**-10, "float16"),
     ("complex64", 2**-23, "complex64"), ("int4", None, "int8"), ("bool", None, "bool")],
)  # fmt: skip
def test_types_that_numpy_lacks(device: HostDevice, name: str, epsilon: float | None, on_host: str) -> None:
    """They are compared as the next type that NumPy computes with, to the precision they had."""
    import jax

    arrays = arrays_of(device)
    value = arrays.place(jax.numpy.array([1, 0, 1], dtype=name))
    assert arrays.precision(value) == epsilon
    brought = arrays.host(value)
    assert brought.dtype == on_host
    assert brought.tolist() == [1, 0, 1]


@needs_jax
def test_keys_travel(device: HostDevice) -> None:
    """A random key has no NumPy type; it is placed, compared by its data, and not timed as a transfer."""
    import jax

    arrays = arrays_of(device)
    key = jax.random.key(3)
    placed = arrays.place(key)
    assert placed.devices() == {device.arguments["device"]}
    assert arrays.host(placed).tolist() == [0, 3]
    assert arrays.download(placed) is placed
    assert arrays.precision(placed) is None


@needs_jax
def test_numpy_arrays_are_placed(device: HostDevice) -> None:
    """Otherwise JAX would upload them in every call."""
    import numpy

    original = numpy.ones(1024, "float32")
    placed = arrays_of(device).place(original)
    original[:] = 0
    assert placed.devices() == {device.arguments["device"]}
    assert placed.sum() == 1024


@needs_jax
def test_trees_of_registered_classes_are_placed_whole(device: HostDevice) -> None:
    """As models of Equinox and Flax are; what is no array in them stays."""
    import jax

    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Layer:
        weight: Any
        name: str = dataclasses.field(default="dense", metadata={"static": True})

    layer = Layer(jax.numpy.ones(3))
    placed = arrays_of(device).place(layer)
    assert type(placed) is Layer
    assert placed.name == "dense"
    assert placed.weight.devices() == {device.arguments["device"]}
    assert placed.weight is not layer.weight
    backend = JaxBackend()
    assert backend.owns(layer)
    assert not backend.owns({"weight": 1})


# --- Whole measurements -----------------------------------------------------------------------------------------------

N = 64


def product(device: Any) -> Callable[[], Any]:
    """Build a product on a device."""
    import jax

    a = jax.device_put(jax.numpy.ones((N, N)), device)
    multiply = jax.jit(lambda x: x @ x)
    return lambda: multiply(a)


@needs_jax
def test_a_profile_by_device() -> None:
    """Both legs run and agree, FLOPs are counted, and what there is not is unavailable with the reason."""
    run = Profiler(devices=["jax:1"], plan=QUICK)
    found = profile(product, backend="jax", flops="auto", profiler=run, metrics=["time", "memory"])
    assert found.gpu.time_s > 0
    assert found.cpu.time_s > 0
    assert found.gpu.device is not None
    assert found.gpu.device.label.endswith("(JAX on the CPU)")
    assert found.output.devices() == {JaxBackend().open(DeviceId("jax", 1)).arguments["device"]}
    counted = found.gpu.reading("flops")
    assert counted.value == 2 * N**3
    assert counted.quality == "estimated"
    assert counted.source.startswith("counted by XLA's cost analysis")
    assert "JAX offers no events" in found.gpu.reading("device_time").reason
    assert "tells no peak" in found.gpu.reading("memory").reason
    assert found.cpu.memory_bytes is not None


@needs_jax
def test_a_profile_by_namespace() -> None:
    """With ``backend="jax"``, ``xp`` is ``jax.numpy`` on both legs, and a ``cpu=`` that takes ``xp`` gets NumPy."""
    import numpy

    names: list[str] = []

    def build(xp: Any) -> Callable[[], Any]:
        names.append(xp.__name__)
        a = xp.ones((N, N))
        return lambda: a @ a

    run = Profiler(devices=["jax:1"], plan=QUICK)
    found = profile(build, backend="jax", profiler=run)
    assert set(names) == {"jax.numpy"}
    assert found.output.devices() != {JaxBackend().open(DeviceId("cpu")).arguments["device"]}
    names.clear()
    found = profile(product, backend="jax", cpu=build, profiler=run)
    assert set(names) == {"numpy"}
    assert numpy.asarray(found.output)[0, 0] == N


@needs_jax
def test_a_call_of_jax() -> None:
    """Its arrays mean JAX; its inputs and its output are moved and timed."""
    import jax

    run = Profiler(devices=["jax:1"], plan=QUICK)
    found = profile(call(jax.numpy.matmul, jax.numpy.ones((N, N)), jax.numpy.eye(N)), transfers=True, profiler=run)
    assert found.backend == "jax"
    assert found.gpu.figure("upload_time") > 0
    assert found.gpu.figure("download_time") > 0


@needs_jax
def test_a_compilation_within_a_round_is_seen() -> None:
    """A callable whose shapes change is compiled again; time that it takes is no time of the workload's."""
    import jax

    def growing(device: Any) -> Callable[[], Any]:
        sizes = iter(range(1, 10**9))
        return lambda: jax.jit(lambda x: x + 1)(jax.device_put(jax.numpy.ones(next(sizes)), device))

    run = Profiler(devices=["jax:1"], plan=QUICK)
    found = profile(growing, backend="jax", check=False, profiler=run)
    assert "compiled" in {caution.code for caution in found.cautions}


TEST_FILE = """
import jax
import jax.numpy as jnp
import pytest

@pytest.mark.gpu_profile(flops="auto")
@pytest.mark.gpu_budget(min_throughput=None, max_gpu_time="10 s", max_device_time="1 s")
def test_product(gpu_profile_device):
    a = jax.device_put(jnp.ones((64, 64)), gpu_profile_device)
    step = jax.jit(lambda x: x @ x)
    return lambda: step(a)
"""


@needs_jax
def test_a_run_finds_jax_by_the_globals_of_the_module(pytester: pytest.Pytester) -> None:
    """In a process of its own, on a second CPU device as a stand-in: a budget is met, another has no events."""
    pytester.makepyfile(TEST_FILE)
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-rs", "--gpu-profile", "--gpu-profile-rounds=3"]
    ran = subprocess.run(
        [*command, "--gpu-profile-devices=jax:1"],
        env=environment, cwd=pytester.path, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    assert "JAX on the CPU" in ran.stdout
    assert "JAX offers no events" in ran.stdout
    assert "budgets: 1 met, 0 missed" in ran.stdout
