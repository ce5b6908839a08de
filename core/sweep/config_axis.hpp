// The values of one axis, as a sweep's config says them.
#pragma once

#include "core/config/document.hpp"
#include "core/sweep/space.hpp"

namespace attnlab::sweep {

/// A list of values, {"range": [low, high], ...} or {"log_range": ...} into the choices or the range of
/// `axis`, which has its pointer and place already. Throws UserError.
void read_axis_values(const config::Document& document, const io::Json& json, Axis& axis);

/// Where all choices are single numbers, their ascending order.
void order_by_numbers(Axis& axis);

}  // namespace attnlab::sweep
