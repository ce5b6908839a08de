// Reports of a verification of sampling, made of its record alone.
#pragma once

#include <string>

#include "core/measure/verify_sampling.hpp"

namespace attnlab::report {

// Pure and thread safe; any bytes as names, shown as text.

/// One line for each pipeline, and below why a verdict is what it is. Ends with a newline.
std::string verification_table(const measure::VerificationRecord& verification);
/// A header, one line for each pipeline, all digits. NaN is an empty field.
std::string verification_csv(const measure::VerificationRecord& verification);
/// One file without network or script: the table, and for each pipeline with other epsilons two figures: the
/// error seen, and the density, against the epsilon asked for.
std::string verification_html(const measure::VerificationRecord& verification);

}  // namespace attnlab::report
