// How style_modulation shares out the pixels: tiles of two dimensions, as a 3x3 convolution wants.
#pragma once

#include "divider.h"
#include "launch.h"

namespace invad {

constexpr int kTileShift = 7, kTilePixels = 1 << kTileShift;

// How the pixels of all samples are cut into tiles of rows x columns = kTilePixels.
struct PixelTiles {
  int h, w;
  int shift;           // columns = 1 << shift: as many as make long runs, and few beyond the edge
  int pitch;           // of a row with its halo in shared memory, a multiple of 8 pixels
  Divider across;      // tiles in a row of tiles
  Divider per_sample;  // tiles
  int count;           // of all samples
  int reciprocal;      // of halo_columns(), times 2^16 and rounded up

  PixelTiles(const Tensor& x, bool last)
      : h(static_cast<int>(x.size(2))),
        w(static_cast<int>(x.size(3))),
        shift(w <= 8            ? 3
              : last || w <= 16 ? 4
                                : 5),
        across(static_cast<unsigned>(ceil_div(w, columns()))),
        per_sample(across.divisor * static_cast<unsigned>(ceil_div(h, kTilePixels / columns()))) {
    pitch = (halo_columns() + 7) / 8 * 8;
    reciprocal = (1 << 16) / halo_columns() + 1;
    const int64_t all = x.size(0) * per_sample.divisor;
    STD_TORCH_CHECK(all < (int64_t{1} << 31), "x has too many pixels");
    count = static_cast<int>(all);
  }
  __host__ __device__ int columns() const { return 1 << shift; }
  // Of a tile with one more pixel on every side.
  __host__ __device__ int halo_columns() const { return columns() + 2; }
  // The row of a pixel counted along those; exact for the few that a tile has.
  __device__ __forceinline__ int halo_row(int pixel) const { return pixel * reciprocal >> 16; }
};

// Where a tile is.
struct PixelTile {
  int sample, row, column;

  __device__ __forceinline__ PixelTile(const PixelTiles& tiles, int index)
      : sample(tiles.per_sample.quotient(index)) {
    const int in_sample = index - sample * static_cast<int>(tiles.per_sample.divisor);
    const int down = tiles.across.quotient(in_sample);
    row = down * (kTilePixels >> tiles.shift);
    column = (in_sample - down * static_cast<int>(tiles.across.divisor)) << tiles.shift;
  }
};

}  // namespace invad
