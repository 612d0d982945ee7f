// y = (x - mean) * rstd * gamma + beta with mean and variance over C x H x W of each sample and
// (gamma, beta) = conv3x3(style): gamma and beta are made in registers, where they are used, and
// never written. x is read for the statistics and once more. The backward makes gamma again, twice:
// that is cheaper than to write it and to read it twice.
#include "../style_modulation.h"
#include "latent_product.h"
#include "sample_statistics.h"

namespace invad {
namespace {

// What a block works at: some channels of tiles of pixels that follow each other. The last ones
// first, as a cache may still hold what the launch before read last.
struct Work {
  int per_block, channel_tiles;
  int64_t blocks;

  Work(const PixelTiles& tiles, int channel_tiles) : channel_tiles(channel_tiles) {
    // Enough blocks for any GPU; the more tiles a block has, the less often filters are loaded.
    constexpr int64_t kBlocks = 1024;
    per_block =
        static_cast<int>(std::max<int64_t>(1, tiles.count * int64_t{channel_tiles} / kBlocks));
    blocks = ceil_div(tiles.count, per_block) * channel_tiles;
    STD_TORCH_CHECK(blocks < (int64_t{1} << 31), "x has too many elements");
  }
};

struct Range {
  int channel_tile, begin, end;

  __device__ Range(const Work& work, const PixelTiles& tiles) {
    const int block = gridDim.x - 1 - blockIdx.x;
    channel_tile = block % work.channel_tiles;
    begin = block / work.channel_tiles * work.per_block;
    end = min(begin + work.per_block, tiles.count);
  }
};

// Calls f(v) for v = 0, N, .. below `valid`.
template <int N, typename F>
__device__ __forceinline__ void each_part(int valid, const F& f) {
#pragma unroll
  for (int v = 0; v < kRun; v += N)
    if (v < valid) f(v);
}

// Calls f(index, tile, first element of its sample) for the block's tiles, while the next one of
// each of `read`, samples x size, is on its way.
template <typename Product, typename F, typename... Pointers>
__device__ __forceinline__ void each_tile(const Product& product, const PixelTiles& tiles,
                                          const Range& range, int size, const F& f,
                                          const Pointers*... read) {
  (product.prefetch_tile(PixelTile(tiles, range.end - 1), read, size), ...);
  for (int index = range.end - 1; index >= range.begin; --index) {
    if (index > range.begin) (product.prefetch_tile(PixelTile(tiles, index - 1), read, size), ...);
    const PixelTile tile(tiles, index);
    f(index, tile, int64_t{tile.sample} * size);
  }
}

// x, y: samples x size; statistics: samples x chunks x 2; mean, rstd: samples.
template <typename T, int N, bool kLast, int kChannels>
__global__ void __launch_bounds__(kThreads, kBlocksTogether<T>)
    modulate(const T* __restrict__ x, Latent<T> latent, Filters<T> filters,
             const Accumulate<T>* __restrict__ statistics, double eps, T* __restrict__ y,
             Accumulate<T>* __restrict__ mean, Accumulate<T>* __restrict__ rstd, Chunks chunks,
             PixelTiles tiles, Work work) {
  using A = Accumulate<T>;
  using Product = LatentProduct<T, kLast, kChannels, 2>;
  const Range range(work, tiles);
  const Product product(tiles, filters, range.channel_tile * kChannels);
  __shared__ Normal<A> of_sample;  // the product has the barrier before it is read
  int sample = -1;
  const auto one_tile = [&](int index, const PixelTile& tile, int64_t start) {
    if (tile.sample != sample) {
      sample = tile.sample;
      const Normal<A> found =
          add_up_statistics(statistics + int64_t{2} * sample * chunks.per_sample, chunks, eps);
      if (threadIdx.x == 0) {
        of_sample = found;
        if (range.channel_tile == 0 &&
            range.begin <= sample * static_cast<int>(tiles.per_sample.divisor)) {
          mean[sample] = found.mean;
          rstd[sample] = found.rstd;
        }
      }
    }
    typename Product::Runs style[2];
    product(latent, tile, index != range.end - 1, style);
    const Normal<A> normal = of_sample;
    product.each_run(tile, [&](int run, int at, int valid, int) {
      each_part<N>(valid, [&](int v) {
        A value[N];
        load<N>(x + start + at + v, value);
#pragma unroll
        for (int i = 0; i < N; ++i)
          value[i] =
              (value[i] - normal.mean) * normal.rstd * style[0][run][v + i] + style[1][run][v + i];
        store<N>(y + start + at + v, value);
      });
    });
  };
  each_tile(product, tiles, range, chunks.size, one_tile, x);
}

// grad, x: samples x size; mean, rstd: samples; grad_gamma_beta: samples x 2 size. With h = grad *
// gamma, sums: tiles x channel tiles x 2, of h and of h times normalised x.
template <typename T, int N, bool kLast, int kChannels>
__global__ void __launch_bounds__(kThreads, kBlocksTogether<T>)
    backward_sums(const T* __restrict__ grad, const T* __restrict__ x, Latent<T> latent,
                  Filters<T> filters, const Accumulate<T>* __restrict__ mean,
                  const Accumulate<T>* __restrict__ rstd, T* __restrict__ grad_gamma_beta,
                  Accumulate<T>* __restrict__ sums, int size, PixelTiles tiles, Work work) {
  using A = Accumulate<T>;
  using Product = LatentProduct<T, kLast, kChannels, 1>;
  const Range range(work, tiles);
  const Product product(tiles, filters, range.channel_tile * kChannels);
  const auto one_tile = [&](int index, const PixelTile& tile, int64_t start) {
    const Normal<A> normal{mean[tile.sample], rstd[tile.sample]};
    typename Product::Runs gamma[1];
    product(latent, tile, index != range.end - 1, gamma);
    A sum[2] = {0, 0};
    product.each_run(tile, [&](int run, int at, int valid, int channel) {
      // Where beta is kLast's neighbour of gamma, a pixel has twice as many channels.
      T* to = grad_gamma_beta + 2 * start + (kLast ? 2 * at - channel : at);
      const int half = kLast ? filters.channels : size;
      each_part<N>(valid, [&](int v) {
        A g[N], value[N];
        load<N>(grad + start + at + v, g);
        load<N>(x + start + at + v, value);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          const A h = g[i] * gamma[0][run][v + i];
          value[i] = (value[i] - normal.mean) * normal.rstd;
          sum[0] += h;
          sum[1] += h * value[i];
          value[i] *= g[i];
        }
        store<N>(to + v, value);
        store<N>(to + half + v, g);
      });
    });
    block_sum(sum);
    if (threadIdx.x == 0) {
      A* to = sums + 2 * (int64_t{index} * work.channel_tiles + range.channel_tile);
      to[0] = sum[0];
      to[1] = sum[1];
    }
  };
  each_tile(product, tiles, range, size, one_tile, x, grad);
}

// grad_x = rstd * (h - mean(h) - normalised x * mean(h * normalised x)): samples x size.
template <typename T, int N, bool kLast, int kChannels>
__global__ void __launch_bounds__(kThreads, kBlocksTogether<T>)
    backward_x(const T* __restrict__ grad, const T* __restrict__ x, Latent<T> latent,
               Filters<T> filters, const Accumulate<T>* __restrict__ mean,
               const Accumulate<T>* __restrict__ rstd, const Accumulate<T>* __restrict__ sums,
               T* __restrict__ grad_x, int size, PixelTiles tiles, Work work) {
  using A = Accumulate<T>;
  using Product = LatentProduct<T, kLast, kChannels, 1>;
  const Range range(work, tiles);
  const Product product(tiles, filters, range.channel_tile * kChannels);
  A mean_h = 0, mean_projection = 0;
  int sample = -1;
  const auto one_tile = [&](int index, const PixelTile& tile, int64_t start) {
    if (tile.sample != sample) {
      sample = tile.sample;
      const int parts = static_cast<int>(tiles.per_sample.divisor) * work.channel_tiles;
      const A* of_sample = sums + int64_t{2} * sample * parts;
      double total[2] = {0, 0};
#pragma unroll 1
      for (int i = threadIdx.x; i < parts; i += kThreads) {
        total[0] += of_sample[2 * i];
        total[1] += of_sample[2 * i + 1];
      }
      block_sum(total);
      mean_h = static_cast<A>(total[0] / size);
      mean_projection = static_cast<A>(total[1] / size);
    }
    const Normal<A> normal{mean[sample], rstd[sample]};
    typename Product::Runs gamma[1];
    product(latent, tile, index != range.end - 1, gamma);
    product.each_run(tile, [&](int run, int at, int valid, int) {
      each_part<N>(valid, [&](int v) {
        A g[N], value[N];
        load<N>(grad + start + at + v, g);
        load<N>(x + start + at + v, value);
#pragma unroll
        for (int i = 0; i < N; ++i) {
          value[i] = (value[i] - normal.mean) * normal.rstd;
          const A h = g[i] * gamma[0][run][v + i];
          value[i] = (h - mean_h - value[i] * mean_projection) * normal.rstd;
        }
        store<N>(grad_x + start + at + v, value);
      });
    });
  };
  each_tile(product, tiles, range, size, one_tile, x, grad);
}

template <typename T>
Filters<T> filters(const StyleConvolution& of) {
  const auto* values = data<T>(of.weight);
  const bool vectors = of.weight.size(1) % (16 / sizeof(T)) == 0 && aligned(values);
  return {values, ChannelValues(of.bias), static_cast<int>(of.weight.size(0) / 2), vectors};
}

// Of the largest GPU that this is written for.
constexpr int64_t kMultiprocessors = 132;

// Calls f(N, kLast, kChannels, tiles, work), the first three as types: vectors of N elements, the
// layout, and the channels of a block: 64, but where few blocks would have work.
template <typename T, typename F, typename... Pointers>
void with_tiles(const Tensor& x, MemoryFormat layout, F&& f, const Pointers*... pointers) {
  const bool last = layout == MemoryFormat::ChannelsLast;
  const PixelTiles tiles(x, last);
  const auto run = [&](auto n, auto is_last, auto channels) {
    f(n, is_last, channels, tiles, Work(tiles, static_cast<int>(ceil_div(x.size(1), channels))));
  };
  const auto with_channels = [&](auto n, auto is_last) {
    if constexpr (sizeof(T) == 2 && decltype(n)::value > 1) {
      if (x.size(1) > 32 && tiles.count * ceil_div(x.size(1), 64) >= kMultiprocessors)
        return run(n, is_last, std::integral_constant<int, 64>{});
    }
    run(n, is_last, std::integral_constant<int, 32>{});
  };
  with_vectors<T>(
      last ? x.size(1) : x.size(3),
      [&](auto n) {
        if (last)
          with_channels(n, std::true_type{});
        else
          with_channels(n, std::false_type{});
      },
      pointers...);
}

// x: N x C x H x W, style: N x S x H x W, weight: 2C x S x 3 x 3, bias: 2C. Returns y, mean, rstd.
std::tuple<Tensor, Tensor, Tensor> style_modulation(const Tensor& x, const Tensor& style,
                                                    const Tensor& weight, const Tensor& bias,
                                                    double eps) {
  const StyleModulation of(x, style, weight, bias, eps);
  const CurrentStream stream(x);
  const Tensor &mean = of.statistics.mean, &rstd = of.statistics.rstd;
  if (of.x.numel() == 0) return {of.y, mean, rstd};
  dispatch_float(of.x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulate<T>;
    const ChunkStatistics statistics = chunk_statistics<T>(of.x, stream);
    with_tiles<T>(
        of.x, of.layout,
        [&](auto n, auto last, auto channels, const PixelTiles& tiles, const Work& work) {
          constexpr int N = decltype(n)::value, kChannels = decltype(channels)::value;
          constexpr bool kLast = decltype(last)::value;
          const Launch launch{dim3(work.blocks), dim3(kThreads),
                              LatentProduct<T, kLast, kChannels, 2>::kSharedBytes};
          launch(stream, modulate<T, N, kLast, kChannels>, data<T>(of.x),
                 Latent<T>(of.convolution.style), filters<T>(of.convolution),
                 data<A>(statistics.values), eps, mutable_data<T>(of.y), mutable_data<A>(mean),
                 mutable_data<A>(rstd), statistics.chunks, tiles, work);
        },
        data<T>(of.x), data<T>(of.y));
  });
  return {of.y, mean, rstd};
}

// grad, x: N x C x H x W, the others as above; mean, rstd: N. Returns grad_x and grad_gamma_beta,
// N x 2C x H x W.
std::tuple<Tensor, Tensor> style_modulation_backward(const Tensor& grad, const Tensor& x,
                                                     const Tensor& style, const Tensor& weight,
                                                     const Tensor& bias, const Tensor& mean,
                                                     const Tensor& rstd) {
  const StyleModulationBackward of(grad, x, style, weight, bias, mean, rstd);
  const CurrentStream stream(x);
  if (of.x.numel() == 0) return {of.grad_x, of.grad_gamma_beta};
  const Chunks chunks(of.x, 1);
  dispatch_float(of.x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulate<T>;
    const T *from = data<T>(of.x), *g = data<T>(of.grad);
    const A *means = data<A>(of.statistics.mean), *rstds = data<A>(of.statistics.rstd);
    T *grad_x = mutable_data<T>(of.grad_x), *grad_style = mutable_data<T>(of.grad_gamma_beta);
    const Latent<T> latent(of.convolution.style);
    with_tiles<T>(
        of.x, of.layout,
        [&](auto n, auto last, auto channels, const PixelTiles& tiles, const Work& work) {
          constexpr int N = decltype(n)::value, kChannels = decltype(channels)::value;
          constexpr bool kLast = decltype(last)::value;
          const Tensor sums =
              empty({int64_t{tiles.count} * work.channel_tiles, 2}, of.x, kScalarType<A>);
          const Launch launch{dim3(work.blocks), dim3(kThreads),
                              LatentProduct<T, kLast, kChannels, 1>::kSharedBytes};
          launch(stream, backward_sums<T, N, kLast, kChannels>, g, from, latent,
                 filters<T>(of.convolution), means, rstds, grad_style, mutable_data<A>(sums),
                 chunks.size, tiles, work);
          launch(stream, backward_x<T, N, kLast, kChannels>, g, from, latent,
                 filters<T>(of.convolution), means, rstds, data<A>(sums), grad_x, chunks.size,
                 tiles, work);
        },
        g, from, data<T>(of.grad_x), data<T>(of.grad_gamma_beta));
  });
  return {of.grad_x, of.grad_gamma_beta};
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CUDA, m) {
  m.impl("style_modulation", TORCH_BOX(&invad::style_modulation));
  m.impl("style_modulation_backward", TORCH_BOX(&invad::style_modulation_backward));
}
