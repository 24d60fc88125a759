"""A batch that is hungry for memory, and its checkpointed form: time paid for memory.

Training keeps what each layer hands on until the gradients have come back to it. torch.utils.checkpoint keeps only
what goes into a block, and computes the block once more when its gradients are due: a third more arithmetic, for the
same gradients. Memory is what a budget has to hold here, or the batch that fits today does not fit tomorrow; a second
budget says what may be paid for it.

Where the limits come from: arithmetic with data sheets, never measured on a GPU. A block keeps 288 numbers per row,
4.5 MiB for 4096 rows, so eight keep 36 MiB. Checkpointed it is 0.5 MiB per block, one whole block, and what is being
computed: 11 MiB. So 20 MiB is room enough for the one and cannot hold the other. Time: four thirds of the arithmetic;
but 2.1 GFLOP take a T4 (8.1 TFLOP/s) 0.3 ms only, and starting the kernels from Python, 130 against 105 at 10 µs each,
decides on any GPU. Checkpointing itself takes about 0.1 ms per block. That is 2.1 against 1.05 ms, half the speed, and
0.3 of it is asked for.

Without a GPU only times are seen. The memory of a CPU leg is that of the whole process, and the C library keeps freed
blocks of this size to use them again, so that both forms look alike.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

ROWS, WIDTH, HIDDEN, BLOCKS = 4096, 32, 128, 8


class Network(torch.nn.Module):
    """Blocks like those between the attention of a transformer: wide inside, narrow where they meet."""

    def __init__(self, *, checkpointed):
        super().__init__()
        self.checkpointed = checkpointed
        self.blocks = torch.nn.ModuleList(
            torch.nn.Sequential(torch.nn.Linear(WIDTH, HIDDEN), torch.nn.GELU(), torch.nn.Linear(HIDDEN, WIDTH))
            for _ in range(BLOCKS)
        )

    def forward(self, rows):
        """Return what comes out of the last block."""
        for block in self.blocks:
            if self.checkpointed:
                rows = torch.utils.checkpoint.checkpoint(block, rows, use_reentrant=False, preserve_rng_state=False)
            else:
                rows = block(rows)
        return rows


def gradients(device, *, checkpointed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, rows = Network(checkpointed=checkpointed).to(device), torch.randn(ROWS, WIDTH).to(device)
    weights = tuple(network.parameters())
    return lambda: torch.autograd.grad(network(rows).square().mean(), weights)


def plain(device):
    return gradients(device, checkpointed=False)


def checkpointed(device):
    return gradients(device, checkpointed=True)


@pytest.mark.gpu_profile(items=ROWS, check={"rtol": 1e-2, "atol": 1e-5}, metrics=("time",))
@pytest.mark.gpu_budget(max_gpu_memory="20 MiB", profile="checkpointed")
@pytest.mark.gpu_budget(min_speedup_over_reference=0.3, profile="checkpointed")
@pytest.mark.gpu_budget(max_gpu_memory="64 MiB", profile="plain")
def test_memory_of_a_batch(gpu_profile):
    thrifty = gpu_profile(checkpointed, reference=plain, name="checkpointed")
    hungry = gpu_profile(plain, name="plain")
    if gpu_profile.enabled:  # without --gpu-profile there are no figures
        assert thrifty.gpu.memory_bytes < hungry.gpu.memory_bytes


def test_the_gradients_are_the_same():
    torch.testing.assert_close(checkpointed("cpu")(), plain("cpu")())
