// 8-connected regions by union-find on cells of 2x2 pixels: the set pixels of a cell always touch,
// so a cell is one node, and there are a quarter as many as pixels (Allegretti, Bolelli, Grana,
// "Optimized Block-Based Algorithms to Label Connected Components on GPUs", 2019).
#include "../connected_regions.h"
#include "launch.h"

namespace invad {
namespace {

// N maps of height x width pixels, and of cells x cells_wide cells.
struct Grid {
  int64_t maps;
  int height, width, cells_high, cells_wide;

  Grid(int64_t maps, int64_t height, int64_t width)
      : maps(maps),
        height(static_cast<int>(height)),
        width(static_cast<int>(width)),
        cells_high(static_cast<int>(ceil_div(height, 2))),
        cells_wide(static_cast<int>(ceil_div(width, 2))) {}
  __host__ __device__ int64_t cells() const {
    return maps * cells_high * static_cast<int64_t>(cells_wide);
  }
};

// One cell of a map, and how its pixels are read.
struct Cell {
  const uint8_t* mask;  // of the map
  int height, width, y, x;

  __device__ Cell(const uint8_t* masks, const Grid& grid, int64_t cell)
      : height(grid.height), width(grid.width) {
    x = static_cast<int>(cell % grid.cells_wide) * 2;
    const int64_t row = cell / grid.cells_wide;
    y = static_cast<int>(row % grid.cells_high) * 2;
    mask = masks + row / grid.cells_high * grid.height * static_cast<int64_t>(grid.width);
  }
  // Of a pixel relative to the cell's first one; what is outside of the map is not set.
  __device__ bool set(int dy, int dx) const {
    const int at_y = y + dy, at_x = x + dx;
    return at_y >= 0 && at_y < height && at_x >= 0 && at_x < width &&
           mask[at_y * static_cast<int64_t>(width) + at_x] != 0;
  }
};

__device__ int root_of(const volatile int* parents, int cell) {
  while (parents[cell] != cell) cell = parents[cell];
  return cell;
}

// Parents only ever become smaller, whoever else is joining.
__device__ void join(int* parents, int a, int b) {
  while (true) {
    a = root_of(parents, a);
    b = root_of(parents, b);
    if (a == b) return;
    const int high = a > b ? a : b, low = a > b ? b : a;
    const int before = atomicMin(parents + high, low);
    if (before == high) return;
    a = before;
    b = low;
  }
}

__device__ int64_t own_cell() { return static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; }

// parents, first, areas: an entry a cell.
__global__ void __launch_bounds__(kThreads)
    start(int* __restrict__ parents, int* __restrict__ first, int* __restrict__ areas,
          int64_t cells) {
  const int64_t cell = own_cell();
  if (cell >= cells) return;
  parents[cell] = static_cast<int>(cell);
  first[cell] = 0x7fffffff;
  areas[cell] = 0;
}

// Joins each cell with those before it that it touches: west, north-west, north, north-east.
__global__ void __launch_bounds__(kThreads)
    join_cells(const uint8_t* __restrict__ masks, int* parents, Grid grid) {
  const int64_t cell = own_cell();
  if (cell >= grid.cells()) return;
  const Cell own(masks, grid, cell);
  const bool a = own.set(0, 0), b = own.set(0, 1), c = own.set(1, 0);
  const int at = static_cast<int>(cell);
  if ((a || c) && (own.set(0, -1) || own.set(1, -1))) join(parents, at, at - 1);
  if ((a || b) && (own.set(-1, 0) || own.set(-1, 1))) join(parents, at, at - grid.cells_wide);
  if (a && own.set(-1, -1)) join(parents, at, at - grid.cells_wide - 1);
  if (b && own.set(-1, 2)) join(parents, at, at - grid.cells_wide + 1);
}

// Gathers each region's area and its first pixel at its root.
__global__ void __launch_bounds__(kThreads)
    measure(const uint8_t* __restrict__ masks, const int* __restrict__ parents, int* first,
            int* areas, Grid grid) {
  const int64_t cell = own_cell();
  if (cell >= grid.cells()) return;
  const Cell own(masks, grid, cell);
  int pixels = 0, least = 0;
  for (int i = 3; i >= 0; --i) {
    if (!own.set(i / 2, i % 2)) continue;
    ++pixels;
    least = (own.y + i / 2) * own.width + own.x + i % 2;
  }
  if (pixels == 0) return;
  const int root = root_of(parents, static_cast<int>(cell));
  atomicAdd(areas + root, pixels);
  atomicMin(first + root, least);
}

// labels, region_areas: N x height x width.
__global__ void __launch_bounds__(kThreads)
    write_out(const uint8_t* __restrict__ masks, const int* __restrict__ parents,
              const int* __restrict__ first, const int* __restrict__ areas,
              int* __restrict__ labels, int* __restrict__ region_areas, Grid grid) {
  const int64_t cell = own_cell();
  if (cell >= grid.cells()) return;
  const Cell own(masks, grid, cell);
  const int root = root_of(parents, static_cast<int>(cell));
  const int64_t map = own.mask - masks;
  for (int i = 0; i < 4; ++i) {
    const int y = own.y + i / 2, x = own.x + i % 2;
    if (y >= grid.height || x >= grid.width) continue;
    const int64_t at = map + y * static_cast<int64_t>(grid.width) + x;
    const bool set = masks[at] != 0;
    labels[at] = set ? first[root] + 1 : 0;
    region_areas[at] = set ? areas[root] : 0;
  }
}

// mask: N x H x W, set where not 0. Returns labels and areas, N x H x W int32.
std::tuple<Tensor, Tensor> connected_regions(const Tensor& mask) {
  const ConnectedRegions of(mask);
  const CurrentStream stream(mask);
  if (mask.numel() == 0) return {of.labels, of.areas};
  const Grid grid(mask.size(0), mask.size(1), mask.size(2));
  STD_TORCH_CHECK(grid.cells() < int64_t{1} << 31, "connected_regions: there are too many maps");
  const Tensor nodes = empty({3, grid.cells()}, mask, ScalarType::Int);
  int* parents = mutable_data<int>(nodes);
  int* first = parents + grid.cells();
  int* areas = first + grid.cells();
  const uint8_t* masks = data<uint8_t>(of.mask);
  const Launch launch{dim3(static_cast<unsigned>(ceil_div(grid.cells(), kThreads))),
                      dim3(kThreads)};
  launch(stream, start, parents, first, areas, grid.cells());
  launch(stream, join_cells, masks, parents, grid);
  launch(stream, measure, masks, parents, first, areas, grid);
  launch(stream, write_out, masks, parents, first, areas, mutable_data<int>(of.labels),
         mutable_data<int>(of.areas), grid);
  return {of.labels, of.areas};
}

}  // namespace
}  // namespace invad

STABLE_TORCH_LIBRARY_IMPL(invad_fast, CUDA, m) {
  m.impl("connected_regions", TORCH_BOX(&invad::connected_regions));
}
