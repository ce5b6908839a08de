// What a plugin's probe prints: refused, or descriptors that survive their way through JSON.
#include "core/plugin/probe.hpp"
#include "tests/fuzz/support.hpp"

using namespace attnlab;

namespace {

io::Json to_json(const plugin::ProbedFile& file) {
  io::Json json = {{"methods", io::Json::array()}};
  for (const auto& method : file.methods) json["methods"].push_back(plugin::to_json(method));
  return json;
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::accepted([&] {
    plugin::ProbedFile file, again;
    plugin::read_description(fuzz::text_of(data, size), file);
    ATTNLAB_CHECK(fuzz::is_printable(file.refused), file.refused);
    if (!file.refused.empty()) return;
    const std::string text = to_json(file).dump();
    const bool read = fuzz::accepted([&] { plugin::read_description(text, again); });
    ATTNLAB_CHECK(read && to_json(again).dump() == text, text);
  });
  return 0;
}
