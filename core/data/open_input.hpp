// The input of a config, opened.
#pragma once

#include <memory>

#include "core/config/document.hpp"
#include "core/data/problem.hpp"

namespace attnlab::data {

/// open_source, whose mistakes that are in no file of their own are reported at the config's /input.
std::unique_ptr<Source> open_input(const config::InputSpec& input, const config::Document& document,
                                   bool in_parts = false);

}  // namespace attnlab::data
