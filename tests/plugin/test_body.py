"""The gpu_profile_device fixture: the body of the test is the workload, called once per leg."""

from __future__ import annotations

import pytest

from .conftest import Runs, text_of


@pytest.mark.parametrize(("on", "legs"), [(True, "['cpu', 'stand-in']"), (False, "['stand-in']")])
def test_the_body_is_called_once_per_leg(runs: Runs, on: bool, legs: str) -> None:
    """Measuring calls the body once per leg and pass; a plain run once, on the best device."""
    result = runs(
        f"""
built = []

@pytest.mark.gpu_profile
@pytest.mark.gpu_budget(min_speedup=5)
def test_it(gpu_profile_device, tmp_path):
    assert tmp_path.exists()
    built.append(gpu_profile_device.info.kind)
    return lambda: gpu_profile_device.run(cpu=20e-3, gpu=1e-3)

def test_built():
    assert built == {legs}
""",
        on=on,
    )
    result.assert_outcomes(passed=2)


def test_the_other_fixtures_are_set_up_once(runs: Runs) -> None:
    """A device-neutral fixture is set up once for all legs, and torn down after them."""
    runs(
        """
log = []

@pytest.fixture
def numbers():
    log.append("up")
    yield [1, 2, 3]
    log.append("down")

def test_it(gpu_profile_device, numbers):
    log.append("body")
    return lambda: gpu_profile_device.run(len(numbers) * 1e-3)

def test_log():
    assert log == ["up", "body", "body", "down"]
"""
    ).assert_outcomes(passed=2)


def test_the_marker_sets_the_options(runs: Runs) -> None:
    """The marker takes what the fixture takes: name, rounds, cpu=, check=, params do their work."""
    (record,) = runs.records(
        """
def sequential(device):
    def work():
        device.run(20e-3)
        return 1.0
    return work

@pytest.mark.gpu_profile(name="convolution", rounds=4, cpu=sequential, check=dict(rtol=0.5), items=8)
def test_it(gpu_profile_device):
    assert gpu_profile_device.info.kind != "cpu"
    def work():
        gpu_profile_device.run(1e-3)
        return 1.2
    return work
"""
    )
    assert (record["name"], record["work"]["items"], len(record["legs"]["gpu"]["rounds"])) == ("convolution", 8.0, 4)


def test_parameters_and_classes(runs: Runs) -> None:
    """Parametrized bodies and methods are measured each, with their own ``self``."""
    records = runs.records(
        """
class TestSizes:
    unit = 1e-3

    @pytest.mark.parametrize("n", [1, 2])
    def test_it(self, gpu_profile_device, n):
        return lambda: gpu_profile_device.run(cpu=20 * n * self.unit, gpu=self.unit)
"""
    )
    assert [record["test"] for record in records] == [
        "test_it.py::TestSizes::test_it[1]",
        "test_it.py::TestSizes::test_it[2]",
    ]
    assert [round(record["derived"]["speedup"]["value"]) for record in records] == [20, 40]


RETURNS = {
    "": "the test returns nothing; with gpu_profile_device its body returns the callable to measure",
    "return 5": "returns int, which cannot be called",
    "return lambda: (yield)": "returns a generator",
    "async def work(): pass\n    return work": "returns something async",
    "return gpu_profile_device.info.no_such_thing": "no_such_thing",
}


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("code", RETURNS)
def test_a_body_that_returns_nothing_callable(runs: Runs, code: str, on: bool) -> None:
    """A body that returns nothing to measure fails with a clear sentence, measured or not."""
    result = runs(
        f"""
def test_it(gpu_profile_device):
    pass
    {code}

def test_other(gpu_profile_device):
    return lambda: gpu_profile_device.run(1e-3)
""",
        on=on,
    )
    result.assert_outcomes(failed=1, passed=1)
    assert RETURNS[code] in text_of(result)


@pytest.mark.parametrize("on", [True, False])
def test_pytest_does_not_complain_about_what_the_body_returns(runs: Runs, on: bool) -> None:
    """Returning the callable is meant, so there is no warning about a test that returns something."""
    result = runs(
        "def test_it(gpu_profile_device):\n    return lambda: gpu_profile_device.run(1e-3)\n", "-W", "error", on=on
    )
    result.assert_outcomes(passed=1, warnings=0)


@pytest.mark.parametrize("on", [True, False])
def test_ordinary_tests_are_called_as_ever(runs: Runs, on: bool) -> None:
    """A test without our fixtures is none of our business, in the same file too."""
    result = runs(
        """
def test_it(gpu_profile_device):
    return lambda: gpu_profile_device.run(1e-3)

def test_other(tmp_path):
    assert tmp_path.exists()

def test_fails():
    assert False, "as ever"
""",
        on=on,
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: as ever*"])
