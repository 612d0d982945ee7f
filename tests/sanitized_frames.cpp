// Frames that end where their memory does, in every layout; part of sanitized_scores.cpp's program.
#include <memory>
#include <random>

#include "../frames/figures.h"
#include "../frames/preprocess.h"

using invad::frames::Filter;
using invad::frames::Frame;
using invad::frames::Layout;

namespace {

void check(std::mt19937& random, Layout layout, int bits, int channels) {
  const int64_t height = 2 * (1 + random() % 9), width = 4 * (1 + random() % 9);
  const bool packed = layout == Layout::kPackedLsb || layout == Layout::kPackedGige;
  const int64_t item = bits > 8 && !packed ? 2 : 1;
  const int64_t row = packed ? width * bits / 8 : width * channels * item;
  const auto memory = std::make_unique<uint8_t[]>(height * row);  // its end is guarded
  for (int64_t i = 0; i < height * row; ++i) memory[i] = static_cast<uint8_t>(random());
  const Frame frame{memory.get(),
                    height,
                    width,
                    row,
                    packed ? 1 : channels * item,
                    item,
                    layout,
                    bits,
                    2 % channels,
                    1 % channels,
                    0,
                    {0, 1, 1, 2},
                    10,
                    700};
  const int64_t rows = 1 + random() % 20, columns = 1 + random() % 20;
  const auto rgb = std::make_unique<uint8_t[]>(rows * columns * 3);
  preprocess(frame, rgb.get(), rows, columns, random() % 2 ? Filter::kBicubic : Filter::kBilinear);
  invad::frames::figures(rgb.get(), rows, columns);
}

void check_figures(std::mt19937& random) {
  const int64_t height = 1 + random() % 200, width = 1 + random() % 200;
  const auto rgb = std::make_unique<uint8_t[]>(height * width * 3);
  for (int64_t i = 0; i < height * width * 3; ++i) rgb[i] = random() % 2 ? 255 : 0;
  invad::frames::figures(rgb.get(), height, width);
}

}  // namespace

void check_frames(std::mt19937& random) {
  for (int i = 0; i < 20; ++i) {
    check_figures(random);
    check(random, Layout::kGrey, 8, 1);
    check(random, Layout::kGrey, 16, 1);
    check(random, Layout::kColours, 8, 3);
    check(random, Layout::kColours, 16, 3);
    check(random, Layout::kBayer, 8, 1);
    check(random, Layout::kBayer, 12, 1);
    check(random, Layout::kYuv, 8, 2);
    check(random, Layout::kPackedLsb, 10, 1);
    check(random, Layout::kPackedLsb, 12, 1);
    check(random, Layout::kPackedGige, 12, 1);
  }
}
