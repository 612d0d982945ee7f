// Run-length union-find: every row's runs are joined with the touching runs of the row above.
#include "connected_regions.h"

#include <algorithm>
#include <cstring>

namespace invad::scores {
namespace {

uint64_t word_at(const uint8_t* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

bool has_zero_byte(uint64_t word) {
  return ((word - 0x0101010101010101u) & ~word & 0x8080808080808080u) != 0;
}

}  // namespace

void RegionFinder::append_runs(const uint8_t* row, uint32_t offset, uint32_t width) {
  uint32_t x = 0;
  while (true) {
    while (x + 8 <= width && word_at(row + x) == 0) x += 8;
    while (x < width && row[x] == 0) ++x;
    if (x == width) return;
    const uint32_t begin = x;
    while (x + 8 <= width && !has_zero_byte(word_at(row + x))) x += 8;
    while (x < width && row[x] != 0) ++x;
    runs_.push_back({offset + begin, offset + x, static_cast<uint32_t>(runs_.size())});
  }
}

uint32_t RegionFinder::root(uint32_t run) {
  while (runs_[run].region != run) {
    runs_[run].region = runs_[runs_[run].region].region;
    run = runs_[run].region;
  }
  return run;
}

void RegionFinder::find(const uint8_t* mask, int64_t height, int64_t width) {
  runs_.clear();
  const uint32_t w = static_cast<uint32_t>(width);
  size_t above = 0, above_end = 0;
  for (int64_t y = 0; y < height; ++y) {
    const uint32_t offset = static_cast<uint32_t>(y) * w;
    append_runs(mask + offset, offset, w);
    const size_t row_begin = above_end, row_end = runs_.size();
    for (size_t run = row_begin; run < row_end; ++run) {
      // Columns of the row above that touch this run, corners included: begin - 1 .. end.
      const uint32_t begin = runs_[run].begin - w, end = runs_[run].end - w;
      while (above < row_begin && runs_[above].end < begin) ++above;
      for (size_t other = above; other < row_begin && runs_[other].begin <= end; ++other) {
        const uint32_t a = root(static_cast<uint32_t>(run));
        const uint32_t b = root(static_cast<uint32_t>(other));
        runs_[std::max(a, b)].region = std::min(a, b);
      }
    }
    above = row_begin;
    above_end = row_end;
  }
  areas_.assign(runs_.size(), 0);
  regions_ = 0;
  for (size_t run = 0; run < runs_.size(); ++run) {
    const uint32_t own = root(static_cast<uint32_t>(run));
    runs_[run].region = own;
    areas_[own] += runs_[run].end - runs_[run].begin;
    regions_ += own == run;
  }
}

int64_t label_regions(const uint8_t* mask, int64_t height, int64_t width, int32_t* labels,
                      int32_t* areas) {
  RegionFinder finder;
  finder.find(mask, height, width);
  std::fill_n(labels, height * width, 0);
  std::fill_n(areas, height * width, 0);
  for (const MaskRun& run : finder.runs()) {
    const int32_t label = static_cast<int32_t>(finder.runs()[run.region].begin) + 1;
    std::fill(labels + run.begin, labels + run.end, label);
    std::fill(areas + run.begin, areas + run.end, static_cast<int32_t>(finder.area(run)));
  }
  return finder.regions();
}

}  // namespace invad::scores
