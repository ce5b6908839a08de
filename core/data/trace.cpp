#include "core/data/trace.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.hpp"
#include "core/data/checked_tensor.hpp"
#include "core/io/atomic_file.hpp"
#include "core/io/npy.hpp"
#include "core/io/raw_tensor.hpp"

namespace attnlab::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t max_manifest_bytes = size_t{16} << 20;
constexpr int64_t max_layers = 100000;
constexpr int64_t max_extent = std::numeric_limits<int32_t>::max();  // kernels number keys in int32

struct Manifest {
  std::vector<int> layers;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t value_dim = 0;
  int64_t tokens = 0;
  std::optional<tensor::DType> dtype;
  std::optional<double> scale;
  std::optional<bool> causal;
};

/// A value for an error message; containers only by type, as they may be huge or deep.
std::string shown(const json& value) {
  if (value.is_structured()) return value.is_array() ? "an array" : "an object";
  return value.is_string() ? io::printable(value.get_ref<const std::string&>()) : value.dump();
}

/// Members of one manifest, each checked; errors name the file and the JSON pointer.
class ManifestReader {
 public:
  explicit ManifestReader(std::string file) : file_(std::move(file)) {
    std::string text = io::read_text(file_, max_manifest_bytes);
    try {
      // No member that is read is nested deeper than a list; what is deeper is dropped while parsing.
      root_ = json::parse(text, [](int depth, json::parse_event_t, json&) { return depth <= 2; });
    } catch (const json::exception& e) {
      throw base::UserError("not valid JSON", {.file = file_, .found = e.what()});
    }
    if (!root_.is_object()) refuse("", "not a manifest", shown(root_), "a JSON object");
  }

  int64_t extent(const std::string& key, int64_t maximum = max_extent) const {
    if (!root_.contains(key)) refuse("/" + key, "missing", "", integers(1, maximum));
    return integer(root_[key], "/" + key, 1, maximum);
  }

  Manifest read() const {
    Manifest m;
    m.layers = layers();
    m.heads = extent("n_heads");
    m.kv_heads = extent("n_kv_heads");
    if (m.heads % m.kv_heads != 0) {
      refuse("/n_kv_heads", "KV heads do not divide the query heads",
             fmt::format("{} KV heads, {} query heads", m.kv_heads, m.heads), "a divisor of n_heads");
    }
    m.head_dim = extent("head_dim");
    m.value_dim = root_.contains("value_dim") ? extent("value_dim") : m.head_dim;
    m.tokens = extent("tokens");
    if (root_.contains("dtype")) m.dtype = dtype(root_["dtype"]);
    if (root_.contains("scale")) m.scale = scale(root_["scale"]);
    if (root_.contains("causal")) m.causal = boolean(root_["causal"]);
    return m;
  }

 private:
  [[noreturn]] void refuse(const std::string& pointer, const std::string& summary, const std::string& found,
                           const std::string& allowed) const {
    throw base::UserError(summary, {.file = file_, .pointer = pointer, .found = found, .allowed = allowed});
  }

  static std::string integers(int64_t minimum, int64_t maximum) {
    return fmt::format("an integer from {} to {}", minimum, maximum);
  }

  int64_t integer(const json& value, const std::string& pointer, int64_t minimum, int64_t maximum) const {
    // Unsigned values past int64 turn negative here and are refused with the rest.
    int64_t number = value.is_number_integer() ? value.get<int64_t>() : minimum - 1;
    if (number < minimum || number > maximum) {
      refuse(pointer, "bad value", shown(value), integers(minimum, maximum));
    }
    return number;
  }

  std::vector<int> layers() const {
    int64_t count = extent("layers", max_layers);
    std::vector<int> result;
    std::set<int> seen;
    if (!root_.contains("dumped_layers")) {
      for (int layer = 0; layer < count; ++layer) result.push_back(layer);
      return result;
    }
    const json& list = root_["dumped_layers"];
    if (!list.is_array() || list.empty()) {
      refuse("/dumped_layers", "bad value", list.empty() ? "an empty list" : shown(list),
             "a list of layer numbers");
    }
    for (size_t i = 0; i < list.size(); ++i) {
      std::string pointer = fmt::format("/dumped_layers/{}", i);
      int layer = static_cast<int>(integer(list[i], pointer, 0, count - 1));
      if (!seen.insert(layer).second) {
        refuse(pointer, "a layer is listed twice", std::to_string(layer), "each layer once");
      }
      result.push_back(layer);
    }
    return result;
  }

  tensor::DType dtype(const json& value) const {
    using tensor::DType;
    if (value.is_string()) {
      const auto& text = value.get_ref<const std::string&>();
      // numpy's type strings carry the byte order, which each array's own header decides.
      std::string_view plain = text;
      if (plain.starts_with('<') || plain.starts_with('>')) plain.remove_prefix(1);
      if (plain == "f2" || text == "float16") return DType::f16;
      if (plain == "f4" || text == "float32") return DType::f32;
      if (plain == "f8" || text == "float64") return DType::f64;
    }
    refuse("/dtype", "bad value", shown(value),
           "\"<f4\", \"<f2\", \"<f8\", \"float32\", \"float16\" or \"float64\"");
  }

  double scale(const json& value) const {
    double number = value.is_number() ? value.get<double>() : 0;
    if (!(number > 0)) refuse("/scale", "bad value", shown(value), "a number > 0");
    return number;
  }

  bool boolean(const json& value) const {
    if (!value.is_boolean()) refuse("/causal", "bad value", shown(value), "true or false");
    return value.get<bool>();
  }

  std::string file_;
  json root_;
};

class TraceSource : public Source {
 public:
  TraceSource(const fs::path& folder, Manifest manifest) : folder_(folder), manifest_(std::move(manifest)) {
    const Manifest& m = manifest_;
    geometry_ = {.batch = 1,
                 .query_heads = m.heads,
                 .kv_heads = m.kv_heads,
                 .queries = m.tokens,
                 .keys = m.tokens,
                 .head_dim = m.head_dim,
                 .value_dim = m.value_dim};
    files_.push_back(folder_ / "manifest.json");
    for (int layer : m.layers) {
      for (char name : {'q', 'k', 'v', 'o'}) {
        if (name != 'o' || has_output(layer)) files_.push_back(open_array(layer, name).file);
      }
    }
  }

  const Geometry& geometry() const override { return geometry_; }
  const std::vector<int>& layers() const override { return manifest_.layers; }
  std::vector<std::string> files() const override { return files_; }
  std::optional<double> scale() const override { return manifest_.scale; }
  std::optional<bool> causal() const override { return manifest_.causal; }

  std::string description() const override {
    fs::path name = folder_.lexically_normal();
    if (!name.has_filename()) name = name.parent_path();
    const Manifest& m = manifest_;
    return fmt::format("trace {}, {} {}, {}/{} heads, head_dim {}, {} tokens", name.filename().string(),
                       m.layers.size(), m.layers.size() == 1 ? "layer" : "layers", m.heads, m.kv_heads,
                       m.head_dim, m.tokens);
  }

  LayerProblem load(int layer) const override { return load_part(layer, Part::all(geometry_)); }

  LayerProblem load_part(int layer, const Part& part) const override {
    ATTNLAB_CHECK(std::count(manifest_.layers.begin(), manifest_.layers.end(), layer) == 1, "no such layer");
    LayerProblem problem;
    problem.layer = layer;
    problem.kv_head_begin = part.kv_head_begin;
    problem.key_begin = part.key_begin;
    problem.query_begin = part.query_begin;
    problem.valid = {manifest_.tokens};
    const int64_t group = geometry_.group();
    auto view = [&](char name) {
      const bool of_queries = name == 'q' || name == 'o';
      const Slice slice = of_queries
                              ? Slice{part.kv_head_begin * group, part.kv_head_end * group, part.query_begin,
                                      manifest_.tokens}
                              : Slice{part.kv_head_begin, part.kv_head_end, part.key_begin, part.key_end};
      problem.storage.push_back(finite_f32(slice_thd(open_array(layer, name), slice)));
      return tensor::view_thd(problem.storage.back());
    };
    problem.query = view('q');
    problem.key = view('k');
    problem.value = view('v');
    if (has_output(layer)) problem.expected_output = view('o');
    return problem;
  }

 private:
  fs::path array_path(int layer, char name) const {
    return folder_ / fmt::format("layer{:02}_{}.npy", layer, name);
  }

  bool has_output(int layer) const {
    std::error_code ignored;
    return fs::exists(array_path(layer, 'o'), ignored);
  }

  /// Maps the array and checks its header against the manifest.
  FileTensor open_array(int layer, char name) const {
    const Manifest& m = manifest_;
    std::string file = array_path(layer, name);
    FileTensor array{io::read_npy(file), file, fmt::format("layer{:02}_{}", layer, name)};
    bool per_query_head = name == 'q' || name == 'o';
    bool has_value_dim = name == 'v' || name == 'o';
    check_floating(array);
    check_shape(
        array, {m.tokens, per_query_head ? m.heads : m.kv_heads, has_value_dim ? m.value_dim : m.head_dim},
        fmt::format("that is [tokens, {}, {}] of manifest.json", per_query_head ? "n_heads" : "n_kv_heads",
                    has_value_dim && m.value_dim != m.head_dim ? "value_dim" : "head_dim"));
    if (m.dtype && array.tensor.dtype() != *m.dtype) {
      throw base::UserError(
          "wrong element type of " + array.name,
          {.file = file,
           .found = std::string(tensor::name_of(array.tensor.dtype())),
           .allowed = fmt::format("{}, as /dtype of manifest.json says", tensor::name_of(*m.dtype))});
    }
    return array;
  }

  fs::path folder_;
  Manifest manifest_;
  Geometry geometry_;
  std::vector<std::string> files_;
};

}  // namespace

std::unique_ptr<Source> open_trace(const std::string& path) {
  fs::path folder = path;
  std::error_code ignored;
  if (!fs::is_regular_file(folder / "manifest.json", ignored)) {
    bool exists = fs::exists(folder, ignored);
    bool is_folder = fs::is_directory(folder, ignored);
    throw base::UserError("not a trace",
                          {.file = path,
                           .found = !exists     ? "no such folder"
                                    : is_folder ? "a folder without manifest.json"
                                                : "a file",
                           .allowed = "a trace is a folder with manifest.json and layerNN_{q,k,v}.npy"});
  }
  return std::make_unique<TraceSource>(folder, ManifestReader(folder / "manifest.json").read());
}

}  // namespace attnlab::data
