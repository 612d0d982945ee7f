// A feature map as vectors over the channels, row by row, whatever its strides and its type.
#pragma once

#include <algorithm>

#include "element.h"
#include "parallel.h"

namespace invad {

// The vectors of one row: C numbers side by side, `step` apart.
template <typename T>
struct VectorRow {
  const T* first;
  int64_t step;

  const T* at(int64_t x) const { return first + x * step; }
};

class ChannelVectors {
 public:
  int64_t samples, channels, height, width;

  // x: N x C x H x W, of one of the four float types; it is not copied.
  explicit ChannelVectors(const Tensor& x)
      : samples(x.size(0)),
        channels(x.size(1)),
        height(x.size(2)),
        width(x.size(3)),
        base_(x.const_data_ptr()),
        type_(x.scalar_type()),
        stride_n_(x.stride(0)),
        stride_c_(x.stride(1)),
        stride_h_(x.stride(2)),
        stride_w_(x.stride(3)) {}

  ScalarType type() const { return type_; }
  // Whether the channels of a pixel are neighbours in memory.
  bool dense() const { return stride_c_ == 1 || channels == 1; }

  // Row y of sample n where it lies. Only where dense(), and T is type().
  template <typename T>
  VectorRow<T> in_place(int64_t n, int64_t y) const {
    return {row<T>(n, y), stride_w_};
  }

  // Row y of sample n in numbers of type A: where it lies if it can be read there, else in
  // `buffer`, of width * channels numbers.
  template <typename A>
  VectorRow<A> read(int64_t n, int64_t y, A* buffer) const {
    if (dense() && type_ == kScalarType<A>) return in_place<A>(n, y);
    switch (type_) {
      case ScalarType::Float:
        pack(row<float>(n, y), buffer);
        break;
      case ScalarType::BFloat16:
        pack(row<BFloat16>(n, y), buffer);
        break;
      case ScalarType::Half:
        pack(row<Half>(n, y), buffer);
        break;
      default:
        pack(row<double>(n, y), buffer);
    }
    return {buffer, channels};
  }

 private:
  template <typename T>
  const T* row(int64_t n, int64_t y) const {
    return static_cast<const T*>(base_) + n * stride_n_ + y * stride_h_;
  }

  template <typename T, typename A>
  void pack(const T* from, A* to) const {
    if (dense()) {
      for (int64_t x = 0; x < width; ++x) {
        const T* __restrict source = from + x * stride_w_;
        A* __restrict target = to + x * channels;
        for (int64_t c = 0; c < channels; ++c) target[c] = static_cast<A>(load(source, c));
      }
      return;
    }
    // Planes: as many channels at a time as fill a cache line of the buffer.
    constexpr int64_t kTile = 16;
    for (int64_t first = 0; first < channels; first += kTile) {
      const int64_t last = std::min(first + kTile, channels);
      for (int64_t x = 0; x < width; ++x) {
        const T* source = from + x * stride_w_;
        for (int64_t c = first; c < last; ++c)
          to[x * channels + c] = static_cast<A>(load(source, c * stride_c_));
      }
    }
  }

  const void* base_;
  ScalarType type_;
  int64_t stride_n_, stride_c_, stride_h_, stride_w_;
};

}  // namespace invad
