// The only file that includes torch's headers: LibTorch's stable ABI, so that one binary serves
// every torch from 2.10 on. What the ops of every device share: layouts, outputs, dispatch; and for
// CUDA sources the stream.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Exception.h>
#include <torch/headeronly/util/Half.h>
#include <torch/headeronly/util/shim_utils.h>

#ifdef USE_CUDA
#include <cuda_runtime.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/macros.h>
#endif

#include <cstdint>
#include <optional>
#include <type_traits>
#include <vector>

namespace invad {

using torch::headeronly::BFloat16;
using torch::headeronly::Half;
using torch::headeronly::MemoryFormat;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// What sums over elements of type T are kept in: float32, and float64 for float64.
template <typename T>
using Accumulate = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename T>
constexpr ScalarType kScalarType =
    std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Float;

// The same for the elements of x.
inline ScalarType accumulation_type(const Tensor& x) {
  return x.scalar_type() == ScalarType::Double ? ScalarType::Double : ScalarType::Float;
}

// The layout that an op works in for an N x C x H x W input: channels last where the channels of
// one pixel are neighbours. The same rule as invad_fast/ops/layout.py.
inline MemoryFormat layout_of(const Tensor& x) {
  const bool last = !x.is_contiguous() && x.size(1) > 1 && x.stride(1) == 1;
  return last ? MemoryFormat::ChannelsLast : MemoryFormat::Contiguous;
}

// `x` itself where it is dense in `layout`, else a copy that is.
inline Tensor in_layout(const Tensor& x, MemoryFormat layout) {
  return torch::stable::contiguous(x, layout);
}

// The same, converted to `type` where it has another.
inline Tensor in_layout(const Tensor& x, MemoryFormat layout, ScalarType type) {
  return in_layout(x.scalar_type() == type ? x : torch::stable::to(x, type), layout);
}

// A tensor on the device of `like`, not initialised.
inline Tensor empty(const std::vector<int64_t>& size, const Tensor& like, ScalarType type,
                    MemoryFormat layout = MemoryFormat::Contiguous) {
  return torch::stable::empty(size, type, std::nullopt, like.device(), std::nullopt, layout);
}

inline std::vector<int64_t> size_of(const Tensor& x) {
  const auto size = x.sizes();
  return {size.begin(), size.end()};
}

template <typename T>
const T* data(const Tensor& x) {
  return static_cast<const T*>(x.const_data_ptr());
}

// Null where there is no tensor.
template <typename T>
const T* data(const std::optional<Tensor>& x) {
  return x ? data<T>(*x) : nullptr;
}

template <typename T>
T* mutable_data(const Tensor& x) {
  return static_cast<T*>(x.mutable_data_ptr());
}

// Calls f(T{}) with the element type of x, one of the four float types.
template <typename F>
void dispatch_float(const Tensor& x, F&& f) {
  switch (x.scalar_type()) {
    case ScalarType::Float:
      return f(float{});
    case ScalarType::BFloat16:
      return f(BFloat16{});
    case ScalarType::Half:
      return f(Half{});
    case ScalarType::Double:
      return f(double{});
    default:  // arguments.h lets no other through
      STD_TORCH_CHECK(false, "no float type");
  }
}

#ifdef USE_CUDA
// Torch's current stream on the device of a tensor; that device is the current one for as long as
// this lives.
class CurrentStream {
 public:
  explicit CurrentStream(const Tensor& x) : device_(x.get_device_index()) {
    void* stream = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device_index(), &stream));
    stream_ = static_cast<cudaStream_t>(stream);
  }
  operator cudaStream_t() const { return stream_; }

 private:
  torch::stable::accelerator::DeviceGuard device_;
  cudaStream_t stream_;
};
#endif

}  // namespace invad
