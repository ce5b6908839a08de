// The table of a comparison before any report lays it out.
#pragma once

#include <string>
#include <vector>

#include "core/measure/comparison.hpp"

namespace attnlab::report {

struct CompareColumn {
  std::string group, title;  ///< two lines of heading; neighbours of equal group share the first
  std::string key;           ///< CSV heading, or "" for none
  std::string meaning;       ///< a sentence
  int keep = 0;              ///< a narrow terminal leaves out the smallest first
  /// Text for people; "-" where there is nothing.
  std::string (*text)(const measure::Comparison& comparison, const measure::ComparedSubject& subject);
  /// NaN where there is nothing.
  double (*value)(const measure::Comparison& comparison, const measure::ComparedSubject& subject);
};

/// Columns that have something to say, the subject's name apart.
std::vector<CompareColumn> compare_columns(const measure::Comparison& comparison);
/// Columns of the CSV file, all of them.
const std::vector<CompareColumn>& compare_csv_columns();

/// "9 subjects, 3 seeds, ...": what was compared.
std::string compare_summary(const measure::Comparison& comparison);
/// How to read the figures: sentences.
std::vector<std::string> compare_method(const measure::Comparison& comparison);
/// Where the clocks ran, or "".
std::string compare_machine(const measure::Comparison& comparison);

/// "842 k", "10.7 M", "1.65 G": three digits.
std::string compact(double value);

}  // namespace attnlab::report
