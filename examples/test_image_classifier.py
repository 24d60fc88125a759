"""An image classifier of the kind of AlexNet: five convolutions, three poolings, three dense layers.

AlexNet brought the GPU into the field: it was trained on two of them in 2012. Each layer is much work on little data,
see test_convolution.py, but there are many small ones. This one is scaled down to images of 64 x 64 pixels, so that it
runs in seconds on a laptop. What to learn here:

* Answering and learning are two workloads, with budgets of their own. A step of training takes three times the
  arithmetic (forwards; backwards to the layer's input, and to its weights) and over four times the kernels.
* A step that returns the new weights, in place of changing the network, does equal work at each call, and needs no
  reset= (see test_training.py for the other way).

Where the limits come from: arithmetic with data sheets, never measured. An image takes 48 MFLOP, so 16 take 0.8 GFLOP,
and a step 2.3 GFLOP: 4 and 11 ms on a CPU with 200 GFLOP/s, 0.1 and 0.3 ms on a T4 (8.1 TFLOP/s), an eighth of that on
an H200 (67 TFLOP/s). But starting the kernels from Python, at 10 µs each, takes 0.2 ms for the 20 of an answer and 0.9
ms for the 90 of a step, on any GPU. So a T4 wins more than tenfold, and an H200, whose host may be five times as fast,
three- to fourfold. The limits are less than that by half or more. Memory: 1.7 MB of weights, and 8 MB that the layers
hand on; most of the limit is room for cuDNN to work in.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

IMAGES, SIZE, CLASSES, LEARNING_RATE = 16, 64, 10, 0.01


def classifier():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, kernel_size=7, stride=2, padding=3),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(3, stride=2),
        torch.nn.Conv2d(32, 64, kernel_size=5, padding=2),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(3, stride=2),
        torch.nn.Conv2d(64, 96, kernel_size=3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(96, 64, kernel_size=3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(64, 64, kernel_size=3, padding=1),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(3, stride=2),
        torch.nn.Flatten(),
        torch.nn.Linear(64 * 3 * 3, 256),
        torch.nn.ReLU(),
        torch.nn.Linear(256, 256),
        torch.nn.ReLU(),
        torch.nn.Linear(256, CLASSES),
    )


def prepared(device):
    """Return network, images and their classes, made on the host from a fixed seed: both devices get the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, images = classifier(), torch.randn(IMAGES, 3, SIZE, SIZE)
        classes = torch.randint(CLASSES, (IMAGES,))
    return network.to(device), images.to(device), classes.to(device)


def inference(device):
    network, images, _ = prepared(device)
    network.eval()
    return torch.inference_mode()(lambda: network(images))


def training_step(device):
    network, images, classes = prepared(device)
    weights = tuple(network.parameters())

    def step():
        loss = torch.nn.functional.cross_entropy(network(images), classes)
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            learned = [old - LEARNING_RATE * slope for old, slope in zip(weights, gradients, strict=True)]
        return loss.detach(), learned

    return step


# The tolerances leave room for TF32, in which recent NVIDIA GPUs convolve by default: it keeps three decimal digits.
pytestmark = pytest.mark.gpu_profile(items=IMAGES, check={"rtol": 1e-2, "atol": 1e-2}, metrics=("time",))


@pytest.mark.gpu_budget(min_speedup={"H200": 2, "T4": 4, "*": 1.5}, max_gpu_memory="128 MiB")
def test_inference(gpu_profile):
    gpu_profile(inference)


@pytest.mark.gpu_budget(min_speedup={"H200": 1.2, "T4": 3, "*": 1}, max_gpu_memory="256 MiB")
def test_training_step(gpu_profile):
    loss, _ = gpu_profile(training_step).output
    assert 2 < loss < 3, "an untrained network guesses: its loss is near ln 10 = 2.3"
