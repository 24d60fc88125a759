"""Blurring an image: each pixel becomes the mean of its neighbours.

All pixels can be computed at the same time, and neighbours share most of what they read, so it comes from the cache.
On the CPU, the usual form in NumPy shifts the whole image 25 times and adds up: one core walks 25 times through the
memory. The kernel walks once, with all the cores there are.
"""

import numpy as np
import pytest

cl = pytest.importorskip("pyopencl", reason="needs OpenCL: pip install 'pyopencl[pocl]' brings one for any CPU")
cl_array = pytest.importorskip("pyopencl.array")

SIZE, WINDOW = 1028, 5

BLUR = """
kernel void blur(global const float *image, global float *blurred, int width) {
    int x = get_global_id(0), y = get_global_id(1);
    float sum = 0;
    for (int dy = 0; dy < WINDOW; dy++)
        for (int dx = 0; dx < WINDOW; dx++)
            sum += image[(y + dy) * width + x + dx];
    blurred[y * (width - WINDOW + 1) + x] = sum / (WINDOW * WINDOW);
}
"""


def image():
    return np.random.default_rng(seed=0).random((SIZE, SIZE), dtype=np.float32)


def blur_in_numpy():
    """Add up the image, shifted by each offset within the window."""
    pixels, left = image(), SIZE - WINDOW + 1

    def blur():
        total = np.zeros((left, left), dtype=np.float32)
        for dy in range(WINDOW):
            for dx in range(WINDOW):
                total += pixels[dy : dy + left, dx : dx + left]
        return total / WINDOW**2

    return blur


def blur_in_opencl(queue):
    left = SIZE - WINDOW + 1
    pixels = cl_array.to_device(queue, image())
    blurred = cl_array.empty(queue, (left, left), np.float32)
    kernel = cl.Program(queue.context, BLUR).build(options=f"-DWINDOW={WINDOW}").blur

    def blur():
        kernel(queue, (left, left), None, pixels.data, blurred.data, np.int32(SIZE))
        return blurred

    return blur


# Without a GPU the kernel runs on the CPU, by PoCL, which calls it "pthread-..." or "cpu-...".
@pytest.mark.gpu_budget(min_speedup={"*": 3, "pthread": 0.1, "cpu": 0.1})
def test_blur(gpu_profile):
    gpu_profile(blur_in_opencl, cpu=blur_in_numpy, check={"rtol": 1e-4})
