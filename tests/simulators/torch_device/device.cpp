// The state of the simulated accelerator: settings, timeline and health.
#include "device.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <thread>

namespace simgpu {

thread_local int current_device = 0;
thread_local int64_t current_stream[kDeviceCount] = {};

void check_device_index(int index) {
  TORCH_CHECK(0 <= index && index < kDeviceCount, "simgpu error: invalid device ordinal ", index);
}

// The shared objects are never destroyed: tensors that outlive main() still free their memory through them.
Settings& settings() {
  static auto* const instance = new Settings;
  return *instance;
}

Timeline& timeline() {
  static auto* const instance = new Timeline;
  return *instance;
}

void check_healthy() {
  constexpr int kIllegalAddress = 700;  // cudaErrorIllegalAddress.
  if (settings().poisoned) {
    throw c10::AcceleratorError(
        {__func__, __FILE__, static_cast<uint32_t>(__LINE__)},
        kIllegalAddress,
        "CUDA error: an illegal memory access was encountered");
  }
}

static Clock::duration to_duration(double seconds) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

Time Timeline::enqueue(StreamKey stream, Time issued, double seconds) {
  check_healthy();
  const Time reaches_device = issued + to_duration(settings().launch_seconds);
  const std::lock_guard lock(mutex_);
  Time& end = ends_[stream];
  end = std::max(end, reaches_device) + to_duration(seconds);
  return end;
}

void Timeline::hold(StreamKey stream, Time until) {
  check_healthy();
  const std::lock_guard lock(mutex_);
  Time& end = ends_[stream];
  end = std::max(end, until);
}

Time Timeline::end_of_stream(StreamKey stream) {
  const std::lock_guard lock(mutex_);
  return ends_[stream];
}

Time Timeline::end_of_device(int device) {
  const std::lock_guard lock(mutex_);
  Time latest{};
  for (const auto& [stream, end] : ends_) {
    if (stream.device == device) {
      latest = std::max(latest, end);
    }
  }
  return latest;
}

void Timeline::abandon() {
  const std::lock_guard lock(mutex_);
  ends_.clear();
}

StreamKey current_stream_key(int device) {
  return {device, current_stream[device]};
}

void wait_until(Time time) {
  check_healthy();
  std::this_thread::sleep_until(time);
}

}  // namespace simgpu
