#include <attnlab/kernels.hpp>
#include <attnlab/scorer.hpp>

#include <array>
#include <map>

/// HashAttention: learned codes of queries and keys, compared bit by bit (arXiv:2412.14468).
struct HashAttention : attnlab::Scorer {
  enum class Activation { silu, relu, gelu, tanh };
  static constexpr std::array<const char*, 4> activation_names = {"silu", "relu", "gelu", "tanh"};
  static constexpr int64_t max_bits = 4096, max_width = 65536;
  static constexpr int from_file = -1;

  int64_t hat_bits = from_file;
  int64_t hat_mlp_layers = from_file;
  int64_t hat_mlp_hidden_size = from_file;
  Activation hat_mlp_activation = static_cast<Activation>(from_file);
  attnlab::Path hat_weight_file;

  static void describe(attnlab::Description<HashAttention>& d) {
    d.id("hash_attention")
        .summary("Ranks keys by how many bits of learned codes of key and query agree.")
        .paper("arXiv:2412.14468")
        .selector("top_k");
    d.parameter("hat_bits", &HashAttention::hat_bits)
        .doc("Bits of a code; must be the weight file's when given.")
        .range(1, max_bits)
        .optional();
    d.parameter("hat_mlp_layers", &HashAttention::hat_mlp_layers)
        .doc("Linear layers of each MLP; must be the weight file's when given.")
        .range(1, 3)
        .optional();
    d.parameter("hat_mlp_hidden_size", &HashAttention::hat_mlp_hidden_size)
        .doc("Width between the layers; must be the weight file's when given. One layer has none.")
        .range(1, max_width)
        .optional();
    d.parameter("hat_mlp_activation", &HashAttention::hat_mlp_activation)
        .doc("Function between the layers; must be the weight file's when given.")
        .names({"silu", "relu", "gelu", "tanh"})
        .optional();
    d.parameter("hat_weight_file", &HashAttention::hat_weight_file)
        .doc("Weights of the MLPs, a .safetensors file that attnlab train-hash wrote.")
        .required();
  }

  void prepare();
  void columns(attnlab::Columns& c, const attnlab::Geometry& g) const;
  void encode(const attnlab::KeyBlock& keys, attnlab::ColumnsView& c) const;
  void score(const attnlab::Tile& tile, attnlab::Scores& out) const;

 private:
  /// [heads, inputs, outputs] and [heads, outputs], owned by the host.
  struct Linear {
    const float* weight = nullptr;
    const float* bias = nullptr;
    int64_t heads = 0, inputs = 0, outputs = 0;
  };
  using Mlp = std::vector<Linear>;
  struct LayerWeights {
    Mlp query, key;
  };

  /// Room for one vector between layers; one per call, as instances are shared by threads.
  struct Buffers {
    std::span<float> now, next;  ///< [buffer_size()]
  };
  int64_t buffer_size() const { return std::max(hidden_, bits_); }

  [[noreturn]] static void refuse(const std::string& message) {
    throw attnlab::ParameterError("hat_weight_file", message);
  }
  attnlab_tensor open(const std::string& name) const;
  std::string metadata(const std::string& key) const;
  Linear open_linear(const std::string& prefix) const;
  Mlp open_mlp(const std::string& prefix) const;
  void check_extents(const std::string& prefix, const Mlp& mlp);
  static void check_given(const std::string& key, const std::string& given, const std::string& file);

  void hash(const Mlp& mlp, int64_t head, std::span<const float> x, Buffers& buffers, uint64_t* code) const;
  void activate(float* x, int64_t count) const;
  int64_t words() const { return (bits_ + 63) / 64; }

  std::map<int64_t, LayerWeights> layers_;
  bool per_query_head_ = false;
  int64_t mlp_layers_ = 0, heads_ = 0, head_dim_ = 0, hidden_ = 0, bits_ = 0;
  Activation activation_ = Activation::silu;
};

namespace {

std::string shape_text(const attnlab_tensor& tensor) {
  std::string text = "[";
  for (int32_t axis = 0; axis < tensor.rank; ++axis)
    text += (axis > 0 ? ", " : "") + std::to_string(tensor.shape[axis]);
  return text + "]";
}

/// "0,3,12", ascending; empty for anything else.
std::vector<int64_t> parse_layers(const std::string& text) {
  std::vector<int64_t> layers;
  int64_t value = -1;
  for (char c : text + ",") {
    if (c >= '0' && c <= '9' && value < 100000) {
      value = std::max<int64_t>(value, 0) * 10 + (c - '0');
    } else if (c == ',' && value >= 0 && (layers.empty() || layers.back() < value)) {
      layers.push_back(value);
      value = -1;
    } else {
      return {};
    }
  }
  return layers;
}

/// out[o] = bias[o] + sum over i of x[i] weight[i][o], added in the order of i whatever else is computed. The
/// sums of a few outputs stay in registers: the compiler makes vectors of them.
void apply_linear(const float* weight, const float* bias, int64_t inputs, int64_t outputs, const float* x,
                  float* out) {
  constexpr int64_t lanes = 16;
  int64_t o = 0;
  for (; o + lanes <= outputs; o += lanes) {
    std::array<float, lanes> sum;
    std::copy_n(bias + o, lanes, sum.begin());
    for (int64_t i = 0; i < inputs; ++i) {
      const float* row = weight + i * outputs + o;
      for (size_t lane = 0; lane < lanes; ++lane) sum[lane] += x[i] * row[lane];
    }
    std::copy_n(sum.begin(), lanes, out + o);
  }
  for (; o < outputs; ++o) {
    float sum = bias[o];
    for (int64_t i = 0; i < inputs; ++i) sum += x[i] * weight[i * outputs + o];
    out[o] = sum;
  }
}

}  // namespace

attnlab_tensor HashAttention::open(const std::string& name) const {
  try {
    return host().artifact(hat_weight_file, name);
  } catch (const attnlab::HostError& error) {
    if (error.status() != ATTNLAB_INVALID_PARAMETER) throw;
    std::string message = error.what();
    if (message.find("pickle") != std::string::npos)
      message += "\n  convert_weights.py in plugins/maskers/hash_attention converts the two known layouts";
    refuse(message);
  }
}

std::string HashAttention::metadata(const std::string& key) const {
  const attnlab_tensor text = open("__metadata__/" + key);
  return {static_cast<const char*>(text.data), static_cast<size_t>(text.shape[0])};
}

HashAttention::Linear HashAttention::open_linear(const std::string& prefix) const {
  const attnlab_tensor weight = open(prefix + ".weight"), bias = open(prefix + ".bias");
  const bool shapes = weight.rank == 3 && bias.rank == 2 && weight.shape[0] == bias.shape[0] &&
                      weight.shape[2] == bias.shape[1] && weight.shape[0] >= 1;
  if (!shapes) {
    refuse(prefix + ".weight is " + shape_text(weight) + " and its bias " + shape_text(bias) +
           "; they must be [heads, inputs, outputs] and [heads, outputs]");
  }
  if (weight.dtype != ATTNLAB_F32 || bias.dtype != ATTNLAB_F32)
    refuse(prefix + " has elements of another type than float32, float16 or bfloat16");
  Linear linear{static_cast<const float*>(weight.data), static_cast<const float*>(bias.data), weight.shape[0],
                weight.shape[1], weight.shape[2]};
  const auto finite = [](float x) { return std::isfinite(x); };
  if (!std::all_of(linear.weight, linear.weight + linear.heads * linear.inputs * linear.outputs, finite) ||
      !std::all_of(linear.bias, linear.bias + linear.heads * linear.outputs, finite)) {
    refuse(prefix + " holds NaN or infinity");
  }
  return linear;
}

HashAttention::Mlp HashAttention::open_mlp(const std::string& prefix) const {
  Mlp mlp;
  for (int64_t i = 0; i < mlp_layers_; ++i) mlp.push_back(open_linear(prefix + "." + std::to_string(i)));
  return mlp;
}

/// All MLPs of a file have the extents of the first.
void HashAttention::check_extents(const std::string& prefix, const Mlp& mlp) {
  if (heads_ == 0) {
    heads_ = mlp.front().heads;
    head_dim_ = mlp.front().inputs;
    hidden_ = mlp.front().outputs;
    bits_ = mlp.back().outputs;
    if (bits_ < 1 || bits_ > max_bits || head_dim_ < 1 || hidden_ < 1 || hidden_ > max_width)
      refuse(prefix + " has " + std::to_string(bits_) + " bits; 1 to " + std::to_string(max_bits) +
             " are allowed");
  }
  for (size_t i = 0; i < mlp.size(); ++i) {
    const std::array<int64_t, 3> found = {mlp[i].heads, mlp[i].inputs, mlp[i].outputs};
    const std::array<int64_t, 3> wanted = {heads_, i == 0 ? head_dim_ : hidden_,
                                           i + 1 == mlp.size() ? bits_ : hidden_};
    if (found == wanted) continue;
    const auto text = [](const std::array<int64_t, 3>& shape) {
      return "[" + std::to_string(shape[0]) + ", " + std::to_string(shape[1]) + ", " +
             std::to_string(shape[2]) + "]";
    };
    refuse(prefix + "." + std::to_string(i) + ".weight is " + text(found) + "; the rest of the file needs " +
           text(wanted));
  }
}

void HashAttention::check_given(const std::string& key, const std::string& given, const std::string& file) {
  if (given != file) {
    refuse(key + " is " + given + " in the config and " + file +
           " in the weight file; without the key, the file's is taken");
  }
}

void HashAttention::prepare() {
  if (metadata("format") != "attnlab.hash_weights/1") {
    refuse("the file's format is \"" + metadata("format") + "\", not \"attnlab.hash_weights/1\"");
  }
  const std::string layers = metadata("layers"), per = metadata("per"), count = metadata("mlp_layers");
  const std::vector<int64_t> indices = parse_layers(layers);
  if (indices.empty()) refuse("the file's metadata \"layers\" is \"" + layers + "\", not such as \"0,1,2\"");
  if (per != "kv_head" && per != "query_head")
    refuse("the file's metadata \"per\" is \"" + per + "\"; it may be \"kv_head\" or \"query_head\"");
  if (count != "1" && count != "2" && count != "3")
    refuse("the file's metadata \"mlp_layers\" is \"" + count + "\"; it may be 1, 2 or 3");
  per_query_head_ = per == "query_head";
  mlp_layers_ = count[0] - '0';
  const std::string activation = metadata("activation");
  const auto* name = std::find(activation_names.begin(), activation_names.end(), activation);
  if (name == activation_names.end())
    refuse("the file's metadata \"activation\" is \"" + activation +
           "\"; it may be silu, relu, gelu or tanh");
  activation_ = static_cast<Activation>(name - activation_names.begin());

  if (hat_mlp_layers != from_file) check_given("hat_mlp_layers", std::to_string(hat_mlp_layers), count);
  if (static_cast<int>(hat_mlp_activation) != from_file) {
    check_given("hat_mlp_activation", std::string(activation_names[static_cast<size_t>(hat_mlp_activation)]),
                activation);
  }
  for (int64_t layer : indices) {
    const std::string prefix = "layers." + std::to_string(layer);
    LayerWeights weights{open_mlp(prefix + ".query"), open_mlp(prefix + ".key")};
    check_extents(prefix + ".query", weights.query);
    check_extents(prefix + ".key", weights.key);
    layers_.emplace(layer, std::move(weights));
  }
  if (hat_bits != from_file) check_given("hat_bits", std::to_string(hat_bits), std::to_string(bits_));
  if (hat_mlp_hidden_size != from_file && mlp_layers_ > 1)
    check_given("hat_mlp_hidden_size", std::to_string(hat_mlp_hidden_size), std::to_string(hidden_));
}

void HashAttention::columns(attnlab::Columns& c, const attnlab::Geometry& g) const {
  if (!layers_.contains(g.layer)) {
    std::string found;
    for (const auto& entry : layers_) found += (found.empty() ? "" : ", ") + std::to_string(entry.first);
    refuse("the file has weights of the layers " + found + " and none of layer " + std::to_string(g.layer));
  }
  const int64_t heads = per_query_head_ ? g.query_heads : g.kv_heads;
  if (heads != heads_ || g.head_dim != head_dim_) {
    const std::string outputs = ", " + std::to_string(layers_.at(g.layer).query.front().outputs) + "]";
    const std::string what = per_query_head_ ? "query heads" : "KV heads";
    refuse("layers." + std::to_string(g.layer) + ".query.0.weight is [" + std::to_string(heads_) + ", " +
           std::to_string(head_dim_) + outputs + " and the input needs [" + std::to_string(heads) + ", " +
           std::to_string(g.head_dim) + outputs + ": [" + what + ", head_dim, outputs]");
  }
  c.per_token<uint64_t>("codes", (per_query_head_ ? g.group : 1) * words());
}

void HashAttention::activate(float* x, int64_t count) const {
  switch (activation_) {
    case Activation::silu:
      for (int64_t i = 0; i < count; ++i) x[i] = x[i] / (1 + std::exp(-x[i]));
      break;
    case Activation::relu:
      for (int64_t i = 0; i < count; ++i) x[i] = std::max(x[i], 0.0f);
      break;
    case Activation::gelu:
      for (int64_t i = 0; i < count; ++i) x[i] = 0.5f * x[i] * (1 + std::erf(x[i] * 0.70710678f));
      break;
    case Activation::tanh:
      for (int64_t i = 0; i < count; ++i) x[i] = std::tanh(x[i]);
      break;
  }
}

/// The signs of the MLP's outputs, bit b of word b / 64 set for outputs that are not negative.
void HashAttention::hash(const Mlp& mlp, int64_t head, std::span<const float> x, Buffers& buffers,
                         uint64_t* code) const {
  const float* in = x.data();
  for (size_t i = 0; i < mlp.size(); ++i) {
    const Linear& linear = mlp[i];
    apply_linear(linear.weight + head * linear.inputs * linear.outputs, linear.bias + head * linear.outputs,
                 linear.inputs, linear.outputs, in, buffers.next.data());
    if (i + 1 < mlp.size()) activate(buffers.next.data(), linear.outputs);
    std::swap(buffers.now, buffers.next);
    in = buffers.now.data();
  }
  std::fill_n(code, words(), 0);
  for (int64_t b = 0; b < bits_; ++b) code[b / 64] |= uint64_t{in[b] < 0 ? 0u : 1u} << (b % 64);
}

void HashAttention::encode(const attnlab::KeyBlock& keys, attnlab::ColumnsView& c) const {
  const auto codes = c.column<uint64_t>("codes");
  const Mlp& mlp = layers_.at(keys.layer()).key;
  const int64_t codes_per_key = codes.width() / words();
  std::vector<float> memory(static_cast<size_t>(2 * buffer_size()));
  const auto room = std::span(memory);
  Buffers buffers{room.first(room.size() / 2), room.last(room.size() / 2)};
  for (int64_t j = keys.begin(); j < keys.end(); ++j) {
    uint64_t* code = codes[j].data();
    for (int64_t i = 0; i < codes_per_key; ++i)
      hash(mlp, keys.kv_head() * codes_per_key + i, keys.key(j), buffers, code + i * words());
  }
}

void HashAttention::score(const attnlab::Tile& tile, attnlab::Scores& out) const {
  const auto codes = tile.uncounted_column<uint64_t>("codes");
  const Mlp& mlp = layers_.at(tile.layer()).query;
  const int64_t codes_per_key = codes.width() / words(), group = tile.group(), rows = tile.row_count();
  const auto query_codes = tile.scratch<uint64_t>(rows * words());
  Buffers buffers{tile.scratch<float>(buffer_size()), tile.scratch<float>(buffer_size())};
  int64_t parameters = 0;  // of the MLP of one head
  for (const Linear& layer : mlp) parameters += (layer.inputs + 1) * layer.outputs;
  int64_t end = 0;
  for (int64_t first = 0; first < rows; first += group) {
    int64_t group_end = 0;
    for (int64_t row = first; row < first + group; ++row) {
      const int64_t head = tile.kv_head() * codes_per_key + (row - first) % codes_per_key;
      hash(mlp, head, tile.query(row), buffers, query_codes.data() + row * words());
      group_end = std::max(group_end, tile.visible_end({row, 1}));
    }
    // The query heads of a group read the codes together.
    tile.count_read(codes_per_key * parameters * static_cast<int64_t>(sizeof(float)));
    tile.count_read(group_end * codes.width() * static_cast<int64_t>(sizeof(uint64_t)));
    end = std::max(end, group_end);
  }
  // Each codes_per_key-th row is compared with the same codes.
  const uint64_t* key_codes = codes.records(0, end).data();
  for (int64_t i = 0; i < codes_per_key; ++i) {
    const attnlab::Output scores = out.from(i, 0);
    attnlab::kernels::hamming(
        {query_codes.data() + i * words(), rows / codes_per_key, words(), codes_per_key * words()},
        {key_codes + i * words(), end, words(), codes.width()}, bits_,
        {scores.data, codes_per_key * scores.stride});
  }
}

ATTNLAB_PLUGIN(HashAttention);
