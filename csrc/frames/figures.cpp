#include "figures.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "clones.h"

namespace invad::frames {
namespace {

constexpr int64_t kLines = 64;  // rows, and columns, that are looked at: less than twice as many
constexpr int64_t kFar = 4;     // pixels
constexpr double kCap = 0.75;   // root mean squares

// Four times the grey value, so that it is whole.
int16_t grey(const uint8_t* pixel) {
  return static_cast<int16_t>(pixel[0] + 2 * pixel[1] + pixel[2]);
}

// Of differences within lines of so many samples.
struct Differences {
  double near = 0, far = 0;  // mean squares, of neighbours and of samples further apart
  double centre = 0.5;       // where those further apart have theirs, each at most the cap
};

// A line is of fewer than 2^31 samples, and a square of a difference below 2^20.
INVAD_CLONES int64_t squares(const int16_t* line, int64_t count, int64_t away) {
  int64_t sum = 0;
  for (int64_t begin = 0; begin + away < count; begin += 1024) {  // the inner sum fits in 32 bits
    const int64_t end = std::min(begin + 1024, count - away);
    int32_t part = 0;
    for (int64_t i = begin; i < end; ++i) {
      const int32_t difference = line[i + away] - line[i];
      part += difference * difference;
    }
    sum += part;
  }
  return sum;
}

INVAD_CLONES void add_capped(const int16_t* line, int64_t count, int64_t away, float most,
                             float* sums) {
  for (int64_t i = 0; i + away < count; ++i) {
    const int32_t difference = line[i + away] - line[i];
    sums[i] += std::min(static_cast<float>(difference * difference), most);
  }
}

Differences differences(const std::vector<int16_t>& lines, int64_t length,
                        std::vector<float>& sums) {
  Differences found;
  const int64_t away = std::min(kFar, length - 1);
  if (away < 1) return found;
  const int64_t count = static_cast<int64_t>(lines.size()) / length;
  int64_t near = 0, far = 0;
  for (int64_t i = 0; i < count; ++i) {
    near += squares(&lines[i * length], length, 1);
    far += squares(&lines[i * length], length, away);
  }
  const auto mean = [&](int64_t sum, int64_t apart) {
    return static_cast<double>(sum) / 16 / static_cast<double>(count * (length - apart));
  };
  found.near = mean(near, 1), found.far = mean(far, away);
  if (far == 0) return found;
  const double most = kCap * kCap * 16 * found.far;
  sums.assign(length - away, 0);
  for (int64_t i = 0; i < count; ++i)
    add_capped(&lines[i * length], length, away, static_cast<float>(most), sums.data());
  double total = 0, moment = 0;
  for (size_t i = 0; i < sums.size(); ++i) {
    total += sums[i];
    moment += sums[i] * (static_cast<double>(i) + 0.5);
  }
  found.centre = moment / total / static_cast<double>(sums.size());
  return found;
}

}  // namespace

std::array<double, 5> figures(const uint8_t* rgb, int64_t height, int64_t width) {
  thread_local std::vector<int16_t> rows, columns;
  thread_local std::vector<float> sums;
  const int64_t step = std::max<int64_t>(1, std::min(height, width) / kLines);
  const int64_t down = (height + step - 1) / step, across = (width + step - 1) / step;
  rows.resize(down * width);
  columns.resize(across * height);
  int64_t light = 0;
  for (int64_t i = 0; i < down; ++i)
    for (int64_t j = 0; j < width; ++j)
      light += rows[i * width + j] = grey(rgb + 3 * (i * step * width + j));
  for (int64_t i = 0; i < height; ++i)
    for (int64_t j = 0; j < across; ++j)
      columns[j * height + i] = grey(rgb + 3 * (i * width + j * step));
  const Differences x = differences(rows, width, sums), y = differences(columns, height, sums);
  const double brightness = static_cast<double>(light) / 4 / static_cast<double>(rows.size());
  const double near = x.near + y.near, far = x.far + y.far;
  return {brightness, brightness > 0 ? std::sqrt(far / 2) / brightness : 0,
          far > 0 ? std::sqrt(near / far) : 0, x.centre, y.centre};
}

}  // namespace invad::frames
