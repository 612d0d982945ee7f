// What csrc/cuda/ptx.h writes as PTX, in plain C++ from the lanes' registers: which lane holds
// which element is as PTX's documentation has it for ldmatrix and mma.m16n8k16.
#pragma once

#include <stdexcept>
#include <string>

#include "warp.h"

namespace cuda_emulation {

// The 16-bit elements of two registers.
template <typename T>
float half_of(uint64_t registers, int which) {
  const auto bits = static_cast<uint16_t>(registers >> (16 * which));
  T element;
  std::memcpy(&element, &bits, sizeof bits);
  return static_cast<float>(element);
}

inline uint64_t pair(unsigned low, unsigned high) { return uint64_t{high} << 32 | low; }

}  // namespace cuda_emulation

namespace invad {

inline void prefetch(const void*) {}
inline int forget(int x) { return x; }

template <int kMatrices>
void load_matrices(const void* row, unsigned (&to)[kMatrices], INVAD_CALLED_FROM) {
  const auto address = reinterpret_cast<uint64_t>(row);
  const auto& rows = cuda_emulation::exchange(0xffffffff, address, file, line).value;
  const unsigned lane = cuda_emulation::lane();
  for (int m = 0; m < kMatrices; ++m) {
    const uint64_t from = rows[8 * m + lane / 4];
    if (from % 16 != 0)
      throw std::runtime_error(std::string(file) + ":" + std::to_string(line) +
                               ": a matrix's row does not begin at a multiple of 16 bytes");
    std::memcpy(&to[m], reinterpret_cast<const char*>(from) + 4 * (lane % 4), 4);
  }
}

template <typename T>
void multiply_add(const unsigned (&a)[4], const unsigned* b, float& c00, float& c01, float& c10,
                  float& c11, INVAD_CALLED_FROM) {
  using namespace cuda_emulation;
  // a's registers: rows 0-7 and 8-15 of columns 0-7, then of columns 8-15
  const Lanes left[2] = {exchange(0xffffffff, pair(a[0], a[1]), file, line),
                         exchange(0xffffffff, pair(a[2], a[3]), file, line)};
  const Lanes& right = exchange(0xffffffff, pair(b[0], b[1]), file, line);
  const int row = lane() / 4, column = 2 * (lane() % 4);
  for (int k = 0; k < 16; ++k) {
    const int half = k / 8, source = k % 8 / 2, odd = k % 2;
    const uint64_t rows = left[half].value[4 * row + source];
    const float upper = half_of<T>(rows, odd), lower = half_of<T>(rows, 2 + odd);
    const float first = half_of<T>(right.value[4 * column + source], 2 * half + odd);
    const float second = half_of<T>(right.value[4 * (column + 1) + source], 2 * half + odd);
    c00 += upper * first;
    c01 += upper * second;
    c10 += lower * first;
    c11 += lower * second;
  }
}

}  // namespace invad
