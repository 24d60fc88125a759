"""A batch that is hungry for memory, and its checkpointed form: time paid for memory.

Training keeps what each layer hands on until the gradients have come back to it. torch.utils.checkpoint keeps only what
goes into a block, and computes the block once more when its gradients are due: a third more arithmetic. The gradients
are the same. Memory is what a budget has to hold here, or the batch that fits today does not fit tomorrow; and a second
budget says what may be paid for it.

Where the limits come from: arithmetic, never measured on a GPU. A block keeps 288 numbers per row, 9 MiB for 8192 rows,
so eight keep 72 MiB, and a few more are being computed. Checkpointed it is 1 MiB per block, one whole block, and what is
being computed: 20 MiB. The limit of the checkpointed form leaves room for the workspace of cuBLAS (32 MiB on an H200) and
is still below what the plain form cannot do without. Time: four thirds of the arithmetic and of the kernels; half the
speed is allowed. On a CPU with 200 GFLOP/s the 4.3 GFLOP take 22 ms, on a T4 (8.1 TFLOP/s) 0.5 ms, and on any GPU
starting about 150 kernels from Python takes 1.5 ms.

The memory of the CPU leg is that of the whole process, and the C library keeps freed blocks of this size to use them
again. So the two rows may look alike. MALLOC_MMAP_THRESHOLD_=131072 in the environment makes it give them back, and then
the call needs about 76 MiB in the plain form and 20 MiB in the checkpointed one, on the CPU too.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")
checkpointing = pytest.importorskip("torch.utils.checkpoint")

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
                rows = checkpointing.checkpoint(block, rows, use_reentrant=False, preserve_rng_state=False)
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


@pytest.mark.gpu_profile(items=ROWS, check={"rtol": 1e-2, "atol": 1e-5})
@pytest.mark.gpu_budget(max_gpu_memory="20 MiB", profile="checkpointed")
@pytest.mark.gpu_budget(
    min_speedup_over_reference=0.5, min_speedup={"H200": 5, "T4": 4, "*": 2}, profile="checkpointed"
)
@pytest.mark.gpu_budget(max_gpu_memory="64 MiB", profile="plain")
def test_memory_of_a_batch(gpu_profile):
    thrifty = gpu_profile(checkpointed, reference=plain, name="checkpointed")
    hungry = gpu_profile(plain, name="plain")
    if gpu_profile.enabled:  # without --gpu-profile there are no figures
        assert thrifty.gpu.memory_bytes < hungry.gpu.memory_bytes


def test_the_gradients_are_the_same():
    torch.testing.assert_close(checkpointed("cpu")(), plain("cpu")())
