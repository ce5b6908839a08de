#include "core/data/open_input.hpp"

#include "core/base/error.hpp"

namespace attnlab::data {

using base::UserError;

std::unique_ptr<Source> open_input(const config::InputSpec& input, const config::Document& document,
                                   bool in_parts) {
  try {
    return open_source(input, in_parts);
  } catch (const UserError& error) {
    if (!error.mistake().file.empty()) throw;
    base::Mistake mistake = document.where("/input");
    mistake.found = error.mistake().found;
    mistake.allowed = error.mistake().allowed;
    mistake.suggestion = error.mistake().suggestion;
    throw UserError(error.summary(), mistake, error.exit());
  }
}

}  // namespace attnlab::data
