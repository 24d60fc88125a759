"""The product of two matrices: much work on little data, what GPUs are best at.

Two matrices of n x n numbers are 2n² numbers, and their product takes 2n³ operations: each number is used n times. The
larger the matrices, the less the speed of the memory matters, and the more that of the arithmetic, where a GPU is far
ahead. Compare test_adding_arrays.py, where each number is used once.

This is the marker form, the shortest there is: the test requests gpu_profile_device, prepares its inputs there, and
returns the function to measure. Its body is called once for the CPU and once for the GPU. The budget is the assertion.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

N = 1024


# The largest budget that is safe for each GPU: a key matches whole words of the device's name, "*" is every other one.
@pytest.mark.gpu_budget(min_speedup={"H200": 10, "A100": 5, "T4": 2, "*": 1.5}, max_gpu_memory="128 MiB")
@pytest.mark.gpu_profile(flops=2 * N**3, check={"rtol": 1e-3, "atol": 0.1})
def test_matrix_product(gpu_profile_device):
    # Drawn on the host and then moved: CPU and GPU draw different numbers from the same seed, and check= compares.
    random = torch.Generator().manual_seed(0)
    a = torch.randn(N, N, generator=random).to(gpu_profile_device)
    b = torch.randn(N, N, generator=random).to(gpu_profile_device)
    return lambda: a @ b
