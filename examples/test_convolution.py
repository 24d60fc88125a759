"""A convolution layer, the heart of networks that see: each small window of an image is multiplied with many filters.

Every pixel of the input is used by every filter and by every window that it lies in, here 25 x 32 times. So there is
much work on little data, as in test_matrix_product.py, and the pixels of the result do not wait for each other. This is
what neural networks moved to GPUs for.
"""

import pytest

torch = pytest.importorskip("torch", reason="needs PyTorch: https://pytorch.org/get-started")

IMAGES, CHANNELS, FILTERS, SIZE, WINDOW = 16, 3, 32, 128, 5
FLOPS = 2 * IMAGES * FILTERS * (SIZE - WINDOW + 1) ** 2 * CHANNELS * WINDOW**2


# The tolerances leave room for TF32, in which recent NVIDIA GPUs convolve by default: it keeps three decimal digits.
@pytest.mark.gpu_budget(min_speedup={"H200": 5, "T4": 2, "*": 1.5}, max_gpu_memory="1 GiB")
@pytest.mark.gpu_profile(flops=FLOPS, items=IMAGES, check={"rtol": 1e-2, "atol": 5e-2})
def test_convolution(gpu_profile_device):
    random = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, CHANNELS, SIZE, SIZE, generator=random).to(gpu_profile_device)
    filters = torch.randn(FILTERS, CHANNELS, WINDOW, WINDOW, generator=random).to(gpu_profile_device)
    return lambda: torch.nn.functional.conv2d(images, filters)
