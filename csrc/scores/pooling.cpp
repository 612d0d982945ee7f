// Sums of columns go down with the window; along the row a window is put together from sums of 1,
// 2, 4, ... neighbours. In double, so that taking a row out again leaves next to nothing behind.
#include "pooling.h"

#include <algorithm>
#include <limits>

#include "keys.h"
#include "threads.h"

namespace invad::scores {
namespace {

// sums, enters, leaves: width; the row that comes into the window, and the one that drops out.
INVAD_WIDE void move_down(double* sums, const float* enters, const float* leaves, int64_t width) {
  if (leaves)
    for (int64_t x = 0; x < width; ++x) sums[x] += static_cast<double>(enters[x]) - leaves[x];
  else
    for (int64_t x = 0; x < width; ++x) sums[x] += enters[x];
}

// to[x] += from[x + shift]
INVAD_WIDE void add_shifted(double* to, const double* from, int64_t shift, int64_t count) {
  for (int64_t x = 0; x < count; ++x) to[x] += from[x + shift];
}

INVAD_WIDE double largest(const double* values, int64_t count) {
  double found = -std::numeric_limits<double>::infinity();
#pragma omp simd reduction(max : found)
  for (int64_t x = 0; x < count; ++x) found = std::max(found, values[x]);
  return found;
}

// The largest sum of `window` neighbours; `powers` and `total` are room for `width` numbers.
double largest_window(const double* sums, int64_t width, int64_t window, double* powers,
                      double* total) {
  const int64_t windows = width - window + 1;
  std::copy(sums, sums + width, powers);
  std::fill(total, total + windows, 0);
  // powers[x]: the sum of `span` neighbours from x on.
  for (int64_t span = 1, at = 0;; span *= 2) {
    if (window & span) {
      add_shifted(total, powers, at, windows);
      at += span;
    }
    if (at == window) return largest(total, windows);
    // In place: what is read lies ahead of what is written.
    add_shifted(powers, powers, span, width - 2 * span + 1);
  }
}

}  // namespace

std::vector<double> pooled_maxima(const Pixels& pixels, int64_t window, int threads) {
  std::vector<double> maxima(pixels.maps);
  threads = static_cast<int>(std::clamp<int64_t>(pixels.maps, 1, threads));
  in_threads(threads, [&](int thread) {
    std::vector<double> sums(pixels.width), powers(pixels.width), total(pixels.width);
    for (int64_t map = share_begin(pixels.maps, threads, thread);
         map < share_begin(pixels.maps, threads, thread + 1); ++map) {
      const float* scores = pixels.scores + map * pixels.map_size();
      std::fill(sums.begin(), sums.end(), 0);
      double most = -std::numeric_limits<double>::infinity();
      for (int64_t y = 0; y < pixels.height; ++y) {
        const float* enters = scores + y * pixels.width;
        const float* leaves = y < window ? nullptr : enters - window * pixels.width;
        move_down(sums.data(), enters, leaves, pixels.width);
        if (y < window - 1) continue;
        most = std::max(
            most, largest_window(sums.data(), pixels.width, window, powers.data(), total.data()));
      }
      maxima[map] = most / static_cast<double>(window * window);
    }
  });
  return maxima;
}

}  // namespace invad::scores
