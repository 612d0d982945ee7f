// Resize and Gaussian of one side of a map as one matrix, of which a narrow band is not zero; the
// same as invad_fast/ops/anomaly_score.py. Plain host code.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "bilinear.h"

namespace invad {

// A matrix whose rows are zero but for some neighbours.
template <typename A>
struct BandedMatrix {
  struct Row {
    int64_t first, count;  // columns
    int64_t at;            // in `weights`
  };
  int64_t columns;
  std::vector<Row> rows;
  std::vector<A> weights;

  // row: `columns` numbers, zero outside begin .. end.
  void append(const std::vector<double>& row, int64_t begin, int64_t end) {
    rows.push_back({begin, end - begin, static_cast<int64_t>(weights.size())});
    for (int64_t i = begin; i < end; ++i) weights.push_back(static_cast<A>(row[i]));
  }

  BandedMatrix transposed() const {
    const int64_t count = static_cast<int64_t>(rows.size());
    BandedMatrix result{count, std::vector<Row>(columns, {count, 0, 0}), {}};
    for (int64_t i = 0; i < count; ++i)
      for (int64_t k = 0; k < rows[i].count; ++k) {
        Row& row = result.rows[rows[i].first + k];
        row.first = std::min(row.first, i);
        row.count = i + 1 - row.first;
      }
    int64_t size = 0;
    for (Row& row : result.rows) {
      row.at = size;
      size += row.count;
    }
    result.weights.resize(size);
    for (int64_t i = 0; i < count; ++i)
      for (int64_t k = 0; k < rows[i].count; ++k) {
        const Row& row = result.rows[rows[i].first + k];
        result.weights[row.at + i - row.first] = weights[rows[i].at + k];
      }
    return result;
  }
};

// Where `position` lies on a side that is mirrored at its edges, with the edge sample.
inline int64_t mirrored(int64_t position, int64_t length) {
  if (position >= 0 && position < length) return position;
  const int64_t period = 2 * length, wrapped = (position % period + period) % period;
  return wrapped < length ? wrapped : period - 1 - wrapped;
}

// The Gaussian's weights at -radius .. radius, cut off at 4 sigma as in scipy; {1} for sigma 0.
inline std::vector<double> gaussian(double sigma) {
  if (sigma == 0) return {1.0};
  const int64_t radius = static_cast<int64_t>(4 * sigma + 0.5);
  std::vector<double> weights;
  double sum = 0;
  for (int64_t i = -radius; i <= radius; ++i) {
    const double z = static_cast<double>(i) / sigma;
    weights.push_back(std::exp(-0.5 * z * z));
    sum += weights.back();
  }
  for (double& weight : weights) weight /= sum;
  return weights;
}

// target x source: bilinear resize (align_corners=True), then the Gaussian.
template <typename A>
BandedMatrix<A> resize_filter(int64_t source, int64_t target, double sigma) {
  const std::vector<double> weights = gaussian(sigma);
  const int64_t radius = static_cast<int64_t>(weights.size()) / 2;
  std::vector<Tap> taps;
  for (int64_t i = 0; i < target; ++i) taps.emplace_back(i, source, target);
  BandedMatrix<A> matrix{source, {}, {}};
  std::vector<double> row(source);
  for (int64_t i = 0; i < target; ++i) {
    int64_t begin = source, end = 0;
    std::fill(row.begin(), row.end(), 0.0);
    for (int64_t k = -radius; k <= radius; ++k) {
      const Tap& tap = taps[mirrored(i + k, target)];
      const double weight = weights[k + radius];
      row[tap.first] += weight * (1 - tap.fraction);
      row[tap.second] += weight * tap.fraction;
      begin = std::min(begin, tap.first);
      end = std::max(end, tap.second + 1);
    }
    matrix.append(row, begin, end);
  }
  return matrix;
}

}  // namespace invad
