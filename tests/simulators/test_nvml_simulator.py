"""The simulated NVML, read by the real pynvml.

pynvml keeps its library for the life of a process, so every test runs a short script in a process of its own. Time is
virtual in all of them: nothing sleeps.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest

from tests.simulators import SimulatorUnavailable
from tests.simulators.nvml import DEVICE_SETTINGS, MACHINE_SETTINGS, build, entry_points, environment

REPOSITORY = Path(__file__).parents[2]

Seen = dict[str, Any]
Simulate = Callable[..., Seen]

# What every script starts with. It ends by calling `report`.
PRELUDE = """
import ctypes, json, os, sys
from pathlib import Path
import pynvml as nvml
from tests.simulators.nvml import Control

control = Control(Path(sys.argv[1]))

def report(**values):
    print(json.dumps(values))

def error(function, *arguments):
    "The number of the NVML error that a call raises, 0 for none."
    try:
        function(*arguments)
    except nvml.NVMLError as raised:
        return raised.value
    return 0

def fields(device, *identifiers):
    "The value of each field, None where the card has none."
    names = {1: "uiVal", 3: "ullVal"}
    read = nvml.nvmlDeviceGetFieldValues(device, list(identifiers))
    return [None if one.nvmlReturn else getattr(one.value, names[one.valueType]) for one in read]
"""

START = """
nvml.nvmlInit()
gpu = nvml.nvmlDeviceGetHandleByIndex(0)
energy = lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000
"""


def build_or_skip(directory: Path, **options: Any) -> Path:
    try:
        return build(directory, **options)
    except SimulatorUnavailable as unavailable:
        pytest.skip(f"NOT TESTED: how pynvml reads the simulated NVML, and all that is built on it: {unavailable}")


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_or_skip(tmp_path_factory.mktemp("nvml"))


def run_script(library: Path, script: str, settings: Mapping[str, Any]) -> Seen:
    """What a script reports that runs with the simulated machine set up like this."""
    variables = {
        **os.environ,
        **environment(library, **{"clock": "virtual", **settings}),
        "PYTHONPATH": str(REPOSITORY),
    }
    command = [sys.executable, "-c", PRELUDE + script, str(library)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return cast(Seen, json.loads(done.stdout))


@pytest.fixture
def simulate(library: Path) -> Simulate:
    """Runs a script on an initialized NVML; the keywords are settings of the simulated machine."""
    return lambda script, **settings: run_script(library, START + textwrap.dedent(script), settings)


@pytest.fixture
def simulate_bare(library: Path) -> Simulate:
    """Runs a script before NVML is initialized."""
    return lambda script, **settings: run_script(library, textwrap.dedent(script), settings)


class TestBuilding:
    def test_second_build_does_nothing(self, library: Path) -> None:
        """A library that is up to date is not compiled again."""
        before = library.stat()
        assert build(library.parent) == library
        assert library.stat().st_mtime_ns == before.st_mtime_ns
        assert library.stat().st_ino == before.st_ino

    def test_builds_at_once(self, library: Path, tmp_path: Path) -> None:
        """Workers that build into one directory at the same time all get a whole library, and leave nothing behind."""
        with ThreadPoolExecutor(2) as workers:
            paths = list(workers.map(build, [tmp_path, tmp_path]))
        assert paths == [tmp_path / library.name] * 2
        assert [path.name for path in tmp_path.iterdir()] == [library.name]
        assert paths[0].read_bytes().startswith(b"\x7fELF")

    def test_omitted_entry_point(self, tmp_path: Path) -> None:
        """An entry point left out is a function not found, as with an old driver; the older one still answers."""
        omitted = "nvmlDeviceGetCurrentClocksEventReasons"
        old = build_or_skip(tmp_path, omit=[omitted])
        script = """
        report(new=error(nvml.nvmlDeviceGetCurrentClocksEventReasons, gpu),
               old=nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu))
        """
        assert run_script(old, START + textwrap.dedent(script), {}) == {"new": 13, "old": 1}

    def test_omitted_process_lists(self, tmp_path: Path) -> None:
        """Without the third version of a process list pynvml does not fall back; the second version still works."""
        old = build_or_skip(tmp_path, omit=["nvmlDeviceGetComputeRunningProcesses_v3"])
        script = """
        try:
            nvml.nvmlDeviceGetComputeRunningProcesses(gpu)
        except Exception as raised:
            count = ctypes.c_uint(0)
            code = nvml.nvmlLib.nvmlDeviceGetComputeRunningProcesses_v2(gpu, ctypes.byref(count), None)
            report(new=type(raised).__name__, code=code, count=count.value)
        """
        seen = run_script(old, START + textwrap.dedent(script), {"process": "4711:100"})
        assert seen["new"] in {"NVMLLibraryMismatchError", "NVMLError_FunctionNotFound"}  # by pynvml's version
        assert (seen["code"], seen["count"]) == (7, 1)

    def test_omitting_a_misspelt_name(self, tmp_path: Path) -> None:
        """Leaving out a name that nobody calls is a mistake."""
        with pytest.raises(ValueError, match="nvmlDeviceGetNoSuchThing"):
            build(tmp_path, omit=["nvmlDeviceGetNoSuchThing"])

    def test_no_compiler(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a compiler the simulator is unavailable and says so."""
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(SimulatorUnavailable, match="gcc"):
            build(tmp_path)

    def test_every_entry_point(self, simulate: Simulate) -> None:
        """Every entry point pynvml can ask for is there."""
        seen = simulate("""
            from tests.simulators.nvml import entry_points
            report(missing=[name for name in entry_points() if not hasattr(nvml.nvmlLib, name)])
        """)
        assert seen == {"missing": []}
        assert len(entry_points()) > 200

    def test_exports_nothing_else(self, simulate: Simulate) -> None:
        """Only NVML's names and the control functions are visible, so that the library collides with no other."""
        seen = simulate("report(internal=[name for name in ('world', 'now_ns') if hasattr(nvml.nvmlLib, name)])")
        assert seen == {"internal": []}


class TestSettings:
    def test_found_by_the_search_path(self, library: Path) -> None:
        """LD_LIBRARY_PATH alone makes pynvml find the simulator, set up by its environment."""
        script = (
            "import pynvml as nvml; nvml.nvmlInit(); "
            "print(nvml.nvmlDeviceGetCount(), nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(1)))"
        )
        variables = {**os.environ, **environment(library, devices=2, name="Card")}
        done = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["2", "Card"]

    def test_every_documented_setting(self, simulate: Simulate) -> None:
        """Every setting in the documentation is understood by the library."""
        values = {
            "clock": "virtual",
            "fault": "nvmlDeviceGetFanSpeed:NOT_SUPPORTED",
            "cc": "8.0",
            "pci_bus_id": "0:3:0.0",
            "load": ["0:1", "1:inf:200"],
            "throttle": ["0x40", "4:1:2:0.5"],
            "process": ["self:10", "7:5:graphics:1", "8:5:mps:0:2"],
            "mig_uuids": "MIG-a,MIG-b",
        }
        settings = {key: values.get(key, 1) for key in {**MACHINE_SETTINGS, **DEVICE_SETTINGS}}
        assert simulate("report(devices=nvml.nvmlDeviceGetCount())", **settings) == {"devices": 1}

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"idle_watts": 1}, "idle_watts"),
            ({"name": "a;b"}, "semicolon"),
            ({"devices": [{"clock": "virtual"}]}, "clock"),
            ({"devices": [1, 2]}, "devices"),
            ({"fault": "nvmlDeviceGetPowerUse:3"}, "nvmlDeviceGetPowerUse"),
        ],
    )
    def test_misspelt_settings(self, tmp_path: Path, settings: Mapping[str, Any], message: str) -> None:
        """A setting that would have no effect is refused."""
        with pytest.raises(ValueError, match=message):
            environment(tmp_path / "libnvidia-ml.so.1", **settings)

    @pytest.mark.parametrize(
        "settings",
        [
            {"idle_w": "much"},
            {"devices": 9},
            {"clock": "sundial"},
            {"devices": 2, "uuid": "GPU-same"},
            {"throttle": "0x40:soon"},
            {"process": "everybody:1"},
            {"fault": "nvmlDeviceGetName:BROKEN"},
        ],
    )
    def test_impossible_values(self, simulate: Simulate, settings: Mapping[str, Any]) -> None:
        """A value that makes no sense is refused by the library, with the reason."""
        seen = simulate(f"""
            try:
                control.reset(**{settings!r})
            except ValueError as refused:
                report(reason=str(refused))
        """)
        assert seen["reason"].startswith("simulated NVML: ")

    def test_impossible_environment(self, simulate_bare: Simulate) -> None:
        """With an environment that makes no sense NVML does not start."""
        assert simulate_bare("report(init=error(nvml.nvmlInit))", idle_w="much") == {"init": 999}

    def test_reset_and_apply(self, simulate: Simulate) -> None:
        """A reset starts again from the defaults; apply changes one thing and keeps the rest."""
        seen = simulate(
            """
            before = nvml.nvmlDeviceGetName(gpu)
            control.advance(3)
            control.reset(clock="virtual", limit_w=300)
            control.advance(1)
            control.apply(name="Other")
            report(before=before, now=control.now_s(), name=nvml.nvmlDeviceGetName(gpu),
                   limit=nvml.nvmlDeviceGetEnforcedPowerLimit(gpu))
            """,
            name="First",
        )
        assert seen == {"before": "First", "now": 1.0, "name": "Other", "limit": 300000}


class TestProtocol:
    def test_before_initialization(self, simulate_bare: Simulate) -> None:
        """Before nvmlInit and after nvmlShutdown every call is refused as uninitialized."""
        seen = simulate_bare("""
            nvml._LoadNvmlLibrary()
            before = error(nvml.nvmlDeviceGetCount)
            nvml.nvmlInit()
            nvml.nvmlInit()
            nvml.nvmlShutdown()
            during = error(nvml.nvmlDeviceGetCount)
            nvml.nvmlShutdown()
            report(before=before, during=during, after=error(nvml.nvmlDeviceGetCount))
        """)
        assert seen == {"before": 1, "during": 0, "after": 1}

    def test_look_up_errors(self, simulate: Simulate) -> None:
        """A wrong index is an invalid argument, an unknown UUID or bus address is not found."""
        seen = simulate("""
            report(index=error(nvml.nvmlDeviceGetHandleByIndex, 1),
                   uuid=error(nvml.nvmlDeviceGetHandleByUUID, b"GPU-unknown"),
                   bus=error(nvml.nvmlDeviceGetHandleByPciBusId, b"00000000:99:00.0"),
                   handle=error(nvml.nvmlDeviceGetName, ctypes.c_void_p(4096)))
        """)
        assert seen == {"index": 2, "uuid": 6, "bus": 6, "handle": 2}

    def test_versioned_structures(self, simulate: Simulate) -> None:
        """A structure with another version stamp is refused."""
        seen = simulate("""
            memory = nvml.c_nvmlMemory_v2_t(version=0x01000028)
            reading = (ctypes.c_uint * 3)(0x0200000C, 0, 0)
            report(memory=nvml.nvmlLib.nvmlDeviceGetMemoryInfo_v2(gpu, ctypes.byref(memory)),
                   temperature=nvml.nvmlLib.nvmlDeviceGetTemperatureV(gpu, ctypes.byref(reading)))
        """)
        assert seen == {"memory": 25, "temperature": 25}

    def test_process_list_sizes(self, simulate: Simulate) -> None:
        """A process list asks for a larger buffer until it fits, and succeeds at once when it is empty."""
        seen = simulate(
            """
            function = nvml.nvmlLib.nvmlDeviceGetComputeRunningProcesses_v3
            count, buffer = ctypes.c_uint(0), (nvml.c_nvmlProcessInfo_v2_t * 3)()
            asked = function(gpu, ctypes.byref(count), None), count.value
            count.value = 1
            small = function(gpu, ctypes.byref(count), buffer), count.value
            count.value = 3
            fits = function(gpu, ctypes.byref(count), buffer), count.value
            graphics = nvml.nvmlLib.nvmlDeviceGetGraphicsRunningProcesses_v3
            count.value = 0
            report(asked=asked, small=small, fits=fits, empty=graphics(gpu, ctypes.byref(count), None))
            """,
            process=["10:1", "11:1"],
        )
        assert seen == {"asked": [7, 2], "small": [7, 2], "fits": [0, 2], "empty": 0}

    def test_text_that_does_not_fit(self, simulate: Simulate) -> None:
        """A text buffer that is too short is refused, not overrun."""
        seen = simulate("""
            short = ctypes.create_string_buffer(4)
            report(code=nvml.nvmlLib.nvmlDeviceGetName(gpu, short, 4), left=short.value.decode())
        """)
        assert seen == {"code": 7, "left": ""}

    def test_fields_carry_their_own_status(self, simulate: Simulate) -> None:
        """A field the card does not have fails alone, in the same call as fields that work."""
        seen = simulate("""
            known, unknown = nvml.NVML_FI_DEV_POWER_CURRENT_LIMIT, nvml.NVML_FI_DEV_NVLINK_BANDWIDTH_C0_TOTAL
            module = (nvml.NVML_FI_DEV_POWER_INSTANT, nvml.NVML_POWER_SCOPE_MODULE)
            read = nvml.nvmlDeviceGetFieldValues(gpu, [known, unknown, module])
            report(status=[one.nvmlReturn for one in read], limit=read[0].value.uiVal)
        """)
        assert seen == {"status": [0, 3, 3], "limit": 700000}

    def test_entry_points_without_simulation(self, simulate: Simulate) -> None:
        """What is not simulated is not supported, but obeys initialization and faults like the rest."""
        seen = simulate("""
            plain = error(nvml.nvmlDeviceGetFanSpeed, gpu)
            control.fault("nvmlDeviceGetFanSpeed:NO_PERMISSION")
            faulty = error(nvml.nvmlDeviceGetFanSpeed, gpu)
            nvml.nvmlShutdown()
            report(plain=plain, faulty=faulty, after=error(nvml.nvmlDeviceGetFanSpeed, gpu))
        """)
        assert seen == {"plain": 3, "faulty": 4, "after": 1}

    def test_error_texts(self, simulate: Simulate) -> None:
        """An error has a text, as NVML words it."""
        assert simulate("report(text=str(nvml.NVMLError(15)), raw=str(nvml.nvmlErrorString(28)))") == {
            "text": "GPU is lost",
            "raw": "GPU not found",
        }


class TestIdentity:
    def test_it_says_that_it_is_simulated(self, simulate: Simulate) -> None:
        """Nothing measured here can be mistaken for a real card: its name says so."""
        assert simulate("report(name=nvml.nvmlDeviceGetName(gpu))") == {"name": "Simulated H100"}

    def test_fingerprint(self, simulate: Simulate) -> None:
        """Everything that identifies a card and its driver can be read and set."""
        seen = simulate(
            """
            report(
                driver=nvml.nvmlSystemGetDriverVersion(), nvml=nvml.nvmlSystemGetNVMLVersion(),
                cuda=nvml.nvmlSystemGetCudaDriverVersion_v2(), vbios=nvml.nvmlDeviceGetVbiosVersion(gpu),
                cc=nvml.nvmlDeviceGetCudaComputeCapability(gpu), architecture=nvml.nvmlDeviceGetArchitecture(gpu),
                limits=[nvml.nvmlDeviceGetEnforcedPowerLimit(gpu), nvml.nvmlDeviceGetPowerManagementLimit(gpu),
                        nvml.nvmlDeviceGetPowerManagementDefaultLimit(gpu)],
                constraints=nvml.nvmlDeviceGetPowerManagementLimitConstraints(gpu),
                clocks=[nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM),
                        nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_MEM)],
                bus_width=nvml.nvmlDeviceGetMemoryBusWidth(gpu), cores=nvml.nvmlDeviceGetNumGpuCores(gpu),
                pcie=[nvml.nvmlDeviceGetCurrPcieLinkGeneration(gpu), nvml.nvmlDeviceGetCurrPcieLinkWidth(gpu),
                      nvml.nvmlDeviceGetMaxPcieLinkGeneration(gpu), nvml.nvmlDeviceGetMaxPcieLinkWidth(gpu)],
                ecc=nvml.nvmlDeviceGetEccMode(gpu), persistence=nvml.nvmlDeviceGetPersistenceMode(gpu),
                compute=nvml.nvmlDeviceGetComputeMode(gpu), pstate=nvml.nvmlDeviceGetPerformanceState(gpu),
                virtual=nvml.nvmlDeviceGetVirtualizationMode(gpu),
            )
            """,
            driver="570.1", nvml="12.570.1", cuda=12080, vbios="1.2", cc="8.6", limit_w=300, max_limit_w=350,
            min_limit_w=100, max_sm_clock_mhz=1700, max_mem_clock_mhz=7000, bus_width_bits=384, cores=10752,
            pcie_generation=1, max_pcie_generation=4, persistence=0, compute_mode=3, pstate=2, virtualization=1,
        )  # fmt: skip
        assert seen == {
            "driver": "570.1",
            "nvml": "12.570.1",
            "cuda": 12080,
            "vbios": "1.2",
            "cc": [8, 6],
            "architecture": 7,
            "limits": [300000, 300000, 300000],
            "constraints": [100000, 350000],
            "clocks": [1700, 7000],
            "bus_width": 384,
            "cores": 10752,
            "pcie": [1, 16, 4, 16],
            "ecc": [1, 1],
            "persistence": 0,
            "compute": 3,
            "pstate": 2,
            "virtual": 1,
        }

    def test_link_to_the_host(self, simulate: Simulate) -> None:
        """A card can have a C2C link to its host, as in a superchip."""
        script = """
        info = ctypes.c_uint(7)
        report(code=nvml.nvmlLib.nvmlDeviceGetC2cModeInfoV(gpu, ctypes.byref(info)), link=info.value)
        """
        assert simulate(script) == {"code": 0, "link": 0}
        assert simulate(script, c2c=1) == {"code": 0, "link": 1}

    def test_modes_without_support(self, simulate: Simulate) -> None:
        """A mode set to -1 is one that the card does not have."""
        seen = simulate(
            "report(ecc=error(nvml.nvmlDeviceGetEccMode, gpu), p=error(nvml.nvmlDeviceGetPerformanceState, gpu))",
            ecc=-1,
            pstate=-1,
        )
        assert seen == {"ecc": 3, "p": 3}

    def test_order_of_the_devices(self, simulate: Simulate) -> None:
        """Cards come in the order they are given, and are found by UUID and by bus address wherever they are."""
        seen = simulate(
            """
            by_uuid = nvml.nvmlDeviceGetHandleByUUID(b"GPU-small")
            by_bus = [nvml.nvmlDeviceGetHandleByPciBusId(text) for text in (b"00000001:65:00.0", b"1:65:0")]
            big = nvml.nvmlDeviceGetPciInfo(gpu)
            report(names=[nvml.nvmlDeviceGetName(nvml.nvmlDeviceGetHandleByIndex(i)) for i in range(2)],
                   by_uuid=nvml.nvmlDeviceGetIndex(by_uuid), by_bus=[nvml.nvmlDeviceGetIndex(one) for one in by_bus],
                   bus_ids=[big.busId, big.busIdLegacy], numbers=[big.domain, big.bus, big.device])
            """,
            devices=[
                {"name": "big", "uuid": "GPU-big", "pci_bus_id": "1:65:0"},
                {"name": "small", "uuid": "GPU-small", "pci_bus_id": "0:17:0", "cc": "7.5"},
            ],
        )
        assert seen == {
            "names": ["big", "small"],
            "by_uuid": 1,
            "by_bus": [0, 0],
            "bus_ids": ["00000001:65:00.0", "0001:65:00.0"],
            "numbers": [1, 0x65, 0],
        }


class TestEnergy:
    def test_counter_is_the_integral_of_power(self, simulate: Simulate) -> None:
        """The counter grows by exactly what the power curve encloses, overlapping loads included."""
        seen = simulate(
            """
            start = energy()
            control.advance(2)                          # 2 s at 50 W
            with control.busy(0, watts=350):
                control.advance(1)                      # 1 s at 350 W
                with control.busy(0):                   # busy_w: 200 W, 150 W above idle
                    control.advance(3)                  # 3 s at 500 W
            control.advance(1)                          # 1 s at 50 W
            report(counted=energy() - start, true=control.true_energy_j(0, 0, 7), part=control.true_energy_j(0, 2, 4))
            """,
            idle_w=50,
            busy_w=200,
        )
        assert seen == {"counted": 2000.0, "true": 2000.0, "part": 850.0}

    def test_counter_is_published_now_and_then(self, simulate: Simulate) -> None:
        """Between two publications the counter stands still; the offset moves them all."""
        seen = simulate(
            """
            values = []
            for _ in range(8):
                control.advance(0.05)
                values.append(energy())
            report(values=values)
            """,
            idle_w=100, energy_base_j=0, energy_period_ms=200, energy_offset_ms=50,
        )  # fmt: skip
        assert seen["values"] == [5.0, 5.0, 5.0, 5.0, 25.0, 25.0, 25.0, 25.0]

    def test_default_period(self, simulate: Simulate) -> None:
        """A card publishes its counter every 100 ms unless told otherwise, as real ones do."""
        seen = simulate("""
            start = energy()
            control.advance(0.099)
            before = energy() - start
            control.advance(0.001)
            report(before=before, after=energy() - start)
        """)
        assert seen == {"before": 0.0, "after": 7.0}

    def test_counter_that_under_reports(self, simulate: Simulate) -> None:
        """A gain below 1 loses that part of the energy; the truth stays what it is."""
        seen = simulate(
            """
            start = energy()
            control.advance(10)
            report(counted=energy() - start, true=control.true_energy_j(0, 0, 10))
            """,
            idle_w=100,
            energy_gain=0.7,
        )
        assert seen == {"counted": 700.0, "true": 1000.0}

    def test_counter_that_freezes(self, simulate: Simulate) -> None:
        """A frozen counter keeps its value while the card goes on drawing power."""
        script = "start = energy(); control.advance(10); report(counted=energy() - start)"
        assert simulate(script, idle_w=100, energy_freeze_s=4) == {"counted": 400.0}

    def test_counter_that_goes_back(self, simulate: Simulate) -> None:
        """A counter that is reset starts again from zero."""
        script = "start = energy(); control.advance(6); report(start=start, end=energy())"
        assert simulate(script, idle_w=100, energy_reset_s=4) == {"start": 1000.0, "end": 200.0}

    def test_loads_at_fixed_times(self, simulate: Simulate) -> None:
        """Work can be planned by settings alone, for a process in which nobody drives the simulation."""
        script = "control.advance(10); report(true=control.true_energy_j(0, 0, 10))"
        assert simulate(script, idle_w=100, busy_w=300, load=["1:2", "5:inf:200"]) == {"true": 1700.0}

    def test_each_card_has_its_own_counter(self, simulate: Simulate) -> None:
        """Work on one card costs no energy on another."""
        seen = simulate(
            """
            with control.busy(1, watts=400):
                control.advance(1)
            report(true=[control.true_energy_j(i, 0, 1) for i in range(2)])
            """,
            devices=[{"idle_w": 50}, {"idle_w": 60}],
        )
        assert seen == {"true": [50.0, 400.0]}

    def test_cards_without_a_counter(self, simulate: Simulate) -> None:
        """Cards before Volta have no energy counter, and before Ampere no average power field."""
        seen = simulate(
            """
            report(counter=error(nvml.nvmlDeviceGetTotalEnergyConsumption, gpu),
                   power=nvml.nvmlDeviceGetPowerUsage(gpu),
                   fields=fields(gpu, nvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, nvml.NVML_FI_DEV_POWER_AVERAGE,
                                 nvml.NVML_FI_DEV_POWER_INSTANT))
            """,
            cc="6.1",
        )
        assert seen == {"counter": 3, "power": 70000, "fields": [None, None, 70000]}

    def test_energy_fields(self, simulate: Simulate) -> None:
        """Both energy fields show what the counter shows."""
        seen = simulate("""
            control.advance(1)
            report(fields=fields(gpu, nvml.NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION, nvml.NVML_FI_DEV_ENERGY))
        """)
        assert seen == {"fields": [1070000, 1070000]}

    def test_real_clock(self, simulate: Simulate) -> None:
        """On the real clock time passes by itself, and can be moved ahead."""
        seen = simulate(
            """
            first = control.now_s()
            control.advance(100)
            second = control.now_s()
            report(first=first, passed=second - first, counted=energy())
            """,
            clock="real",
        )
        assert 0 < seen["first"] < 60
        assert 100 < seen["passed"] < 160
        assert seen["counted"] >= 1000 + 70 * 100


class TestSensors:
    def test_average_and_instantaneous_power(self, simulate: Simulate) -> None:
        """The power reading averages over its window; the instantaneous field does not."""
        seen = simulate(
            """
            control.advance(5)
            control.begin(0, 500)
            control.advance(0.4)
            report(usage=nvml.nvmlDeviceGetPowerUsage(gpu),
                   fields=fields(gpu, nvml.NVML_FI_DEV_POWER_AVERAGE, nvml.NVML_FI_DEV_POWER_INSTANT))
            """,
            idle_w=100,
        )
        assert seen == {"usage": 260000, "fields": [260000, 500000]}

    def test_power_is_published_now_and_then(self, simulate: Simulate) -> None:
        """The power reading lags behind by up to its period."""
        seen = simulate(
            """
            with control.busy(0, 500):
                control.advance(0.5)
            readings = []
            for _ in range(3):
                control.advance(0.25)
                readings.append(nvml.nvmlDeviceGetPowerUsage(gpu))
            report(readings=readings)
            """,
            idle_w=100, power_window_ms=0, power_period_ms=1000,
        )  # fmt: skip
        assert seen["readings"] == [500000, 100000, 100000]

    def test_temperature_follows_power(self, simulate: Simulate) -> None:
        """The card warms under load and cools afterwards, by both names of the query."""
        seen = simulate(
            """
            def read():
                newer = (ctypes.c_uint * 3)(0x0100000C, 0, 0)
                assert nvml.nvmlLib.nvmlDeviceGetTemperatureV(gpu, ctypes.byref(newer)) == 0
                return [nvml.nvmlDeviceGetTemperature(gpu, 0), newer[2]]

            cold = read()
            with control.busy(0, 600):
                control.advance(20)
                warm = read()
            control.advance(20)
            report(cold=cold, warm=warm, cooled=read(),
                   slowdown=nvml.nvmlDeviceGetTemperatureThreshold(gpu, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN))
            """,
            idle_w=100, temperature_c=30, temperature_rise=0.08,
        )  # fmt: skip
        assert seen == {"cold": [30, 30], "warm": [70, 70], "cooled": [30, 30], "slowdown": 89}

    def test_clocks_and_utilization(self, simulate: Simulate) -> None:
        """An idle card clocks down and says that it idles; utilization covers the last second."""
        seen = simulate("""
            state = lambda: [nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
                             nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu),
                             nvml.nvmlDeviceGetUtilizationRates(gpu).gpu]
            control.advance(2)
            idle = state()
            control.begin(0)
            control.advance(0.25)
            report(idle=idle, busy=state())
        """)
        assert seen == {"idle": [345, 1, 0], "busy": [1980, 0, 25]}


class TestThrottling:
    def test_bits_and_clocks(self, simulate: Simulate) -> None:
        """In a throttle phase the reason bits are set and the clocks drop; afterwards they recover."""
        seen = simulate(
            """
            control.begin(0)
            states = []
            for _ in range(3):
                states.append([nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu),
                               nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),
                               nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM)])
                control.advance(1.5)
            report(states=states)
            """,
            throttle="0x40:1:2",
        )
        assert seen == {"states": [[0, 1980, 2619], [0x40, 1200, 1593], [0, 1980, 2619]]}

    def test_counted_time(self, simulate: Simulate) -> None:
        """Fields and violation status count the throttled nanoseconds of each policy, from the start of the phase."""
        seen = simulate(
            """
            control.advance(10)
            policies = [nvml.NVML_PERF_POLICY_POWER, nvml.NVML_PERF_POLICY_THERMAL, nvml.NVML_PERF_POLICY_SYNC_BOOST]
            report(fields=fields(gpu, 74, 75, 76, 77, 78, 79, 269, 270, 271),
                   status=[nvml.nvmlDeviceGetViolationStatus(gpu, policy).violationTime for policy in policies],
                   unknown=error(nvml.nvmlDeviceGetViolationStatus, gpu, 99))
            """,
            throttle=["0x4:9", "0x40:2:4:0.5", "0x20:0:1", "0x80:0:0.25"],
        )
        assert seen == {
            "fields": [10**9, 2 * 10**9, 0, 25 * 10**7, 0, 0, 10**9, 10**9, 25 * 10**7],
            "status": [10**9, 2 * 10**9, 0],
            "unknown": 2,
        }


class TestMemoryAndProcesses:
    def test_memory(self, simulate: Simulate) -> None:
        """Memory adds up: total, reserved, used and free; the first version counts the reserved part as used."""
        seen = simulate(
            """
            old, new = nvml.nvmlDeviceGetMemoryInfo(gpu), nvml.nvmlDeviceGetMemoryInfo(gpu, nvml.nvmlMemory_v2)
            report(old=[x >> 20 for x in (old.total, old.used, old.free)],
                   new=[x >> 20 for x in (new.total, new.reserved, new.used, new.free)])
            """,
            memory_total_mb=1000, memory_reserved_mb=100, memory_used_mb=50, process="5:200",
        )  # fmt: skip
        assert seen == {"old": [1000, 350, 650], "new": [1000, 100, 250, 650]}

    def test_kinds_of_processes(self, simulate: Simulate) -> None:
        """Compute, graphics and MPS processes have lists of their own; "self" is the process that asks."""
        seen = simulate(
            """
            pids = lambda function: [process.pid for process in function(gpu)]
            report(compute=pids(nvml.nvmlDeviceGetComputeRunningProcesses), own=os.getpid(),
                   graphics=pids(nvml.nvmlDeviceGetGraphicsRunningProcesses),
                   mps=pids(nvml.nvmlDeviceGetMPSComputeRunningProcesses))
            """,
            process=["self:10", "21:10", "22:10:graphics", "23:10:mps"],
        )
        own = seen.pop("own")
        assert seen == {"compute": [own, 21], "graphics": [22], "mps": [23]}

    def test_processes_come_and_go(self, simulate: Simulate) -> None:
        """A process can be added, changed and removed, or appear by itself at a given time."""
        seen = simulate(
            """
            listed = lambda: [[process.pid, process.usedGpuMemory] for process in
                              nvml.nvmlDeviceGetComputeRunningProcesses(gpu)]
            states = [listed()]
            control.process(0, 99, 12345)
            control.process(0, 99, 67890)
            states.append(listed())
            control.remove_process(0, 99)
            control.advance(3)
            report(states=states + [listed()])
            """,
            process="77:1:compute:2",
        )
        assert seen == {"states": [[], [[99, 67890]], [[77, 2**20]]]}

    def test_process_utilization(self, simulate: Simulate) -> None:
        """Compute processes show the card's utilization, graphics processes none; an empty card has no samples."""
        seen = simulate("""
            empty = error(nvml.nvmlDeviceGetProcessUtilization, gpu, 0)
            control.process(0, 31, 1)
            control.process(0, 32, 1, kind="graphics")
            control.begin(0)
            control.advance(2)
            samples = nvml.nvmlDeviceGetProcessUtilization(gpu, 0)
            report(empty=empty, samples=[[one.pid, one.smUtil] for one in samples],
                   again=error(nvml.nvmlDeviceGetProcessUtilization, gpu, samples[0].timeStamp))
        """)
        assert seen == {"empty": 6, "samples": [[31, 100], [32, 0]], "again": 6}


class TestMig:
    SETTINGS: Mapping[str, Any] = {
        "mig_uuids": "MIG-first,MIG-second",
        "mig_memory_mb": 5000,
        "process": ["41:100:compute:0:0", "42:200:compute:0:1"],
    }

    def test_handles(self, simulate: Simulate) -> None:
        """Instances are found by index and by UUID, know their card, and end where there are no more."""
        seen = simulate(
            """
            second = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 1)
            same = nvml.nvmlDeviceGetHandleByUUID(b"MIG-second")
            is_mig = lambda device: getattr(found := nvml.nvmlDeviceIsMigDeviceHandle(device), "value", found)
            parent = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(same)
            report(mode=nvml.nvmlDeviceGetMigMode(gpu), uuid=nvml.nvmlDeviceGetUUID(second), is_mig=is_mig(same),
                   card_is_mig=is_mig(gpu), parent=nvml.nvmlDeviceGetUUID(parent) == nvml.nvmlDeviceGetUUID(gpu),
                   index=nvml.nvmlDeviceGetIndex(same), instance=nvml.nvmlDeviceGetGpuInstanceId(same),
                   size=nvml.nvmlDeviceGetAttributes_v2(same).memorySizeMB,
                   none=error(nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, 2),
                   never=error(nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, 7),
                   no_parent=error(nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, gpu))
            """,
            **self.SETTINGS,
        )
        assert seen == {
            "mode": [1, 1], "uuid": "MIG-second", "is_mig": 1, "card_is_mig": 0, "parent": True, "index": 1,
            "instance": 2, "size": 5000, "none": 6, "never": 2, "no_parent": 2,
        }  # fmt: skip

    def test_readings(self, simulate: Simulate) -> None:
        """An instance has memory and processes of its own; energy, power and the like belong to the card."""
        seen = simulate(
            """
            mig = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, 1)
            memory = nvml.nvmlDeviceGetMemoryInfo(mig)
            report(memory=[memory.total >> 20, memory.used >> 20],
                   processes=[process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(mig)],
                   all=[[process.pid, process.gpuInstanceId]
                        for process in nvml.nvmlDeviceGetComputeRunningProcesses(gpu)],
                   refused=[error(nvml.nvmlDeviceGetTotalEnergyConsumption, mig),
                            error(nvml.nvmlDeviceGetPowerUsage, mig),
                            error(nvml.nvmlDeviceGetEnforcedPowerLimit, mig),
                            error(nvml.nvmlDeviceGetFieldValues, mig, [83]),
                            error(nvml.nvmlDeviceGetUtilizationRates, gpu)],
                   card=error(nvml.nvmlDeviceGetTotalEnergyConsumption, gpu))
            """,
            **self.SETTINGS,
        )
        assert seen == {
            "memory": [5000, 200],
            "processes": [42],
            "all": [[41, 1], [42, 2]],
            "refused": [3, 3, 3, 3, 3],
            "card": 0,
        }

    def test_mig_off(self, simulate: Simulate) -> None:
        """Without instances the mode is off; a card too old for it does not know the mode."""
        script = "report(mode=error(nvml.nvmlDeviceGetMigMode, gpu) or nvml.nvmlDeviceGetMigMode(gpu))"
        assert simulate(script) == {"mode": [0, 0]}
        assert simulate(script, cc="7.5") == {"mode": 3}


class TestFaults:
    @pytest.mark.parametrize(("name", "number"), [("DRIVER_NOT_LOADED", 9), ("LIB_RM_VERSION_MISMATCH", 18)])
    def test_driver_that_does_not_start(self, simulate_bare: Simulate, name: str, number: int) -> None:
        """A fault of nvmlInit leaves NVML uninitialized."""
        seen = simulate_bare(
            "report(init=error(nvml.nvmlInit), count=error(nvml.nvmlDeviceGetCount))", fault=f"nvmlInit*:{name}"
        )
        assert seen == {"init": number, "count": 1}

    def test_one_function_of_one_device(self, simulate: Simulate) -> None:
        """A fault hits the device it names, from the call it names on, as often as it says."""
        seen = simulate(
            """
            cards = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(2)]
            report(codes=[[error(nvml.nvmlDeviceGetPowerUsage, card) for _ in range(5)] for card in cards])
            """,
            devices=2, fault="nvmlDeviceGetPowerUsage@1:TIMEOUT:2:2",
        )  # fmt: skip
        assert seen == {"codes": [[0, 0, 0, 0, 0], [0, 10, 10, 0, 0]]}

    def test_several_faults(self, simulate: Simulate) -> None:
        """Faults add up, by name or by number, and clearing removes them all."""
        seen = simulate(
            """
            read = lambda: [error(nvml.nvmlDeviceGetName, gpu), error(nvml.nvmlDeviceGetPowerUsage, gpu),
                            error(nvml.nvmlDeviceGetTotalEnergyConsumption, gpu)]
            control.fault("nvmlDeviceGetTotalEnergyConsumption:999")
            broken = read()
            control.clear_faults()
            report(broken=broken, repaired=read())
            """,
            fault=["nvmlDeviceGetName:NO_PERMISSION", "nvmlDeviceGetPower*:NOT_READY"],
        )
        assert seen == {"broken": [4, 27, 999], "repaired": [0, 0, 0]}

    def test_lost_device(self, simulate: Simulate) -> None:
        """A lost device stays lost for every call; the other devices live on, and it can be repaired."""
        seen = simulate(
            """
            other = nvml.nvmlDeviceGetHandleByIndex(1)
            control.fault("nvmlDeviceGetTotalEnergyConsumption@0:GPU_IS_LOST:2:1")
            first = [error(nvml.nvmlDeviceGetTotalEnergyConsumption, gpu) for _ in range(3)]
            lost = [error(nvml.nvmlDeviceGetName, gpu), error(nvml.nvmlDeviceGetHandleByIndex, 0),
                    error(nvml.nvmlDeviceGetFanSpeed, gpu)]
            alive = error(nvml.nvmlDeviceGetTotalEnergyConsumption, other)
            control.clear_faults()
            report(first=first, lost=lost, alive=alive, repaired=error(nvml.nvmlDeviceGetName, gpu))
            """,
            devices=2,
        )
        assert seen == {"first": [0, 15, 15], "lost": [15, 15, 15], "alive": 0, "repaired": 0}

    def test_misspelt_fault(self, simulate: Simulate) -> None:
        """A fault of a function that nobody calls is a mistake."""
        seen = simulate("""
            try:
                control.fault("nvmlDeviceGetPowerUse:NOT_SUPPORTED")
            except ValueError as refused:
                report(reason=str(refused))
        """)
        assert "nvmlDeviceGetPowerUse" in seen["reason"]

    def test_latency(self, simulate: Simulate) -> None:
        """A slow driver takes its time for every call; on the virtual clock the time is exact."""
        seen = simulate(
            """
            before = control.now_s()
            for _ in range(3):
                nvml.nvmlDeviceGetPowerUsage(gpu)
            report(passed=round(control.now_s() - before, 9))
            """,
            latency_us=2500,
        )
        assert seen == {"passed": 0.0075}

    def test_counted_calls(self, simulate: Simulate) -> None:
        """The simulator counts how often each entry point is asked, failed calls included."""
        seen = simulate(
            """
            for _ in range(3):
                error(nvml.nvmlDeviceGetPowerUsage, gpu)
            report(power=control.calls("nvmlDeviceGetPowerUsage"),
                   energy=control.calls("nvmlDeviceGetTotalEnergyConsumption"))
            """,
            fault="nvmlDeviceGetPowerUsage:NOT_SUPPORTED",
        )
        assert seen == {"power": 3, "energy": 0}

    def test_many_threads(self, simulate: Simulate) -> None:
        """Threads that read at once get whole values, and no call is lost."""
        seen = simulate(
            """
            from concurrent.futures import ThreadPoolExecutor
            with ThreadPoolExecutor(4) as threads:
                values = list(threads.map(lambda _: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu), range(4000)))
            report(values=sorted(set(values)), calls=control.calls("nvmlDeviceGetTotalEnergyConsumption"))
            """
        )
        assert seen == {"values": [1000000], "calls": 4000}
