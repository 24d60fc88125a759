"""Mixed precision against float32: half as many bits per number where that does no harm.

Inside torch.autocast, products of matrices compute in 16 bits, for which GPUs since 2017 have units of their own, the
tensor cores; sums that need more digits stay in float32. What to learn here:

* A faster answer that is less precise needs a tolerance, and somebody has to say which. Here it is 1 % of the largest
  number: bfloat16 has 8 bits and float16 has 11, and rounding adds up over four layers.
* cpu= says what the CPU leg does: float32, because that is what one would use there. So check= compares a mixed result
  on the GPU with a float32 one.
* precision= says with which peak of the GPU the rate of arithmetic is compared.

Where the limits come from: arithmetic with data sheets, never measured. Four layers take 8.6 GFLOP. A T4 does 8.1
TFLOP/s in float32 and 65 in float16: 1.1 against 0.13 ms. Starting 17 kernels, of which eight only shorten numbers,
takes another 0.17 ms, so mixed precision wins threefold. An H200 does 67 and 989 TFLOP/s: 0.13 against 0.01 ms, and
there the 17 kernels decide: mixed precision may be the slower one, and 0.4 says how much. It pays for large layers:
try WIDTH = 8192. Against a CPU with 200 GFLOP/s (43 ms) both win a hundredfold, against a host five times as fast
still fiftyfold; the limits are far below.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

ROWS, WIDTH, LAYERS = 1024, 1024, 4
FLOPS = 2 * ROWS * WIDTH**2 * LAYERS


def prepared(device):
    """Return layers and their input; weights are scaled so that numbers stay near 1 from layer to layer."""
    random = torch.Generator().manual_seed(0)
    weights = [torch.randn(WIDTH, WIDTH, generator=random) * (2 / WIDTH) ** 0.5 for _ in range(LAYERS)]
    return [weight.to(device) for weight in weights], torch.randn(ROWS, WIDTH, generator=random).to(device)


def through_layers(weights, rows):
    for weight in weights:
        rows = torch.relu(rows @ weight)
    return rows


def float32(device):
    weights, rows = prepared(device)
    return lambda: through_layers(weights, rows)


def mixed(device):
    weights, rows = prepared(device)
    # CPUs that have short numbers at all have bfloat16; GPUs had float16 first, and all with tensor cores have it.
    short = torch.bfloat16 if torch.device(device).type == "cpu" else torch.float16

    def compute():
        with torch.autocast(torch.device(device).type, dtype=short):
            return through_layers(weights, rows).float()

    return compute


def close_enough(exact, shortened):
    error, largest = (exact.cpu() - shortened.cpu()).abs().max(), exact.abs().max().cpu()
    assert error < 0.01 * largest, f"mixed precision is off by {error / largest:.1%} of the largest number"


@pytest.mark.gpu_profile(flops=FLOPS, precision="fp16", check=close_enough, metrics=("time",))
@pytest.mark.gpu_budget(min_speedup_over_reference={"T4": 1.5, "*": 0.4}, min_speedup={"H200": 10, "T4": 8, "*": 3})
def test_mixed_precision(gpu_profile):
    gpu_profile(mixed, reference=float32, cpu=float32)


def test_mixed_precision_is_close_enough():
    """The same tolerance, without a GPU: bfloat16 on the CPU."""
    close_enough(float32("cpu")(), mixed("cpu")())
