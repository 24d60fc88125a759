"""Fine-tuning against full training: a network that has learned already gets a new head, and only the head learns.

A step of training computes forwards through all layers, and then backwards: once for the input of each layer, once for
its weights. If the trunk is frozen, nothing goes backwards through it. A third of the arithmetic remains, and the
trunk need not keep what it handed on. What to learn here:

* reference= compares two ways to do something on the same device, side by side, so it needs a GPU. Each of them has a
  profile of its own as well; without a GPU, compare the rows of their CPU legs.
* Memory can be judged on any machine: max_cpu_memory limits by how much the CPU leg makes the process grow.

Where the limits come from: arithmetic with data sheets, never measured on a GPU. Forwards a step takes 0.54 GFLOP,
full training three times that. On a T4 (8.1 TFLOP/s) this is 0.07 against 0.2 ms. Starting the kernels, at 10 µs each,
takes 0.2 ms for about 20 of them, against 0.55 ms for 55, on any GPU. So the ratio is above 2.5 whichever of the two
decides, and 1.5 leaves room. A CPU with 200 GFLOP/s takes 2.7 ms, ten times as long; the host of an H200 may be five
times as fast. Memory: weights of 4 MiB. Full training keeps 4 MiB that the layers handed on, and makes gradients and
new weights: 16 MiB. A frozen trunk lets go of each layer's output (0.5 MiB) when the next one has read it: 5 MiB. The
limits leave room for what libraries and the allocator take besides.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

ROWS, WIDTH, LAYERS, CLASSES, LEARNING_RATE = 256, 512, 4, 10, 0.1


def learned_network():
    """Return trunk and new head; where the trunk has learned what it knows does not matter for what a step costs."""
    layers = [layer for _ in range(LAYERS) for layer in (torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU())]
    return torch.nn.Sequential(*layers), torch.nn.Linear(WIDTH, CLASSES)


def step_of_training(device, *, frozen):
    """Return a step that returns the new weights and changes nothing, so that each call does equal work."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk, head = (part.to(device) for part in learned_network())
        points, classes = torch.randn(ROWS, WIDTH).to(device), torch.randint(CLASSES, (ROWS,)).to(device)
    trunk.requires_grad_(not frozen)
    learning = [weight for part in (trunk, head) for weight in part.parameters() if weight.requires_grad]

    def step():
        loss = torch.nn.functional.cross_entropy(head(trunk(points)), classes)
        gradients = torch.autograd.grad(loss, learning)
        with torch.no_grad():
            return [old - LEARNING_RATE * slope for old, slope in zip(learning, gradients, strict=True)]

    return step


def new_head(device):
    return step_of_training(device, frozen=True)


def everything(device):
    return step_of_training(device, frozen=False)


@pytest.mark.gpu_profile(items=ROWS, check={"rtol": 1e-3, "atol": 1e-4})
@pytest.mark.gpu_budget(min_speedup_over_reference=1.5, profile="new head")
@pytest.mark.gpu_budget(min_speedup={"H200": 1.2, "T4": 4, "*": 1}, profile="new head")
@pytest.mark.gpu_budget(max_gpu_memory="32 MiB", max_cpu_memory="32 MiB", profile="new head")
@pytest.mark.gpu_budget(max_gpu_memory="64 MiB", max_cpu_memory="64 MiB", profile="everything")
def test_fine_tuning_against_full_training(gpu_profile):
    gpu_profile(new_head, reference=everything, name="new head")
    gpu_profile(everything, name="everything")


def test_the_head_learns_the_same_in_both():
    """A frozen trunk changes what a step costs, and nothing about what the head learns in it."""
    head = new_head("cpu")()
    assert [weight.shape for weight in head] == [(CLASSES, WIDTH), (CLASSES,)]
    torch.testing.assert_close(head, everything("cpu")()[-2:])
