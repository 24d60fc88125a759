"""Training a small neural network: from the same start, on both devices, to the same loss.

A network wins less on a GPU than its matrix products promise. Each step is some dozen small kernels, one after the
other, and each has to be started from Python; the smaller the layers, the more the GPU waits for the next one. What to
learn here:

* The callable is measured many times and must do equal work each time, but training changes the network. reset= starts
  over before each call, untimed.
* Start and data are made on the host from a fixed seed, so that both devices do the same, and check= compares the
  losses that they arrive at: a fast wrong answer is worth nothing.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

ROWS, FEATURES, HIDDEN, CLASSES, STEPS = 512, 64, 1024, 10, 10


class Training:
    """Ten steps of gradient descent on random points, whose class a random linear rule decides."""

    def __init__(self, device):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            points, rule = torch.randn(ROWS, FEATURES), torch.randn(FEATURES, CLASSES)
            network = torch.nn.Sequential(
                torch.nn.Linear(FEATURES, HIDDEN),
                torch.nn.ReLU(),
                torch.nn.Linear(HIDDEN, HIDDEN),
                torch.nn.ReLU(),
                torch.nn.Linear(HIDDEN, CLASSES),
            )
        self.start = {name: value.clone() for name, value in network.state_dict().items()}
        self.points, self.classes = points.to(device), (points @ rule).argmax(dim=1).to(device)
        self.network = network.to(device)

    def start_over(self):
        """Forget everything; the first call begins with this too."""
        self.network.load_state_dict(self.start)
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=0.1, momentum=0.9)

    def loss(self):
        """Return how wrong the network is."""
        return torch.nn.functional.cross_entropy(self.network(self.points), self.classes)

    def __call__(self):
        """Train, and return the loss at the end. This is what is measured."""
        for _ in range(STEPS):
            self.optimizer.zero_grad()
            self.loss().backward()
            self.optimizer.step()
        with torch.no_grad():
            return self.loss()


@pytest.mark.gpu_budget(min_speedup={"H200": 2, "*": 1.2}, max_gpu_memory="256 MiB")
def test_training(gpu_profile):
    result = gpu_profile(Training, backend="torch", reset=Training.start_over, items=STEPS * ROWS, check={"rtol": 1e-2})
    assert result.output < 2, "ten steps have to bring the loss well below 2.3, that of guessing"
