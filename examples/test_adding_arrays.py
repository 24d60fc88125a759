"""Adding two arrays: much data, hardly any work.

For each sum two numbers are read and one is written, and then there is a single addition. The processor waits for its
memory, so a GPU wins only as much as its memory is faster. What to learn here:

* A speedup is always *against something*. The same kernel wins a hundredfold against a loop in Python, and far less
  against NumPy. Compare with the best that you would use otherwise.
* If the arrays travel to the GPU and back for each sum, the way takes longer than the sum.
* A thousand numbers are never worth a GPU: starting a kernel takes longer than adding them in NumPy. That test demands
  a speedup that no GPU reaches, and fails on purpose, to show what a missed budget looks like.
"""

import numpy as np
import pytest

from pytest_gpuprof import call

cl = pytest.importorskip("pyopencl", reason="needs OpenCL: pip install 'pyopencl[pocl]' brings one for any CPU")
cl_array = pytest.importorskip("pyopencl.array")

MANY, SOME, FEW = 4_000_000, 200_000, 1_000

KERNEL = """
kernel void add(global const float *a, global const float *b, global float *sum) {
    size_t i = get_global_id(0);  // one work item for each sum
    sum[i] = a[i] + b[i];
}
"""


def numbers(n):
    return np.arange(n, dtype=np.float32), np.full(n, 0.5, dtype=np.float32)


# Builders. Each prepares its arrays, untimed, and returns the function to measure. The tests say n with params=.


def add_in_python(n=SOME):
    a, b = (part.tolist() for part in numbers(n))
    return lambda: [x + y for x, y in zip(a, b, strict=True)]


def add_in_numpy(n=MANY):
    a, b = numbers(n)
    total = np.empty_like(a)
    return lambda: np.add(a, b, out=total)


def add_in_opencl(queue, n=MANY):
    a, b = (cl_array.to_device(queue, part) for part in numbers(n))
    total = cl_array.empty_like(a)
    kernel = cl.Program(queue.context, KERNEL).build().add

    def add():
        kernel(queue, (n,), None, a.data, b.data, total.data)
        return total

    return add


def add_in_cupy(xp, n=MANY):  # xp is cupy on the GPU and numpy on the CPU
    a, b = (xp.asarray(part) for part in numbers(n))
    return lambda: a + b


def same_sums(on_cpu, on_gpu):
    return np.allclose(on_cpu, on_gpu.get())


# Limits by device name. Without a GPU the kernel runs on the CPU, by PoCL, which calls it "pthread-..." or "cpu-...".


@pytest.mark.gpu_budget(min_speedup=10)
def test_kernel_against_a_python_loop(gpu_profile):
    gpu_profile(add_in_opencl, cpu=add_in_python, params={"n": SOME}, check=same_sums)


@pytest.mark.gpu_budget(min_speedup={"H200": 8, "*": 1, "pthread": 0.2, "cpu": 0.2})
def test_kernel_against_numpy(gpu_profile):
    gpu_profile(add_in_opencl, cpu=add_in_numpy, params={"n": MANY}, bytes=12 * MANY, check=True)


@pytest.mark.gpu_budget(min_speedup={"H200": 8, "*": 1})
def test_cupy(gpu_profile):
    gpu_profile(add_in_cupy, params={"n": MANY}, bytes=12 * MANY, check=True)


@pytest.mark.gpu_budget(min_speedup={"H200": 4, "*": 1})
def test_torch(gpu_profile):
    """A plain function needs no builder: call() moves its arguments to each device and compares what comes out."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")
    gpu_profile(call(torch.add, *map(torch.from_numpy, numbers(MANY))), name="add")


@pytest.mark.gpu_budget(min_speedup=1, enforce=False, reason="the way to the GPU and back takes longer than the sum")
def test_torch_with_the_way_there_and_back(gpu_profile):
    """The budget is expected to be missed on most GPUs; enforce=False reports it and lets the test pass."""
    torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

    def add_and_carry(device):
        a, b = map(torch.from_numpy, numbers(MANY))
        return lambda: (a.to(device) + b.to(device)).cpu()

    gpu_profile(add_and_carry, backend="torch", check=True)


@pytest.mark.gpu_budget(
    min_speedup=5,
    reason="this example fails on purpose: starting a kernel takes longer than adding a thousand numbers on the CPU",
)
def test_few_numbers_fail_on_purpose(gpu_profile):
    """A missed budget. The failure says what was measured, what was demanded, and the reason given above."""
    gpu_profile(add_in_opencl, cpu=add_in_numpy, params={"n": FEW}, check=True)
