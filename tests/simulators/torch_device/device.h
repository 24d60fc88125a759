// What the parts of the simulated accelerator share: its settings, its timeline and its health.
//
// Nothing here includes torch, so that the parts which need little of torch compile fast.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <limits>
#include <map>
#include <mutex>
#include <utility>

namespace simgpu {

constexpr int kDeviceCount = 2;

// Every thread has its own current device, and its own current stream on each device, as with CUDA. Autograd relies
// on it: it runs the backward pass on threads of its own.
extern thread_local int current_device;
extern thread_local int64_t current_stream[kDeviceCount];

// Raises "invalid device ordinal" for an index that names no device.
void check_device_index(int index);

// --- Settings and counters, changed from Python while other threads use the device ----------------------------------

// Until Control.reset() in __init__.py gives them their usual values, nothing takes time and nothing is limited.
struct Settings {
  std::atomic<double> op_seconds{0.0};
  std::atomic<double> launch_seconds{0.0};
  std::atomic<double> copy_bytes_per_second{std::numeric_limits<double>::infinity()};
  std::atomic<int64_t> memory_limit_bytes{std::numeric_limits<int64_t>::max()};
  std::atomic<int64_t> operations{0};
  std::atomic<int64_t> device_synchronizes{0};
  std::atomic<bool> poisoned{false};
};

Settings& settings();

// Raises what a corrupted CUDA context raises, while the device is poisoned.
void check_healthy();

// --- The timeline: when each stream will have finished what it was given --------------------------------------------

// The steady clock is CLOCK_MONOTONIC on Linux, the clock behind Python's time.monotonic() and time.perf_counter().
using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

struct StreamKey {
  int device;
  int64_t stream;
  bool operator<(const StreamKey& other) const {
    return std::pair(device, stream) < std::pair(other.device, other.stream);
  }
};

// No thread plays the device. A stream runs its commands in order, each takes a known time, so the end of a command is
// known the moment it is issued; whoever waits for it sleeps until then.
class Timeline {
 public:
  // Appends a command that the host issued at `issued`; returns when it ends.
  Time enqueue(StreamKey stream, Time issued, double seconds);

  // Keeps the stream from starting any further command before `until`.
  void hold(StreamKey stream, Time until);

  Time end_of_stream(StreamKey stream);
  Time end_of_device(int device);

  // Forgets all work in flight, on every stream. Events that were recorded keep their time.
  void abandon();

 private:
  std::mutex mutex_;
  std::map<StreamKey, Time> ends_;
};

Timeline& timeline();

// The stream on which this thread's next command for `device` runs.
StreamKey current_stream_key(int device);

// Blocks the calling thread until the device reaches `time`.
void wait_until(Time time);

}  // namespace simgpu
