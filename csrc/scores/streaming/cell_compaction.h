// Cells merged where that costs the figures least.
#pragma once

#include <cstddef>
#include <vector>

#include "cell_cost.h"
#include "cells.h"

namespace invad::scores {

// Merges all cells within one range into a cell of it, the cheapest ranges first, until `target`
// (1 or more) are left, or fewer where costs are nearly equal. A range's cost is that of everything
// that may lie on either side of a threshold in it: its own cells and those that hold it.
//
// Returns what no range that was merged costs, but every other one may. `cells` in order.
float compact(std::vector<Cell>& cells, size_t target, const CellCost& cost);

}  // namespace invad::scores
