// ELF notes of plugin files: nothing and a reason, or a note within its bounds.
#include "core/plugin/elf_note.hpp"

#include "tests/fuzz/support.hpp"

using namespace attnlab;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const fuzz::HeapBytes bytes(data, size);
  std::string reason;
  const auto note = plugin::find_elf_note(bytes.span(), reason);
  ATTNLAB_CHECK(note.has_value() == reason.empty(), reason);
  if (!note) return 0;
  size_t letters = 0;
  for (const auto& id : note->ids) {
    ATTNLAB_CHECK(!id.empty() && fuzz::is_printable(id), id);
    letters += id.size();
  }
  // A byte may be shown as "\xff".
  ATTNLAB_CHECK(letters <= 4 * sizeof(attnlab_note::ids), "more ids than the note holds");
  const std::string refused = plugin::refusal(*note);
  ATTNLAB_CHECK(fuzz::is_printable(refused), refused);
  return 0;
}
