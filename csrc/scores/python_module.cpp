// invad_fast._scores: the core of metrics and frames for NumPy arrays, read where they are.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>

#include "../frames/figures.h"
#include "../frames/preprocess.h"
#include "connected_regions.h"
#include "exact_scores.h"
#include "keys.h"
#include "pooling.h"
#include "region_scores.h"
#include "region_shapes.h"
#include "streaming/cell_scores.h"

namespace py = pybind11;
using namespace py::literals;

namespace invad::scores {
namespace {

template <typename T>
using Array = py::array_t<T, py::array::c_style>;
using Maps = Array<float>;
using Masks = Array<uint8_t>;

// maps: N x H x W; masks: the same, or none.
Pixels pixels_of(const Maps& maps, const std::optional<Masks>& masks) {
  if (maps.ndim() != 3) throw std::invalid_argument("maps must be N x H x W");
  if (maps.shape(1) * maps.shape(2) >= int64_t{1} << 31)
    throw std::invalid_argument("a map must have fewer than 2^31 pixels");
  if (masks && (masks->ndim() != 3 || !std::equal(maps.shape(), maps.shape() + 3, masks->shape())))
    throw std::invalid_argument("masks must have the shape of maps");
  return {maps.data(), masks ? masks->data() : nullptr, maps.shape(0), maps.shape(1),
          maps.shape(2)};
}

template <typename T>
Array<T> to_array(const T* data, size_t size) {
  return Array<T>(static_cast<py::ssize_t>(size), data);
}

// rank(boundaries, normal_ranks, false_positive_limit): see Question and Ranking.
Question question_of(std::vector<float> boundaries, std::vector<uint64_t> normal_ranks,
                     double false_positive_limit) {
  Question question{{}, std::move(normal_ranks), false_positive_limit};
  for (const float boundary : boundaries) question.boundaries.push_back(key_of(boundary));
  return question;
}

py::dict to_dict(const Ranking& ranking) {
  const size_t count = ranking.above.size();
  Array<int64_t> anomalous(count), normal(count);
  Array<double> overlap(count);
  const RegionWeights weights(ranking.regions);
  const double whole = static_cast<double>(weights.unit) * std::max<int64_t>(ranking.regions, 1);
  for (size_t i = 0; i < count; ++i) {
    anomalous.mutable_at(i) = static_cast<int64_t>(ranking.above[i].anomalous);
    normal.mutable_at(i) = static_cast<int64_t>(ranking.above[i].normal);
    overlap.mutable_at(i) = static_cast<double>(ranking.above[i].weight) / whole;
  }
  Array<float> normal_scores(ranking.normal_keys.size());
  for (size_t i = 0; i < ranking.normal_keys.size(); ++i)
    normal_scores.mutable_at(i) = score_of(ranking.normal_keys[i]);
  return py::dict("wins"_a = ranking.auroc_wins, "precision_sum"_a = ranking.precision_sum,
                  "best_f1"_a = ranking.best_f1, "best_score"_a = score_of(ranking.best_f1_key),
                  "overlap_area"_a = ranking.overlap_area, "anomalous_above"_a = anomalous,
                  "normal_above"_a = normal, "overlap_above"_a = overlap,
                  "normal_scores"_a = normal_scores);
}

// (N maxima, N bool)
py::tuple to_tuple(const MapSummary& maps) {
  const auto anomalous = to_array(maps.anomalous.data(), maps.anomalous.size());
  return py::make_tuple(to_array(maps.maxima.data(), maps.maxima.size()),
                        anomalous.attr("view")("bool"));
}

template <typename Class>
void define_summary(py::class_<Class>& type) {
  type.def_property_readonly("normal", [](const Class& s) { return s.summary().normal; })
      .def_property_readonly("anomalous", [](const Class& s) { return s.summary().anomalous; })
      .def_property_readonly("regions", [](const Class& s) { return s.summary().regions; })
      .def_property_readonly("finite", [](const Class& s) { return s.summary().finite; })
      .def_property_readonly("low", [](const Class& s) { return score_of(s.summary().lowest_key); })
      .def_property_readonly("high",
                             [](const Class& s) { return score_of(s.summary().highest_key); });
}

py::dict to_arrays(const Places& from) {
  std::vector<uint64_t> sizes;
  Array<uint16_t> places(from.size());
  uint16_t* to = places.mutable_data();
  for (size_t i = 0; i < from.buckets.size(); ++i) {
    sizes.push_back(from.ends[i] - from.begins[i]);
    to = std::copy(from.places.get() + from.begins[i], from.places.get() + from.ends[i], to);
  }
  return py::dict("buckets"_a = to_array(from.buckets.data(), from.buckets.size()),
                  "sizes"_a = to_array(sizes.data(), sizes.size()), "places"_a = places);
}

Places places_from(const py::dict& arrays) {
  const auto buckets = arrays["buckets"].cast<Array<uint32_t>>();
  const auto sizes = arrays["sizes"].cast<Array<uint64_t>>();
  const auto values = arrays["places"].cast<Array<uint16_t>>();
  std::vector<uint64_t> counts(kBuckets);
  uint64_t total = 0;
  bool valid = buckets.size() == sizes.size();
  for (py::ssize_t i = 0; valid && i < buckets.size(); ++i) {
    const uint32_t bucket = buckets.data()[i];
    const uint64_t size = sizes.data()[i];
    valid = bucket < kBuckets && (i == 0 || buckets.data()[i - 1] < bucket) && size > 0 &&
            size <= static_cast<uint64_t>(values.size()) - total;
    if (!valid) break;
    counts[bucket] = size;
    total += size;
  }
  if (!valid || total != static_cast<uint64_t>(values.size()))
    throw std::invalid_argument("this is not the state of exact scores");
  Places to = Places::of(counts, 0, kBuckets - 1);
  const uint16_t* from = values.data();
  for (size_t i = 0; i < to.buckets.size(); ++i) {
    const uint64_t size = to.ends[i] - to.begins[i];
    std::copy(from, from + size, to.places.get() + to.begins[i]);
    from += size;
  }
  return to;
}

py::dict exact_state(const ExactScores& scores) {
  const auto part = scores.whole();
  const Places& anomalous = part->anomalous;
  const Summary& summary = scores.summary();
  Array<uint32_t> areas(anomalous.size());
  uint32_t* to = areas.mutable_data();
  for (size_t i = 0; i < anomalous.buckets.size(); ++i)
    to = std::copy(part->areas.get() + anomalous.begins[i], part->areas.get() + anomalous.ends[i],
                   to);
  return py::dict("normal"_a = to_arrays(part->normal), "anomalous"_a = to_arrays(anomalous),
                  "areas"_a = areas, "regions"_a = summary.regions,
                  "low"_a = score_of(summary.lowest_key), "high"_a = score_of(summary.highest_key));
}

void add_exact_state(ExactScores& scores, const py::dict& state) {
  const auto part = std::make_shared<Part>();
  part->normal = places_from(state["normal"].cast<py::dict>());
  part->anomalous = places_from(state["anomalous"].cast<py::dict>());
  const auto areas = state["areas"].cast<Array<uint32_t>>();
  const bool positive = std::all_of(areas.data(), areas.data() + areas.size(),
                                    [](uint32_t area) { return area > 0; });
  if (static_cast<uint64_t>(areas.size()) != part->anomalous.size() || !positive)
    throw std::invalid_argument("this is not the state of exact scores");
  part->allocate_areas();
  const uint32_t* from = areas.data();
  for (size_t i = 0; i < part->anomalous.buckets.size(); ++i) {
    const uint64_t begin = part->anomalous.begins[i], size = part->anomalous.ends[i] - begin;
    std::copy(from, from + size, part->areas.get() + begin);
    from += size;
  }
  Summary summary{
      part->normal.size(), part->anomalous.size(), state["regions"].cast<int64_t>(), ~0u, 0, true};
  if (summary.normal + summary.anomalous > 0) {
    summary.lowest_key = key_of(state["low"].cast<float>());
    summary.highest_key = key_of(state["high"].cast<float>());
  }
  scores.add_part(part, summary);
}

// The cells' last keys and widths, in order, and what they hold; what is known of all pixels.
py::dict cell_state(const CellScores& scores) {
  const std::vector<Cell>& cells = scores.cells();
  Array<uint32_t> last(cells.size());
  Array<uint8_t> bits(cells.size());
  Array<int64_t> normal(cells.size()), anomalous(cells.size()), weight(cells.size());
  for (size_t i = 0; i < cells.size(); ++i) {
    last.mutable_data()[i] = cells[i].range.last;
    bits.mutable_data()[i] = static_cast<uint8_t>(cells[i].range.bits);
    normal.mutable_data()[i] = static_cast<int64_t>(cells[i].counts.normal);
    anomalous.mutable_data()[i] = static_cast<int64_t>(cells[i].counts.anomalous);
    weight.mutable_data()[i] = static_cast<int64_t>(cells[i].counts.weight);
  }
  const Summary& summary = scores.summary();
  return py::dict("last"_a = last, "bits"_a = bits, "normal"_a = normal, "anomalous"_a = anomalous,
                  "weight"_a = weight, "limit"_a = scores.limit(), "regions"_a = summary.regions,
                  "low"_a = score_of(summary.lowest_key), "high"_a = score_of(summary.highest_key));
}

void add_cell_state(CellScores& scores, const py::dict& state) {
  const auto last = state["last"].cast<Array<uint32_t>>();
  const auto bits = state["bits"].cast<Array<uint8_t>>();
  const auto normal = state["normal"].cast<Array<int64_t>>();
  const auto anomalous = state["anomalous"].cast<Array<int64_t>>();
  const auto weight = state["weight"].cast<Array<int64_t>>();
  const py::ssize_t size = last.size();
  const float limit = state["limit"].cast<float>();
  bool valid = bits.size() == size && normal.size() == size && anomalous.size() == size &&
               weight.size() == size && limit >= 0;
  std::vector<Cell> cells;
  Summary summary{0, 0, state["regions"].cast<int64_t>(), ~0u, 0, true};
  for (py::ssize_t i = 0; valid && i < size; ++i) {
    const CellRange range{last.data()[i], bits.data()[i]};
    const CellCounts counts{static_cast<uint64_t>(normal.data()[i]),
                            static_cast<uint64_t>(anomalous.data()[i]),
                            static_cast<uint64_t>(weight.data()[i])};
    valid = range.bits <= 32 && joint(range, range) == range &&
            (i == 0 || before(cells.back().range, range));
    cells.push_back({range, counts});
    summary.normal += counts.normal;
    summary.anomalous += counts.anomalous;
  }
  if (!valid) throw std::invalid_argument("this is not the state of scores in cells");
  if (size > 0) {
    summary.lowest_key = key_of(state["low"].cast<float>());
    summary.highest_key = key_of(state["high"].cast<float>());
  }
  scores.merge(cells, limit, summary);
}

// add(maps, masks, threads) of scores that are held.
template <typename Class>
void define_add(py::class_<Class>& type) {
  type.def(
      "add",
      [](Class& scores, const Maps& maps, const std::optional<Masks>& masks, int threads) {
        const Pixels pixels = pixels_of(maps, masks);
        MapSummary added;
        {
          py::gil_scoped_release release;
          added = scores.add(pixels, threads);
        }
        return to_tuple(added);
      },
      "maps"_a.noconvert(), "masks"_a.noconvert(), "threads"_a);
}

// rank(boundaries, normal_ranks, false_positive_limit, how): `how` is what the class's own rank()
// takes after the question.
template <typename How, typename Class>
void define_rank(py::class_<Class>& type) {
  type.def("rank", [](const Class& scores, std::vector<float> boundaries,
                      std::vector<uint64_t> normal_ranks, double limit, How how) {
    const Question question = question_of(boundaries, std::move(normal_ranks), limit);
    Ranking ranking;
    {
      py::gil_scoped_release release;
      ranking = scores.rank(question, how);
    }
    return to_dict(ranking);
  });
}

py::tuple label(const Masks& masks) {
  if (masks.ndim() != 3) throw std::invalid_argument("masks must be N x H x W");
  const std::vector<py::ssize_t> shape(masks.shape(), masks.shape() + 3);
  Array<int32_t> labels(shape), areas(shape);
  const int64_t size = masks.shape(1) * masks.shape(2);
  for (int64_t i = 0; i < masks.shape(0); ++i)
    label_regions(masks.data() + i * size, masks.shape(1), masks.shape(2),
                  labels.mutable_data() + i * size, areas.mutable_data() + i * size);
  return py::make_tuple(labels, areas);
}

}  // namespace
}  // namespace invad::scores

PYBIND11_MODULE(_scores, module) {
  using namespace invad::scores;

  py::class_<BorrowedScores> borrowed(module, "BorrowedScores");
  borrowed.def(py::init([](const Maps& maps, const std::optional<Masks>& masks, int threads) {
                 const Pixels pixels = pixels_of(maps, masks);
                 py::gil_scoped_release release;
                 return std::make_unique<BorrowedScores>(pixels, threads);
               }),
               "maps"_a.noconvert(), "masks"_a.noconvert(), "threads"_a, py::keep_alive<1, 2>(),
               py::keep_alive<1, 3>());
  borrowed.def("maps", [](const BorrowedScores& scores) { return to_tuple(scores.maps()); });
  define_rank<double>(borrowed);
  define_summary(borrowed);

  py::class_<ExactScores> exact(module, "ExactScores");
  exact.def(py::init<>()).def("state", &exact_state).def("add_state", &add_exact_state, "state"_a);
  define_add(exact);
  define_rank<int>(exact);
  define_summary(exact);

  py::class_<CellScores> cells(module, "CellScores");
  cells.def(py::init<size_t>(), "capacity"_a)
      .def("state", &cell_state)
      .def("add_state", &add_cell_state, "state"_a);
  define_add(cells);
  define_summary(cells);

  module.def(
      "pooled_maxima",
      [](const Maps& maps, int64_t window, int threads) {
        const Pixels pixels = pixels_of(maps, std::nullopt);
        if (window < 1 || window > std::min(pixels.height, pixels.width))
          throw std::invalid_argument("the window must fit the maps");
        std::vector<double> maxima;
        {
          py::gil_scoped_release release;
          maxima = pooled_maxima(pixels, window, threads);
        }
        return to_array(maxima.data(), maxima.size());
      },
      "maps"_a.noconvert(), "window"_a, "threads"_a);
  module.def(
      "region_scores",
      [](const Maps& maps, int64_t least, const std::optional<Masks>& inside) {
        const Pixels pixels = pixels_of(maps, std::nullopt);
        const int64_t size = pixels.height * pixels.width;
        if (least < 1 || least > size) throw std::invalid_argument("least must fit the maps");
        if (inside && (inside->ndim() != 2 || inside->shape(0) != pixels.height ||
                       inside->shape(1) != pixels.width))
          throw std::invalid_argument("inside must be H x W");
        std::vector<float> scores;
        {
          py::gil_scoped_release release;
          scores = region_scores(pixels, least, inside ? inside->data() : nullptr);
        }
        return to_array(scores.data(), scores.size());
      },
      "maps"_a.noconvert(), "least"_a, "inside"_a.noconvert().none(true));
  module.def(
      "preprocess",
      [](const py::array& frame, int layout, int bits, const std::array<int, 4>& order, int low,
         int high, int64_t width, Array<uint8_t> rgb, bool cubic) {
        const int64_t channel_step = frame.ndim() == 3 ? frame.strides(2) : 0;
        const invad::frames::Frame given{static_cast<const uint8_t*>(frame.data()),
                                         frame.shape(0),
                                         width,
                                         frame.strides(0),
                                         frame.strides(1),
                                         channel_step,
                                         static_cast<invad::frames::Layout>(layout),
                                         bits,
                                         order[0],
                                         order[1],
                                         order[2],
                                         {order[0], order[1], order[2], order[3]},
                                         low,
                                         high};
        uint8_t* const to = rgb.mutable_data();
        const int64_t rows = rgb.shape(0), columns = rgb.shape(1);
        py::gil_scoped_release release;
        using invad::frames::Filter;
        invad::frames::preprocess(given, to, rows, columns,
                                  cubic ? Filter::kBicubic : Filter::kBilinear);
      },
      "frame"_a, "layout"_a, "bits"_a, "order"_a, "low"_a, "high"_a, "width"_a, "rgb"_a.noconvert(),
      "cubic"_a);
  module.def(
      "region_shapes",
      [](const Array<uint8_t>& mask, const Array<float>& scores, double down, double across) {
        if (mask.ndim() != 2 || scores.ndim() != 2 || mask.shape(0) != scores.shape(0) ||
            mask.shape(1) != scores.shape(1))
          throw std::invalid_argument("mask and scores must be H x W");
        const uint8_t* const set = mask.data();
        const float* const values = scores.data();
        const int64_t height = mask.shape(0), width = mask.shape(1);
        RegionShapes found;
        {
          py::gil_scoped_release release;
          found = region_shapes(set, values, height, width, down, across);
        }
        return py::make_tuple(to_array(found.boxes.data(), found.boxes.size()),
                              to_array(found.areas.data(), found.areas.size()),
                              to_array(found.peaks.data(), found.peaks.size()),
                              to_array(found.longest.data(), found.longest.size()),
                              to_array(found.corners.data(), found.corners.size()),
                              to_array(found.ends.data(), found.ends.size()));
      },
      "mask"_a.noconvert(), "scores"_a.noconvert(), "down"_a, "across"_a);
  module.def(
      "frame_figures",
      [](const Array<uint8_t>& picture) {
        if (picture.ndim() != 3 || picture.shape(2) != 3 || picture.size() == 0)
          throw std::invalid_argument("picture must be H x W x 3");
        const uint8_t* const pixels = picture.data();
        const int64_t height = picture.shape(0), width = picture.shape(1);
        std::array<double, 5> found;
        {
          py::gil_scoped_release release;
          found = invad::frames::figures(pixels, height, width);
        }
        return to_array(found.data(), found.size());
      },
      "picture"_a.noconvert());
  module.def("label_regions", &label, "masks"_a.noconvert());
}
