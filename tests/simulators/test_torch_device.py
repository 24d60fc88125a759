"""The simulated accelerator ``simgpu``, driven through torch's own interfaces.

No test expects a real duration to be short. Work that must not be over yet is given an hour of device time, which
nothing waits for: ``Control.reset()`` abandons it.
"""

from __future__ import annotations

import copy
import io
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.simulators import SimulatorUnavailable, torch_device
from tests.simulators.torch_device import DEVICE_TYPE, Control

if TYPE_CHECKING:
    import torch
else:
    torch = pytest.importorskip("torch", reason="NOT TESTED on the simulated torch device: torch is not installed")

HOUR = 3600.0
ILLEGAL_ACCESS = "CUDA error: an illegal memory access was encountered"


@pytest.fixture
def control(simgpu: Control) -> Iterator[Control]:
    """The device's control, on the first device, with nothing left over from another test."""
    simgpu.reset()
    torch.accelerator.set_device_index(0)
    yield simgpu
    simgpu.reset()


def timing_event() -> torch.Event:
    return torch.Event(DEVICE_TYPE, enable_timing=True)


def bytes_on_device(count: int, device: str = DEVICE_TYPE) -> torch.Tensor:
    return torch.empty(count, dtype=torch.uint8, device=device)


# --- The accelerator as a whole ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("control")
def test_torch_finds_the_accelerator() -> None:
    """torch.accelerator finds simgpu with two devices."""
    assert torch.accelerator.current_accelerator() == torch.device("simgpu")
    assert torch.accelerator.is_available()
    assert torch.accelerator.device_count() == 2
    assert torch.accelerator.current_device_index() == 0


@pytest.mark.usefixtures("control")
def test_device_says_that_it_is_simulated() -> None:
    """Nobody can take the device for a GPU: its type and its name say what it is."""
    assert str(torch.ones(1, device="simgpu").device) == "simgpu:0"
    assert torch.get_device_module("simgpu").get_device_name() == "Simulated GPU"


def test_load_is_idempotent(control: Control, tmp_path: Path) -> None:
    """A process has one simulated device: loading again returns the same control and builds nothing."""
    assert torch_device.load(tmp_path) is control
    assert list(tmp_path.iterdir()) == []


def test_load_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a C++ compiler the simulator is unavailable, and says so."""
    monkeypatch.setattr(torch_device, "_loaded", None)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SimulatorUnavailable, match=r"needs a C\+\+ compiler.*no-such-compiler"):
        torch_device.load(tmp_path)


def test_load_without_ninja(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ninja the simulator is unavailable, and says so."""
    compiler = tmp_path / "some-compiler"
    compiler.touch(mode=0o755)
    monkeypatch.setattr(torch_device, "_loaded", None)
    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(SimulatorUnavailable, match="needs ninja"):
        torch_device.load(tmp_path)


@pytest.mark.usefixtures("simgpu")
def test_load_after_a_backward_pass() -> None:
    """A process that loads the device after a backward pass is told why the device could not be used there."""
    program = """
import torch
from pathlib import Path
from tests.simulators.torch_device import load
torch.ones((), requires_grad=True).clone().backward()
load(Path(".simulators"))
"""
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "RuntimeError: load the simulated device before the process runs its first backward pass" in ended.stderr


@pytest.mark.parametrize("setting", ["op_seconds", "launch_seconds", "copy_bytes_per_second", "memory_limit_bytes"])
def test_settings_reject_negative_values(control: Control, setting: str) -> None:
    """A setting keeps its value when it is given a negative one."""
    before = getattr(control, setting)
    with pytest.raises(ValueError, match=r"must (not be negative|be positive)"):
        setattr(control, setting, -1)
    assert getattr(control, setting) == before


# --- Results ----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("control")
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x @ x,
        lambda x: torch.softmax(x, dim=-1),
        lambda x: torch.conv2d(x.view(1, 4, 4, 16), x.view(2, 4, 2, 16)[..., :2], bias=x[0, :2]),
        lambda x: torch.nn.functional.scaled_dot_product_attention(x[None], x[None], x[None]),
        lambda x: torch.tensor(2.0) * x,
        lambda x: x[x > 0],
        lambda x: x.t().unfold(0, 2, 2),
        lambda x: torch.cat([x, x]).sum(dim=0),
        lambda x: torch.add(x, x, out=torch.empty(0, device=x.device)),
        lambda x: torch.complex(x, x).conj(),
    ],
    ids=["matmul", "softmax", "conv2d", "attention", "host scalar", "mask", "view", "list", "out", "conjugate"],
)
def test_results_are_those_of_the_cpu(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """An operator gives the numbers it gives on the CPU, and they stay on the device."""
    values = torch.linspace(-1, 1, 256).view(16, 16)
    result = function(values.to("simgpu"))
    assert result.device == torch.device("simgpu:0")
    torch.testing.assert_close(result.cpu(), function(values))


@pytest.mark.usefixtures("control")
def test_views_share_memory() -> None:
    """Writing to a view on the device changes the tensor it views."""
    tensor = torch.zeros(2, 3, device="simgpu")
    tensor.view(-1)[1:3] = 7
    tensor.t()[0, 1] = 5
    assert tensor.tolist() == [[0, 7, 7], [5, 0, 0]]


@pytest.mark.usefixtures("control")
def test_saved_tensors_return_to_their_device() -> None:
    """torch.save and torch.load keep a tensor on its device, or map it to another."""
    file = io.BytesIO()
    torch.save(torch.arange(3, device="simgpu:1"), file)
    for location, device in [(None, "simgpu:1"), ("cpu", "cpu"), ("simgpu:0", "simgpu:0")]:
        file.seek(0)
        restored = torch.load(file, map_location=location)
        assert restored.device == torch.device(device)
        assert restored.tolist() == [0, 1, 2]


@pytest.mark.usefixtures("control")
def test_flops_are_counted() -> None:
    """FlopCounterMode counts the operations of a matrix product on the device."""
    from torch.utils.flop_counter import FlopCounterMode

    matrix = torch.ones(8, 8, device="simgpu")
    with FlopCounterMode(display=False) as counter:
        matrix @ matrix
    assert counter.get_total_flops() == 2 * 8**3


# --- Time -------------------------------------------------------------------------------------------------------------


def test_events_measure_simulated_time(control: Control) -> None:
    """Events around four operators of 20 ms are at least 80 ms apart, and so is the host that waits for them."""
    matrix = torch.ones(4, 4, device="simgpu")
    start, end = timing_event(), timing_event()
    torch.accelerator.synchronize()
    control.op_seconds = 0.020
    before = time.perf_counter()
    start.record()
    for _ in range(4):
        matrix @ matrix
    end.record()
    end.synchronize()
    assert time.perf_counter() - before >= 0.080
    assert start.elapsed_time(end) >= 80.0


def test_host_does_not_wait_for_operators(control: Control) -> None:
    """An operator returns before the device is done with it."""
    end = timing_event()
    matrix = torch.ones(4, 4, device="simgpu")
    control.op_seconds = HOUR
    product = matrix @ matrix
    end.record()
    assert not end.query()
    assert not torch.accelerator.current_stream().query()
    assert product.device == torch.device("simgpu:0")


def test_elapsed_time_before_completion(control: Control) -> None:
    """The time between events that the device has not reached is refused, as on CUDA."""
    start, end = timing_event(), timing_event()
    start.record()
    control.busy(HOUR)
    end.record()
    with pytest.raises(RuntimeError, match="Both events must be completed"):
        start.elapsed_time(end)


def test_elapsed_time_without_timing(control: Control) -> None:
    """Events that were made without timing measure nothing, as on CUDA."""
    first, second = torch.Event(DEVICE_TYPE), torch.Event(DEVICE_TYPE)
    first.record()
    second.record()
    torch.accelerator.synchronize()
    with pytest.raises(ValueError, match="enable_timing=True"):
        first.elapsed_time(second)


@pytest.mark.parametrize("wait", ["device", "stream", "event", "item", "copy"])
def test_waiting(control: Control, wait: str) -> None:
    """Whatever needs the device's work to be over waits for it."""
    number = torch.ones((), device="simgpu")
    event = timing_event()
    before = time.perf_counter()
    control.busy(0.020)
    event.record()
    {
        "device": torch.accelerator.synchronize,
        "stream": torch.accelerator.current_stream().synchronize,
        "event": event.synchronize,
        "item": number.item,
        "copy": number.cpu,
    }[wait]()
    assert time.perf_counter() - before >= 0.020
    assert event.query()


def test_launch_takes_time(control: Control) -> None:
    """An idle device starts its work when the launch has reached it."""
    control.launch_seconds = HOUR
    event = timing_event()
    event.record()
    assert not event.query()


def test_copies_take_time(control: Control) -> None:
    """A copy that does not block returns at once, and occupies the stream for its bytes at the speed of the link."""
    destination = bytes_on_device(100)
    control.copy_bytes_per_second = 100 / HOUR
    destination.copy_(torch.arange(100, dtype=torch.uint8), non_blocking=True)
    assert not torch.accelerator.current_stream().query()
    control.reset()
    assert destination.tolist() == list(range(100))


def test_streams_are_independent(control: Control) -> None:
    """Work on one stream delays another stream only when that one waits for an event."""
    side, main = torch.Stream(DEVICE_TYPE), torch.accelerator.current_stream()
    with side:
        assert torch.accelerator.current_stream() == side
        control.busy(HOUR)
    main.synchronize()
    assert main.query()
    assert not side.query()
    main.wait_event(side.record_event())
    assert not main.query()


def test_busy_on_a_named_stream(control: Control) -> None:
    """busy() occupies the stream it is given, and no other."""
    side = torch.Stream(DEVICE_TYPE)
    control.busy(HOUR, side)
    assert not side.query()
    torch.accelerator.current_stream().synchronize()


def test_set_stream(control: Control) -> None:
    """torch.accelerator.set_stream decides where operators run."""
    main, side = torch.accelerator.current_stream(), torch.Stream(DEVICE_TYPE)
    matrix = torch.ones(4, 4, device="simgpu")
    torch.accelerator.set_stream(side)
    control.op_seconds = HOUR
    matrix @ matrix
    torch.accelerator.set_stream(main)
    main.synchronize()
    assert not side.query()


def test_counters(control: Control) -> None:
    """Operators and device-wide waits are counted; views, and copies to and from the host, are not."""
    matrix = torch.ones(4, 4).to("simgpu")
    matrix.view(-1).cpu()
    assert (control.operations, control.device_synchronize_count) == (0, 0)
    matrix @ matrix
    matrix.clone()
    torch.accelerator.synchronize()
    torch.accelerator.current_stream().synchronize()
    assert (control.operations, control.device_synchronize_count) == (2, 1)


# --- Memory -----------------------------------------------------------------------------------------------------------


def test_memory_statistics(control: Control) -> None:
    """Memory in use, its peak, what the cache keeps and what is free are those of a caching allocator."""
    control.memory_limit_bytes = 1 << 20
    torch.accelerator.empty_cache()
    torch.accelerator.reset_peak_memory_stats()
    base = torch.accelerator.memory_allocated()

    kept, dropped = bytes_on_device(1000), bytes_on_device(5000)
    assert torch.accelerator.memory_allocated() == base + 6000
    del dropped
    assert torch.accelerator.memory_allocated() == base + kept.nbytes
    assert torch.accelerator.max_memory_allocated() == base + 6000
    assert torch.accelerator.memory_reserved() == base + 6000
    assert torch.accelerator.get_memory_info() == ((1 << 20) - base - 6000, 1 << 20)

    torch.accelerator.empty_cache()
    torch.accelerator.reset_peak_memory_stats()
    assert torch.accelerator.memory_reserved() == base + 1000
    assert torch.accelerator.max_memory_allocated() == base + 1000


def test_out_of_memory(control: Control) -> None:
    """An allocation beyond the device's memory raises torch.OutOfMemoryError, and the device stays usable."""
    control.memory_limit_bytes = torch.accelerator.memory_allocated() + 1000
    with pytest.raises(torch.OutOfMemoryError, match=r"simgpu out of memory. Tried to allocate 1001 bytes"):
        bytes_on_device(1001)
    assert bytes_on_device(1000).numel() == 1000


def test_memory_belongs_to_a_device(control: Control) -> None:
    """Each device counts its own memory, whatever device is current."""
    before = [torch.accelerator.memory_allocated(index) for index in range(2)]
    tensor = bytes_on_device(1000, "simgpu:1")
    tensor.resize_(3000)
    after = [torch.accelerator.memory_allocated(index) for index in range(2)]
    assert after == [before[0], before[1] + 3000]


# --- Two devices ------------------------------------------------------------------------------------------------------


def test_devices_have_their_own_time(control: Control) -> None:
    """Work on one device does not delay the other."""
    first, second = (torch.accelerator.current_stream(index) for index in range(2))
    control.busy(HOUR, second)
    torch.accelerator.synchronize(0)
    assert first.query()
    assert not second.query()


def test_copy_between_devices(control: Control) -> None:
    """A copy from one device to the other keeps the values and occupies both."""
    source = torch.arange(100, dtype=torch.uint8, device="simgpu:0")
    torch.accelerator.synchronize()
    control.copy_bytes_per_second = 100 / HOUR
    copied = source.to("simgpu:1")
    assert not any(torch.accelerator.current_stream(index).query() for index in range(2))
    control.reset()
    assert copied.device == torch.device("simgpu:1")
    assert copied.tolist() == list(range(100))


@pytest.mark.usefixtures("control")
@pytest.mark.parametrize("other", ["cpu", "simgpu:1"])
def test_devices_do_not_mix(other: str) -> None:
    """An operator on tensors of two devices is refused, as on CUDA."""
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        torch.ones(2, device="simgpu:0") + torch.ones(2, device=other)


@pytest.mark.usefixtures("control")
def test_unknown_device() -> None:
    """A device index beyond the last is an invalid device ordinal."""
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.ones(2, device="simgpu:2")


@pytest.mark.usefixtures("control")
def test_device_context() -> None:
    """torch.accelerator.device_index decides where new tensors go, and restores the device."""
    with torch.accelerator.device_index(1):
        assert torch.ones(2, device="simgpu").device == torch.device("simgpu:1")
    assert torch.ones(2, device="simgpu").device == torch.device("simgpu:0")


# --- Training ---------------------------------------------------------------------------------------------------------


def small_network() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, kernel_size=3),
        torch.nn.BatchNorm2d(2),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 3),
        torch.nn.LogSoftmax(dim=1),
    )


def train(
    network: torch.nn.Module, optimizer_type: Callable[..., torch.optim.Optimizer], device: str
) -> dict[str, torch.Tensor]:
    network = copy.deepcopy(network).to(device)
    optimizer = optimizer_type(network.parameters(), lr=0.05)
    images = torch.linspace(-1, 1, 4 * 36).sin().view(4, 1, 6, 6).to(device)
    labels = torch.tensor([0, 1, 2, 0], device=device)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.nll_loss(network(images), labels).backward()
        optimizer.step()
    return {name: value.cpu() for name, value in network.state_dict().items()}


@pytest.mark.usefixtures("control")
@pytest.mark.parametrize("optimizer_type", [torch.optim.SGD, torch.optim.Adam])
def test_training(optimizer_type: Callable[..., torch.optim.Optimizer]) -> None:
    """Training a network on the device gives the parameters it gives on the CPU."""
    torch.manual_seed(0)
    network = small_network()
    torch.testing.assert_close(
        train(network, optimizer_type, "simgpu:1"), train(network, optimizer_type, "cpu"), rtol=1e-4, atol=1e-5
    )


def test_backward_runs_on_the_stream_of_forward(control: Control) -> None:
    """Autograd's own thread uses the stream that the forward pass used."""
    weight = torch.ones(4, device="simgpu", requires_grad=True)
    main, side = torch.accelerator.current_stream(), torch.Stream(DEVICE_TYPE)
    with side:
        loss = weight * 2
    gradient = torch.ones_like(loss)
    torch.accelerator.synchronize()
    control.op_seconds = HOUR
    with side:
        loss.backward(gradient)
    main_busy, side_busy = not main.query(), not side.query()
    control.reset()
    assert weight.grad is not None
    assert weight.grad.tolist() == [2, 2, 2, 2]
    assert side_busy
    assert not main_busy


@pytest.mark.usefixtures("control")
@pytest.mark.filterwarnings("ignore:In simgpu autocast")
def test_checkpoint_repeats_random_numbers() -> None:
    """Activation checkpointing draws the same random numbers when it computes the forward pass again."""
    from torch.utils.checkpoint import checkpoint

    weight = torch.ones(100, device="simgpu", requires_grad=True)
    dropped = checkpoint(lambda x: torch.nn.functional.dropout(x).square(), weight, use_reentrant=False)
    dropped.sum().backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, 2 * dropped.detach())


@pytest.mark.usefixtures("control")
def test_threads_have_their_own_device_and_stream() -> None:
    """A thread's current device and stream are its own, while all threads compute at once."""
    failures: list[BaseException] = []

    def work(index: int) -> None:
        try:
            torch.accelerator.set_device_index(index)
            stream = torch.Stream(DEVICE_TYPE)
            torch.accelerator.set_stream(stream)
            for _ in range(20):
                weight = torch.randn(4, 4, device="simgpu", requires_grad=True)
                (weight @ weight).sum().backward()
                assert weight.grad is not None
                assert weight.grad.device == torch.device("simgpu", index)
                assert torch.accelerator.current_stream() == stream
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number % 2,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert torch.accelerator.current_device_index() == 0


# --- Random numbers ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("control")
def test_manual_seed_covers_both_devices() -> None:
    """torch.manual_seed makes the random numbers of every device repeatable."""

    def draw() -> list[torch.Tensor]:
        torch.manual_seed(7)
        return [torch.randn(5, device=f"simgpu:{index}") for index in range(2)]

    for first, second in zip(draw(), draw(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.usefixtures("control")
def test_device_numbers_leave_the_cpu_alone() -> None:
    """Random numbers drawn on the device do not change those drawn on the CPU."""
    torch.manual_seed(7)
    undisturbed = torch.rand(3)
    torch.manual_seed(7)
    torch.nn.functional.dropout(torch.rand(10, device="simgpu"))
    assert torch.equal(torch.rand(3), undisturbed)


@pytest.mark.usefixtures("control")
def test_generator_of_the_device() -> None:
    """A torch.Generator of the device repeats its numbers when seeded, and leaves the default generator alone."""
    generator = torch.Generator(device="simgpu:1")
    state = torch.get_device_module("simgpu").get_rng_state("simgpu:1")
    first = torch.rand(5, device="simgpu:1", generator=generator.manual_seed(3))
    second = torch.rand(5, device="simgpu:1", generator=generator.manual_seed(3))
    assert generator.device == torch.device("simgpu:1")
    assert torch.equal(first, second)
    assert torch.equal(torch.get_device_module("simgpu").get_rng_state("simgpu:1"), state)


@pytest.mark.usefixtures("control")
def test_generator_of_another_device_type() -> None:
    """A generator of the CPU is refused on the device, as on CUDA."""
    with pytest.raises(RuntimeError, match="Expected a 'simgpu' device type for generator but found 'cpu'"):
        torch.rand(2, device="simgpu", generator=torch.Generator())


@pytest.mark.usefixtures("control")
def test_random_state() -> None:
    """The random state of a device can be read and restored, by hand and by fork_rng."""
    module = torch.get_device_module("simgpu")
    state = module.get_rng_state()
    first = torch.rand(5, device="simgpu")
    module.set_rng_state(state)
    with torch.random.fork_rng(devices=[0], device_type="simgpu"):
        torch.rand(5, device="simgpu")
    assert torch.equal(torch.rand(5, device="simgpu"), first)


# --- A corrupted device -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        "torch.ones(2, device='simgpu')",
        "matrix @ matrix",
        "matrix.cpu()",
        "torch.ones(2).to('simgpu')",
        "number.item()",
        "event.record()",
        "event.query()",
        "event.synchronize()",
        "event.elapsed_time(event)",
        "stream.query()",
        "stream.synchronize()",
        "stream.wait_event(event)",
        "stream.record_event()",
        "torch.accelerator.synchronize()",
        "torch.accelerator.empty_cache()",
        "torch.accelerator.get_memory_info()",
        "control.busy(1.0)",
    ],
)
def test_poison(control: Control, call: str) -> None:
    """Every use of a poisoned device fails like a corrupted CUDA context, until it is healed."""
    event, stream = timing_event(), torch.Stream(DEVICE_TYPE)
    event.record()
    names = {
        "torch": torch,
        "control": control,
        "event": event,
        "stream": stream,
        "matrix": torch.ones(4, 4, device="simgpu"),
        "number": torch.ones((), device="simgpu"),
    }
    event.synchronize()
    control.poison()
    with pytest.raises(RuntimeError, match=ILLEGAL_ACCESS):
        eval(call, names)
    control.heal()
    eval(call, names)


def test_poisoned_device_frees_memory(control: Control) -> None:
    """Tensors can be freed on a poisoned device, and the memory statistics be read."""
    before = torch.accelerator.memory_allocated()
    tensor = bytes_on_device(1000)
    control.poison()
    del tensor
    assert torch.accelerator.memory_allocated() == before
