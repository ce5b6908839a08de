// Reports of a run, made of its record alone: for the terminal, for people, for spreadsheets.
#pragma once

#include <string>

#include "core/measure/record.hpp"

namespace attnlab::report {

// All functions are pure and thread safe, accept any bytes as titles and names (shown as text, never as
// markup or terminal control), and print NaN as "-" and infinities as "inf".

/// The comparison of the pipelines, one line each, then the input, the checks and the notes. `color` adds
/// ANSI styles. `width` is in terminal cells, 0 or less: unlimited; where the table does not fit, names are
/// shortened in the middle and the least important columns left out, which a last line says. Ends with a
/// newline.
std::string terminal_table(const measure::RunRecord& run, bool color, int width);

/// `report.md`: the comparison, and the mean output error and density of each pipeline on each layer.
std::string markdown(const measure::RunRecord& run);

/// `report.html`: one file that needs neither network nor JavaScript; follows the reader's light or dark
/// theme.
std::string html(const measure::RunRecord& run);

/// The comparison with all digits: a header, one line per pipeline. NaN is an empty field, infinity "inf".
std::string csv(const measure::RunRecord& run);

}  // namespace attnlab::report
