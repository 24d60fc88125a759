// What the tests set and read: the operators torch.ops.simgpu.*, so that torch converts arguments and errors.
#include <torch/library.h>

#include "device.h"
#include "random.h"

namespace simgpu {
namespace {

void busy(double seconds, int64_t device, int64_t stream) {
  check_device_index(static_cast<int>(device));
  timeline().enqueue({static_cast<int>(device), stream}, Clock::now(), seconds);
}

void abandon() {
  timeline().abandon();
}

at::Generator get_default_generator(int64_t device) {
  return default_generator(static_cast<int>(device));
}

template <auto Member>
auto get() {
  return (settings().*Member).load();
}

template <auto Member, typename Value>
void set(Value value) {
  settings().*Member = value;
}

// Defines get_NAME and set_NAME.
template <auto Member, typename Value>
void define_setting(torch::Library& library, const std::string& name) {
  library.def(("get_" + name).c_str(), &get<Member>);
  library.def(("set_" + name).c_str(), &set<Member, Value>);
}

TORCH_LIBRARY(simgpu, library) {
  library.def("busy", &busy);
  library.def("abandon", &abandon);
  library.def("default_generator", &get_default_generator);
  define_setting<&Settings::op_seconds, double>(library, "op_seconds");
  define_setting<&Settings::launch_seconds, double>(library, "launch_seconds");
  define_setting<&Settings::copy_bytes_per_second, double>(library, "copy_bytes_per_second");
  define_setting<&Settings::memory_limit_bytes, int64_t>(library, "memory_limit_bytes");
  define_setting<&Settings::operations, int64_t>(library, "operations");
  define_setting<&Settings::device_synchronizes, int64_t>(library, "device_synchronizes");
  define_setting<&Settings::poisoned, bool>(library, "poisoned");
}

}  // namespace
}  // namespace simgpu
