// Style sheet and script of report.html, made at build time from the files in assets/.
#pragma once

#include <string_view>

namespace attnlab::report {

/// assets/report.css: light and dark by the reader's preference or choice, one column on a phone. Classes
/// d0..d15 stroke and fill with the density ramp, e0..e15 colour a cell with the error ramp and a legible
/// text colour.
extern const std::string_view style_sheet;
/// assets/*.js, one after the other.
extern const std::string_view script;
/// The script of a sweep's page: assets/common.js, page.js and sweep.js.
extern const std::string_view sweep_script;

}  // namespace attnlab::report
