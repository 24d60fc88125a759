// Device memory: host memory, counted per device and limited to what the simulated device has.
#include "memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "device.h"

namespace simgpu {
namespace {

using c10::CachingAllocator::Stat;
using c10::CachingAllocator::StatArray;
using c10::CachingAllocator::StatType;
using c10::CachingDeviceAllocator::DeviceStats;

constexpr std::size_t kAlignment = 64;

// Stands in front of every block, so that the block's address alone is enough to free it. Its alignment makes it as
// large as the alignment that the block needs.
struct alignas(kAlignment) Header {
  std::size_t bytes;
  int device;
};

std::size_t round_up(std::size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// torch keeps one figure for each pool of blocks and one for all of them; there are no pools here.
Stat& total(StatArray& stats) {
  return stats[static_cast<std::size_t>(StatType::AGGREGATE)];
}

class Allocator final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    check_healthy();
    const int index = current_device;
    const c10::Device device(c10::DeviceType::PrivateUse1, static_cast<c10::DeviceIndex>(index));
    if (bytes == 0) {
      return {nullptr, nullptr, &release, device};
    }
    count_allocation(index, bytes);
    auto* header = static_cast<Header*>(std::aligned_alloc(kAlignment, sizeof(Header) + round_up(bytes)));
    TORCH_CHECK_WITH(OutOfMemoryError, header != nullptr, "simgpu: the host itself is out of memory");
    *header = {bytes, index};
    void* const data = header + 1;
    return {data, data, &release, device};
  }

  c10::DeleterFnPtr raw_deleter() const override {
    return &release;
  }

  void copy_data(void* destination, const void* source, std::size_t bytes) const override {
    std::memcpy(destination, source, bytes);
  }

  bool initialized() override {
    return true;
  }

  void emptyCache(c10::MempoolId_t) override {
    check_healthy();
    const std::lock_guard lock(mutex_);
    for (DeviceStats& stats : stats_) {
      const int64_t cached = total(stats.reserved_bytes).current - total(stats.allocated_bytes).current;
      total(stats.reserved_bytes).decrease(static_cast<std::size_t>(cached));
    }
  }

  // Blocks are handed back to the host as soon as they are freed, and never to another stream.
  void recordStream(const c10::DataPtr&, c10::Stream) override {}

  DeviceStats getDeviceStats(c10::DeviceIndex device) override {
    check_device_index(device);
    const std::lock_guard lock(mutex_);
    return stats_[device];
  }

  void resetAccumulatedStats(c10::DeviceIndex device) override {
    check_device_index(device);
    const std::lock_guard lock(mutex_);
    for (StatArray* stat : counted(stats_[device])) {
      total(*stat).reset_accumulated();
    }
  }

  void resetPeakStats(c10::DeviceIndex device) override {
    check_device_index(device);
    const std::lock_guard lock(mutex_);
    for (StatArray* stat : counted(stats_[device])) {
      total(*stat).reset_peak();
    }
  }

  // The free and the total bytes, as cudaMemGetInfo: what the cache holds is not free.
  std::pair<std::size_t, std::size_t> getMemoryInfo(c10::DeviceIndex device) override {
    check_healthy();
    check_device_index(device);
    const std::lock_guard lock(mutex_);
    const int64_t limit = settings().memory_limit_bytes;
    const int64_t free = std::max<int64_t>(0, limit - total(stats_[device].reserved_bytes).current);
    return {static_cast<std::size_t>(free), static_cast<std::size_t>(limit)};
  }

  void count_release(const Header& header) {
    const std::lock_guard lock(mutex_);
    DeviceStats& stats = stats_[header.device];
    total(stats.allocation).decrease(1);
    total(stats.active).decrease(1);
    for (StatArray* stat : sizes(stats)) {
      total(*stat).decrease(header.bytes);
    }
  }

 private:
  static void release(void* data);

  static std::array<StatArray*, 3> sizes(DeviceStats& stats) {
    return {&stats.allocated_bytes, &stats.active_bytes, &stats.requested_bytes};
  }

  static std::array<StatArray*, 6> counted(DeviceStats& stats) {
    return {&stats.allocation, &stats.active, &stats.allocated_bytes,
            &stats.active_bytes, &stats.requested_bytes, &stats.reserved_bytes};
  }

  void count_allocation(int device, std::size_t bytes) {
    const std::lock_guard lock(mutex_);
    DeviceStats& stats = stats_[device];
    check_fits(device, stats, bytes);
    total(stats.allocation).increase(1);
    total(stats.active).increase(1);
    for (StatArray* stat : sizes(stats)) {
      total(*stat).increase(bytes);
    }
    grow_cache(stats);
  }

  static void check_fits(int device, DeviceStats& stats, std::size_t bytes) {
    const int64_t limit = settings().memory_limit_bytes;
    const int64_t free = limit - total(stats.allocated_bytes).current;
    if (free >= 0 && bytes <= static_cast<std::size_t>(free)) {
      return;
    }
    ++stats.num_ooms;
    TORCH_CHECK_WITH(
        OutOfMemoryError, false, "simgpu out of memory. Tried to allocate ", bytes, " bytes. GPU ", device,
        " has a total capacity of ", limit, " bytes of which ", std::max<int64_t>(0, free), " bytes are free.");
  }

  // A caching allocator keeps what it once took until empty_cache(). One that never fragments holds the most that was
  // in use at one time since then.
  static void grow_cache(DeviceStats& stats) {
    const int64_t missing = total(stats.allocated_bytes).current - total(stats.reserved_bytes).current;
    if (missing > 0) {
      total(stats.reserved_bytes).increase(static_cast<std::size_t>(missing));
    }
  }

  std::mutex mutex_;
  DeviceStats stats_[kDeviceCount];
};

Allocator& allocator() {
  static auto* const instance = new Allocator;
  return *instance;
}

// Raises nothing, not even on a poisoned device: torch frees memory in destructors.
void Allocator::release(void* data) {
  if (data == nullptr) {
    return;
  }
  auto* const header = static_cast<Header*>(data) - 1;
  allocator().count_release(*header);
  std::free(header);
}

const bool registered = [] {
  c10::SetAllocator(c10::DeviceType::PrivateUse1, &allocator());
  return true;
}();

}  // namespace

c10::DeviceAllocator* device_allocator() {
  return &allocator();
}

}  // namespace simgpu
