"""Where a workload runs: its backend, its accelerators, its CPU leg. On fake backends, which have what a test needs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from types import FunctionType, ModuleType
from typing import Any

import pytest

from pytest_gpuprof.backends.registry import Registry
from pytest_gpuprof.backends.simulated import SimulatedBackend
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import DeviceError, Unavailable, WorkloadError
from pytest_gpuprof.core.protocols import Backend, Device
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.core.workload import Workload, as_workload, call
from pytest_gpuprof.placement import Accelerator, accelerators, backend_of, cpu_workload


class Array:
    """An array of a fake framework."""

    def __init__(self, owner: str) -> None:
        self.owner = owner


class Fake:
    """A backend that has what it is told to have."""

    def __init__(
        self,
        name: str,
        parameters: tuple[str, ...],
        *devices: str,
        frameworks: tuple[str, ...] | None = None,
        host: str | None = None,
        stand_ins: Sequence[str] = (),
        unavailable: str | None = None,
        on_request: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.on_request = on_request
        self.parameters = parameters
        self.frameworks = (name,) if frameworks is None else frameworks
        self.host = host or name
        self._devices = devices
        self._stand_ins = stand_ins
        self._unavailable = unavailable
        self.asked = 0

    def devices(self) -> Sequence[DeviceInfo]:
        self.asked += 1
        if self._unavailable is not None:
            raise Unavailable(self._unavailable)
        return [self._info(name) for name in self._devices]

    def _info(self, name: str) -> DeviceInfo:
        id_ = DeviceId.parse(name)
        if id_.type == "cpu":
            return DeviceInfo(id_, "Fake CPU", "cpu", self.name)
        if name in self._stand_ins:
            return DeviceInfo(id_, f"Fake {name}", "stand-in", self.name, why_stand_in="a fake")
        return DeviceInfo(id_, f"Fake {name}", "gpu", self.name)

    def open(self, device: DeviceId) -> Device:
        raise AssertionError("placing a workload opens nothing")

    def owns(self, value: Any) -> bool:
        return isinstance(value, Array) and value.owner == self.name


def machine(**replaced: Fake) -> Registry:
    """Return fakes of all built-in backends, on a machine with two GPUs and OpenCL on its CPU."""
    backends = {
        "torch": Fake("torch", ("device",), "cuda:0", "cuda:1", "cpu"),
        "cupy": Fake("cupy", ("xp",), "cuda:0", "cuda:1", host="numpy"),
        "opencl": Fake("opencl", ("queue",), "opencl:0", host="numpy", stand_ins=["opencl:0"]),
        "numpy": Fake("numpy", ("xp",), "cpu", frameworks=()),
        "simulated": Fake("simulated", ("device",), "simulated:0", "cpu", frameworks=(), stand_ins=["simulated:0"]),
    }
    everything: list[Backend] = [*{**backends, **replaced}.values()]
    return Registry(everything)


@pytest.fixture
def registry() -> Registry:
    return machine()


def wants_device(device: Any) -> Callable[[], None]:
    return lambda: None


def wants_xp(xp: Any) -> Callable[[], None]:
    return lambda: None


def wants_queue(queue: Any) -> Callable[[], None]:
    return lambda: None


def wants_nothing() -> Callable[[], None]:
    return lambda: None


def beside(builder: Callable[..., Any], *frameworks: str) -> Callable[..., Any]:
    """Return a copy of a builder from a module that has imported these frameworks."""
    scope = {name: ModuleType(name) for name in frameworks}
    assert isinstance(builder, FunctionType)
    return FunctionType(builder.__code__, scope, builder.__name__)


def backend_name(source: Any, registry: Registry, default: str | None = None, **options: Any) -> str:
    made = as_workload(source, servants=registry.parameters, **options)
    return str(backend_of(made, registry, default).name)


# --- The backend of a builder -----------------------------------------------------------------------------------------


def test_a_named_backend_is_taken(registry: Registry) -> None:
    """``backend=`` says it, whatever the module has among its globals and whatever the default is."""
    assert backend_name(beside(wants_device, "torch"), registry, "torch", backend="simulated") == "simulated"


def test_a_named_backend_has_to_serve_the_parameter(registry: Registry) -> None:
    """The error says what the backend has."""
    with pytest.raises(WorkloadError, match="wants 'device', which backend 'cupy' does not have; it has xp"):
        backend_name(wants_device, registry, backend="cupy")


def test_an_unknown_backend_is_refused(registry: Registry) -> None:
    """The error lists those that there are."""
    with pytest.raises(DeviceError, match="no backend 'tensorflow'; there are torch, cupy, opencl, numpy, simulated"):
        backend_name(wants_device, registry, backend="tensorflow")


def test_the_default_backend_is_taken_where_it_serves(registry: Registry) -> None:
    """It decides between several, and does not concern builders of another kind."""
    assert backend_name(wants_device, registry, "simulated") == "simulated"
    assert backend_name(wants_queue, registry, "simulated") == "opencl"


def test_a_parameter_that_one_framework_serves(registry: Registry) -> None:
    """``xp`` is CuPy and ``queue`` is OpenCL, also where no module says so: NumPy is no accelerator."""
    assert backend_name(wants_xp, registry) == "cupy"
    assert backend_name(wants_queue, registry) == "opencl"


def test_device_means_the_framework_of_the_builders_module(registry: Registry) -> None:
    """The one framework among the globals of its module."""
    assert backend_name(beside(wants_device, "torch", "numpy"), registry) == "torch"


def test_device_without_a_framework_is_refused(registry: Registry) -> None:
    """Import order decides nothing; the error says how to say it."""
    with pytest.raises(WorkloadError, match=r"has no framework among its globals.*backend= \(one of torch, simulated"):
        backend_name(beside(wants_device), registry)


def test_device_with_two_frameworks_is_refused() -> None:
    """The error names both."""
    registry = machine(jax=Fake("jax", ("device",), "cuda:0", "cpu"))
    with pytest.raises(WorkloadError, match="has jax and torch among its globals"):
        backend_name(beside(wants_device, "torch", "jax"), registry)
    assert backend_name(beside(wants_device, "jax"), registry) == "jax"


@pytest.fixture
def with_jax() -> Registry:
    """A backend more, which serves ``xp`` only where it is named."""
    return machine(jax=Fake("jax", ("device", "xp"), "cuda:0", "cpu", on_request=("xp",)))


def test_a_parameter_that_is_served_on_request(with_jax: Registry) -> None:
    """``xp`` stays CuPy's beside JAX, until somebody names JAX."""
    assert backend_name(wants_xp, with_jax) == "cupy"
    assert backend_name(beside(wants_xp, "jax"), with_jax) == "cupy"
    assert backend_name(wants_xp, with_jax, "jax") == "jax"
    assert backend_of(as_workload(wants_xp, servants=("xp",), backend="jax"), with_jax, None).name == "jax"
    alone = Registry([Fake("jax", ("device", "xp"), "cpu", on_request=("xp",))])
    assert backend_name(wants_xp, alone) == "jax"


def test_a_parameter_of_a_third_party() -> None:
    """A backend with a parameter of its own is found by it."""
    registry = machine(abacus=Fake("abacus", ("abacus",), "abacus:0", frameworks=()))

    def builder(abacus: Any) -> Callable[[], None]:
        return lambda: None

    assert backend_name(builder, registry) == "abacus"


def test_a_parameter_that_nobody_serves(registry: Registry) -> None:
    """The error lists the names that some backend serves."""
    with pytest.raises(WorkloadError, match=r"'lane' as its first parameter.*device or xp or queue"):
        backend_of(Workload("w", wants_device, "lane"), registry, None)


# --- The backend of call() --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hidden", [lambda a: a, lambda a: [a], lambda a: {"x": (1, [a])}], ids=["bare", "list", "dict"]
)
def test_call_means_the_owner_of_its_arrays(registry: Registry, hidden: Callable[[Array], Any]) -> None:
    """Wherever among the arguments they are; NumPy arrays beside them change nothing."""
    assert backend_name(call(operator.add, Array("numpy"), hidden(Array("torch"))), registry) == "torch"
    assert backend_name(call(print, file=hidden(Array("opencl"))), registry) == "opencl"


def test_call_of_numpy_arrays_means_cupy(registry: Registry) -> None:
    """CuPy takes NumPy's functions and arrays; a default backend comes before that."""
    assert backend_name(call(sum, Array("numpy")), registry) == "cupy"
    assert backend_name(call(sum, Array("numpy")), registry, "opencl") == "opencl"


def test_call_of_arrays_of_a_backend_without_a_framework(registry: Registry) -> None:
    """An owner is the backend, also one that no module points to."""
    assert backend_name(call(sum, Array("simulated")), registry) == "simulated"


def test_call_of_two_frameworks_is_refused(registry: Registry) -> None:
    """The error names both owners; ``backend=`` decides."""
    mixed = call(operator.add, Array("torch"), Array("opencl"))
    with pytest.raises(WorkloadError, match="belong to opencl and torch; say backend="):
        backend_name(mixed, registry)
    assert backend_name(mixed, registry, backend="torch") == "torch"


def test_call_without_arrays_is_refused(registry: Registry) -> None:
    """There is nothing to move, unless somebody says where to."""
    with pytest.raises(WorkloadError, match="nothing to move to a device; say backend="):
        backend_name(call(sum, [1, 2]), registry)
    assert backend_name(call(sum, [1, 2]), registry, "torch") == "torch"


# --- Accelerators -----------------------------------------------------------------------------------------------------


def found(
    registry: Registry, backend: str, *wanted: str, named: Sequence[str] | None = None
) -> list[Accelerator] | Reading:
    return accelerators(registry.backend(backend), registry, wanted, wanted if named is None else named)


def ids(chosen: list[Accelerator] | Reading) -> list[str]:
    assert isinstance(chosen, list)
    return [str(each.info.id) for each in chosen]


def refusal(chosen: list[Accelerator] | Reading) -> str:
    assert isinstance(chosen, Reading)
    assert chosen.cause == "no device"
    return chosen.reason


def test_the_best_gpu_is_taken_by_itself(registry: Registry) -> None:
    """One, the first; budgets on it are judged, also if nobody named it."""
    chosen = found(registry, "torch")
    assert ids(chosen) == ["cuda:0"]
    assert isinstance(chosen, list)
    assert chosen[0].not_judged == ""


def test_a_gpu_comes_before_a_stand_in() -> None:
    """Whatever the order in which the backend lists them."""
    registry = machine(opencl=Fake("opencl", ("queue",), "opencl:0", "opencl:1", stand_ins=["opencl:0"]))
    assert ids(found(registry, "opencl")) == ["opencl:1"]
    assert ids(found(registry, "opencl", "any")) == ["opencl:1"]
    assert ids(found(registry, "opencl", "opencl")) == ["opencl:1"]
    assert ids(found(registry, "opencl", "opencl:0")) == ["opencl:0"]


def test_a_stand_in_that_nobody_named_is_not_judged(registry: Registry) -> None:
    """It is measured, so that everything runs anywhere, and says what to do to have it judged."""
    chosen = found(registry, "opencl")
    assert ids(chosen) == ["opencl:0"]
    assert isinstance(chosen, list)
    assert chosen[0].not_judged == (
        "opencl:0 is a stand-in (a fake); name it in --gpu-profile-devices to have it judged"
    )


@pytest.mark.parametrize("name", ["opencl:0", "opencl", "any"])
def test_a_stand_in_that_was_named_is_judged(registry: Registry, name: str) -> None:
    """By its id, by its backend, or by ``any``."""
    chosen = found(registry, "opencl", name)
    assert isinstance(chosen, list)
    assert chosen[0].not_judged == ""


def test_only_who_started_the_run_names_a_stand_in(registry: Registry) -> None:
    """A test that asks for one by ``devices=`` gets it, but not a verdict."""
    chosen = found(registry, "opencl", "opencl:0", named=())
    assert isinstance(chosen, list)
    assert chosen[0].not_judged
    chosen = found(registry, "opencl", "opencl:0", named=("opencl:0",))
    assert isinstance(chosen, list)
    assert chosen[0].not_judged == ""


def test_several_devices(registry: Registry) -> None:
    """Each that is named and runs workloads of the backend, once, the best first."""
    assert ids(found(registry, "torch", "cuda:1", "cuda:0", "cuda:1")) == ["cuda:0", "cuda:1"]
    assert ids(found(registry, "torch", "opencl:0", "cuda:1")) == ["cuda:1"]
    assert ids(found(registry, "torch", "cuda")) == ["cuda:0"]


def test_any_is_for_backends_that_none_of_the_others_runs(registry: Registry) -> None:
    """Beside ids, ``any`` and backends take the best device of the backends that have none of the ids."""
    assert ids(found(registry, "torch", "opencl:0", "any")) == ["cuda:0"]
    assert ids(found(registry, "opencl", "cuda:1", "opencl")) == ["opencl:0"]


def test_named_devices_of_another_backend(registry: Registry) -> None:
    """A workload that runs on none of them has no GPU leg, and says which were asked for."""
    assert refusal(found(registry, "opencl", "cuda:0", "cuda:1")) == (
        "none of the devices asked for (cuda:0, cuda:1) runs opencl workloads"
    )
    assert "(torch)" in refusal(found(registry, "opencl", "torch"))


@pytest.mark.parametrize("name", ["cuda:7", "rocm:0", "torhc", "cpu"])
def test_a_device_that_exists_nowhere(registry: Registry, name: str) -> None:
    """The error lists those that exist, of all backends, and no CPU."""
    with pytest.raises(DeviceError) as refused:
        found(registry, "torch", name)
    assert f"no device {name!r}; there are cuda:0, cuda:1, opencl:0, simulated:0 (" in str(refused.value)


def test_a_device_where_there_is_none() -> None:
    """Without any accelerator the error says so."""
    registry = Registry([Fake("torch", ("device",), "cpu")])
    with pytest.raises(DeviceError, match="no device 'cuda:0'; there is none"):
        found(registry, "torch", "cuda:0")


def test_a_name_that_cannot_be_a_device(registry: Registry) -> None:
    """The error says how to write one."""
    with pytest.raises(DeviceError, match="write it as 'cuda:0'"):
        found(registry, "torch", "GPU #1")


def test_a_backend_without_an_accelerator() -> None:
    """The reading says which backend finds none."""
    registry = machine(torch=Fake("torch", ("device",), "cpu"))
    assert refusal(found(registry, "torch")) == "torch finds no GPU here"
    assert refusal(found(registry, "torch", "any")) == "torch finds no GPU here"


def test_a_backend_that_is_not_available() -> None:
    """Its own reason is told; a device that exists nowhere is still an error."""
    registry = machine(cupy=Fake("cupy", ("xp",), unavailable="CuPy is not installed; pip install it"))
    assert refusal(found(registry, "cupy", "cuda:0")) == "CuPy is not installed; pip install it"
    with pytest.raises(DeviceError, match="cuda:9"):
        found(registry, "cupy", "cuda:9")


def test_a_backend_whose_name_is_no_device_name() -> None:
    """An outsider may call a backend what no device could be called."""
    registry = machine(**{"my-chip": Fake("my-chip", ("chip",), "chip:0", "chip:1")})
    assert ids(found(registry, "my-chip", "my-chip")) == ["chip:0"]
    assert ids(found(registry, "torch", "my-chip", "cuda:1")) == ["cuda:1"]


def test_other_backends_are_not_asked_without_need() -> None:
    """To be asked for its devices a backend imports its framework, which can take seconds."""
    others = {name: Fake(name, (name,), f"{name}:0") for name in ("cupy", "opencl")}
    registry = machine(**others)
    found(registry, "torch")
    found(registry, "torch", "cuda:1", "any", "opencl")
    assert [other.asked for other in others.values()] == [0, 0]
    found(registry, "torch", "cuda:1", "opencl:0")
    assert [other.asked for other in others.values()] == [1, 1]


def test_the_simulated_machine_is_never_a_gpu() -> None:
    """It is a stand-in, which nobody can mistake for a measurement."""
    registry = Registry([SimulatedBackend()])
    chosen = found(registry, "simulated")
    assert isinstance(chosen, list)
    assert "(simulated)" in chosen[0].not_judged


# --- The CPU leg ------------------------------------------------------------------------------------------------------


def cpu_leg(registry: Registry, backend: str, source: Any, /, **options: Any) -> tuple[str, str] | Reading:
    """Return the names of what runs and of the backend, or why nothing runs."""
    made = as_workload(source, servants=registry.parameters, **options)
    leg = cpu_workload(made, registry.backend(backend), registry)
    return leg if isinstance(leg, Reading) else (leg[0].name, leg[1].name)


@pytest.mark.parametrize(
    ("backend", "builder", "host"),
    [("torch", wants_device, "torch"), ("simulated", wants_device, "simulated"), ("cupy", wants_xp, "numpy")],
)
@pytest.mark.parametrize("says", [False, True], ids=["found", "named"])
def test_the_same_builder_on_the_host(
    registry: Registry, backend: str, builder: Callable[..., Any], host: str, says: bool
) -> None:
    """On the backend's host, whether the backend was found or named by ``backend=``."""
    leg = cpu_leg(registry, backend, builder, backend=backend if says else None)
    assert leg == (builder.__name__, host)


@pytest.mark.parametrize("says", [False, True], ids=["found", "named"])
def test_a_queue_has_no_form_on_the_cpu(registry: Registry, says: bool) -> None:
    """The reading says how to give a CPU leg."""
    leg = cpu_leg(registry, "opencl", wants_queue, backend="opencl" if says else None)
    assert isinstance(leg, Reading)
    assert leg.reason == "'queue' has no form on the CPU: give the CPU leg of 'wants_queue' with cpu="


@pytest.mark.parametrize("cpu", [wants_xp, wants_nothing])
def test_another_builder_for_the_cpu(registry: Registry, cpu: Callable[..., Any]) -> None:
    """``cpu=`` is run instead, on the backend's host or NumPy."""
    assert cpu_leg(registry, "opencl", wants_queue, cpu=cpu) == (cpu.__name__, "numpy")


def test_a_cpu_builder_for_numpy_beside_torch(registry: Registry) -> None:
    """A sequential version may be written in NumPy, whatever the GPU leg is written in."""
    assert cpu_leg(registry, "torch", wants_device, cpu=wants_xp) == ("wants_xp", "numpy")


def test_a_cpu_builder_for_numpy_beside_jax(with_jax: Registry) -> None:
    """So too where the host could serve its parameter on request; the workload itself stays with its backend."""
    assert cpu_leg(with_jax, "jax", wants_device, cpu=wants_xp) == ("wants_xp", "numpy")
    assert cpu_leg(with_jax, "jax", wants_xp, backend="jax") == ("wants_xp", "jax")
    own = Workload("own", wants_xp, "xp", backend="jax")
    assert cpu_leg(with_jax, "jax", wants_device, cpu=own) == ("own", "jax")


def test_a_cpu_workload_with_a_backend_of_its_own(registry: Registry) -> None:
    """It runs on that backend's host: the CPU leg of an OpenCL kernel may be written in torch."""
    sequential = Workload("sequential", wants_device, "device", backend="torch")
    assert cpu_leg(registry, "opencl", wants_queue, cpu=sequential) == ("sequential", "torch")
    sequential = Workload("sequential", wants_xp, "xp", backend="cupy")
    assert cpu_leg(registry, "opencl", wants_queue, cpu=sequential) == ("sequential", "numpy")


def test_a_call_runs_where_its_arrays_can_go(registry: Registry) -> None:
    """A plain function runs on the backend's host, with copies of the arguments."""
    assert cpu_leg(registry, "cupy", call(sum, Array("numpy"))) == ("sum", "numpy")
    assert cpu_leg(registry, "torch", call(sum, Array("torch"))) == ("sum", "torch")


def test_a_function_of_a_framework_without_a_cpu(registry: Registry) -> None:
    """A call of the framework's own function needs ``cpu=``, if the framework has no CPU device."""

    def gemm(array: Array) -> Array:
        return array

    gemm.__module__ = "cupy.cublas"
    leg = cpu_leg(registry, "cupy", call(gemm, Array("numpy")))
    assert isinstance(leg, Reading)
    assert leg.reason == "'gemm' is a function of cupy, which does not run on the CPU: give the CPU leg with cpu="
    assert cpu_leg(registry, "cupy", call(gemm, Array("numpy")), cpu=wants_xp) == ("wants_xp", "numpy")
    gemm.__module__ = "torch.linalg"
    assert cpu_leg(registry, "torch", call(gemm, Array("torch"))) == ("gemm", "torch")


def test_a_host_that_is_not_available() -> None:
    """Its own reason is why there is no CPU leg."""
    registry = machine(numpy=Fake("numpy", ("xp",), frameworks=(), unavailable="NumPy is not installed"))
    leg = cpu_leg(registry, "cupy", wants_xp)
    assert isinstance(leg, Reading)
    assert leg.reason == "NumPy is not installed"
