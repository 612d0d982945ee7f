// How bright, rich, sharp and centred a picture is: invad_fast/frame_figures.py has the formulas.
#pragma once

#include <array>
#include <cstdint>

namespace invad::frames {

// rgb: height x width x 3 bytes, at least one pixel. Brightness, contrast, sharpness, x, y. Safe
// from several threads; scratch memory is each thread's own, and kept.
std::array<double, 5> figures(const uint8_t* rgb, int64_t height, int64_t width);

}  // namespace invad::frames
