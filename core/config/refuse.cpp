#include "core/config/refuse.hpp"

#include "core/base/error.hpp"

namespace attnlab::config {

void refuse(const Document& document, const std::string& pointer, const std::string& summary,
            const std::string& found, const std::string& allowed, const std::string& suggestion) {
  base::Mistake mistake = document.where(pointer);
  mistake.found = found.substr(0, 80);
  mistake.allowed = allowed;
  mistake.suggestion = suggestion;
  throw base::UserError(summary, mistake);
}

}  // namespace attnlab::config
