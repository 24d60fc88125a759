// Operators: computed by the CPU's kernels at once, while the timeline says how long the device takes for them.
#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/convolution.h>
#include <ATen/ops/convolution_backward.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/DeviceGuard.h>

#include "device.h"
#include "memory.h"
#include "random.h"

namespace simgpu {
namespace {

using at::Tensor;
using c10::Device;
using c10::IValue;
using c10::OperatorHandle;
using torch::jit::Stack;

constexpr c10::DispatchKeySet kDeviceKey(c10::DispatchKey::PrivateUse1);
constexpr c10::DispatchKeySet kHostKey(c10::DispatchKey::CPU);

// --- Host and device tensors ---------------------------------------------------------------------------------------

bool on_device(const Tensor& tensor) {
  return tensor.defined() && tensor.is_privateuseone();
}

// The same memory as a CPU tensor. Not a copy: what is written to it, the device tensor has.
Tensor host_view(const Tensor& tensor) {
  if (!on_device(tensor)) {
    return tensor;
  }
  const auto options = tensor.options().device(c10::kCPU);
  Tensor view = at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), options);
  view._set_conj(tensor.is_conj());
  view._set_neg(tensor.is_neg());
  return view;
}

// While one exists, this thread's copies between host and device belong to an operator that is being computed on the
// host. A real device would not make them, so they take none of its time.
class HostStaging {
 public:
  HostStaging() : outer_(std::exchange(active_, true)) {}
  ~HostStaging() {
    active_ = outer_;
  }
  HostStaging(const HostStaging&) = delete;
  HostStaging& operator=(const HostStaging&) = delete;

  static bool active() {
    return active_;
  }

 private:
  static thread_local bool active_;
  bool outer_;
};

thread_local bool HostStaging::active_ = false;

// An operator, from the moment the host issues it. The device starts it then, not when the host has its numbers: the
// host computes while the simulated device does, and whoever waits for both waits for the slower one.
class Launch {
 public:
  explicit Launch(Device device) : device_(device.has_index() ? device.index() : current_device) {
    check_healthy();
  }

  Time issued() const {
    return issued_;
  }

  // Occupies the device for one operator; returns when it will be done.
  Time finish() const {
    ++settings().operations;
    return timeline().enqueue(current_stream_key(device_), issued_, settings().op_seconds);
  }

 private:
  int device_;
  Time issued_ = Clock::now();
};

// --- Any operator: the boxed fallback ------------------------------------------------------------------------------

std::size_t first_argument(const OperatorHandle& op, const Stack& stack) {
  return stack.size() - op.schema().arguments().size();
}

std::size_t first_result(const OperatorHandle& op, const Stack& stack) {
  return stack.size() - op.schema().returns().size();
}

std::optional<Device> device_of_list(const c10::List<Tensor>& tensors) {
  for (const Tensor& tensor : tensors) {
    if (on_device(tensor)) {
      return tensor.device();
    }
  }
  return std::nullopt;
}

std::optional<Device> device_of(const IValue& value) {
  if (value.isTensor() && on_device(value.toTensor())) {
    return value.toTensor().device();
  }
  if (value.isTensorList()) {
    return device_of_list(value.toTensorList());
  }
  if (value.isDevice() && value.toDevice().is_privateuseone()) {
    return value.toDevice();
  }
  return std::nullopt;
}

Device device_of_arguments(const OperatorHandle& op, const Stack& stack) {
  for (std::size_t i = first_argument(op, stack); i < stack.size(); ++i) {
    if (const auto device = device_of(stack[i])) {
      return *device;
    }
  }
  return Device(c10::DeviceType::PrivateUse1);
}

// The CPU's kernels would mix devices without a word, where a real device refuses. As there, a scalar tensor on the
// host may be used anywhere.
void check_same_device(const OperatorHandle& op, const Stack& stack, Device device) {
  for (std::size_t i = first_argument(op, stack); i < stack.size(); ++i) {
    if (!stack[i].isTensor() || !stack[i].toTensor().defined()) {
      continue;
    }
    const Tensor& tensor = stack[i].toTensor();
    const bool host_scalar = tensor.is_cpu() && tensor.dim() == 0;
    TORCH_CHECK(
        host_scalar || tensor.device() == device,
        "Expected all tensors to be on the same device, but found at least two devices, ", device, " and ",
        tensor.device(), "! (when running ", op.schema().operator_name(), ")");
  }
}

bool is_generator(const c10::Argument& argument) {
  const c10::TypePtr& type = argument.type();
  if (const auto* optional = type->castRaw<c10::OptionalType>()) {
    return optional->getElementType()->kind() == c10::TypeKind::GeneratorType;
  }
  return type->kind() == c10::TypeKind::GeneratorType;
}

at::Generator host_generator_for(const IValue& value, Device device) {
  if (value.isNone()) {
    return host_generator(default_generator(device.has_index() ? device.index() : current_device));
  }
  const at::Generator generator = value.toGenerator();
  TORCH_CHECK(
      generator.device().is_privateuseone(), "Expected a '", device.type(),
      "' device type for generator but found '", generator.device().type(), "'");
  return host_generator(generator);
}

void use_host_generators(const OperatorHandle& op, Stack* stack, Device device) {
  const auto& arguments = op.schema().arguments();
  const std::size_t first = first_argument(op, *stack);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    if (is_generator(arguments[i])) {
      (*stack)[first + i] = IValue(host_generator_for((*stack)[first + i], device));
    }
  }
}

bool is_written(const c10::Argument& argument) {
  return argument.alias_info() != nullptr && argument.alias_info()->isWrite();
}

// Lets the host read tensors where they are. torch's fallback would copy them, which is slower, and would lose what
// operators write without declaring it: batch norm does so with its running statistics. What an operator declares to
// write, and may have to resize, is left to the fallback.
void lend_inputs_to_host(const OperatorHandle& op, Stack* stack) {
  const auto& arguments = op.schema().arguments();
  const std::size_t first = first_argument(op, *stack);
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    IValue& value = (*stack)[first + i];
    if (value.isTensor() && !is_written(arguments[i])) {
      value = IValue(host_view(value.toTensor()));
    }
  }
}

Tensor to_device(const Tensor& tensor, Device device) {
  return tensor.defined() && tensor.is_cpu() ? tensor.to(device) : tensor;
}

IValue result_on_device(const IValue& result, Device device) {
  if (result.isTensor()) {
    return to_device(result.toTensor(), device);
  }
  if (!result.isTensorList()) {
    return result;
  }
  c10::List<Tensor> moved;
  for (const Tensor& tensor : result.toTensorList()) {
    moved.push_back(to_device(tensor, device));
  }
  return moved;
}

// torch's fallback leaves new results where the first tensor argument is: on the host, if that was lent to it.
void move_results_to_device(const OperatorHandle& op, Stack* stack, Device device) {
  for (std::size_t i = first_result(op, *stack); i < stack->size(); ++i) {
    (*stack)[i] = result_on_device((*stack)[i], device);
  }
}

// Such as the bool of torch.equal(): Python gets it when the device has it.
bool has_host_results(const OperatorHandle& op, const Stack& stack) {
  for (std::size_t i = first_result(op, stack); i < stack.size(); ++i) {
    if (!stack[i].isTensor() && !stack[i].isTensorList()) {
      return true;
    }
  }
  return false;
}

void run_operator(const OperatorHandle& op, Stack* stack) {
  const Device device = device_of_arguments(op, *stack);
  const Launch launch(device);
  check_same_device(op, *stack, device);
  {
    const HostStaging staging;
    use_host_generators(op, stack, device);
    lend_inputs_to_host(op, stack);
    at::native::cpu_fallback(op, stack);
    move_results_to_device(op, stack, device);
  }
  const Time end = launch.finish();
  if (has_host_results(op, *stack)) {
    wait_until(end);
  }
}

// --- Views and resizing: no device time, and no copy ---------------------------------------------------------------

// These touch the description of a tensor, or its storage through the storage's own allocator. Both are right for any
// memory that the host can address, so the CPU's kernels serve as they are.
void run_host_kernel_in_place(const OperatorHandle& op, Stack* stack) {
  const c10::DeviceGuard guard(device_of_arguments(op, *stack));
  op.redispatchBoxed(kHostKey, stack);
}

// --- Allocation ----------------------------------------------------------------------------------------------------

Device device_or_current(std::optional<Device> device) {
  return device.value_or(Device(c10::DeviceType::PrivateUse1));
}

Tensor empty(
    at::IntArrayRef sizes,
    std::optional<at::ScalarType> dtype,
    std::optional<at::Layout> /*layout*/,
    std::optional<Device> device,
    std::optional<bool> /*pin_memory*/,
    std::optional<at::MemoryFormat> memory_format) {
  const c10::DeviceGuard guard(device_or_current(device));
  return at::detail::empty_generic(
      sizes, device_allocator(), kDeviceKey, c10::dtype_or_default(dtype), memory_format);
}

Tensor empty_strided(
    at::IntArrayRef sizes,
    at::IntArrayRef strides,
    std::optional<at::ScalarType> dtype,
    std::optional<at::Layout> /*layout*/,
    std::optional<Device> device,
    std::optional<bool> /*pin_memory*/) {
  const c10::DeviceGuard guard(device_or_current(device));
  return at::detail::empty_strided_generic(
      sizes, strides, device_allocator(), kDeviceKey, c10::dtype_or_default(dtype));
}

// --- Copies --------------------------------------------------------------------------------------------------------

double link_seconds(const Tensor& tensor) {
  return static_cast<double>(tensor.nbytes()) / settings().copy_bytes_per_second;
}

// Like CUDA, runs on the source's stream, starts once the destination's stream is done, and makes that one wait.
void time_copy_between_devices(const Tensor& source, const Tensor& destination, Time issued) {
  const StreamKey from = current_stream_key(source.get_device());
  const StreamKey to = current_stream_key(destination.get_device());
  timeline().hold(from, timeline().end_of_stream(to));
  timeline().hold(to, timeline().enqueue(from, issued, link_seconds(destination)));
}

void time_copy_with_host(const Tensor& device_side, double seconds, Time issued, bool non_blocking) {
  const Time end = timeline().enqueue(current_stream_key(device_side.get_device()), issued, seconds);
  if (!non_blocking) {
    wait_until(end);
  }
}

// Behind copy_() and to(). The bytes are there when it returns, even when the copy does not block.
Tensor copy_from(const Tensor& source, const Tensor& destination, bool non_blocking) {
  const Tensor& device_side = on_device(source) ? source : destination;
  const Launch launch(device_side.device());
  host_view(destination).copy_(host_view(source));
  if (HostStaging::active()) {
    return destination;
  }
  if (!on_device(source) || !on_device(destination)) {
    time_copy_with_host(device_side, link_seconds(destination), launch.issued(), non_blocking);
  } else if (source.device() == destination.device()) {
    launch.finish();  // An operator like any other.
  } else {
    time_copy_between_devices(source, destination, launch.issued());
  }
  return destination;
}

// How torch's fallback writes back a tensor that an operator changed.
Tensor copy_from_and_resize(const Tensor& source, const Tensor& destination) {
  if (source.sizes() != destination.sizes()) {
    destination.resize_(source.sizes());
  }
  return copy_from(source, destination, /*non_blocking=*/false);
}

// Behind item(), float() and if: the host needs the number, so it waits for everything before it.
at::Scalar read_scalar(const Tensor& tensor) {
  wait_until(timeline().end_of_stream(current_stream_key(tensor.get_device())));
  return host_view(tensor).item();
}

// --- Convolution: the operators that torch expects an accelerator outside its own tree to bring along --------------

Tensor convolution(
    const Tensor& input,
    const Tensor& weight,
    const std::optional<Tensor>& bias,
    at::IntArrayRef stride,
    at::IntArrayRef padding,
    at::IntArrayRef dilation,
    bool transposed,
    at::IntArrayRef output_padding,
    int64_t groups) {
  const Launch launch(input.device());
  const HostStaging staging;
  const auto host_bias = bias ? std::optional(host_view(*bias)) : std::nullopt;
  const Tensor result = at::convolution(
      host_view(input), host_view(weight), host_bias, stride, padding, dilation, transposed, output_padding, groups);
  const Tensor on_device = result.to(input.device());
  launch.finish();
  return on_device;
}

std::tuple<Tensor, Tensor, Tensor> convolution_backward(
    const Tensor& grad,
    const Tensor& input,
    const Tensor& weight,
    at::IntArrayRef stride,
    at::IntArrayRef padding,
    at::IntArrayRef dilation,
    bool transposed,
    at::IntArrayRef output_padding,
    int64_t groups,
    std::array<bool, 3> wanted) {
  const Device device = input.device();
  const Launch launch(device);
  const HostStaging staging;
  const int64_t channels = grad.size(1);
  const auto gradients = at::convolution_backward(
      host_view(grad), host_view(input), host_view(weight), at::IntArrayRef(channels), stride, padding, dilation,
      transposed, output_padding, groups, wanted);
  const auto on_device = std::apply(
      [&](const auto&... gradient) { return std::tuple(to_device(gradient, device)...); }, gradients);
  launch.finish();
  return on_device;
}

// --- Dropout: made of operators that take a generator, since the CPU's kernel always draws from the CPU's own -------

std::tuple<Tensor, Tensor> dropout(const Tensor& input, double probability, std::optional<bool> train) {
  const double keep = train.value_or(true) ? 1.0 - probability : 1.0;
  const Tensor mask = at::empty_like(input, input.options().dtype(at::kBool)).bernoulli_(keep);
  return {input.mul(mask).mul_(keep == 0.0 ? 0.0 : 1.0 / keep), mask};
}

// --- Registration --------------------------------------------------------------------------------------------------

constexpr const char* kOperatorsOnDescriptions[] = {
    "as_strided",
    "view",
    "_reshape_alias",
    "unfold",
    "view_as_real",
    "view_as_complex",
    "resize_",
    "set_",
    "set_.source_Tensor",
    "set_.source_Storage",
    "set_.source_Storage_storage_offset",
};

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_operator>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  for (const char* name : kOperatorsOnDescriptions) {
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&run_host_kernel_in_place>());
  }
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("_copy_from", &copy_from);
  library.impl("_copy_from_and_resize", &copy_from_and_resize);
  library.impl("_local_scalar_dense", &read_scalar);
  library.impl("native_dropout", &dropout);
  library.impl("convolution_overrideable", &convolution);
  library.impl("convolution_backward_overrideable", &convolution_backward);
}

// By default torch resolves the lazy conjugate and negative views of an operator's arguments by copying them, which for
// the copy itself would never end. The copy reads such views as they are.
TORCH_LIBRARY_IMPL(aten, Conjugate, library) {
  library.impl("_copy_from", torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(aten, Negative, library) {
  library.impl("_copy_from", torch::CppFunction::makeFallthrough());
}

}  // namespace
}  // namespace simgpu
