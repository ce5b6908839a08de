// Config files, which may extend two others: refused, or resolved to a config that resolves to itself.
#include "core/config/document.hpp"

#include "tests/fuzz/methods.hpp"

using namespace attnlab;

int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const fuzz::Folder folder;
  static const std::string base =
      folder.write("base.json", R"({"pipelines": {"dense": []}, "input": {"workload": "needle"}})");
  static const std::string circle = folder.write("circle.json", R"({"extends": "main.json"})");
  const std::string path = folder.write("main.json", fuzz::text_of(data, size));
  fuzz::accepted([&] { fuzz::check_resolves_to_itself(config::Document::load(path)); });
  return 0;
}
