"""Where a workload runs: which backend, which accelerator, which CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_gpuprof.backends.registry import Registry
from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import DeviceError, WorkloadError
from pytest_gpuprof.core.protocols import Backend
from pytest_gpuprof.core.results import Reading
from pytest_gpuprof.core.workload import Workload, frameworks_of

__all__ = ["ANY", "Accelerator", "accelerators", "backend_of", "cpu_workload"]

ANY = "any"
"""Among devices: where none of the others runs a workload, the best accelerator there is, a stand-in included."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """An accelerator chosen for a workload.

    Args:
        info: the device.
        not_judged: why budgets on it are not judged, empty if they are.
    """

    info: DeviceInfo
    not_judged: str = ""


def backend_of(workload: Workload, registry: Registry, default: str | None) -> Backend:
    """Return the backend of a workload: the one it names, else ``default``, else the one its builder points to.

    Raises:
        WorkloadError: if nothing, or more than one thing, points to a backend.
        DeviceError: if there is no backend of that name.
    """
    if workload.parameter == "place":
        return _backend_of_call(workload, registry, default)
    parameter = workload.parameter or ""
    serving = registry.serving(parameter)
    if not serving:
        raise WorkloadError(
            f"the builder {workload.name!r} has {parameter!r} as its first parameter, which no backend serves; "
            f"name it {' or '.join(registry.parameters)}"
        )
    if workload.backend is not None:
        chosen = registry.backend(workload.backend)
        if chosen not in serving:
            raise WorkloadError(
                f"the builder {workload.name!r} wants {parameter!r}, which backend {chosen.name!r} does not have; "
                f"it has {' and '.join(chosen.parameters)}"
            )
        return chosen
    if default is not None and registry.backend(default) in serving:
        return registry.backend(default)
    unasked = [each for each in serving if parameter not in _on_request(each)]
    candidates = [each for each in unasked if each.frameworks] or unasked or list(serving)
    if len(candidates) == 1 and parameter != "device":
        return candidates[0]
    pointed = frameworks_of(workload.home or workload.builder, registry.frameworks)
    matching = [each for each in candidates if each.name in pointed]
    if len(matching) == 1:
        return matching[0]
    found = " and ".join(sorted(each.name for each in matching)) or "no framework"
    names = ", ".join(each.name for each in serving)
    raise WorkloadError(
        f"the module of the builder {workload.name!r} has {found} among its globals, so {parameter!r} could mean "
        f"several things; say backend= (one of {names})"
    )


def _on_request(backend: Backend) -> tuple[str, ...]:
    """Return the parameters that mean this backend only where it is named."""
    found: tuple[str, ...] = getattr(backend, "on_request", ())
    return found


def _backend_of_call(workload: Workload, registry: Registry, default: str | None) -> Backend:
    if workload.backend is not None:
        return registry.backend(workload.backend)
    owners = {each.name: each for leaf in _leaves(workload.arguments) for name in registry.names
              if (each := registry.backend(name)).owns(leaf)}  # fmt: skip
    accelerated = {name: each for name, each in owners.items() if name != "numpy"}
    if len(accelerated) == 1:
        return next(iter(accelerated.values()))
    if len(accelerated) > 1:
        raise WorkloadError(
            f"the arguments of {workload.name!r} belong to {' and '.join(sorted(accelerated))}; say backend="
        )
    if default is not None:
        return registry.backend(default)
    if owners:  # NumPy arrays: CuPy takes NumPy functions and arrays
        return registry.backend("cupy")
    raise WorkloadError(
        f"no argument of {workload.name!r} is an array, a tensor or a module, so there is nothing to move to a device; "
        "say backend=, or write a builder"
    )


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in _leaves(each)]
    if isinstance(value, (list, tuple)):
        return [leaf for each in value for leaf in _leaves(each)]
    return [value]


def accelerators(
    backend: Backend, registry: Registry, wanted: Sequence[str], named: Sequence[str]
) -> list[Accelerator] | Reading:
    """Return the accelerators to run a backend's workload on, or why there is none.

    Args:
        backend: of the workload.
        registry: all backends.
        wanted: what was asked for: device ids, backend names, ``"any"``; empty for the GPU if there is one, else a
            stand-in.
        named: what the person who started the run named, in the same words; a stand-in is judged only if it is among
            it, whoever else asked for it.

    Raises:
        DeviceError: if a wanted device exists nowhere; the message lists those that exist.
    """
    found = registry.devices(backend.name)
    _check_exist(wanted, registry, () if isinstance(found, Reading) else found)
    if isinstance(found, Reading):
        return found
    # A GPU before a stand-in; Python's sort keeps the backend's own order within each.
    usable = sorted((info for info in found if info.kind != "cpu"), key=lambda info: info.kind != "gpu")
    if not usable:
        return Reading.unavailable(f"{backend.name} finds no GPU here", cause="no device")
    chosen = _matching(usable, wanted, registry) if wanted else usable[:1]
    if not chosen:
        return Reading.unavailable(
            f"none of the devices asked for ({', '.join(wanted)}) runs {backend.name} workloads", cause="no device"
        )
    by_name = _matching(usable, named, registry)
    return [Accelerator(info, "" if info.kind == "gpu" or info in by_name else _not_named(info)) for info in chosen]


def _matching(usable: Sequence[DeviceInfo], names: Sequence[str], registry: Registry) -> list[DeviceInfo]:
    """Return the devices that the names mean: a device id means itself, a backend or ``any`` its best device."""
    ids = {str(DeviceId.parse(name)) for name in names if name != ANY and name not in registry.names}
    chosen = [info for info in usable if str(info.id) in ids]
    if not chosen and any(name == ANY or name == usable[0].backend for name in names):
        chosen = [usable[0]]
    return chosen


def _is_of(workload: Workload, backend: Backend) -> bool:
    """Whether the function of a call is the framework's own."""
    function = (workload.arguments or (None,))[0]
    module = getattr(function, "__module__", None) or type(function).__module__
    return module.partition(".")[0] in backend.frameworks


def _not_named(info: DeviceInfo) -> str:
    return f"{info.id} is a stand-in ({info.why_stand_in}); name it in --gpu-profile-devices to have it judged"


def _check_exist(wanted: Sequence[str], registry: Registry, found: Sequence[DeviceInfo]) -> None:
    here = {str(info.id) for info in found if info.kind != "cpu"}
    ids = [each for each in wanted if each != ANY and each not in registry.names]
    elsewhere = [each for each in ids if str(DeviceId.parse(each)) not in here]
    if not elsewhere:
        return  # the other backends are not asked: each would import its framework
    known = {str(info.id) for info in registry.known_devices() if info.kind != "cpu"}
    for each in elsewhere:
        if str(DeviceId.parse(each)) not in known:
            there = f"there are {', '.join(sorted(known))}" if known else "there is none"
            raise DeviceError(f"there is no device {each!r}; {there} (pytest-gpuprof doctor says why)")


def cpu_workload(workload: Workload, backend: Backend, registry: Registry) -> tuple[Workload, Backend] | Reading:
    """Return what the CPU leg runs and by which backend, or why there is no CPU leg.

    ``cpu=`` if it is given; else the same builder on the backend's host.
    """
    chosen = workload.cpu or workload
    if chosen.parameter == "place" and _is_of(chosen, backend) and backend.host != backend.name:
        return Reading.unavailable(
            f"{chosen.name!r} is a function of {backend.name}, which does not run on the CPU: "
            "give the CPU leg with cpu="
        )
    if chosen.parameter is None:
        return chosen, registry.backend(backend.host)
    named = backend if chosen.backend is None else registry.backend(chosen.backend)
    for name in (named.host, "numpy"):
        host = registry.backend(name)
        if chosen is not workload and chosen.backend is None and chosen.parameter in _on_request(host):
            continue  # the xp of a cpu= is NumPy, whatever the workload is written in
        if chosen.parameter == "place" or chosen.parameter in host.parameters:
            devices = registry.devices(name)
            if isinstance(devices, Reading):
                return devices
            return chosen, registry.backend(name)
    return Reading.unavailable(
        f"{chosen.parameter!r} has no form on the CPU: give the CPU leg of {workload.name!r} with cpu="
    )
