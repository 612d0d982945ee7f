// y = (x - mean) * rstd * gamma + beta, mean and variance over C x H x W of each sample.
// x is read for the statistics and once more, while the caches still hold what fits of it.
#include "../normalize_modulate.h"

#include <algorithm>
#include <cmath>

#include "element.h"
#include "parallel.h"

namespace invad {
namespace {

// How a batch is cut. A sample is cut into chunks, whose sums are added in order: results do not
// depend on the number of threads. Each thread takes whole samples where that shares the work out
// evenly; else all threads take one group of samples after another. Either way a second pass
// finds in the caches what fits of them.
struct Chunks {
  static constexpr int64_t kGroupBytes = 4 << 20;

  int64_t samples, sample, row, rows, chunk_rows, per_sample, group;
  bool whole_samples;

  // Rows are what gamma's and beta's memory alternates by: a pixel's channels where channels are
  // last, else a whole sample, which is then cut anywhere (row = 1).
  Chunks(const Tensor& x, MemoryFormat layout)
      : samples(x.size(0)), sample(x.size(1) * x.size(2) * x.size(3)) {
    row = layout == MemoryFormat::ChannelsLast ? x.size(1) : 1;
    rows = sample / row;
    chunk_rows = ceil_div(kGrainElements / 2, row);
    per_sample = ceil_div(rows, chunk_rows);
    group = std::clamp<int64_t>(kGroupBytes / (sample * x.element_size() + 1), 1, samples);
    const int64_t threads = torch::stable::get_num_threads();
    whole_samples = samples % threads == 0 || samples >= 8 * threads;
  }

  // For every sample n: first(n, chunk, start, length) for its chunks of elements, between(n) once
  // they are done, second(n, chunk, start, length) for its chunks again.
  template <typename First, typename Between, typename Second>
  void two_passes(const First& first, const Between& between, const Second& second) const {
    if (whole_samples) {
      parallel(samples, ceil_div(kGrainElements, sample), [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
          for (int64_t chunk = 0; chunk < per_sample; ++chunk) call(first, n, chunk);
          between(n);
          for (int64_t chunk = 0; chunk < per_sample; ++chunk) call(second, n, chunk);
        }
      });
      return;
    }
    for (int64_t n = 0; n < samples; n += group) {
      const int64_t last = std::min(n + group, samples);
      each(n, last, first);
      for (int64_t i = n; i < last; ++i) between(i);
      each(n, last, second);
    }
  }

 private:
  template <typename F>
  void each(int64_t first, int64_t last, const F& f) const {
    parallel((last - first) * per_sample, 2, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) call(f, first + i / per_sample, i % per_sample);
    });
  }
  template <typename F>
  void call(const F& f, int64_t n, int64_t chunk) const {
    const int64_t start = chunk * chunk_rows;
    f(n, chunk, start * row, std::min(chunk_rows, rows - start) * row);
  }
};

// Sums of d = x - shift and of d * d.
struct Moments {
  double sum = 0, squares = 0;
};

template <typename A, typename T>
inline Moments sum_moments(const T* __restrict x, A shift, int64_t length) {
  A sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum, squares)
  for (int64_t i = 0; i < length; ++i) {
    const A d = load(x, i) - shift;
    sum += d;
    squares += d * d;
  }
  return {sum, squares};
}

// In float32 over stretches so short that nothing is lost, in float64 over those; all in float64
// where a square is too large for float32.
template <typename T>
inline Moments moments(const T* x, Accumulate<T> shift, int64_t length) {
  constexpr int64_t kStretch = 1024;
  Moments total;
  for (int64_t i = 0; i < length; i += kStretch) {
    const Moments part = sum_moments<Accumulate<T>>(x + i, shift, std::min(kStretch, length - i));
    total.sum += part.sum;
    total.squares += part.squares;
  }
  return std::isfinite(total.squares) ? total : sum_moments<double>(x, shift, length);
}

// Where element i of a sample has its gamma; beta is `half` further.
struct GammaBeta {
  int64_t channels, half;
  bool last;

  GammaBeta(const Tensor& x, MemoryFormat layout)
      : channels(x.size(1)), last(layout == MemoryFormat::ChannelsLast) {
    half = last ? channels : channels * x.size(2) * x.size(3);
  }
  // Calls f(first element, first gamma, number) for stretches where both lie side by side.
  template <typename F>
  void stretches(int64_t first, int64_t length, const F& f) const {
    if (!last) return f(first, first, length);
    for (int64_t i = first; i < first + length; i += channels) f(i, 2 * i, channels);
  }
};

// x, y: N x C x H x W; gamma_beta: N x 2C x H x W or null; mean, rstd: N.
template <typename T>
void forward(const T* x, const T* gamma_beta, double eps, T* y, Accumulate<T>* mean,
             Accumulate<T>* rstd, const Chunks& chunks, const GammaBeta& where) {
  using A = Accumulate<T>;
  std::vector<Moments> parts(chunks.samples * chunks.per_sample);
  const int64_t size = chunks.sample;
  const auto sums = [&](int64_t n, int64_t chunk, int64_t start, int64_t length) {
    const A shift = load(x, n * size);
    parts[n * chunks.per_sample + chunk] = moments(x + n * size + start, shift, length);
  };
  const auto statistics = [&](int64_t n) {
    double sum = 0, squares = 0;
    for (int64_t chunk = 0; chunk < chunks.per_sample; ++chunk) {
      sum += parts[n * chunks.per_sample + chunk].sum;
      squares += parts[n * chunks.per_sample + chunk].squares;
    }
    const double offset = sum / size;
    mean[n] = static_cast<A>(static_cast<double>(load(x, n * size)) + offset);
    const double variance = squares / size - offset * offset;
    rstd[n] = static_cast<A>(1 / std::sqrt((variance < 0 ? 0 : variance) + eps));
  };
  const auto apply = [&](int64_t n, int64_t, int64_t start, int64_t length) {
    const A m = mean[n], r = rstd[n];
    const T* sample = x + n * size;
    T* out = y + n * size;
    if (gamma_beta == nullptr) {
      const T* __restrict from = sample + start;
      T* __restrict to = out + start;
      for (int64_t i = 0; i < length; ++i) store(to, i, (load(from, i) - m) * r);
      return;
    }
    const T* style = gamma_beta + 2 * n * size;
    where.stretches(start, length, [&](int64_t at, int64_t at_gamma, int64_t count) {
      const T* __restrict from = sample + at;
      const T* __restrict gamma = style + at_gamma;
      const T* __restrict beta = gamma + where.half;
      T* __restrict to = out + at;
      for (int64_t i = 0; i < count; ++i)
        store(to, i, (load(from, i) - m) * r * load(gamma, i) + load(beta, i));
    });
  };
  chunks.two_passes(sums, statistics, apply);
}

// grad, x, grad_x: N x C x H x W; gamma_beta, grad_gamma_beta: N x 2C x H x W, both or neither
// null. With h = grad * gamma, n = normalised x:  grad_x = rstd * (h - mean(h) - n * mean(h * n)).
template <typename T>
void backward(const T* grad, const T* x, const T* gamma_beta, const Accumulate<T>* mean,
              const Accumulate<T>* rstd, T* grad_x, T* grad_gamma_beta, const Chunks& chunks,
              const GammaBeta& where) {
  using A = Accumulate<T>;
  std::vector<Moments> parts(chunks.samples * chunks.per_sample);
  std::vector<Moments> means(chunks.samples);
  const int64_t size = chunks.sample;
  const auto sums = [&](int64_t n, int64_t chunk, int64_t start, int64_t length) {
    const A m = mean[n], r = rstd[n];
    Moments part;
    const T* style = gamma_beta + (gamma_beta ? 2 * n * size : 0);
    T* grad_style = grad_gamma_beta + (gamma_beta ? 2 * n * size : 0);
    where.stretches(start, length, [&](int64_t at, int64_t at_gamma, int64_t count) {
      const T* __restrict g = grad + n * size + at;
      const T* __restrict from = x + n * size + at;
      A sum = 0, projection = 0;
      if (gamma_beta == nullptr) {
#pragma omp simd reduction(+ : sum, projection)
        for (int64_t i = 0; i < count; ++i) {
          const A h = load(g, i);
          sum += h;
          projection += h * ((load(from, i) - m) * r);
        }
      } else {
        const T* __restrict gamma = style + at_gamma;
        T* __restrict grad_gamma = grad_style + at_gamma;
        T* __restrict grad_beta = grad_gamma + where.half;
#pragma omp simd reduction(+ : sum, projection)
        for (int64_t i = 0; i < count; ++i) {
          const A v = load(g, i);
          const A normal = (load(from, i) - m) * r;
          const A h = v * load(gamma, i);
          store(grad_gamma, i, v * normal);
          grad_beta[i] = g[i];
          sum += h;
          projection += h * normal;
        }
      }
      part.sum += sum;
      part.squares += projection;
    });
    parts[n * chunks.per_sample + chunk] = part;
  };
  const auto averages = [&](int64_t n) {
    for (int64_t chunk = 0; chunk < chunks.per_sample; ++chunk) {
      means[n].sum += parts[n * chunks.per_sample + chunk].sum;
      means[n].squares += parts[n * chunks.per_sample + chunk].squares;
    }
    means[n].sum /= size;
    means[n].squares /= size;
  };
  const auto apply = [&](int64_t n, int64_t, int64_t start, int64_t length) {
    const A m = mean[n], r = rstd[n];
    const A sum = static_cast<A>(means[n].sum), projection = static_cast<A>(means[n].squares);
    const T* style = gamma_beta + (gamma_beta ? 2 * n * size : 0);
    where.stretches(start, length, [&](int64_t at, int64_t at_gamma, int64_t count) {
      const T* __restrict g = grad + n * size + at;
      const T* __restrict from = x + n * size + at;
      T* __restrict to = grad_x + n * size + at;
      if (gamma_beta == nullptr) {
        for (int64_t i = 0; i < count; ++i) {
          const A normal = (load(from, i) - m) * r;
          store(to, i, (load(g, i) - sum - normal * projection) * r);
        }
      } else {
        const T* __restrict gamma = style + at_gamma;
        for (int64_t i = 0; i < count; ++i) {
          const A normal = (load(from, i) - m) * r;
          const A h = load(g, i) * load(gamma, i);
          store(to, i, (h - sum - normal * projection) * r);
        }
      }
    });
  };
  chunks.two_passes(sums, averages, apply);
}

// x: N x C x H x W, gamma_beta: N x 2C x H x W. Returns y, mean, rstd.
std::tuple<Tensor, Tensor, Tensor> normalize_modulate(const Tensor& x,
                                                      std::optional<Tensor> gamma_beta,
                                                      double eps) {
  const NormalizeModulate of(x, gamma_beta, eps);
  const Tensor &mean = of.statistics.mean, &rstd = of.statistics.rstd;
  if (of.x.numel() == 0) return {of.y, mean, rstd};
  dispatch_float(of.x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulate<T>;
    forward<T>(data<T>(of.x), data<T>(of.gamma_beta), eps, mutable_data<T>(of.y),
               mutable_data<A>(mean), mutable_data<A>(rstd), Chunks(of.x, of.layout),
               GammaBeta(of.x, of.layout));
  });
  return {of.y, mean, rstd};
}

// grad, x: N x C x H x W, gamma_beta: N x 2C x H x W, mean, rstd: N. Returns grad_x and
// grad_gamma_beta, which is empty where there is no gamma_beta.
std::tuple<Tensor, Tensor> normalize_modulate_backward(const Tensor& grad, const Tensor& x,
                                                       std::optional<Tensor> gamma_beta,
                                                       const Tensor& mean, const Tensor& rstd) {
  const NormalizeModulateBackward of(grad, x, gamma_beta, mean, rstd);
  if (of.x.numel() == 0) return of.results();
  dispatch_float(of.x, [&](auto type) {
    using T = decltype(type);
    using A = Accumulate<T>;
    backward<T>(data<T>(of.grad), data<T>(of.x), data<T>(of.gamma_beta),
                data<A>(of.statistics.mean), data<A>(of.statistics.rstd),
                mutable_data<T>(of.grad_x),
                of.grad_gamma_beta ? mutable_data<T>(*of.grad_gamma_beta) : nullptr,
                Chunks(of.x, of.layout), GammaBeta(of.x, of.layout));
  });
  return of.results();
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CPU, m) {
  m.impl("normalize_modulate", TORCH_BOX(&invad::normalize_modulate));
  m.impl("normalize_modulate_backward", TORCH_BOX(&invad::normalize_modulate_backward));
}
