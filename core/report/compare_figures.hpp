// Figures of a comparison as inline SVG.
#pragma once

#include <string>
#include <vector>

#include "core/measure/comparison.hpp"

namespace attnlab::report {

/// Colours of lines and points by the subject's place: classes s0 ... s9, again from s0 on.
inline constexpr size_t subject_colors = 10;

/// Differences to the baseline: of the mean over seeds with its interval, and of each seed with the noise of
/// its evaluation. "" without any.
std::string difference_figure(const measure::Comparison& comparison);

/// Held-out loss with its interval over seeds against the bytes of state of one window. "" without any.
std::string state_figure(const measure::Comparison& comparison);

/// Held-out losses of all subjects while they train, means over seeds. "" without any.
std::string curve_figure(const measure::Comparison& comparison);

/// One subject: training losses thin, held-out ones with the range over seeds, the baseline's grey behind.
std::string subject_curve_figure(const measure::Comparison& comparison, size_t subject);

}  // namespace attnlab::report
