"""A small specialised model against a large general one, at the same task, equally well solved.

The task: does a point of the plane lie in a ring around the origin? The large model is a general one that learns any
shape from examples. The small one knows that only the distance matters, and learns 6 numbers in place of 265,000. Both
are right in more than 95 of 100 cases, so the question is what an answer costs: time, and energy.

Computing less is often the best way to be fast. But a GPU hides a part of the difference: the small model uses a
corner of it, and most of its time goes into starting kernels. On a CPU the difference is larger.
"""

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

POINTS = 32_768


class SmallModel(torch.nn.Module):
    """A parabola over the squared distance."""

    def __init__(self):
        super().__init__()
        self.decide = torch.nn.Linear(2, 2)

    def forward(self, points):
        """Return how much speaks for outside and for inside."""
        squared = (points * points).sum(dim=1, keepdim=True)
        return self.decide(torch.cat([squared, squared * squared], dim=1))


class LargeModel(torch.nn.Sequential):
    """Three layers that know nothing about the task."""

    def __init__(self):
        wide = 512
        super().__init__(
            torch.nn.Linear(2, wide),
            torch.nn.ReLU(),
            torch.nn.Linear(wide, wide),
            torch.nn.ReLU(),
            torch.nn.Linear(wide, 2),
        )


def points_and_answers(count, seed):
    points = 4 * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) - 2
    distance = points.norm(dim=1)
    return points, ((distance > 0.7) & (distance < 1.5)).long()


def trained(model_class, steps, learning_rate):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = model_class()
    points, answers = points_and_answers(512, seed=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(points), answers).backward()
        optimizer.step()
    return model


def answering(model):
    """Return the workload: answer for many points at once, without learning."""

    def builder(device):
        on_device = copy.deepcopy(model).to(device)
        points = points_and_answers(POINTS, seed=2)[0].to(device)

        def answer():
            with torch.inference_mode():
                return on_device(points).argmax(dim=1)

        return answer

    return builder


@pytest.fixture(scope="module")
def small():
    return trained(SmallModel, steps=500, learning_rate=0.1)


@pytest.fixture(scope="module")
def large():
    return trained(LargeModel, steps=150, learning_rate=3e-3)


def test_both_are_right_in_95_of_100_cases(small, large):
    points, answers = points_and_answers(POINTS, seed=2)
    for model in (small, large):
        accuracy = (model(points).argmax(dim=1) == answers).float().mean()
        assert accuracy > 0.95


# reference= is another way to do the same on the same device, measured side by side with the workload.
@pytest.mark.gpu_budget(min_speedup_over_reference=2, min_throughput="50 M/s")
def test_time_per_answer(gpu_profile, small, large):
    gpu_profile(answering(small), reference=answering(large), items=POINTS, name="small")


@pytest.mark.gpu_profile(items=POINTS, metrics=("time", "energy"))
@pytest.mark.gpu_budget(min_items_per_joule="100 k/J", profile="small")
@pytest.mark.gpu_budget(max_energy="1 J", profile="large")
def test_energy_per_answer(gpu_profile, small, large):
    few = gpu_profile(answering(small), name="small")
    many = gpu_profile(answering(large), name="large")
    if gpu_profile.enabled:  # without --gpu-profile there are no figures
        assert few.items_per_joule > 2 * many.items_per_joule
