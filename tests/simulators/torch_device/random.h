#pragma once

#include <ATen/core/Generator.h>

namespace simgpu {

// The generator behind random numbers on `device` for which no generator is named; torch.manual_seed() seeds it.
const at::Generator& default_generator(int device);

// A new generator of `device`, unrelated to the default one.
at::Generator make_generator(int device);

// The CPU generator that makes the numbers of `generator`, which is one of this device's.
at::Generator host_generator(const at::Generator& generator);

}  // namespace simgpu
