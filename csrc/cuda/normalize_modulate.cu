// y = (x - mean) * rstd * gamma + beta, mean and variance over C x H x W of each sample.
// Two launches each way: one for every chunk's sums, one for the result, in which each block adds
// up the chunks of its sample by itself. Nothing depends on the order in which blocks run.
#include "../normalize_modulate.h"
#include "sample_statistics.h"

namespace invad {
namespace {

// x, y: samples x size; gamma_beta: samples x 2 size or null; statistics: blocks x 2;
// mean, rstd: samples.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    modulate(const T* __restrict__ x, const T* __restrict__ gamma_beta,
             const Accumulate<T>* __restrict__ statistics, double eps, T* __restrict__ y,
             Accumulate<T>* __restrict__ mean, Accumulate<T>* __restrict__ rstd, Chunks chunks,
             GammaBeta where) {
  using A = Accumulate<T>;
  const Chunk chunk(chunks);
  x += chunk.sample * chunks.size;
  y += chunk.sample * chunks.size;
  if (gamma_beta != nullptr) gamma_beta += 2 * chunk.sample * chunks.size;
  statistics += 2 * chunk.sample * chunks.per_sample;
  Normal<A> normal{};
  for (int tile = chunk.begin; tile < chunk.end; tile += kThreads * kUnroll * N) {
    A v[kUnroll][N];
    each_vector<N>(tile, chunk.end, [&](int u, int at) { load<N>(x + at, v[u]); });
    if (tile == chunk.begin) normal = add_up_statistics(statistics, chunks, eps);
    each_vector<N>(tile, chunk.end, [&](int u, int at) {
#pragma unroll
      for (int i = 0; i < N; ++i) v[u][i] = (v[u][i] - normal.mean) * normal.rstd;
      if (gamma_beta != nullptr) {
        const T* style = gamma_beta + where.gamma(at);
        A gamma[N], beta[N];
        load<N>(style, gamma);
        load<N>(style + where.half, beta);
#pragma unroll
        for (int i = 0; i < N; ++i) v[u][i] = v[u][i] * gamma[i] + beta[i];
      }
      store<N>(y + at, v[u]);
    });
  }
  if (chunk.begin == 0 && threadIdx.x == 0) {
    mean[chunk.sample] = normal.mean;
    rstd[chunk.sample] = normal.rstd;
  }
}

// Of N elements: their gradient, the gradient h of the normalised x, and the normalised x.
// gamma is null where there is none.
template <int N, typename T>
__device__ __forceinline__ void read_gradient(const T* grad, const T* x, const T* gamma,
                                              const Normal<Accumulate<T>>& normal,
                                              Accumulate<T> (&g)[N], Accumulate<T> (&h)[N],
                                              Accumulate<T> (&normalized)[N]) {
  load<N>(grad, g);
  load<N>(x, normalized);
  if (gamma != nullptr) load<N>(gamma, h);
#pragma unroll
  for (int i = 0; i < N; ++i) {
    h[i] = gamma != nullptr ? g[i] * h[i] : g[i];
    normalized[i] = (normalized[i] - normal.mean) * normal.rstd;
  }
}

// grad, x: samples x size; gamma_beta, grad_gamma_beta: samples x 2 size, both or neither null;
// mean, rstd: samples. sums: blocks x 2, of h and of h times normalised x.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    backward_sums(const T* __restrict__ grad, const T* __restrict__ x,
                  const T* __restrict__ gamma_beta, const Accumulate<T>* __restrict__ mean,
                  const Accumulate<T>* __restrict__ rstd, T* __restrict__ grad_gamma_beta,
                  Accumulate<T>* __restrict__ sums, Chunks chunks, GammaBeta where) {
  using A = Accumulate<T>;
  const Chunk chunk(chunks);
  const int64_t start = chunk.sample * chunks.size;
  const Normal<A> normal{mean[chunk.sample], rstd[chunk.sample]};
  A sum[2] = {0, 0};
  for (int tile = chunk.begin; tile < chunk.end; tile += kThreads * kUnroll * N) {
    each_vector<N>(tile, chunk.end, [&](int, int at) {
      const int64_t style = 2 * start + where.gamma(at);
      A g[N], h[N], normalized[N];
      read_gradient<N>(grad + start + at, x + start + at,
                       gamma_beta == nullptr ? nullptr : gamma_beta + style, normal, g, h,
                       normalized);
#pragma unroll
      for (int i = 0; i < N; ++i) {
        sum[0] += h[i];
        sum[1] += h[i] * normalized[i];
        normalized[i] *= g[i];
      }
      if (gamma_beta != nullptr) {
        store<N>(grad_gamma_beta + style, normalized);
        copy<N>(grad_gamma_beta + style + where.half, grad + start + at);
      }
    });
  }
  block_sum(sum);
  if (threadIdx.x == 0) {
    sums[2 * static_cast<int64_t>(blockIdx.x)] = sum[0];
    sums[2 * static_cast<int64_t>(blockIdx.x) + 1] = sum[1];
  }
}

// grad_x = rstd * (h - mean(h) - normalised x * mean(h * normalised x)): samples x size.
template <typename T, int N>
__global__ void __launch_bounds__(kThreads)
    backward_x(const T* __restrict__ grad, const T* __restrict__ x,
               const T* __restrict__ gamma_beta, const Accumulate<T>* __restrict__ mean,
               const Accumulate<T>* __restrict__ rstd, const Accumulate<T>* __restrict__ sums,
               T* __restrict__ grad_x, Chunks chunks, GammaBeta where) {
  using A = Accumulate<T>;
  const Chunk chunk(chunks);
  const int64_t start = chunk.sample * chunks.size;
  const Normal<A> normal{mean[chunk.sample], rstd[chunk.sample]};
  sums += 2 * chunk.sample * chunks.per_sample;
  double total[2] = {0, 0};
#pragma unroll 1
  for (int i = threadIdx.x; i < chunks.per_sample; i += kThreads) {
    total[0] += sums[2 * i];
    total[1] += sums[2 * i + 1];
  }
  block_sum(total);
  const A mean_h = static_cast<A>(total[0] / chunks.size);
  const A mean_projection = static_cast<A>(total[1] / chunks.size);
  for (int tile = chunk.begin; tile < chunk.end; tile += kThreads * kUnroll * N) {
    each_vector<N>(tile, chunk.end, [&](int, int at) {
      A g[N], h[N], normalized[N];
      read_gradient<N>(grad + start + at, x + start + at,
                       gamma_beta == nullptr ? nullptr : gamma_beta + 2 * start + where.gamma(at),
                       normal, g, h, normalized);
#pragma unroll
      for (int i = 0; i < N; ++i)
        h[i] = (h[i] - mean_h - normalized[i] * mean_projection) * normal.rstd;
      store<N>(grad_x + start + at, h);
    });
  }
}

// The run of elements that vectors must not leave: a pixel's channels, or a plane of all of them.
int64_t run_length(const Tensor& x, MemoryFormat layout) {
  return layout == MemoryFormat::ChannelsLast ? x.size(1) : x.size(1) * x.size(2) * x.size(3);
}

// x: N x C x H x W, gamma_beta: N x 2C x H x W. Returns y, mean, rstd.
std::tuple<Tensor, Tensor, Tensor> normalize_modulate(const Tensor& x,
                                                      std::optional<Tensor> gamma_beta,
                                                      double eps) {
  const NormalizeModulate of(x, gamma_beta, eps);
  const CurrentStream stream(x);
  const Tensor &mean = of.statistics.mean, &rstd = of.statistics.rstd;
  if (of.x.numel() == 0) return {of.y, mean, rstd};
  dispatch_float(of.x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulate<T>;
    const ChunkStatistics statistics = chunk_statistics<T>(of.x, stream);
    with_vectors<T>(
        run_length(of.x, of.layout),
        [&](auto n) {
          constexpr int N = decltype(n)::value;
          const Chunks& chunks = statistics.chunks;
          const Launch launch{dim3(chunks.blocks), dim3(kThreads)};
          launch(stream, modulate<T, N>, data<T>(of.x), data<T>(of.gamma_beta),
                 data<A>(statistics.values), eps, mutable_data<T>(of.y), mutable_data<A>(mean),
                 mutable_data<A>(rstd), chunks, GammaBeta(of.x, of.layout, chunks));
        },
        data<T>(of.x), data<T>(of.gamma_beta), data<T>(of.y));
  });
  return {of.y, mean, rstd};
}

// grad, x: N x C x H x W, gamma_beta: N x 2C x H x W, mean, rstd: N. Returns grad_x and
// grad_gamma_beta, which is empty where there is no gamma_beta.
std::tuple<Tensor, Tensor> normalize_modulate_backward(const Tensor& grad, const Tensor& x,
                                                       std::optional<Tensor> gamma_beta,
                                                       const Tensor& mean, const Tensor& rstd) {
  const NormalizeModulateBackward of(grad, x, gamma_beta, mean, rstd);
  const CurrentStream stream(x);
  if (of.x.numel() == 0) return of.results();
  dispatch_float(of.x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulate<T>;
    const T *from = data<T>(of.x), *g = data<T>(of.grad), *style = data<T>(of.gamma_beta);
    const A *means = data<A>(of.statistics.mean), *rstds = data<A>(of.statistics.rstd);
    T* grad_x = mutable_data<T>(of.grad_x);
    T* grad_style = of.grad_gamma_beta ? mutable_data<T>(*of.grad_gamma_beta) : nullptr;
    with_vectors<T>(
        run_length(of.x, of.layout),
        [&](auto n) {
          constexpr int N = decltype(n)::value;
          const Chunks chunks(of.x, N);
          const GammaBeta where(of.x, of.layout, chunks);
          const Tensor sums = empty({chunks.blocks, 2}, of.x, kScalarType<A>);
          const Launch launch{dim3(chunks.blocks), dim3(kThreads)};
          launch(stream, backward_sums<T, N>, g, from, style, means, rstds, grad_style,
                 mutable_data<A>(sums), chunks, where);
          launch(stream, backward_x<T, N>, g, from, style, means, rstds, data<A>(sums), grad_x,
                 chunks, where);
        },
        g, from, style, grad_x, grad_style);
  });
  return of.results();
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CUDA, m) {
  m.impl("normalize_modulate", TORCH_BOX(&invad::normalize_modulate));
  m.impl("normalize_modulate_backward", TORCH_BOX(&invad::normalize_modulate_backward));
}
