"""The Mandelbrot set: the same small loop for each point of a picture, and no point needs another.

For each point c of the plane, z -> z² + c is repeated until z runs away. The sequential program takes one point after
the other; the data-parallel one gives each point to a work item of its own. Nothing is read and one number is written,
so memory plays no part: what counts is arithmetic, and how many points are computed at once. One thing costs a GPU
time: its work items march in groups, and a group waits for its slowest point.

The budget is met even without a GPU. There the kernel runs on all cores of the CPU, and most of what it wins is the
difference between compiled code and Python. If you have a faster program for the CPU, compare with that one.
"""

import numpy as np
import pytest

cl = pytest.importorskip("pyopencl", reason="needs OpenCL: pip install 'pyopencl[pocl]' brings one for any CPU")
cl_array = pytest.importorskip("pyopencl.array")

WIDTH, HEIGHT, MOST_STEPS = 150, 100, 100

KERNEL = """
kernel void mandelbrot(global int *steps, int most_steps) {
    int column = get_global_id(0), row = get_global_id(1);
    int width = get_global_size(0), height = get_global_size(1);
    float cx = -2 + 3.0f * column / width, cy = -1 + 2.0f * row / height;
    float x = 0, y = 0;
    int n = 0;
    while (n < most_steps && x * x + y * y <= 4) {
        float next_x = x * x - y * y + cx;
        y = 2 * x * y + cy;
        x = next_x;
        n++;
    }
    steps[row * width + column] = n;
}
"""


def steps_of(c):
    z, n = 0j, 0
    while n < MOST_STEPS and abs(z) <= 2:
        z = z * z + c
        n += 1
    return n


def one_point_after_the_other():
    def picture():
        return np.array(
            [
                [steps_of(complex(-2 + 3 * column / WIDTH, -1 + 2 * row / HEIGHT)) for column in range(WIDTH)]
                for row in range(HEIGHT)
            ]
        )

    return picture


def all_points_at_once(queue):
    steps = cl_array.empty(queue, (HEIGHT, WIDTH), np.int32)
    kernel = cl.Program(queue.context, KERNEL).build().mandelbrot

    def picture():
        kernel(queue, (WIDTH, HEIGHT), None, steps.data, np.int32(MOST_STEPS))
        return steps

    return picture


def nearly_the_same(on_cpu, on_gpu):
    """Compare pictures: at the edge of the set, the kernel's shorter numbers may run away a step earlier or later."""
    assert np.mean(on_cpu != on_gpu.get()) < 0.01, "more than one point in a hundred differs"


@pytest.mark.gpu_budget(min_speedup=10)
def test_mandelbrot(gpu_profile):
    gpu_profile(all_points_at_once, cpu=one_point_after_the_other, items=WIDTH * HEIGHT, check=nearly_the_same)
