"""The product of two matrices in OpenCL: how a kernel is written matters as much as where it runs.

In the naive kernel each work item reads a whole row and a whole column from global memory. In the tiled kernel, 16 x 16
work items first copy what all of them need into the fast memory that they share. reference= measures both on the same
device, side by side. Nobody writes such kernels for real work: on a CPU, the product in NumPy is many times faster than
either, and on a GPU so is the vendor's library. See test_matrix_product.py.
"""

import numpy as np
import pytest

cl = pytest.importorskip("pyopencl", reason="needs OpenCL: pip install 'pyopencl[pocl]' brings one for any CPU")
cl_array = pytest.importorskip("pyopencl.array")

N = 256
TILE = 16

KERNELS = """
kernel void naive(global const float *a, global const float *b, global float *c, int n) {
    int column = get_global_id(0), row = get_global_id(1);
    float sum = 0;
    for (int k = 0; k < n; k++)
        sum += a[row * n + k] * b[k * n + column];
    c[row * n + column] = sum;
}

kernel void tiled(global const float *a, global const float *b, global float *c, int n) {
    local float tile_a[TILE][TILE], tile_b[TILE][TILE];
    int column = get_global_id(0), row = get_global_id(1);
    int x = get_local_id(0), y = get_local_id(1);
    float sum = 0;
    for (int start = 0; start < n; start += TILE) {
        tile_a[y][x] = a[row * n + start + x];
        tile_b[y][x] = b[(start + y) * n + column];
        barrier(CLK_LOCAL_MEM_FENCE);  // the tiles are complete
        for (int k = 0; k < TILE; k++)
            sum += tile_a[y][k] * tile_b[k][x];
        barrier(CLK_LOCAL_MEM_FENCE);  // nobody needs them any more
    }
    c[row * n + column] = sum;
}
"""


def two_matrices():
    rng = np.random.default_rng(seed=0)
    return (rng.standard_normal((N, N), dtype=np.float32) for _ in range(2))


def product_in_opencl(queue, kernel_name):
    a, b = (cl_array.to_device(queue, matrix) for matrix in two_matrices())
    c = cl_array.empty_like(a)
    program = cl.Program(queue.context, KERNELS).build(options=f"-DTILE={TILE}")
    kernel = cl.Kernel(program, kernel_name)

    def multiply():
        kernel(queue, (N, N), (TILE, TILE), a.data, b.data, c.data, np.int32(N))
        return c

    return multiply


def naive(queue):
    return product_in_opencl(queue, "naive")


def tiled(queue):
    return product_in_opencl(queue, "tiled")


def in_numpy():
    a, b = two_matrices()
    return lambda: a @ b


# A GPU with large caches serves the naive kernel from them, so sharing may gain nothing; but it must not cost much.
@pytest.mark.gpu_budget(min_speedup_over_reference=0.5)
def test_tiled_kernel_against_naive_kernel(gpu_profile):
    gpu_profile(tiled, reference=naive, cpu=in_numpy, flops=2 * N**3, check={"rtol": 1e-3, "atol": 1e-3})
