// Reports of a comparison of trained models.
#pragma once

#include <string>

#include "core/measure/comparison.hpp"

namespace attnlab::report {

/// The table in at most `width` cells, less important columns left out and named below, with the notes.
std::string compare_terminal(const measure::Comparison& comparison, bool color, int width);
/// report.md: the table, the notes and what the columns mean.
std::string compare_markdown(const measure::Comparison& comparison);
/// A tabular for a paper (package booktabs), with what it means as a comment.
std::string compare_latex(const measure::Comparison& comparison);
/// One line for each subject, numbers in full; RFC 4180.
std::string compare_csv(const measure::Comparison& comparison);
/// report.html: one file that fetches nothing.
std::string compare_html(const measure::Comparison& comparison);

}  // namespace attnlab::report
