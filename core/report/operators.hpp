// Reports of a look at operators, made of its record alone.
#pragma once

#include <string>

#include "core/measure/operators.hpp"

namespace attnlab::report {

// Pure and thread safe; any bytes as titles and names, shown as text.

/// Tables for the terminal. Ends with a newline.
std::string operators_text(const measure::OperatorsRecord& record);
/// `report.md`: the same tables.
std::string operators_markdown(const measure::OperatorsRecord& record);
/// One line for each figure of each operator at each length, all digits.
std::string operators_csv(const measure::OperatorsRecord& record);
/// `report.html`: one file without network or script: time per token and state against length with the
/// crossovers marked, how singular values fall, and the tables.
std::string operators_html(const measure::OperatorsRecord& record);

}  // namespace attnlab::report
