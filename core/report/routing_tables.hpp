// What the reports of a router show, before any of them lays it out.
#pragma once

#include <string>
#include <vector>

#include "core/report/plain_table.hpp"
#include "core/train/routing.hpp"

namespace attnlab::report {

/// Layers, gates by kind of token, by position and by loss, ablations; those with nothing to say left out.
std::vector<PlainTable> routing_tables(const train::RoutingRecord& record);

/// The branches of all layers, each once, in the order of the first layer that has it.
std::vector<std::string> routing_branches(const train::RoutingRecord& record);

/// How a layer's tokens are grouped.
using GateGroups = std::vector<train::GateGroup> train::LayerRouting::*;

/// A branch's mean gate in the group at `group`, or NaN where the layer has no such branch.
double gate_of(const train::LayerRouting& layer, const std::string& branch, const train::GateGroup& group);

/// "Routing of TITLE".
std::string routing_title(const train::RoutingRecord& record);
/// What was read: windows, tokens, steps, loss.
std::string routing_summary(const train::RoutingRecord& record);
/// What decoding stores.
std::string state_line(const train::RoutingRecord& record);

}  // namespace attnlab::report
