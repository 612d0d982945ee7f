// A camera's frame as the model takes it: unpacked, scaled to 8 bits, RGB, resized.
#pragma once

#include <cstdint>

namespace invad::frames {

enum class Layout { kGrey, kColours, kBayer, kYuv, kPackedLsb, kPackedGige };

// How a frame lies in memory; see invad_fast/inspection/pixel_formats.py.
struct Frame {
  const uint8_t* data;
  int64_t height, width;          // pixels
  int64_t row_step, column_step;  // bytes from a pixel to the one below, beside
  int64_t channel_step;           // bytes from a channel of a pixel to the next
  Layout layout;
  int bits;              // of a channel: 8, or up to 16 in two bytes
  int red, green, blue;  // kColours: which channel
  // kBayer: of the upper left 2 x 2 which colour (0 red, 1 green, 2 blue); kYuv: 1 where luma is
  // the second byte.
  int pattern[4];
  int low, high;  // more than 8 bits: the values that become 0 and 255
};

enum class Filter { kBilinear, kBicubic };

// rgb: height x width x 3 bytes. The result is that of PIL's filter (a triangle, or Keys' cubic
// with a = -1/2; widened where it reduces; weights of 22 bits, rounded to 8 bits after the rows and
// after the columns). Safe from several threads; scratch memory is each thread's own, and kept.
void preprocess(const Frame& frame, uint8_t* rgb, int64_t height, int64_t width, Filter filter);

}  // namespace invad::frames
