"""A kernel of one's own, in OpenCL and as a CuPy raw kernel, against NumPy: how bodies attract each other.

Each of N bodies is attracted by all others. NumPy does that step by step for all pairs at once, so each step writes N²
numbers to memory and the next one reads them. In a kernel, a work item takes one body and adds up its attractions in
registers: N positions are read, which stay in the cache, and N results written. The body of the kernel is the same
text for both; OpenCL and CUDA differ only in how a kernel begins.

Where the limits come from: arithmetic, never measured on a GPU. A work item goes 512 times round its loop, with about
100 cycles each time, most of them waiting for the square root and the division: 0.03 ms at 1.6 GHz. That holds for a
T4 as for an H200, because 512 work items fill neither. Starting the kernel from Python takes about as long. NumPy
moves some 25 MB through its memory, with one core: 5 to 15 ms. So the kernel wins a hundredfold; the limits leave room
for faster CPUs. OpenCL on the CPU, which stands in where there is no GPU, gains from the cache and from compiled code
alone; there the kernel is asked to be at least half as fast as NumPy.
"""

import numpy as np
import pytest

BODIES, GROUP = 512, 64
SOFT = 0.01  # softens the attraction of bodies that nearly touch, and of a body to itself, as is usual

LOOP = """
    float x = bodies[i].x, y = bodies[i].y, z = bodies[i].z, sum_x = 0, sum_y = 0, sum_z = 0;
    for (int j = 0; j < n; j++) {
        float dx = bodies[j].x - x, dy = bodies[j].y - y, dz = bodies[j].z - z;
        float inverse = 1.0f / sqrt(dx * dx + dy * dy + dz * dz + SOFT);
        float pull = bodies[j].w * inverse * inverse * inverse;
        sum_x += dx * pull;
        sum_y += dy * pull;
        sum_z += dz * pull;
    }
    pulls[3 * i] = sum_x;
    pulls[3 * i + 1] = sum_y;
    pulls[3 * i + 2] = sum_z;
"""
IN_OPENCL = f"""
kernel void attract(global const float4 *bodies, global float *pulls, int n) {{
    int i = get_global_id(0);
    {LOOP}
}}
"""
IN_CUDA = f"""
extern "C" __global__ void attract(const float4 *bodies, float *pulls, int n) {{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    {LOOP}
}}
"""
OPTIONS = f"-DSOFT={SOFT}f"


def bodies_at_random(count):
    """Return x, y, z and the mass of each body."""
    return np.random.default_rng(seed=0).random((count, 4), dtype=np.float32)


def in_numpy(count=BODIES):
    bodies = bodies_at_random(count)
    places, masses = bodies[:, :3], bodies[:, 3]

    def attract():
        apart = places[None, :, :] - places[:, None, :]
        inverse = 1 / np.sqrt((apart * apart).sum(axis=2) + np.float32(SOFT))
        return (apart * (masses * inverse**3)[:, :, None]).sum(axis=1)

    return attract


def in_opencl(queue, count=BODIES):
    import pyopencl as cl
    import pyopencl.array as cl_array

    bodies = cl_array.to_device(queue, bodies_at_random(count))
    pulls = cl_array.empty(queue, (count, 3), np.float32)
    kernel = cl.Program(queue.context, IN_OPENCL).build(options=OPTIONS).attract

    def attract():
        kernel(queue, (count,), (min(count, GROUP),), bodies.data, pulls.data, np.int32(count))
        return pulls

    return attract


def in_cupy(xp):  # xp is cupy: with cpu=, this builder is for the GPU only
    bodies = xp.asarray(bodies_at_random(BODIES))
    pulls = xp.empty((BODIES, 3), np.float32)
    kernel = xp.RawKernel(IN_CUDA, "attract", options=(OPTIONS,))

    def attract():
        kernel((BODIES // GROUP,), (GROUP,), (bodies, pulls, np.int32(BODIES)))
        return pulls

    return attract


# Each of the sums has 512 parts of either sign, up to 1000 large, and the legs add them up in another order.
pytestmark = pytest.mark.gpu_profile(items=BODIES**2, check={"rtol": 1e-3, "atol": 0.1}, metrics=("time",))


@pytest.mark.gpu_budget(min_speedup={"H200": 20, "T4": 10, "*": 3, "stand-in": 0.5})
def test_opencl_kernel(gpu_profile):
    pytest.importorskip("pyopencl", reason="needs OpenCL: pip install 'pyopencl[pocl]' brings one for any CPU")
    gpu_profile(in_opencl, cpu=in_numpy, backend="opencl")


@pytest.mark.gpu_budget(min_speedup={"H200": 20, "T4": 10, "*": 3})
def test_cupy_raw_kernel(gpu_profile):
    gpu_profile(in_cupy, cpu=in_numpy, backend="cupy")
