"""A sweep over hyper-parameters: the same small network trained with many learning rates, batched or one by one.

Networks that learn apart from each other can learn at the same time. torch.func.vmap turns the training of one into
the training of all: each operation is done once, on arrays with one more dimension, in place of once per learning
rate. A small network leaves most of a GPU idle, and then the batch costs hardly more than one of its members. A CPU
has no such reserve: what it gains is what starting fewer operations saves. Compare the two rows.

The budget is one on reference=: both ways on the same device, side by side. That both arrive at the same losses is a
test of its own, which runs everywhere; check= compares CPU and GPU.

Where the limit comes from: arithmetic, never measured on a GPU. What decides is how many kernels are started: one by
one 16 x 3 steps of about 40 each, batched 3 steps. Starting one through torch.func takes 10 to 20 µs, through vmap
besides 20 to 40 µs. That is 19 to 38 ms against 2.4 to 4.8 ms, on any GPU: the ratio is 4 at least, and the limit a
half of that. There is no budget against the CPU, which starts such small work as quickly as a GPU does.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

LEARNING_RATES, STEPS, POINTS, FEATURES, HIDDEN = 16, 3, 128, 16, 64


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


@pytest.mark.gpu_profile(items=LEARNING_RATES, check={"rtol": 1e-3, "atol": 1e-3}, metrics=("time",))
@pytest.mark.gpu_budget(min_speedup_over_reference=2, profile="batched")
def test_batched_against_one_by_one(gpu_profile):
    losses = gpu_profile(batched, reference=one_by_one).output
    gpu_profile(one_by_one)
    assert losses.argmin() > 0, "the smallest learning rate is not the best one"


def test_both_arrive_at_the_same_losses():
    torch.testing.assert_close(batched("cpu")(), one_by_one("cpu")())
