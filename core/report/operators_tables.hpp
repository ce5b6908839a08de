// What the reports of operators show, before any of them lays it out.
#pragma once

#include <string>
#include <vector>

#include "core/measure/operators.hpp"
#include "core/report/plain_table.hpp"

namespace attnlab::report {

/// Spectra, time per token in each mode, state, crossovers; those with nothing to say left out.
std::vector<PlainTable> operators_tables(const measure::OperatorsRecord& record);

/// The title, or "Operators".
std::string operators_title(const measure::OperatorsRecord& record);
/// What was drawn and on what it ran, one sentence each.
std::vector<std::string> operators_facts(const measure::OperatorsRecord& record);
/// Why figures are missing.
std::vector<std::string> operators_notes(const measure::OperatorsRecord& record);

/// "from about 3210 tokens on", "at all lengths, 512 to 65536", "nowhere up to 65536".
std::string crossover_text(const measure::Crossover& crossover);

}  // namespace attnlab::report
