"""A sweep over hyper-parameters: the same small network trained with many learning rates, batched or one by one.

Networks that learn apart from each other can learn at the same time. torch.func.vmap turns the training of one into the
training of all: each operation is done once, on arrays with one more dimension, in place of once per learning rate. A
small network leaves most of a GPU idle, and then the batch costs hardly more than one of its members.

The comparison is one of reference=: both on the same device, side by side. That both arrive at the same losses is a
test of its own, which runs everywhere; check= compares CPU and GPU.

Where the limit comes from: arithmetic, never measured on a GPU. What decides is how many kernels are started. One by one
it is 16 x 4 steps of about 40 kernels, at 10 µs each 26 ms, on any GPU. Batched it is 4 x 40, and vmap takes two to four
times as long to start each: 3 to 6 ms. The arithmetic (0.2 GFLOP) takes a T4 (8.1 TFLOP/s) 0.03 ms. So the ratio is 4 at
least; the limit is 3. There is no budget against the CPU: its cores start such small work as quickly as a GPU does.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

LEARNING_RATES, STEPS, POINTS, FEATURES, HIDDEN = 8, 3, 512, 16, 64


def problem(device):
    """Return the training for one learning rate, and the rates to try; the same on both devices."""
    random = torch.Generator().manual_seed(0)
    points, rule = torch.randn(POINTS, FEATURES, generator=random), torch.randn(FEATURES, generator=random)
    answers = (points @ rule > 0).float()
    start = {
        "hidden": torch.randn(FEATURES, HIDDEN, generator=random) / FEATURES**0.5,
        "decide": torch.randn(HIDDEN, generator=random) / HIDDEN**0.5,
    }
    points, answers = points.to(device), answers.to(device)
    start = {name: weight.to(device) for name, weight in start.items()}

    def loss(weights):
        guesses = torch.tanh(points @ weights["hidden"]) @ weights["decide"]
        return torch.nn.functional.binary_cross_entropy_with_logits(guesses, answers)

    def loss_after_training(rate):
        weights = start
        for _ in range(STEPS):
            slopes = torch.func.grad(loss)(weights)
            weights = {name: weight - rate * slopes[name] for name, weight in weights.items()}
        return loss(weights)

    return loss_after_training, torch.logspace(-2, 1, LEARNING_RATES).to(device)


def batched(device):
    train, rates = problem(device)
    return lambda: torch.func.vmap(train)(rates)


def one_by_one(device):
    train, rates = problem(device)
    return lambda: torch.stack([train(rate) for rate in rates])


@pytest.mark.gpu_profile(items=LEARNING_RATES, check={"rtol": 1e-3})
@pytest.mark.gpu_budget(min_speedup_over_reference=3, profile="batched")
def test_batched_against_one_by_one(gpu_profile):
    losses = gpu_profile(batched, reference=one_by_one).output
    gpu_profile(one_by_one)
    assert losses.argmin() > 0, "the smallest learning rate is not the best one"


def test_both_arrive_at_the_same_losses():
    torch.testing.assert_close(batched("cpu")(), one_by_one("cpu")())
