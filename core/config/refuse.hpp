// How rooms that read configs refuse what a user wrote.
#pragma once

#include <string>

#include "core/config/document.hpp"

namespace attnlab::config {

/// Throws UserError at the place where the document says `pointer`; of `found` the first 80 characters.
[[noreturn]] void refuse(const Document& document, const std::string& pointer, const std::string& summary,
                         const std::string& found, const std::string& allowed,
                         const std::string& suggestion = {});

}  // namespace attnlab::config
