// The 3x3 convolution that makes gamma and beta of the latent style, as a product of matrices whose
// results never leave the registers: a block takes a tile of pixels and channels,
//
//     [128 pixels, 9 S values each] x [9 S x channels], once for gamma and once for beta,
//
// and each thread holds both for runs of eight pixels or channels that are neighbours in memory, so
// that it can apply them to x with the widest accesses. 16-bit types go through the tensor cores,
// float32 (and float64) through plain multiply-adds with the same places in the same threads.
#pragma once

#include "channel_values.h"
#include "launch.h"
#include "pixel_tiles.h"
#include "ptx.h"
#include "vector.h"

namespace invad {

// Blocks that share a multiprocessor, so that one computes while the other waits for memory;
// float64 is for checks.
template <typename T>
constexpr int kBlocksTogether = std::is_same_v<T, double> ? 1 : 2;

constexpr int kRun = 8;

// Channels of the latent that shared memory holds at once: what a step of the tensor cores takes.
template <typename T>
constexpr int kDepth = std::is_same_v<T, double> ? 8 : 16;

// The latent, N x S x H x W of any strides.
template <typename T>
struct Latent {
  const T* values;
  int64_t n, s, h, w;  // strides
  int width;           // S
  bool vectors;        // channels of a pixel lie together and can be read 16 bytes at once

  explicit Latent(const Tensor& z)
      : values(data<T>(z)),
        n(z.stride(0)),
        s(z.stride(1)),
        h(z.stride(2)),
        w(z.stride(3)),
        width(static_cast<int>(z.size(1))) {
    constexpr int kEach = 16 / sizeof(T);
    const bool together = s == 1 && n % kEach == 0 && h % kEach == 0 && w % kEach == 0;
    vectors = together && width % kEach == 0 && aligned(values);
  }
};

// The filters, 2C x 3 x 3 x S, gamma's first, and their biases.
template <typename T>
struct Filters {
  const T* values;
  ChannelValues bias;  // 2C
  int channels;        // C
  bool vectors;
};

// The product of a block's tile. kLast: runs go along the channels, else along a row of pixels.
// kChannels: 64 or 32; kOutputs: 2 for gamma and beta, 1 for gamma alone.
template <typename T, bool kLast, int kChannels, int kOutputs>
class LatentProduct {
 public:
  using A = Accumulate<T>;

 private:
  static constexpr bool kTensorCores = sizeof(T) == 2;
  // Warps side by side on the channels; the others are below each other on the pixels.
  static constexpr int kAcross = kLast ? kChannels / 32 : 4;
  static constexpr int kWarpChannels = kChannels / kAcross;
  static constexpr int kWarpPixels = kTilePixels * kAcross / (kThreads / 32);
  // Products of 16 pixels x 8 channels that a warp makes.
  static constexpr int kRows = kWarpPixels / 16, kColumns = kWarpChannels / 8;
  static_assert((kLast ? kColumns : kRows) == kRun / 2);

  // Shared memory in slots of 16 bytes. An odd number of them from row to row, and one more after
  // eight pixels, since runs begin eight apart: neighbouring rows lie in different banks.
  static constexpr int kSlot = 16 / sizeof(T);
  static constexpr int kPixelSlots = kDepth<T> / kSlot | 1;
  static constexpr int kFilterSlots = 9 * kDepth<T> / kSlot | 1;
  // Of 16 x 8 pixels, 18 rows in a pitch of 16; wider tiles have fewer.
  static constexpr int kMostPixels = 18 * 16;
  static constexpr int kLatentSlots = kMostPixels * kPixelSlots + kMostPixels / 8;

 public:
  static constexpr int kRuns = kRows * kColumns / 2;
  using Runs = A[kRuns][kRun];
  static constexpr size_t kSharedBytes =
      16 * (kLatentSlots + kOutputs * kChannels * kFilterSlots) + sizeof(A) * kOutputs * kChannels;

  // Everything that is the same for all tiles of a block; `first`: its first channel.
  __device__ LatentProduct(const PixelTiles& tiles, const Filters<T>& filters, int first)
      : tiles_(tiles), filters_(filters), first_(first) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    group_ = lane / 4;
    place_ = lane % 4;
    warp_channel_ = warp % kAcross * kWarpChannels;
    warp_pixel_ = warp / kAcross * kWarpPixels;
    for (int i = threadIdx.x; i < kOutputs * kChannels; i += kThreads) {
      const int channel = first + channel_of(i % kChannels);
      const int of = i / kChannels * filters.channels + channel;
      bias()[i] = channel < filters.channels ? filters.bias.template get<A>(of) : 0;
    }
  }

  // results[o][run][v] = gamma (o = 0) and beta (o = 1) of the thread's runs in `tile`. `again`:
  // the filters are in shared memory from the block's last tile, if all of them fit into it.
  __device__ __forceinline__ void operator()(const Latent<T>& latent, const PixelTile& tile,
                                             bool again, Runs (&results)[kOutputs]) const {
    for (int start = 0; start < latent.width || start == 0; start += kDepth<T>) {
      __syncthreads();  // what the last products read is no longer needed
      load_latent(latent, tile, start);
      if (!again || latent.width > kDepth<T>) load_filters(latent.width, start);
      __syncthreads();
      if (start == 0) begin_with_bias(results);
      // Of the warp's pixels the first is the uppermost, of its channels the least.
      if (tile.row + (warp_pixel_ >> tiles_.shift) >= tiles_.h) continue;
      if (first_ + warp_channel_ >= filters_.channels) continue;
      if constexpr (kTensorCores)
        add_on_tensor_cores(results);
      else
        add_plainly(results);
    }
  }

  // Calls f(run, at, valid, channel) for the thread's runs: element `at` of the sample and those
  // after it, `valid` (at most 8) of which are inside the image; all of `channel` and the next
  // ones where kLast, else of `channel`.
  template <typename F>
  __device__ __forceinline__ void each_run(const PixelTile& tile, const F& f) const {
    const int group = forget(group_), place = forget(place_);
#pragma unroll
    for (int run = 0; run < kRuns; ++run) {
      int pixel = warp_pixel_, channel = first_ + warp_channel_;
      if constexpr (kLast) {
        pixel += run * 8 + group;
        channel += place * kRun;
      } else {
        pixel += group * kRun;
        channel += run / 2 * 8 + 2 * place + run % 2;
      }
      const int row = tile.row + (pixel >> tiles_.shift);
      const int column = tile.column + (pixel & (tiles_.columns() - 1));
      const int c = filters_.channels;
      if (row >= tiles_.h || column >= tiles_.w || channel >= c) continue;
      if constexpr (kLast)
        f(run, (row * tiles_.w + column) * c + channel, min(c - channel, kRun), channel);
      else
        f(run, (channel * tiles_.h + row) * tiles_.w + column, min(tiles_.w - column, kRun),
          channel);
    }
  }

  // Asks for the tile's elements of `samples`, samples x size, 128 bytes at a time; registers could
  // not hold them beside the product.
  __device__ __forceinline__ void prefetch_tile(const PixelTile& tile, const T* samples,
                                                int size) const {
    samples += int64_t{tile.sample} * size;
    const int c = filters_.channels;
    if constexpr (kLast) {
      const int row = tile.row + (threadIdx.x >> tiles_.shift);
      const int column = tile.column + (threadIdx.x & (tiles_.columns() - 1));
      if (threadIdx.x < kTilePixels && row < tiles_.h && column < tiles_.w)
        prefetch(samples + (row * tiles_.w + column) * c + first_);
    } else {
      const int rows_shift = kTileShift - tiles_.shift;
      for (int i = threadIdx.x; i < kChannels << rows_shift; i += kThreads) {
        const int row = tile.row + (i & ((1 << rows_shift) - 1));
        const int channel = first_ + (i >> rows_shift);
        if (row < tiles_.h && channel < c)
          prefetch(samples + (channel * tiles_.h + row) * tiles_.w + tile.column);
      }
    }
  }

 private:
  static __device__ __forceinline__ unsigned char* shared(int slot) {
    return dynamic_shared + 16 * slot;
  }
  static __device__ __forceinline__ A* bias() {
    return reinterpret_cast<A*>(shared(kLatentSlots + kOutputs * kChannels * kFilterSlots));
  }
  // Of a pixel of the halo, counted along its rows.
  static __device__ __forceinline__ int slot_of(int pixel) {
    return pixel * kPixelSlots + pixel / 8;
  }

  // The channel at a column of the product. Where runs go along the channels, four products of
  // eight columns give a thread, two columns each, eight channels that lie together.
  static __device__ __forceinline__ int channel_of(int column) {
    if constexpr (!kLast) return column;
    const int product = column % 32 / 8, n = column % 8;
    return column / 32 * 32 + n / 2 * kRun + 2 * product + n % 2;
  }
  // The tile's pixel in a row of the product, likewise.
  static __device__ __forceinline__ int pixel_of(int product, int half, int group) {
    return kLast ? product * 16 + half * 8 + group : group * kRun + 2 * product + half;
  }
  // What the thread holds of a product: rows group_ + 8 half, columns 2 place_ + odd.
  static __device__ __forceinline__ A& of(Runs& runs, int row, int column, int half, int odd) {
    return kLast ? runs[2 * row + half][2 * column + odd] : runs[2 * column + odd][2 * row + half];
  }
  // The halo's pixel above and left of a tile's pixel.
  __device__ __forceinline__ int corner(int pixel) const {
    return (pixel >> tiles_.shift) * tiles_.pitch + (pixel & (tiles_.columns() - 1));
  }

  // Channels start .. start + kDepth of the tile and the pixels around it; 0 beyond the image.
  __device__ __forceinline__ void load_latent(const Latent<T>& latent, const PixelTile& tile,
                                              int start) const {
    constexpr int kChunks = kDepth<T> / kSlot;
    const int pixels = ((kTilePixels >> tiles_.shift) + 2) * tiles_.halo_columns();
    const T* sample = latent.values + tile.sample * latent.n;
    const auto load_slot = [&](int pixel, int chunk, bool vectors) {
      const int row = tiles_.halo_row(pixel), column = pixel - row * tiles_.halo_columns();
      const int from_row = tile.row + row - 1, from_column = tile.column + column - 1;
      const bool inside =
          from_row >= 0 && from_row < tiles_.h && from_column >= 0 && from_column < tiles_.w;
      const int s = start + chunk * kSlot;
      const T* from = sample + from_row * latent.h + from_column * latent.w + s * latent.s;
      store_slot(slot_of(row * tiles_.pitch + column) + chunk, from, latent.s,
                 inside ? latent.width - s : 0, vectors);
    };
    // Neighbouring threads read what lies together.
    const int thread = forget(threadIdx.x);
    if (latent.vectors) {
      for (int i = thread; i < pixels * kChunks; i += kThreads)
        load_slot(i / kChunks, i % kChunks, true);
    } else {
      for (int chunk = 0; chunk < kChunks; ++chunk)
        for (int pixel = thread; pixel < pixels; pixel += kThreads) load_slot(pixel, chunk, false);
    }
  }

  // All nine taps of the block's filters, 0 beyond the channels.
  __device__ __forceinline__ void load_filters(int width, int start) const {
    constexpr int kChunks = kDepth<T> / kSlot;
    for (int i = forget(threadIdx.x); i < kOutputs * kChannels * 9 * kChunks; i += kThreads) {
      const int chunk = i % kChunks, tap = i / kChunks % 9, column = i / (9 * kChunks);
      const int channel = first_ + channel_of(column % kChannels);
      const int s = start + chunk * kSlot;
      const int64_t filter = column / kChannels * filters_.channels + channel;
      store_slot(kLatentSlots + column * kFilterSlots + tap * kChunks + chunk,
                 filters_.values + (filter * 9 + tap) * width + s, 1,
                 channel < filters_.channels ? width - s : 0, filters_.vectors);
    }
  }

  // A slot = as many of from[0], from[stride], .. as `valid` says, then zeros.
  static __device__ __forceinline__ void store_slot(int slot, const T* from, int64_t stride,
                                                    int valid, bool vectors) {
    uint4 word{};
    if (vectors) {
      if (valid > 0) word = *reinterpret_cast<const uint4*>(from);
    } else {
      T element[kSlot];
#pragma unroll
      for (int e = 0; e < kSlot; ++e) element[e] = e < valid ? from[e * stride] : T(0);
      memcpy(&word, element, sizeof word);
    }
    *reinterpret_cast<uint4*>(shared(slot)) = word;
  }

  __device__ __forceinline__ void begin_with_bias(Runs (&results)[kOutputs]) const {
#pragma unroll
    for (int o = 0; o < kOutputs; ++o)
#pragma unroll
      for (int j = 0; j < kColumns; ++j)
#pragma unroll
        for (int odd = 0; odd < 2; ++odd) {
          const int column = o * kChannels + warp_channel_ + j * 8 + 2 * place_ + odd;
          const A value = bias()[column];
#pragma unroll
          for (int i = 0; i < 2 * kRows; ++i) of(results[o], i / 2, j, i % 2, odd) = value;
        }
  }

  __device__ __forceinline__ void add_on_tensor_cores(Runs (&results)[kOutputs]) const {
    // Which row of which matrix this lane points at.
    const int thread = forget(threadIdx.x), matrix = thread / 8 % 4, row = thread % 8;
    int corners[kRows];
#pragma unroll
    for (int i = 0; i < kRows; ++i) corners[i] = corner(warp_pixel_ + pixel_of(i, matrix % 2, row));
    // gamma's two halves of k, then beta's; without beta only two matrices are read.
    const int output = kOutputs == 2 ? matrix / 2 : 0;
    const int filter =
        kLatentSlots + matrix % 2 + (output * kChannels + warp_channel_ + row) * kFilterSlots;
#pragma unroll 1  // two taps at once would need more registers than there are
    for (int down = 0; down < 3; ++down) {
#pragma unroll 1
      for (int across = 0; across < 3; ++across) {
        unsigned a[kRows][4];
#pragma unroll
        for (int i = 0; i < kRows; ++i)
          load_matrices(shared(slot_of(corners[i] + down * tiles_.pitch + across) + matrix / 2),
                        a[i]);
#pragma unroll
        for (int j = 0; j < kColumns; ++j) {
          unsigned b[2 * kOutputs];
          load_matrices(shared(filter + j * 8 * kFilterSlots + (3 * down + across) * 2), b);
#pragma unroll
          for (int i = 0; i < kRows; ++i)
#pragma unroll
            for (int o = 0; o < kOutputs; ++o)
              multiply_add<T>(a[i], b + 2 * o, of(results[o], i, j, 0, 0),
                              of(results[o], i, j, 0, 1), of(results[o], i, j, 1, 0),
                              of(results[o], i, j, 1, 1));
        }
      }
    }
  }

  __device__ __forceinline__ void add_plainly(Runs (&results)[kOutputs]) const {
    constexpr int kChunks = kDepth<T> / kSlot;
    int corners[kRows][2];
#pragma unroll
    for (int i = 0; i < 2 * kRows; ++i)
      corners[i / 2][i % 2] = corner(warp_pixel_ + pixel_of(i / 2, i % 2, group_));
#pragma unroll 1
    for (int step = 0; step < 9 * kChunks; ++step) {
      const int tap = step / kChunks, chunk = step % kChunks;
      T a[kRows][2][kSlot];
#pragma unroll
      for (int i = 0; i < 2 * kRows; ++i) {
        const int pixel = corners[i / 2][i % 2] + tap / 3 * tiles_.pitch + tap % 3;
        copy_slot(slot_of(pixel) + chunk, a[i / 2][i % 2]);
      }
#pragma unroll
      for (int column = 0; column < kOutputs * kColumns * 2; ++column) {
        const int odd = column % 2, j = column / 2 % kColumns, o = column / (2 * kColumns);
        T b[kSlot];
        copy_slot(kLatentSlots + step +
                      (o * kChannels + warp_channel_ + j * 8 + 2 * place_ + odd) * kFilterSlots,
                  b);
#pragma unroll
        for (int k = 0; k < kSlot; ++k)
#pragma unroll
          for (int i = 0; i < 2 * kRows; ++i)
            of(results[o], i / 2, j, i % 2, odd) += a[i / 2][i % 2][k] * b[k];
      }
    }
  }

  static __device__ __forceinline__ void copy_slot(int slot, T (&to)[kSlot]) {
    const uint4 word = *reinterpret_cast<const uint4*>(shared(slot));
    memcpy(to, &word, sizeof word);
  }

  const PixelTiles& tiles_;
  const Filters<T>& filters_;
  int first_, group_, place_, warp_channel_, warp_pixel_;
};

}  // namespace invad
