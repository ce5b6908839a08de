// Reports of what a router does, made of its record alone.
#pragma once

#include <string>

#include "core/train/routing.hpp"

namespace attnlab::report {

// Pure and thread safe; any bytes as titles and names, shown as text.

/// Tables for the terminal. Ends with a newline.
std::string routing_text(const train::RoutingRecord& record);
/// `report.md`: the same tables.
std::string routing_markdown(const train::RoutingRecord& record);
/// `report.html`: one file without network or script: mean gates of each layer as stacked bars, gates of each
/// branch by layer and kind of token, what the loss gains without a branch or with it alone, and the tables.
std::string routing_html(const train::RoutingRecord& record);

}  // namespace attnlab::report
