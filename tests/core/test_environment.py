"""Devices by name, and what is known of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_gpuprof.core.environment import DeviceId, DeviceInfo
from pytest_gpuprof.core.errors import DeviceError

repeatable = settings(derandomize=True, deadline=None)


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("cpu", DeviceId("cpu", 0)),
        ("cuda", DeviceId("cuda", 0)),
        ("cuda:0", DeviceId("cuda", 0)),
        (" opencl:12 ", DeviceId("opencl", 12)),
    ],
)
def test_a_device_is_a_type_and_an_index(text: str, device: DeviceId) -> None:
    """The index may be left out, and is 0 then."""
    assert DeviceId.parse(text) == device


@pytest.mark.parametrize("text", ["", "cuda:", ":0", "cuda:-1", "cuda:x", "CUDA:0", "cuda 0", "0", "cuda:0,cuda:1"])
def test_anything_else_is_refused_with_the_form_to_write(text: str) -> None:
    """The message shows the text and what a device looks like."""
    with pytest.raises(DeviceError, match=r"does not name a device; write it as 'cuda:0'") as error:
        DeviceId.parse(text)
    assert repr(text) in str(error.value)


@repeatable
@given(
    kind=st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(lambda kind: kind != "cpu"),
    index=st.integers(0, 99),
)
def test_the_name_of_a_device_is_read_back(kind: str, index: int) -> None:
    """What is shown can be given as an option."""
    assert DeviceId.parse(str(DeviceId(kind, index))) == DeviceId(kind, index)


def test_there_is_one_cpu_and_it_has_no_number() -> None:
    """The CPU is written without an index."""
    assert str(DeviceId("cpu")) == "cpu"


def test_a_stand_in_says_so_wherever_its_name_is_shown() -> None:
    """No figure of a stand-in can pass for one of a GPU."""
    device = DeviceInfo(DeviceId("opencl"), "PoCL", "stand-in", "opencl", why_stand_in="OpenCL on the CPU")
    assert device.label == "PoCL (OpenCL on the CPU)"
    assert DeviceInfo(DeviceId("cuda"), "H200", "gpu", "torch").label == "H200"


@pytest.mark.parametrize(("kind", "why"), [("stand-in", None), ("gpu", "simulated"), ("cpu", "simulated")])
def test_only_a_stand_in_has_a_reason_to_be_one(kind: str, why: str | None) -> None:
    """A stand-in without its word, or a GPU with one, cannot be made."""
    with pytest.raises(ValueError, match="stand-in"):
        DeviceInfo(DeviceId("x"), "X", kind, "x", why_stand_in=why)  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize(
    ("name", "uuid", "is_mig"),
    [
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None, True),
        ("NVIDIA A100-SXM4-40GB", "MIG-5f2b", True),
        ("NVIDIA A100-SXM4-40GB", "GPU-5f2b", False),
        ("MIGHTY GPU", None, False),
    ],
)
def test_a_slice_of_a_card_is_told_by_its_uuid_or_name(name: str, uuid: str | None, is_mig: bool) -> None:
    """MIG as a word of the name, or as the beginning of the UUID."""
    assert DeviceInfo(DeviceId("cuda"), name, "gpu", "torch", uuid=uuid).is_mig is is_mig
