#include "region_shapes.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "connected_regions.h"

namespace invad::scores {
namespace {

struct Point {
  double x, y;
};

double turn(const Point& a, const Point& b, const Point& c) {
  return (b.x - a.x) * (c.y - a.y) - (b.y - a.y) * (c.x - a.x);
}

// Andrew's monotone chain; points in any order, which it changes.
std::vector<Point> convex_hull(std::vector<Point>& points) {
  std::sort(points.begin(), points.end(),
            [](const Point& a, const Point& b) { return a.x < b.x || (a.x == b.x && a.y < b.y); });
  std::vector<Point> hull;
  for (int side = 0; side < 2; ++side) {
    const size_t first = hull.size();
    for (const Point& point : points) {
      while (hull.size() >= first + 2 && turn(hull[hull.size() - 2], hull.back(), point) <= 0)
        hull.pop_back();
      hull.push_back(point);
    }
    hull.pop_back();  // the first of the other side
    std::reverse(points.begin(), points.end());
  }
  return hull;
}

// Of the smallest rectangle around the points, one of whose sides lies along a side of their hull;
// of several the shortest.
double longest_side(std::vector<Point>& points) {
  const std::vector<Point> hull = convex_hull(points);
  double smallest = std::numeric_limits<double>::infinity(), longest = 0;
  for (size_t i = 0; i < hull.size(); ++i) {
    const Point& from = hull[i];
    const Point& to = hull[(i + 1) % hull.size()];
    const double length = std::hypot(to.x - from.x, to.y - from.y);
    const double ux = (to.x - from.x) / length, uy = (to.y - from.y) / length;
    double low_u = 0, high_u = 0, high_v = 0;
    for (const Point& p : hull) {
      const double u = (p.x - from.x) * ux + (p.y - from.y) * uy;
      low_u = std::min(low_u, u), high_u = std::max(high_u, u);
      high_v = std::max(high_v, std::abs((p.y - from.y) * ux - (p.x - from.x) * uy));
    }
    const double area = (high_u - low_u) * high_v, side = std::max(high_u - low_u, high_v);
    const bool equal = std::abs(area - smallest) <= 1e-9 * area;
    if (equal ? side < longest : area < smallest) longest = side;
    smallest = std::min(smallest, area);
  }
  return longest;
}

}  // namespace

RegionShapes region_shapes(const uint8_t* mask, const float* scores, int64_t height, int64_t width,
                           double down, double across) {
  std::vector<int32_t> labels(height * width), pixels(height * width);
  const int64_t count = label_regions(mask, height, width, labels.data(), pixels.data());
  RegionShapes found;
  found.boxes.reserve(4 * count);
  std::vector<int32_t> labels_of;  // one's label is 1 + its first pixel
  labels_of.reserve(count);
  std::vector<int32_t> number(height * width);  // first pixel -> which region
  for (int64_t i = 0; i < height * width; ++i) {
    if (labels[i] == 0) continue;
    const int64_t x = i % width, y = i / width, first = labels[i] - 1;
    if (i == first) {
      number[i] = static_cast<int32_t>(labels_of.size());
      labels_of.push_back(labels[i]);
      found.boxes.insert(found.boxes.end(), {x, y, x + 1, y + 1});
      found.areas.push_back(pixels[i]);
      found.peaks.push_back(scores[i]);
    }
    int64_t* const box = &found.boxes[4 * number[first]];
    box[0] = std::min(box[0], x), box[2] = std::max(box[2], x + 1), box[3] = y + 1;
    float& peak = found.peaks[number[first]];
    peak = std::max(peak, scores[i]);
  }
  std::vector<Point> points;
  for (const int32_t label : labels_of) {
    const auto own = [&](int64_t x, int64_t y) {
      return x >= 0 && y >= 0 && x < width && y < height && labels[y * width + x] == label;
    };
    // Along pixels' edges from the first pixel's upper left corner, the region on the right. Where
    // two pixels touch at a corner it goes left, to the other: neighbours of 8 are one region.
    const int64_t start_x = (label - 1) % width, start_y = (label - 1) / width;
    int64_t x = start_x, y = start_y, dx = 1, dy = 0;
    points.clear();
    const auto corner = [&] {
      found.corners.insert(found.corners.end(), {x, y});
      points.push_back({static_cast<double>(x) * across, static_cast<double>(y) * down});
    };
    corner();
    while (true) {
      x += dx, y += dy;
      if (x == start_x && y == start_y) break;
      // The pixels ahead of the corner: to the left of the way, and to the right of it.
      const int64_t left_x = x + (dx + dy - 1) / 2, left_y = y + (dy - dx - 1) / 2;
      const int64_t right_x = x + (dx - dy - 1) / 2, right_y = y + (dy + dx - 1) / 2;
      const int64_t before_x = dx, before_y = dy;
      if (own(left_x, left_y)) {
        dx = before_y, dy = -before_x;
      } else if (!own(right_x, right_y)) {
        dx = -before_y, dy = before_x;
      }
      if (dx != before_x) corner();
    }
    found.ends.push_back(static_cast<int64_t>(found.corners.size()) / 2);
    found.longest.push_back(longest_side(points));
  }
  return found;
}

}  // namespace invad::scores
