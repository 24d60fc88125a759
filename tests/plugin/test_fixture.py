"""The gpu_profile fixture: what can be measured, what comes back, and what is an error of the test."""

from __future__ import annotations

import pytest

from .conftest import BLIND_GPU, NO_GPU, Runs, text_of

FORMS = {
    "builder": "gpu_profile(fast)",
    "call": "gpu_profile(call(on_both, Here(), seconds=1e-3))",
    "decorated": "gpu_profile(decorated)",
    "builder that yields": "gpu_profile(yielding)",
}


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_workload_runs(runs: Runs, form: str, on: bool) -> None:
    """A builder, one that yields, a call of a plain function and a decorated workload all run, measured or not."""
    result = runs.on_gpu(
        f"""
from conftest import Here

def on_both(device, seconds):
    device.run(seconds)
    return seconds

@workload(items=100)
def decorated(device, n=10):
    return lambda: device.run(1e-3)

cleaned = []

def yielding(device):
    yield lambda: device.run(1e-3)
    cleaned.append(device)

def test_it(gpu_profile):
    {FORMS[form]}
    assert bool(cleaned) is {form == "builder that yields"}
""",
        on=on,
    )
    result.assert_outcomes(passed=1)


def test_what_comes_back_are_figures(runs: Runs) -> None:
    """Figures are floats in base units, and the profile says what it is."""
    runs(
        """
def test_it(gpu_profile):
    assert gpu_profile.enabled
    result = gpu_profile(fast, items=50, metrics=["time", "memory", "energy"])
    assert result.name == "fast"
    assert 19 < result.speedup < 21 and 19 < result.device_speedup < 21
    assert 0.9e-3 < result.gpu.time_s < 1.1e-3 and 19e-3 < result.cpu.time_s < 21e-3
    assert 45e3 < result.throughput < 55e3
    assert 0 < result.gpu.energy_j < 1 and 100 < result.gpu.power_w < 400
    assert result.gpu.memory_bytes == 0
    assert result.verdicts == () and "speedup" in str(result)
"""
    ).assert_outcomes(passed=1)


WRONG_WORKLOADS = {
    "lambda device: 5": "returns int, which cannot be called",
    "lambda device: None": "returns NoneType, which cannot be called",
    "lambda device: coroutine_function": "returns something async",
    "lambda device: generator_function": "returns a generator function",
    "lambda device: lambda: coroutine_function()": "returns a coroutine, so calling it computes nothing",
    "lambda device: lambda: generator_function()": "returns a generator, so calling it computes nothing",
    "coroutine_builder": "is async, and what an event loop does cannot be timed",
    "never_yields": "never yields",
    "yields_twice": "yields more than once",
    "lambda: None": "takes no argument, but its first parameter says what it wants",
    "lambda tensor: None": "has 'tensor' as its first parameter",
    "5": "5 is no workload",
}


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize(("builder", "sentence"), list(WRONG_WORKLOADS.items()), ids=list(WRONG_WORKLOADS))
def test_a_workload_that_cannot_be_measured_fails_its_test(runs: Runs, builder: str, sentence: str, on: bool) -> None:
    """What cannot be measured is a failure of that test in one sentence, measured or not."""
    result = runs(
        f"""
async def coroutine_function(): pass
def generator_function(): yield 1
async def coroutine_builder(device): return lambda: None
def never_yields(device):
    if False: yield
def yields_twice(device):
    yield lambda: device.run(1e-3)
    yield lambda: device.run(1e-3)

def test_wrong(gpu_profile):
    gpu_profile({builder})

def test_right(gpu_profile):
    gpu_profile(fast)
""",
        on=on,
    )
    result.assert_outcomes(passed=1, failed=1)
    assert sentence in text_of(result)
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize("on", [True, False])
def test_an_unknown_keyword_fails_the_test(runs: Runs, on: bool) -> None:
    """A misspelt keyword of the fixture is told with the nearest right one."""
    result = runs("def test_it(gpu_profile): gpu_profile(fast, nam='x')", on=on)
    result.assert_outcomes(failed=1)
    assert "gpu_profile() has no keyword 'nam'; did you mean 'name'?" in text_of(result)


def test_two_profiles_of_one_name_fail_the_test(runs: Runs) -> None:
    """Each profile of a test has its own name; the first one's figures are kept."""
    source = "def test_it(gpu_profile):\n    gpu_profile(fast)\n    gpu_profile(fast)\n"
    result = runs(source, "--gpu-profile-export=json:out.json")
    result.assert_outcomes(failed=1)
    assert "the test has two profiles called 'fast'; give each its own with name=" in text_of(result)
    assert [record["name"] for record in runs.exported()["records"]] == ["fast"]


SEVERAL = """
@pytest.mark.gpu_budget(min_speedup=5, profile={profile!r})
def test_it(gpu_profile):
    gpu_profile(fast, name="a")
    gpu_profile(slow, name="b")
"""


@pytest.mark.parametrize(("profile", "outcome"), [("a", "passed"), ("b", "failed"), ("c", "failed"), (None, "failed")])
def test_a_budget_binds_to_the_profile_it_names(runs: Runs, profile: str | None, outcome: str) -> None:
    """``profile=`` names one of the test's profiles; without it every one is bound, and one that is none fails."""
    result = runs(SEVERAL.format(profile=profile))
    result.assert_outcomes(**{outcome: 1})
    if profile == "c":
        assert "min_speedup binds to profile='c', and the test has a, b" in text_of(result)


def test_the_rows_of_several_profiles_say_which(runs: Runs) -> None:
    """Where a test has several profiles, the table and the export tell them apart."""
    result = runs(SEVERAL.format(profile="a"))
    result.stdout.fnmatch_lines(["test_it.py::test_it a *1 met*", "test_it.py::test_it b *- *"])


def test_several_devices_give_several_profiles(runs: Runs) -> None:
    """Each named device has a profile of its own, judged by itself."""
    conftest = """
from pytest_gpuprof import hookimpl
from pytest_gpuprof.backends.simulated import Card, SimulatedBackend

@hookimpl
def pytest_gpuprof_backends():
    return [SimulatedBackend([Card(), Card(name="Other GPU")])]
"""
    (first, second) = runs.records(
        "@pytest.mark.gpu_budget(min_speedup=5)\ndef test_it(gpu_profile):\n    gpu_profile(fast)\n",
        devices="simulated:0,simulated:1",
        conftest=conftest,
    )
    assert (first["name"], second["name"]) == ("fast@simulated:0", "fast@simulated:1")
    assert [verdict["outcome"] for record in (first, second) for verdict in record["verdicts"]] == ["met", "met"]


def test_parametrized_tests_and_classes_are_measured_each(runs: Runs) -> None:
    """Every parameter set and every method is a test of its own, with a record of its own."""
    records = runs.records(
        """
@pytest.mark.parametrize("n", [1, 2])
class TestSizes:
    def test_it(self, gpu_profile, n):
        def build(device, factor):
            return lambda: device.run(cpu=factor * 20e-3, gpu=1e-3)
        gpu_profile(build, params={"factor": n}).require(min_speedup=15 * n)
"""
    )
    assert [record["test"] for record in records] == [
        "test_it.py::TestSizes::test_it[1]",
        "test_it.py::TestSizes::test_it[2]",
    ]
    assert [record["params"] for record in records] == [{"factor": 1}, {"factor": 2}]
    assert [round(record["derived"]["speedup"]["value"]) for record in records] == [20, 40]


@pytest.mark.parametrize(
    ("args", "outcome"), [("cpu=sequential", "passed"), ("cpu=lambda: sequential(CPU)", "passed"), ("", "failed")]
)
def test_another_builder_for_the_cpu_leg(runs: Runs, args: str, outcome: str) -> None:
    """``cpu=`` is built on the CPU leg in place of the builder, and may take a device or nothing."""
    result = runs.on_gpu(
        f"""
from conftest import CPU

calls = []

def sequential(device):
    def work():
        calls.append(1)
        device.run(20e-3)
    return work

def only_gpu(device):
    assert device.info.kind != "cpu", "built on the CPU"
    return lambda: device.run(1e-3)

def test_it(gpu_profile):
    gpu_profile(only_gpu, {args})
    assert calls
"""
    )
    result.assert_outcomes(**{outcome: 1})


def test_a_reference_is_compared_on_the_same_device(runs: Runs) -> None:
    """``reference=`` runs on the GPU beside the workload, and has a budget of its own."""
    result = runs(
        """
def naive(device):
    return lambda: device.run(cpu=1, gpu=3e-3)

@pytest.mark.gpu_budget(min_speedup_over_reference=2)
def test_met(gpu_profile):
    gpu_profile(fast, reference=naive)

@pytest.mark.gpu_budget(min_speedup_over_reference=5)
def test_missed(gpu_profile):
    gpu_profile(fast, reference=naive)

@pytest.mark.gpu_budget(min_speedup_over_reference=5)
def test_none(gpu_profile):
    gpu_profile(fast)
"""
    )
    result.assert_outcomes(passed=1, failed=2)
    assert "speedup over the reference 3" in text_of(result)
    assert "needs something to compare with; give it with reference=" in text_of(result)


def test_a_reset_runs_before_each_call(runs: Runs) -> None:
    """``reset=`` runs as often as the callable, each time before it."""
    runs(
        """
def test_it(gpu_profile):
    full = []
    def build(device):
        def work():
            assert not full
            full.append(1)
            device.run(cpu=20e-3, gpu=1e-3)
        return work
    assert 19 < gpu_profile(build, reset=full.clear).speedup < 21
"""
    ).assert_outcomes(passed=1)


CHECKS = {
    "True": "differs in 1 of 1 elements",
    "dict(rtol=1e-6)": "differs in 1 of 1 elements",
    "dict(rtol=0.2)": None,
    "lambda cpu, gpu: abs(cpu - gpu) < 1": None,
    "lambda cpu, gpu: cpu == gpu": "check= returned False",
    "complain": "legs of 'build' computed different things: far apart",
    "False": None,
    "None": None,
    "dict(tolerance=1)": "has 'tolerance'; it takes rtol and atol",
}


@pytest.mark.parametrize(("check", "sentence"), list(CHECKS.items()), ids=list(CHECKS))
def test_outputs_that_differ_fail_before_any_budget(runs: Runs, check: str, sentence: str | None) -> None:
    """With ``check=`` a wrong answer fails the test, and no budget of it is judged, met or missed."""
    result = runs(
        f"""
def complain(cpu, gpu):
    assert cpu == gpu, "far apart"

@pytest.mark.gpu_budget(min_speedup=5, max_gpu_time=1e-9)
def test_it(gpu_profile):
    def build(device):
        def work():
            device.run(cpu=20e-3, gpu=1e-3)
            return 1.0 if device.info.kind == "cpu" else 1.1
        return work
    gpu_profile(build, check={check})
"""
    )
    result.assert_outcomes(failed=1)
    if sentence is None:
        assert "budgets: 1 met, 1 missed" in text_of(result)
    else:
        assert sentence in text_of(result)
        assert "budgets: 0 met, 0 missed, 0 inconclusive, 2 not enforced" in text_of(result)


def test_a_call_is_checked_by_itself(runs: Runs) -> None:
    """Both legs of ``call()`` get equal inputs, so their outputs are compared without being asked."""
    result = runs.on_gpu(
        """
from conftest import Here

counter = []

def never_twice_the_same(device):
    device.run(1e-3)
    counter.append(1)
    return len(counter)

def test_it(gpu_profile):
    gpu_profile(call(never_twice_the_same, Here()))
"""
    )
    result.assert_outcomes(failed=1)
    assert "the legs of 'never_twice_the_same' computed different things" in text_of(result)


READS = "def test_it(gpu_profile):\n    assert gpu_profile(fast).gpu.energy_j < 1\n"
READS_IN_SETUP = """
@pytest.fixture
def joules(gpu_profile):
    return gpu_profile(fast).gpu.energy_j

def test_it(joules):
    assert joules < 1
"""


@pytest.mark.parametrize(
    ("source", "outcome"), [(READS, "failed"), (READS_IN_SETUP, "errors")], ids=["in the test", "in a fixture"]
)
@pytest.mark.parametrize("strict", [False, True])
def test_reading_a_missing_figure_skips_the_test(runs: Runs, source: str, outcome: str, strict: bool) -> None:
    """A figure that is missing skips the test with the reason; strict fails it."""
    args = ["-rs", "--gpu-profile-metrics=time,energy", *(["--gpu-profile-strict"] if strict else [])]
    result = runs.on_gpu(source, *args, conftest=BLIND_GPU)
    result.assert_outcomes(**{outcome if strict else "skipped": 1})
    assert "board energy of the gpu leg is unavailable, because NVIDIA T4 has no energy counter" in text_of(result)
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_figure_that_nobody_measured_skips_a_plain_run(runs: Runs) -> None:
    """Without --gpu-profile every figure is missing, and reading one skips."""
    result = runs(READS, "-rs", on=False)
    result.assert_outcomes(skipped=1)
    assert "profiling is off: run with --gpu-profile" in text_of(result)


REQUIRES = """
def test_it(gpu_profile):
    result = gpu_profile(fast)
    assert result.require({limits}) is not None
    done.append(1)

done = []

def test_done():
    assert bool(done) is {done}
"""


@pytest.mark.parametrize(
    ("limits", "done", "sentence"),
    [
        ("min_speedup=5", True, "budgets: 1 met"),
        ("min_speedup=5, max_gpu_time='2 ms'", True, "budgets: 2 met"),
        ("min_speedup=50", False, "speedup 20x"),
        ("min_speedup=50, enforce=False", True, "budgets: 0 met, 1 missed"),
        ("max_energy='1 J'", True, "budgets: 1 met"),
        ("max_energy='1 mJ'", False, "misses max_energy 1 mJ"),
        ("max_gpu_memory='1 B'", True, "budgets: 1 met"),
        ("min_spedup=5", False, "did you mean 'min_speedup'?"),
        ("min_speedup=float('nan')", False, "not a finite number"),
    ],
)
def test_requiring_in_the_body(runs: Runs, limits: str, done: bool, sentence: str) -> None:
    """``require`` judges at once, measures what it needs, and fails the test where it stands."""
    result = runs(REQUIRES.format(limits=limits, done=done))
    result.assert_outcomes(**({"passed": 2} if done else {"passed": 1, "failed": 1}))
    assert sentence in text_of(result)


def test_requiring_again_keeps_what_was_judged_before(runs: Runs) -> None:
    """Each require adds its verdicts, also when the test goes on with the profile it had first."""
    result = runs(
        """
def test_it(gpu_profile):
    result = gpu_profile(fast)
    result.require(min_speedup=5)
    result.require(max_gpu_time="2 ms")
    result.require(max_energy="1 J")
"""
    )
    result.assert_outcomes(passed=1)
    assert "budgets: 3 met, 0 missed" in text_of(result)


def test_a_miss_that_is_not_enforced_is_remembered(runs: Runs) -> None:
    """An unenforced miss is still told after further requires."""
    result = runs(
        """
def test_it(gpu_profile):
    result = gpu_profile(fast)
    result.require(min_speedup=50, enforce=False)
    result.require(max_gpu_time="2 ms")
"""
    )
    result.assert_outcomes(passed=1)
    assert "budgets: 1 met, 1 missed" in text_of(result)


def test_requiring_does_nothing_in_a_plain_run(runs: Runs) -> None:
    """Without --gpu-profile ``require`` is a no-op that is counted; a misspelt one still fails."""
    result = runs(
        """
def test_it(gpu_profile):
    assert not gpu_profile.enabled
    gpu_profile(slow).require(min_speedup=50, max_gpu_time=1e-9)

def test_misspelt(gpu_profile):
    gpu_profile(slow).require(min_spedup=50)
""",
        on=False,
    )
    result.assert_outcomes(passed=1, failed=1)
    assert "2 budgets were not judged" in text_of(result)
    assert "did you mean 'min_speedup'?" in text_of(result)


def test_a_requirement_without_a_gpu_skips(runs: Runs) -> None:
    """Where there is no GPU, what is required of it is unavailable, and the test skips with the reason."""
    result = runs.on_gpu(REQUIRES.format(limits="min_speedup=5", done=True), "-rs", conftest=NO_GPU)
    result.assert_outcomes(skipped=1, passed=1)
    assert "simulated finds no GPU here" in text_of(result)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--gpu-profile-devices=cuda:77"], "there is no device 'cuda:77'"),
        (["--gpu-profile-devices=my gpu!"], "does not name a device"),
    ],
)
def test_a_device_that_does_not_exist_fails_the_test(runs: Runs, args: list[str], sentence: str) -> None:
    """A device that nobody has is told in one sentence, when the first workload wants it."""
    result = runs("def test_it(gpu_profile): gpu_profile(fast)", *args, devices=None)
    result.assert_outcomes(failed=1)
    assert sentence in text_of(result)


@pytest.mark.parametrize("args", [[], ["--gpu-profile-strict"]])
@pytest.mark.parametrize("on", [True, False])
def test_our_frames_are_in_no_traceback(runs: Runs, on: bool, args: list[str]) -> None:
    """What the user's own code raises is shown without our code, wherever it was raised."""
    conftest = """
import pytest

@pytest.fixture
def broken():
    raise ValueError("in a fixture of a conftest")
"""
    result = runs(
        """
def test_setup(broken, gpu_profile):
    pass

def test_body(gpu_profile):
    raise ValueError("in a body")
""",
        *args,
        conftest=conftest,
        on=on,
    )
    shown = result.stdout.str()
    assert "ValueError: in a fixture of a conftest" in shown
    assert "ValueError: in a body" in shown
    result.stdout.no_re_match_line(r".*plugin/(session|off)\.py")


def test_an_output_is_let_go_when_its_test_is_over(runs: Runs) -> None:
    """It may be memory of the device, and the session lives long."""
    result = runs(
        """
import gc, weakref

class Output: pass
KEPT = []

def work(device):
    def run():
        device.run(cpu=20e-3, gpu=1e-3)
        return Output()
    return run

def test_a(gpu_profile):
    output = gpu_profile(work, backend="simulated").output
    KEPT.append(weakref.ref(output))

def test_b():
    gc.collect()
    assert KEPT[0]() is None
"""
    )
    result.assert_outcomes(passed=2)
