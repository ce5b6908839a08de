// Lines of `--set` assignments on a small config: refused without a trace, or nothing but the one value
// changes.
#include "tests/fuzz/methods.hpp"

using namespace attnlab;

namespace {

/// Index of the list element that a pointer names; the one that differs when it is named by words.
size_t index_of(const std::string& token, const io::Json& before, const io::Json& after) {
  if (token == "-") return after.size() - 1;
  if (!token.empty() && token.find_first_not_of("0123456789") == std::string::npos) return std::stoul(token);
  size_t index = 0;
  while (index + 1 < after.size() && index < before.size() && before[index] == after[index]) ++index;
  return index;
}

/// Follows the pointer of an accepted assignment through the document before and after: on its way everything
/// else is the same and in the same order, and at most one element or member has been added.
void check_one_change(const std::string& pointer, const io::Json& before, const io::Json& after) {
  static const io::Json nothing;
  const io::Json *old = &before, *fresh = &after;
  for (size_t start = 1, end; start <= pointer.size(); start = end + 1) {
    end = std::min(pointer.find('/', start), pointer.size());
    std::string token = pointer.substr(start, end - start);
    for (size_t at = 0; (at = token.find('~', at)) != std::string::npos; ++at) {
      token.replace(at, 2, token.compare(at, 2, "~1") == 0 ? "/" : "~");
    }
    ATTNLAB_CHECK(fresh->is_structured() && (old->is_null() || old->type() == fresh->type()), "another type");
    const std::string key = fresh->is_array() ? std::to_string(index_of(token, *old, *fresh)) : token;
    const io::Json *old_next = &nothing, *fresh_next = &nothing;
    auto each = old->items().begin(), last = old->items().end();
    size_t added = 0;
    for (const auto& item : fresh->items()) {
      const bool chosen = item.key() == key, known = each != last;
      if (chosen) fresh_next = &item.value();
      if (chosen && known) old_next = &each.value();
      added += known ? 0 : 1;
      ATTNLAB_CHECK(chosen || (known && item.value() == each.value()), "changed: " + item.key());
      ATTNLAB_CHECK(!known || item.key() == each.key(), "moved: " + item.key());
      if (known) ++each;
    }
    ATTNLAB_CHECK(each == last && added <= 1, "members lost or added at " + token);
    old = old_next;
    fresh = fresh_next;
  }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  config::Document document;
  document.set(
      "",
      io::Json::parse(R"({"pipelines": {"main": [{"masker": "every"}, {"masker": "ranker", "heavy_size": 4}]},
                                       "input": {"workload": "gaussian"}, "layers": [0, 1], "title": null})"),
      {"test.json", "/"});
  std::string_view lines = fuzz::text_of(data, size);
  while (!lines.empty()) {
    const size_t end = std::min(lines.find('\n'), lines.size());
    const std::string assignment(lines.substr(0, end));
    lines.remove_prefix(std::min(end + 1, lines.size()));
    const io::Json before = document.root();
    if (fuzz::accepted([&] { document.set(assignment); })) {
      check_one_change(assignment.substr(0, assignment.find('=')), before, document.root());
    } else {
      ATTNLAB_CHECK(document.root() == before, "a refused assignment changed the document");
    }
  }
  fuzz::check_resolves_to_itself(document);
  return 0;
}
