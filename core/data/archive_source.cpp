#include "core/data/archive_source.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <limits>

#include "core/base/error.hpp"
#include "core/data/checked_tensor.hpp"
#include "core/io/archive.hpp"

namespace attnlab::data {
namespace {

using tensor::DType;
using tensor::Tensor;

constexpr int64_t max_keys = std::numeric_limits<int32_t>::max();  // kernels number keys in int32
constexpr std::array tensor_names = {"q", "k", "v", "bias", "kv_valid_len", "sinks"};

std::vector<int64_t> to_int64(const Tensor& tensor) {
  auto copy = [&]<class T>(T) {
    auto values = tensor.values<T>();
    return std::vector<int64_t>(values.begin(), values.end());
  };
  switch (tensor.dtype()) {
    case DType::i8:
      return copy(int8_t{});
    case DType::i16:
      return copy(int16_t{});
    case DType::i32:
      return copy(int32_t{});
    case DType::i64:
      return copy(int64_t{});
    case DType::u8:
      return copy(uint8_t{});
    case DType::u16:
      return copy(uint16_t{});
    case DType::u32:
      return copy(uint32_t{});
    case DType::u64:
      return copy(uint64_t{});  // values past int64 turn negative: out of any range
    default:
      return {};
  }
}

/// The first few names; an archive may hold any number.
std::string list(std::vector<std::string> names) {
  constexpr size_t shown = 16;
  size_t more = names.size() > shown ? names.size() - shown : 0;
  names.resize(names.size() - more);
  return base::join(names) + (more > 0 ? fmt::format(" and {} more", more) : "");
}

class ArchiveSource : public Source {
 public:
  explicit ArchiveSource(const std::string& path) : archive_(io::Archive::open(path)) {
    query_ = require("q");
    key_ = require("k");
    value_ = require("v");
    check_geometry();
    check_optional();
  }

  const Geometry& geometry() const override { return geometry_; }
  const std::vector<int>& layers() const override { return layers_; }
  std::vector<std::string> files() const override { return {archive_.path()}; }

  std::string description() const override {
    const Geometry& g = geometry_;
    std::vector<std::string> used, ignored;
    for (const auto& name : archive_.names()) (is_known(name) ? used : ignored).push_back(name);
    std::string text =
        fmt::format("archive {} ({}), batch {}, {}/{} heads, head_dim {}, {} queries, {} keys",
                    std::filesystem::path(archive_.path()).filename().string(), base::join(used), g.batch,
                    g.query_heads, g.kv_heads, g.head_dim, g.queries, g.keys);
    if (!ignored.empty()) text += "; ignored: " + list(ignored);
    return text;
  }

  LayerProblem load(int layer) const override { return load_part(layer, Part::all(geometry_)); }

  LayerProblem load_part(int layer, const Part& part) const override {
    ATTNLAB_CHECK(layer == 0, "an archive has the single layer 0");
    LayerProblem problem;
    problem.kv_head_begin = part.kv_head_begin;
    problem.key_begin = part.key_begin;
    problem.query_begin = part.query_begin;
    auto view = [&](const FileTensor& source, const Slice& slice) {
      problem.storage.push_back(finite_f32(slice_bhsd(source, slice)));
      return tensor::view_bhsd(problem.storage.back());
    };
    const Geometry& g = geometry_;
    const Slice keys{part.kv_head_begin, part.kv_head_end, part.key_begin, part.key_end};
    problem.query = view(
        query_, {part.kv_head_begin * g.group(), part.kv_head_end * g.group(), part.query_begin, g.queries});
    problem.key = view(key_, keys);
    problem.value = view(value_, keys);
    problem.valid = valid_;
    if (!bias_.tensor.empty()) {
      problem.bias = finite_f32(bias_, Infinity::negative_allowed);
      if (part != Part::all(g)) problem.bias = cut_bias(problem.bias, part, g.group());
    }
    if (!sinks_.tensor.empty()) {
      Tensor sinks = finite_f32(sinks_);
      auto values = sinks.values<float>();
      problem.sink_logit.assign(values.begin(), values.end());
    }
    return problem;
  }

 private:
  static bool is_known(const std::string& name) {
    return std::find(tensor_names.begin(), tensor_names.end(), name) != tensor_names.end();
  }

  FileTensor read(const std::string& name) const { return {archive_.read(name), archive_.path(), name}; }

  [[noreturn]] void refuse(const std::string& summary, const std::string& found,
                           const std::string& allowed) const {
    throw base::UserError(summary, {.file = archive_.path(), .found = found, .allowed = allowed});
  }

  /// One of q, k, v, brought to [B, H, S, D].
  FileTensor require(const std::string& name) const {
    if (!archive_.contains(name)) {
      const auto& names = archive_.names();
      refuse("tensor " + name + " is missing", names.empty() ? "an empty archive" : list(names),
             "q, k and v; optional: bias, kv_valid_len, sinks");
    }
    FileTensor source = read(name);
    check_floating(source);
    tensor::Shape shape = source.tensor.shape();
    if (shape.size() == 3) shape.insert(shape.begin(), 1);
    if (shape.size() != 4 || std::find(shape.begin(), shape.end(), 0) != shape.end()) {
      refuse("wrong shape of " + name, tensor::to_string(source.tensor.shape()),
             "[batch, heads, tokens, dim] or [heads, tokens, dim], nothing empty");
    }
    source.tensor = source.tensor.reshaped(shape);
    return source;
  }

  /// Fills `geometry_` from q, k and v, which must agree.
  void check_geometry() {
    const auto &q = query_.tensor.shape(), &k = key_.tensor.shape(), &v = value_.tensor.shape();
    auto disagree = [&](const std::string& summary, const std::string& allowed) {
      refuse(
          summary,
          fmt::format("q {}, k {}, v {}", tensor::to_string(q), tensor::to_string(k), tensor::to_string(v)),
          allowed);
    };
    if (q[0] != k[0] || k[0] != v[0]) disagree("batch sizes differ", "one batch size, axis 0");
    if (k[1] != v[1]) disagree("k and v have different heads", "as many heads in k as in v, axis 1");
    if (q[1] % k[1] != 0)
      disagree("KV heads do not divide the query heads", "heads of q a multiple of those of k");
    if (k[2] != v[2]) disagree("k and v have different lengths", "as many tokens in k as in v, axis 2");
    if (q[3] != k[3]) disagree("q and k have different head_dim", "one head_dim, axis 3");
    if (q[2] > k[2]) {
      disagree("more queries than keys", "at most as many queries as keys: queries are the last positions");
    }
    if (k[2] > max_keys) disagree("too many keys", "fewer than 2^31 keys");
    geometry_ = {.batch = q[0],
                 .query_heads = q[1],
                 .kv_heads = k[1],
                 .queries = q[2],
                 .keys = k[2],
                 .head_dim = q[3],
                 .value_dim = v[3]};
  }

  void check_optional() {
    const Geometry& g = geometry_;
    if (archive_.contains("bias")) {
      bias_ = read("bias");
      check_floating(bias_);
      tensor::Shape expected = {g.batch, g.query_heads, g.queries, g.keys};
      const tensor::Shape& shape = bias_.tensor.shape();
      for (size_t axis = 0; axis < 2 && shape.size() == 4; ++axis) {
        if (shape[axis] == 1) expected[axis] = 1;
      }
      check_shape(bias_, expected, "that is [batch or 1, query heads or 1, queries, keys]");
    }
    valid_.assign(static_cast<size_t>(g.batch), g.keys);
    if (archive_.contains("kv_valid_len")) read_valid();
    if (archive_.contains("sinks")) {
      sinks_ = read("sinks");
      check_floating(sinks_);
      check_shape(sinks_, {g.query_heads}, "one per query head of q");
    }
  }

  void read_valid() {
    FileTensor lengths = read("kv_valid_len");
    DType dtype = lengths.tensor.dtype();
    if (tensor::is_floating(dtype) || dtype == DType::boolean) {
      refuse("wrong element type of kv_valid_len", std::string(tensor::name_of(dtype)), "an integer type");
    }
    check_shape(lengths, {geometry_.batch}, "one per sequence of q");
    valid_ = to_int64(lengths.tensor);
    for (size_t b = 0; b < valid_.size(); ++b) {
      if (valid_[b] >= 1 && valid_[b] <= geometry_.keys) continue;
      refuse(fmt::format("bad length in kv_valid_len at [{}]", b), std::to_string(valid_[b]),
             fmt::format("from 1 to {}, the keys of k", geometry_.keys));
    }
  }

  io::Archive archive_;
  FileTensor query_, key_, value_;  ///< [B, H, S, D] in the file's element type
  FileTensor bias_, sinks_;         ///< tensors empty when absent
  std::vector<int64_t> valid_;
  Geometry geometry_;
  std::vector<int> layers_ = {0};
};

}  // namespace

std::unique_ptr<Source> open_archive(const std::string& path) {
  return std::make_unique<ArchiveSource>(path);
}

}  // namespace attnlab::data
