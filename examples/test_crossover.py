"""From which size on the GPU wins: the same work at several sizes, and a limit on where the two legs cross.

Starting a kernel takes a GPU a few microseconds, whatever it computes. Below some size the CPU is done before the GPU
has begun; above it the GPU wins, and by more and more until it is full. Where that is belongs to the machine, and moves
with it: a sweep measures both legs at each size, says from which one the GPU wins and how sure that is, and how the
time of each leg grows. A size far from the crossover takes three rounds, one close to it more.

The work is that of test_raw_kernels.py: each of N bodies is attracted by all others, N² steps, in an OpenCL kernel and
in NumPy.

Where the limit comes from: arithmetic, never measured on a GPU. NumPy takes about ten calls of 1 µs each for few
bodies, and 25 ns for each pair beyond that; the kernel takes 0.03 ms with its start from Python. They cross at 30
bodies. The limit leaves a factor of four. OpenCL on the CPU, which stands in where there is no GPU, starts a kernel as
fast.
"""

import pytest
from test_raw_kernels import in_numpy, in_opencl


@pytest.mark.gpu_budget(max_crossover=128)
def test_bodies(gpu_profile):
    pytest.importorskip("pyopencl", reason="needs OpenCL: pip install 'pyopencl[pocl]' brings one for any CPU")
    gpu_profile.sweep(in_opencl, cpu=in_numpy, backend="opencl", count=[4, 8, 16, 32, 64, 128, 256], metrics=("time",))
