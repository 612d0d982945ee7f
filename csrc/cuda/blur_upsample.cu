// The 4 x 4 low-pass filter outer([1, 3, 3, 1]) / 64 * 4 with zero padding, then bias and leaky
// ReLU where a bias is given. The filter is separable: a thread goes down a strip of rows, filters
// each row it reads along the row, and keeps the last three for the filter across rows. So every
// element is loaded four times or less (three of them from the first cache), not sixteen.
#include "../blur_upsample.h"
#include "../leaky_relu.h"
#include "channel_values.h"
#include "launch.h"
#include "vector.h"

namespace invad {
namespace {

constexpr float kOuter = 0.25f, kInner = 0.75f;  // [1, 3, 3, 1] / 8 * 2

// Memory as images of rows. Channels first: an image is one channel's plane. Channels last: an
// image holds all channels.
struct Images {
  int channels, height, width, out_height, out_width, padding;
  int groups;      // vectors in a row of the output
  int strip_rows;  // rows of the output that a thread makes
  int strips;      // strips in an image
  int64_t count;

  Images(const Tensor& x, const Tensor& y, int64_t padding, bool last, int vector)
      : channels(x.size(1)),
        height(x.size(2)),
        width(x.size(3)),
        out_height(y.size(2)),
        out_width(y.size(3)),
        padding(padding) {
    count = last ? x.size(0) : x.size(0) * x.size(1);
    groups = last ? ceil_div(channels, vector) * out_width : ceil_div(out_width, vector);
    // Long strips read fewer rows twice, short ones fill the GPU.
    strip_rows = 16;
    while (strip_rows > 2 && threads() < (1 << 17)) strip_rows /= 2;
    STD_TORCH_CHECK(threads() < (int64_t{1} << 31), "blur_upsample: x has too many elements");
    strips = ceil_div(out_height, strip_rows);
  }
  int64_t threads() const { return count * groups * ceil_div(out_height, strip_rows); }
};

template <typename A>
__device__ __forceinline__ A filter(A a, A b, A c, A d) {
  return static_cast<A>(kOuter) * (a + d) + static_cast<A>(kInner) * (b + c);
}

// Channels last: N channels of one output pixel in `column`; row points at the first of them in
// the row's pixel 0.
template <typename T, int N>
__device__ __forceinline__ void filter_pixels(const T* row, int column, const Images& images,
                                              Accumulate<T> (&to)[N]) {
  Accumulate<T> tap[4][N];
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int from = column - images.padding + k;
    if (from >= 0 && from < images.width) {
      load<N>(row + static_cast<int64_t>(from) * images.channels, tap[k]);
    } else {
#pragma unroll
      for (int i = 0; i < N; ++i) tap[k][i] = 0;
    }
  }
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = filter(tap[0][i], tap[1][i], tap[2][i], tap[3][i]);
}

// Channels first: N output pixels from `column` on. The rows are of odd length after a transposed
// convolution, so that they start anywhere: elements are loaded one by one.
template <typename T, int N>
__device__ __forceinline__ void filter_plane(const T* row, int column, const Images& images,
                                             Accumulate<T> (&to)[N]) {
  Accumulate<T> tap[N + 3];
#pragma unroll
  for (int k = 0; k < N + 3; ++k) {
    const int from = column - images.padding + k;
    tap[k] = from >= 0 && from < images.width ? static_cast<Accumulate<T>>(row[from]) : 0;
  }
#pragma unroll
  for (int i = 0; i < N; ++i) to[i] = filter(tap[i], tap[i + 1], tap[i + 2], tap[i + 3]);
}

// x: N x C x H x W, y: N x C x out_height x out_width, bias: C or null.
template <typename T, int N, bool kLast>
__global__ void __launch_bounds__(kThreads)
    blur(const T* __restrict__ x, ChannelValues bias, T* __restrict__ y, Images images,
         unsigned threads) {
  using A = Accumulate<T>;
  const unsigned thread = blockIdx.x * kThreads + threadIdx.x;
  if (thread >= threads) return;
  const int group = thread % images.groups;
  const unsigned above = thread / images.groups;
  const int strip = above % images.strips;
  const unsigned image = above / images.strips;
  const int step = kLast ? images.channels : 1;
  const int column = kLast ? group * N / images.channels : group * N;
  const int channel = kLast ? group * N % images.channels : image % images.channels;
  const int64_t row_length = static_cast<int64_t>(images.width) * step;
  const T* from = x + image * images.height * row_length + (kLast ? channel : 0);

  const auto row = [&](int at, A(&to)[N]) {
    if (at < 0 || at >= images.height) {
#pragma unroll
      for (int i = 0; i < N; ++i) to[i] = 0;
    } else if (kLast) {
      filter_pixels<T, N>(from + at * row_length, column, images, to);
    } else {
      filter_plane<T, N>(from + at * row_length, column, images, to);
    }
  };
  A shift[N];
#pragma unroll
  for (int i = 0; i < N; ++i)
    shift[i] = bias.values != nullptr ? bias.get<A>(kLast ? channel + i : channel) : A(0);

  const int first = strip * images.strip_rows;
  const int last = min(first + images.strip_rows, images.out_height);
  const int64_t out_row = static_cast<int64_t>(images.out_width) * step;
  T* to = y + (static_cast<int64_t>(image) * images.out_height + first) * out_row + group * N;
  A above_3[N], above_2[N], above_1[N];
  row(first - images.padding, above_3);
  row(first - images.padding + 1, above_2);
  row(first - images.padding + 2, above_1);
#pragma unroll 1  // unrolled it holds so many registers that fewer blocks fit
  for (int out = first; out < last; ++out, to += out_row) {
    A next[N], v[N];
    row(out - images.padding + 3, next);
#pragma unroll
    for (int i = 0; i < N; ++i) {
      v[i] = filter(above_3[i], above_2[i], above_1[i], next[i]);
      if (bias.values != nullptr) v[i] = leaky_relu(v[i] + shift[i]);
      above_3[i] = above_2[i];
      above_2[i] = above_1[i];
      above_1[i] = next[i];
    }
    store<N>(to, v);
  }
}

template <typename T, bool kLast>
void run(const CurrentStream& stream, const Tensor& x, ChannelValues bias, const Tensor& y,
         int64_t padding) {
  // Channels first, four pixels: of more a warp's loads would lie too far apart.
  constexpr int kWide = kLast || kVector<T> < 4 ? kVector<T> : 4;
  with_vectors<T, kWide>(
      kLast ? x.size(1) : y.size(3),
      [&](auto n) {
        constexpr int N = decltype(n)::value;
        const Images images(x, y, padding, kLast, N);
        const Launch launch{dim3(ceil_div(images.threads(), kThreads)), dim3(kThreads)};
        launch(stream, blur<T, N, kLast>, data<T>(x), bias, mutable_data<T>(y), images,
               images.threads());
      },
      data<T>(x), data<T>(y));
}

// x: N x C x H x W, bias: C. Returns the filtered x in the layout of x.
Tensor blur_upsample(const Tensor& x, std::optional<Tensor> bias, int64_t padding) {
  const BlurUpsample of(x, bias, padding);
  const CurrentStream stream(x);
  if (of.x.numel() == 0) return of.y;
  const ChannelValues values = of.bias ? ChannelValues(*of.bias) : ChannelValues();
  dispatch_float(of.x, [&](auto type) {
    using T = decltype(type);
    if (of.layout == MemoryFormat::ChannelsLast)
      run<T, true>(stream, of.x, values, of.y, padding);
    else
      run<T, false>(stream, of.x, values, of.y, padding);
  });
  return of.y;
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CUDA, m) {
  m.impl("blur_upsample", TORCH_BOX(&invad::blur_upsample));
}
