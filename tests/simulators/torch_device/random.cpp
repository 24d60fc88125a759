// Random numbers: torch.Generator(device="simgpu"), and one default generator for each device.
#include "random.h"

#include <ATen/CPUGeneratorImpl.h>

#include <vector>

#include "device.h"

namespace simgpu {
namespace {

// Belongs to the device as far as torch can tell, and makes its numbers with a CPU generator, because the operators
// themselves run on the CPU.
class DeviceGenerator final : public c10::GeneratorImpl {
 public:
  DeviceGenerator(c10::Device device, at::Generator host)
      : GeneratorImpl(device, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1)), host_(std::move(host)) {}

  const at::Generator& host() const {
    return host_;
  }

  void set_current_seed(uint64_t seed) override {
    host_.set_current_seed(seed);
  }
  void set_offset(uint64_t offset) override {
    host_.set_offset(offset);
  }
  uint64_t get_offset() const override {
    return host_.get_offset();
  }
  uint64_t current_seed() const override {
    return host_.current_seed();
  }
  uint64_t seed() override {
    return host_.seed();
  }
  void set_state(const c10::TensorImpl& state) override {
    host_.unsafeGetGeneratorImpl()->set_state(state);
  }
  c10::intrusive_ptr<c10::TensorImpl> get_state() const override {
    return host_.unsafeGetGeneratorImpl()->get_state();
  }

 private:
  DeviceGenerator* clone_impl() const override {
    return new DeviceGenerator(device(), host_.clone());
  }

  mutable at::Generator host_;
};

}  // namespace

at::Generator make_generator(int device) {
  const c10::Device owner(c10::DeviceType::PrivateUse1, static_cast<c10::DeviceIndex>(device));
  return at::make_generator<DeviceGenerator>(owner, at::detail::createCPUGenerator());
}

const at::Generator& default_generator(int device) {
  static const auto* const generators = [] {
    auto* made = new std::vector<at::Generator>;
    for (int index = 0; index < kDeviceCount; ++index) {
      made->push_back(make_generator(index));
    }
    return made;
  }();
  check_device_index(device);
  return (*generators)[static_cast<std::size_t>(device)];
}

at::Generator host_generator(const at::Generator& generator) {
  return static_cast<const DeviceGenerator*>(generator.unsafeGetGeneratorImpl())->host();
}

}  // namespace simgpu
