"""The size of a model against what a GPU gains: small, medium, large; speedup, and energy per item.

All three are four dense layers for 256 items at once; only their width differs. The work grows with the square of the
width, 256-fold from 64 to 1024, and the number of kernels stays the same. Starting them takes a GPU the same time
whatever they compute. So the speedup grows with the model until the arithmetic fills the GPU, and an item of a small
model costs nearly as much energy as one of a larger model, because the GPU draws power while it waits. Somewhere
between small and large lies the size from which the GPU wins, the crossover. A sweep finds it, with its interval, and
max_crossover= limits it.

Where the limits come from: arithmetic with data sheets, never measured. Eight kernels, started every 10 µs, are 0.08
ms. The arithmetic is 8 MFLOP, 134 MFLOP and 2.1 GFLOP: on a CPU with 200 GFLOP/s 0.04, 0.7 and 11 ms; on a T4 (8.1
TFLOP/s) the large one takes 0.3 ms, on an H200 (67 TFLOP/s) 0.03 ms. So the speedups of a T4 are about 0.5, 8 and 30.
An H200, whose host may be five times as fast, has about 0.1, 1.7 and 25. The limits are at most a third of that, but
for the medium size on an H200, which has to be no slower. The crossover is where 2 ITEMS LAYERS width² operations take
a CPU as long as the kernels take to start: at a width of 90 for one of 200 GFLOP/s, of 200 for one of 1 TFLOP/s; the
limit is twice the latter. Energy: a GPU draws no more than its board allows, 700 W for an H200 and 70 W for a T4. 256
items in 0.08 ms at 700 W are 4,500 items per joule, and in 0.35 ms at 70 W 10,000. The limit is less than a quarter of
the lower one. Reading energy takes 20 s per size on a GPU.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

ITEMS, LAYERS = 256, 4
SMALL, MEDIUM, LARGE = 64, 256, 1024


def answering(device, width):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [layer for _ in range(LAYERS) for layer in (torch.nn.Linear(width, width), torch.nn.ReLU())]
        model, items = torch.nn.Sequential(*layers).to(device), torch.randn(ITEMS, width).to(device)
    return torch.inference_mode()(lambda: model(items))


def flops(width):
    return 2 * ITEMS * width**2 * LAYERS


@pytest.mark.gpu_profile(items=ITEMS, flops=flops, check=True, metrics=("time",))
@pytest.mark.gpu_budget(min_items_per_joule="1 k/J")
@pytest.mark.parametrize(
    "width",
    [
        pytest.param(
            SMALL,
            id="small",
            marks=pytest.mark.gpu_budget(
                min_speedup=1, enforce=False, reason="starting the kernels takes as long as the CPU for everything"
            ),
        ),
        pytest.param(MEDIUM, id="medium", marks=pytest.mark.gpu_budget(min_speedup={"H200": 1, "T4": 2, "*": 0.5})),
        pytest.param(LARGE, id="large", marks=pytest.mark.gpu_budget(min_speedup={"H200": 8, "T4": 8, "*": 3})),
    ],
)
def test_model_size(gpu_profile, width):
    gpu_profile(answering, params={"width": width})


@pytest.mark.gpu_profile(flops=flops, metrics=("time",))
@pytest.mark.gpu_budget(max_crossover=400)
def test_crossover(gpu_profile):
    gpu_profile.sweep(answering, width=[32, 64, 128, 256, 512, 1024])
