"""A small specialised model against a large general one, at the same task, equally well solved.

The task: does a point of the plane lie in a ring around the origin? The large model is a general one that learns any
shape from examples. The small one knows that only the distance matters, and learns 2 numbers in place of 1024. Both
are right in more than 95 of 100 cases, so the question is what an answer costs: time, and energy.

Computing less is often the best way to be fast. But a GPU hides a part of the difference: the small model uses a
corner of it, and most of its time goes into starting kernels. On a CPU the difference is larger.
"""

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

POINTS = 4_096


def points_and_answers(count, seed):
    points = 4 * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) - 2
    distance = points.norm(dim=1)
    return points, (distance > 0.7) & (distance < 1.5)


class SmallModel(torch.nn.Module):
    """Learns the radii of the ring."""

    def __init__(self, points, answers):
        super().__init__()
        inside = points[answers].norm(dim=1)
        self.register_buffer("inner", inside.min())
        self.register_buffer("outer", inside.max())

    def forward(self, points):
        """Return for each point whether it lies in the ring."""
        distance = points.norm(dim=1)
        return (distance >= self.inner) & (distance <= self.outer)


class LargeModel(torch.nn.Module):
    """Two wide layers with random weights, of which a third learns to make the answer."""

    def __init__(self, points, answers):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            first, second = torch.nn.Linear(2, 1024), torch.nn.Linear(1024, 1024)
        self.hidden = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU())
        known = self.hidden(points).detach()
        # The least squares solution, with a little weight on small numbers, so that it does not learn by heart.
        self.register_buffer(
            "decide", torch.linalg.solve(known.T @ known + 1e-3 * torch.eye(1024), known.T @ (2.0 * answers - 1))
        )

    def forward(self, points):
        """Return for each point whether it lies in the ring."""
        return self.hidden(points) @ self.decide > 0


def answering(model):
    """Return the workload: answers for many points at once."""

    def builder(device):
        on_device = copy.deepcopy(model).to(device)
        points = points_and_answers(POINTS, seed=2)[0].to(device)

        def answer():
            with torch.inference_mode():
                return on_device(points)

        return answer

    return builder


@pytest.fixture(scope="module")
def small():
    return SmallModel(*points_and_answers(2_048, seed=1))


@pytest.fixture(scope="module")
def large():
    return LargeModel(*points_and_answers(2_048, seed=1))


def test_both_are_right_in_95_of_100_cases(small, large):
    points, answers = points_and_answers(POINTS, seed=2)
    for model in (small, large):
        assert (model(points) == answers).float().mean() > 0.95


# reference= is another way to do the same on the same device, measured side by side with the workload.
@pytest.mark.gpu_budget(min_speedup_over_reference=2, min_throughput="20 M/s")
def test_time_per_answer(gpu_profile, small, large):
    gpu_profile(answering(small), reference=answering(large), items=POINTS, name="small")


# Two profiles in one test: each has its own name, and profile= says to which of them a budget binds.
@pytest.mark.gpu_profile(items=POINTS, metrics=("time", "energy"))
@pytest.mark.gpu_budget(min_items_per_joule="100 k/J", profile="small")
@pytest.mark.gpu_budget(max_energy="2 J", profile="large")
def test_energy_per_answer(gpu_profile, small, large):
    few = gpu_profile(answering(small), name="small")
    many = gpu_profile(answering(large), name="large")
    if gpu_profile.enabled:  # without --gpu-profile there are no figures
        assert few.items_per_joule > 2 * many.items_per_joule
