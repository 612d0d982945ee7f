// Puts surveyed pixels into buckets.
#pragma once

#include "places.h"
#include "survey.h"

namespace invad::scores {

// Buckets first .. last, both included; a part for each thread of the survey.
Parts scatter(const Pixels& pixels, const Survey& survey, uint32_t first, uint32_t last);

}  // namespace invad::scores
