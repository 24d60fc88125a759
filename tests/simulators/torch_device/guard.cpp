// Devices, streams and events: the interface behind torch.Stream, torch.Event and most of torch.accelerator.
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "device.h"

namespace simgpu {
namespace {

using c10::Device;
using c10::DeviceIndex;
using c10::Stream;

constexpr c10::StreamId kDefaultStream = 0;

// An event is the moment at which its stream reaches it, known as soon as it is recorded.
struct Event {
  Time reached;
};

const Event* as_event(void* event) {
  return static_cast<const Event*>(event);
}

StreamKey key_of(const Stream& stream) {
  return {stream.device_index(), stream.id()};
}

int index_of(Device device) {
  return device.has_index() ? device.index() : current_device;
}

Stream make_stream(int device, c10::StreamId id) {
  return Stream(Stream::UNSAFE, Device(c10::DeviceType::PrivateUse1, static_cast<DeviceIndex>(device)), id);
}

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override {
    return c10::DeviceType::PrivateUse1;
  }

  // --- Devices ---

  DeviceIndex deviceCount() const noexcept override {
    return kDeviceCount;
  }

  Device getDevice() const override {
    return Device(type(), static_cast<DeviceIndex>(current_device));
  }

  void setDevice(Device device) const override {
    check_device_index(index_of(device));
    current_device = index_of(device);
  }

  void uncheckedSetDevice(Device device) const noexcept override {
    current_device = index_of(device);
  }

  Device exchangeDevice(Device device) const override {
    const Device previous = getDevice();
    setDevice(device);
    return previous;
  }

  void synchronizeDevice(const DeviceIndex device) const override {
    check_healthy();
    ++settings().device_synchronizes;
    wait_until(timeline().end_of_device(device));
  }

  // --- Streams ---

  Stream getStream(Device device) const override {
    return make_stream(index_of(device), current_stream[index_of(device)]);
  }

  Stream getDefaultStream(Device device) const override {
    return make_stream(index_of(device), kDefaultStream);
  }

  // A stream is no more than its number, so there is no need for a pool: every request gets a new one.
  Stream getNewStream(Device device, int /*priority*/ = 0) const override {
    static std::atomic<c10::StreamId> next{kDefaultStream + 1};
    check_device_index(index_of(device));
    return make_stream(index_of(device), next++);
  }

  Stream getStreamFromGlobalPool(Device device, bool /*high_priority*/ = false) const override {
    return getNewStream(device);
  }

  Stream exchangeStream(Stream stream) const override {
    const int device = stream.device_index();
    return make_stream(device, std::exchange(current_stream[device], stream.id()));
  }

  bool queryStream(const Stream& stream) const override {
    check_healthy();
    return Clock::now() >= timeline().end_of_stream(key_of(stream));
  }

  void synchronizeStream(const Stream& stream) const override {
    wait_until(timeline().end_of_stream(key_of(stream)));
  }

  // --- Events: a null pointer is an event that was never recorded ---

  void record(void** event, const Stream& stream, const DeviceIndex, const c10::EventFlag) const override {
    const Time reached = timeline().enqueue(key_of(stream), Clock::now(), 0.0);
    destroyEvent(*event, stream.device_index());
    *event = new Event{reached};
  }

  void destroyEvent(void* event, const DeviceIndex) const noexcept override {
    delete as_event(event);
  }

  void block(void* event, const Stream& stream) const override {
    if (event != nullptr) {
      timeline().hold(key_of(stream), as_event(event)->reached);
    }
  }

  bool queryEvent(void* event) const override {
    check_healthy();
    return event == nullptr || Clock::now() >= as_event(event)->reached;
  }

  void synchronizeEvent(void* event) const override {
    if (event != nullptr) {
      wait_until(as_event(event)->reached);
    }
  }

  double elapsedTime(void* first, void* second, const DeviceIndex) const override {
    TORCH_CHECK(
        first != nullptr && second != nullptr, "Both events must be recorded before the elapsed time is known.");
    TORCH_CHECK(
        queryEvent(first) && queryEvent(second), "Both events must be completed before the elapsed time is known.");
    return std::chrono::duration<double, std::milli>(as_event(second)->reached - as_event(first)->reached).count();
  }
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

}  // namespace
}  // namespace simgpu
