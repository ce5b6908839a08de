// The look of report.html.
#pragma once

#include <string>

namespace attnlab::report {

/// The style sheet: light and dark by the reader's preference, one column on a phone. Classes d0..d15 stroke
/// and fill with the density ramp, e0..e15 colour a cell with the error ramp and a legible text colour.
std::string style_sheet();

}  // namespace attnlab::report
