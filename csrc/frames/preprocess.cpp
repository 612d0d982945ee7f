#include "preprocess.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "clones.h"

namespace invad::frames {
namespace {

constexpr int kPrecision = 32 - 8 - 2;  // bits of a weight: PIL's, so that results are PIL's

uint8_t clipped(int32_t sum) { return static_cast<uint8_t>(std::clamp(sum >> kPrecision, 0, 255)); }

double triangle(double x) { return std::max(1.0 - std::abs(x), 0.0); }

double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

// Of each sample of the result: which samples it is made of, and their weights.
struct Weights {
  struct Span {
    int32_t first, count;
    const int32_t* weights;
  };
  std::vector<Span> spans;
  std::vector<int32_t> values;
  int64_t from = 0, to = 0;
  Filter made_for = Filter::kBilinear;

  void make(int64_t from_length, int64_t to_length, Filter filter) {
    if (from == from_length && to == to_length && made_for == filter) return;
    from = from_length, to = to_length, made_for = filter;
    const bool is_cubic = filter == Filter::kBicubic;
    const double scale = static_cast<double>(from) / static_cast<double>(to);
    const double widened = std::max(scale, 1.0), narrowed = 1.0 / widened;
    const double support = (is_cubic ? 2.0 : 1.0) * widened;
    const auto most = static_cast<size_t>(std::ceil(support)) * 2 + 1;
    values.assign(most * to, 0);
    spans.resize(to);
    std::vector<double> row(most);
    for (int64_t i = 0; i < to; ++i) {
      const double centre = (static_cast<double>(i) + 0.5) * scale;
      const auto first = std::max<int64_t>(static_cast<int64_t>(centre - support + 0.5), 0);
      const auto end = std::min<int64_t>(static_cast<int64_t>(centre + support + 0.5), from);
      double sum = 0;
      for (int64_t k = first; k < end; ++k) {
        const double distance = (static_cast<double>(k) - centre + 0.5) * narrowed;
        sum += row[k - first] = is_cubic ? cubic(distance) : triangle(distance);
      }
      int32_t* const own = values.data() + most * i;
      for (int64_t k = 0; k < end - first; ++k) {
        const double weight = row[k] / sum * (1 << kPrecision);
        own[k] = static_cast<int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
      }
      spans[i] = {static_cast<int32_t>(first), static_cast<int32_t>(end - first), own};
    }
  }
};

struct Scratch {
  std::vector<uint8_t> table;    // 65536: what becomes of a value of more than 8 bits
  int low = -1, high = -1;       // it was made for these
  std::vector<uint8_t> grey[3];  // rows above, of, and below the one that is unpacked
  std::vector<uint8_t> planes;   // channels x width: an unpacked row
  std::vector<int32_t> sums;     // width: of a row of the result
  std::vector<uint8_t> narrow;   // channels x height x new width
  Weights columns, rows;
};

// Eight bits as invad_fast/data/pixel_values.py rounds them.
void make_table(Scratch& scratch, int low, int high) {
  if (scratch.low == low && scratch.high == high) return;
  scratch.low = low, scratch.high = high;
  scratch.table.resize(65536);
  const int64_t span = high - low;
  for (int64_t value = 0; value < 65536; ++value) {
    const int64_t above = std::max<int64_t>(value - low, 0);
    scratch.table[value] =
        static_cast<uint8_t>(std::min<int64_t>((above * 255 + span / 2) / span, 255));
  }
}

// Interleaved bytes of three or four channels into planes. The step is known when it is compiled,
// so that it shuffles whole registers.
template <int step>
inline void split(const uint8_t* in, const int64_t* channels, int64_t width, uint8_t* planes) {
  for (int64_t i = 0; i < width; ++i) {
    planes[i] = in[step * i + channels[0]];
    planes[width + i] = in[step * i + channels[1]];
    planes[2 * width + i] = in[step * i + channels[2]];
  }
}

INVAD_CLONES void split_three(const uint8_t* in, const int64_t* channels, int64_t width,
                              uint8_t* planes) {
  split<3>(in, channels, width, planes);
}

INVAD_CLONES void split_four(const uint8_t* in, const int64_t* channels, int64_t width,
                             uint8_t* planes) {
  split<4>(in, channels, width, planes);
}

class Unpacker {
 public:
  Unpacker(const Frame& frame, Scratch& scratch)
      : frame_(frame), scratch_(scratch), width_(frame.width) {
    if (frame.bits > 8) make_table(scratch, frame.low, frame.high);
    scratch.planes.resize(3 * width_);
    for (auto& row : scratch.grey) row.resize(width_);
  }

  int channels() const {
    const bool grey = frame_.layout == Layout::kGrey || frame_.layout == Layout::kPackedLsb ||
                      frame_.layout == Layout::kPackedGige;
    return grey ? 1 : 3;
  }

  // The planes of a row: channels x width.
  const uint8_t* row(int64_t row) {
    uint8_t* const planes = scratch_.planes.data();
    switch (frame_.layout) {
      case Layout::kColours:
        if (frame_.bits == 8 && frame_.channel_step == 1 && frame_.column_step == 3) {
          const int64_t order[] = {frame_.red, frame_.green, frame_.blue};
          split_three(at(row), order, width_, planes);
          break;
        }
        if (frame_.bits == 8 && frame_.channel_step == 1 && frame_.column_step == 4) {
          const int64_t order[] = {frame_.red, frame_.green, frame_.blue};
          split_four(at(row), order, width_, planes);
          break;
        }
        channel(row, frame_.red, planes);
        channel(row, frame_.green, planes + width_);
        channel(row, frame_.blue, planes + 2 * width_);
        break;
      case Layout::kBayer:
        demosaic(row, planes);
        break;
      case Layout::kYuv:
        from_yuv(row, planes);
        break;
      case Layout::kPackedLsb:
        from_bits(row, planes);
        break;
      case Layout::kPackedGige:
        from_gige(row, planes);
        break;
      case Layout::kGrey:
        channel(row, 0, planes);
        break;
    }
    return planes;
  }

 private:
  const uint8_t* at(int64_t row) const { return frame_.data + row * frame_.row_step; }

  void channel(int64_t row, int64_t which, uint8_t* out) const {
    const uint8_t* in = at(row) + which * frame_.channel_step;
    if (frame_.bits == 8) {
      for (int64_t i = 0; i < width_; ++i) out[i] = in[i * frame_.column_step];
      return;
    }
    for (int64_t i = 0; i < width_; ++i) {
      uint16_t value;
      std::memcpy(&value, in + i * frame_.column_step, sizeof value);
      out[i] = scratch_.table[value];
    }
  }

  void from_bits(int64_t row, uint8_t* out) const {
    const uint8_t* const in = at(row);
    const uint32_t mask = (1u << frame_.bits) - 1;
    for (int64_t i = 0; i < width_; ++i) {
      const int64_t bit = i * frame_.bits, byte = bit / 8;
      // A value of 10 or 12 bits lies in two bytes, whatever its first bit.
      const uint32_t both =
          in[byte * frame_.column_step] | uint32_t{in[(byte + 1) * frame_.column_step]} << 8;
      out[i] = scratch_.table[both >> bit % 8 & mask];
    }
  }

  void from_gige(int64_t row, uint8_t* out) const {
    const uint8_t* const in = at(row);
    for (int64_t i = 0; i < width_; ++i) {
      const uint8_t* const three = in + i / 2 * 3 * frame_.column_step;
      const uint32_t middle = three[frame_.column_step];
      const uint32_t value = i % 2 ? uint32_t{three[2 * frame_.column_step]} << 4 | middle >> 4
                                   : uint32_t{three[0]} << 4 | (middle & 15);
      out[i] = scratch_.table[value];
    }
  }

  // ITU-R BT.601 in the full range, in the fixed point of PIL's tables.
  void from_yuv(int64_t row, uint8_t* out) const {
    const uint8_t* const in = at(row);
    const int64_t luma = frame_.pattern[0] * frame_.channel_step;
    const int64_t chroma = (1 - frame_.pattern[0]) * frame_.channel_step;
    constexpr int kBits = 6;
    auto fixed = [](double weight, int value) {
      return static_cast<int>(std::lround(weight * (1 << kBits) * (value - 128)));
    };
    for (int64_t i = 0; i < width_; i += 2) {
      const uint8_t* const pair = in + i * frame_.column_step;
      const int blue = pair[chroma], red = pair[frame_.column_step + chroma];
      const int to_red = fixed(1.402, red), to_blue = fixed(1.772, blue);
      const int to_green = fixed(-0.34414, blue) + fixed(-0.71414, red);
      for (int64_t k = 0; k < 2; ++k) {
        const int y = pair[k * frame_.column_step + luma];
        const int values[] = {y + (to_red >> kBits), y + (to_green >> kBits),
                              y + (to_blue >> kBits)};
        for (int c = 0; c < 3; ++c)
          out[c * width_ + i + k] = static_cast<uint8_t>(std::clamp(values[c], 0, 255));
      }
    }
  }

  int64_t mirrored(int64_t place, int64_t length) const {
    return place < 0 ? -place : place >= length ? 2 * length - 2 - place : place;
  }

  // The mean of a colour's neighbours; at the edges the picture goes on mirrored.
  void demosaic(int64_t row, uint8_t* out) {
    for (int64_t k = -1; k <= 1; ++k) {
      const int64_t wanted = mirrored(row + k, frame_.height);
      if (held_[k + 1] == wanted) continue;
      if (k < 1 && held_[k + 2] == wanted) {  // it was the next row a moment ago
        std::swap(scratch_.grey[k + 1], scratch_.grey[k + 2]);
        std::swap(held_[k + 1], held_[k + 2]);
        continue;
      }
      channel(wanted, 0, scratch_.grey[k + 1].data());
      held_[k + 1] = wanted;
    }
    const uint8_t *above = scratch_.grey[0].data(), *own = scratch_.grey[1].data(),
                  *below = scratch_.grey[2].data();
    const int* const pattern = frame_.pattern + row % 2 * 2;
    for (int64_t i = 0; i < width_; ++i) {
      const int64_t left = mirrored(i - 1, width_), right = mirrored(i + 1, width_);
      const int colour = pattern[i % 2];
      const int beside = (own[left] + own[right] + 1) / 2, over = (above[i] + below[i] + 1) / 2;
      if (colour == 1) {
        const int other = pattern[1 - i % 2];
        out[width_ + i] = own[i];
        out[other * width_ + i] = static_cast<uint8_t>(beside);
        out[(2 - other) * width_ + i] = static_cast<uint8_t>(over);
      } else {
        out[colour * width_ + i] = own[i];
        out[width_ + i] =
            static_cast<uint8_t>((own[left] + own[right] + above[i] + below[i] + 2) / 4);
        out[(2 - colour) * width_ + i] =
            static_cast<uint8_t>((above[left] + above[right] + below[left] + below[right] + 2) / 4);
      }
    }
  }

  const Frame& frame_;
  Scratch& scratch_;
  const int64_t width_;
  int64_t held_[3] = {-1, -1, -1};
};

INVAD_CLONES void resize_row(const uint8_t* in, const Weights::Span* spans, int64_t width,
                             uint8_t* out) {
  for (int64_t i = 0; i < width; ++i) {
    const uint8_t* const from = in + spans[i].first;
    const int32_t* const weights = spans[i].weights;
    int32_t sum = 1 << (kPrecision - 1);
    for (int32_t k = 0; k < spans[i].count; ++k) sum += from[k] * weights[k];
    out[i] = clipped(sum);
  }
}

// A row's planes, one of grey or three, as RGB.
INVAD_CLONES void interleave(const uint8_t* planes, int channels, int64_t width, uint8_t* rgb) {
  const uint8_t* const green = planes + (channels > 1 ? width : 0);
  const uint8_t* const blue = planes + (channels > 1 ? 2 * width : 0);
  for (int64_t i = 0; i < width; ++i) {
    rgb[3 * i] = planes[i];
    rgb[3 * i + 1] = green[i];
    rgb[3 * i + 2] = blue[i];
  }
}

// rows: the first of the span's rows, one after another.
INVAD_CLONES void resize_column(const uint8_t* rows, const Weights::Span& span, int64_t width,
                                int32_t* sums, uint8_t* out) {
  for (int64_t i = 0; i < width; ++i) sums[i] = 1 << (kPrecision - 1);
  for (int32_t k = 0; k < span.count; ++k) {
    const int32_t weight = span.weights[k];
    const uint8_t* const row = rows + k * width;
    for (int64_t i = 0; i < width; ++i) sums[i] += row[i] * weight;
  }
  for (int64_t i = 0; i < width; ++i) out[i] = clipped(sums[i]);
}

}  // namespace

void preprocess(const Frame& frame, uint8_t* rgb, int64_t height, int64_t width, Filter filter) {
  static thread_local Scratch scratch;
  Unpacker unpacker(frame, scratch);
  const int channels = unpacker.channels();
  const bool resizes = frame.width != width, reduces = frame.height != height;
  if (resizes) scratch.columns.make(frame.width, width, filter);
  const int64_t plane = frame.height * width;
  if (resizes || reduces) scratch.narrow.resize(channels * plane);
  for (int64_t row = 0; row < frame.height; ++row) {
    const uint8_t* const in = unpacker.row(row);
    if (!resizes && !reduces) {
      interleave(in, channels, width, rgb + row * width * 3);
      continue;
    }
    for (int c = 0; c < channels; ++c) {
      uint8_t* const out = scratch.narrow.data() + c * plane + row * width;
      if (resizes)
        resize_row(in + c * frame.width, scratch.columns.spans.data(), width, out);
      else
        std::memcpy(out, in + c * frame.width, width);
    }
  }
  if (!resizes && !reduces) return;
  if (reduces) scratch.rows.make(frame.height, height, filter);
  scratch.sums.resize(width);
  scratch.planes.resize(3 * std::max(frame.width, width));
  for (int64_t row = 0; row < height; ++row) {
    for (int c = 0; c < channels; ++c) {
      uint8_t* const out = scratch.planes.data() + c * width;
      const uint8_t* const from = scratch.narrow.data() + c * plane;
      if (reduces) {
        const Weights::Span& span = scratch.rows.spans[row];
        resize_column(from + span.first * width, span, width, scratch.sums.data(), out);
      } else {
        std::memcpy(out, from + row * width, width);
      }
    }
    interleave(scratch.planes.data(), channels, width, rgb + row * width * 3);
  }
}

}  // namespace invad::frames
