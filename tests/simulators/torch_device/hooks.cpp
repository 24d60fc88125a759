// What torch asks of an accelerator as a whole: is it there, which device is current, who makes random numbers.
#include <ATen/detail/PrivateUse1HooksInterface.h>

#include "device.h"
#include "random.h"

namespace simgpu {
namespace {

using c10::DeviceIndex;

int index_or_current(DeviceIndex device) {
  return device < 0 ? current_device : device;
}

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override {
    return true;
  }
  bool isAvailable() const override {
    return true;
  }
  bool hasPrimaryContext(DeviceIndex) const override {
    return true;
  }

  DeviceIndex deviceCount() const override {
    return kDeviceCount;
  }
  DeviceIndex getCurrentDevice() const override {
    return static_cast<DeviceIndex>(current_device);
  }
  void setCurrentDevice(DeviceIndex device) const override {
    check_device_index(device);
    current_device = device;
  }

  // torch passes a negative index for "leave the device as it is".
  DeviceIndex exchangeDevice(DeviceIndex device) const override {
    const DeviceIndex previous = getCurrentDevice();
    setCurrentDevice(static_cast<DeviceIndex>(index_or_current(device)));
    return previous;
  }
  DeviceIndex maybeExchangeDevice(DeviceIndex device) const override {
    return exchangeDevice(device);
  }

  const at::Generator& getDefaultGenerator(DeviceIndex device) const override {
    return default_generator(index_or_current(device));
  }
  at::Generator getNewGenerator(DeviceIndex device) const override {
    return make_generator(index_or_current(device));
  }
};

const bool registered = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  return true;
}();

}  // namespace
}  // namespace simgpu
