"""Adding two arrays: much data, hardly any work.

Each sum is one addition, and needs two numbers read and one written. The processor waits for memory, so a GPU can win no
more than its memory is faster. What this file shows:

* A speedup is always *against something*. Against a Python loop it is huge, against NumPy it is modest, and the kernel is
  the same.
* If the arrays have to travel to the GPU and back for each sum, they spend more time on the way than in the sum.
* A thousand numbers are never worth a GPU: starting a kernel takes longer than adding them in NumPy. That test asks for
  too much on purpose and fails, so that you see what a missed budget looks like.
"""

import numpy as np
import pytest

from pytest_gpuprof import call

cl = pytest.importorskip("pyopencl", reason="needs OpenCL: pip install 'pyopencl[pocl]' (it brings one for any CPU)")
import pyopencl.array  # noqa: E402  # only once it is certain that there is a pyopencl

MANY = 4_000_000
SOME = 200_000
FEW = 1_000

KERNEL = """
kernel void add(global const float *a, global const float *b, global float *sum) {
    size_t i = get_global_id(0);
    sum[i] = a[i] + b[i];
}
"""


def numbers(n):
    return np.arange(n, dtype=np.float32), np.full(n, 0.5, dtype=np.float32)


def add_on_gpu(queue, n=MANY):
    a, b = (cl.array.to_device(queue, part) for part in numbers(n))
    total = cl.array.empty_like(a)
    add = cl.Program(queue.context, KERNEL).build().add
    add.set_args(a.data, b.data, total.data)

    def run():
        cl.enqueue_nd_range_kernel(queue, add, (n,), None)
        return total

    return run


def add_in_numpy(n=MANY):
    a, b = numbers(n)
    total = np.empty_like(a)
    return lambda: np.add(a, b, out=total)


def add_in_python(n=SOME):
    a, b = (part.tolist() for part in numbers(n))
    return lambda: [x + y for x, y in zip(a, b, strict=True)]
