#include <attnlab/kernels.hpp>
#include <attnlab/quantise.hpp>
#include <attnlab/scorer.hpp>

#include <limits>
#include <string>
#include <vector>

using attnlab::ParameterError;
using attnlab::Quantiser;

/// Double Sparsity: estimates logits by a few channels, chosen offline, of low-bit keys (arXiv:2408.07092).
struct DoubleSparsity : attnlab::Scorer {
  enum class Selection { qk_proj, q_proj, k_proj };

  int64_t group_factor = 16;
  int64_t label_bits = 4;
  Selection channel_selection = Selection::qk_proj;
  attnlab::Path sorted_channel_file;

  static void describe(attnlab::Description<DoubleSparsity>& d) {
    d.id("double_sparsity")
        .summary("Keeps the keys with the largest logits over a few important channels.")
        .paper("arXiv:2408.07092")
        .selector("top_k");
    d.parameter("group_factor", &DoubleSparsity::group_factor)
        .doc("Channels of a head for each one that is kept.")
        .range(1, 4096)
        .log_scale()
        .sweep({2, 4, 8, 16});
    d.parameter("label_bits", &DoubleSparsity::label_bits)
        .doc("Bits of each kept channel of queries and keys; 16: float32, not rounded.")
        .unit("bits")
        .range(1, 16)
        .sweep({2, 4, 8, 16});
    d.parameter("channel_selection", &DoubleSparsity::channel_selection)
        .doc("Importance by which channels were sorted: of q k products, of q, or of k.")
        .names({"qk_proj", "q_proj", "k_proj"});
    d.parameter("sorted_channel_file", &DoubleSparsity::sorted_channel_file)
        .doc("Sorted channels of each layer and head, written by `attnlab calibrate` (.npz, .safetensors).")
        .required();
  }

  void prepare() {
    const char* names[] = {"qk_proj", "q_proj", "k_proj"};
    const std::string name = names[static_cast<int>(channel_selection)];
    const auto layers = integers("layers", 1);
    layers_.assign(layers.values.begin(), layers.values.end());
    const auto lists = integers(name, 3);
    if (lists.shape[0] != static_cast<int64_t>(layers_.size())) {
      refuse("\"" + name + "\" is " + shape_text(lists.shape) + ", \"layers\" names " +
             std::to_string(layers_.size()) + " layers; both must hold as many");
    }
    heads_ = lists.shape[1];
    head_dim_ = lists.shape[2];
    kept_ = head_dim_ / group_factor;
    if (kept_ < 1) {
      throw ParameterError("group_factor", std::to_string(group_factor) +
                                               " leaves no channel of a head with " +
                                               std::to_string(head_dim_) + "; allowed: at most the head_dim");
    }
    const auto width = static_cast<size_t>(head_dim_);
    for (size_t begin = 0; begin < lists.values.size(); begin += width) {
      const auto list = std::span(lists.values).subspan(begin, width);
      check_list(list, name, static_cast<int64_t>(begin / width));
      const size_t first = channels_.size();
      channels_.insert(channels_.end(), list.begin(), list.begin() + kept_);
      // In the order of memory: gathers run forwards, and the sum does not depend on the order in the file.
      std::sort(channels_.begin() + static_cast<int64_t>(first), channels_.end());
    }
  }

  void columns(attnlab::Columns& c, const attnlab::Geometry& g) const {
    const auto found = std::find(layers_.begin(), layers_.end(), g.layer);
    if (found == layers_.end() || g.query_heads != heads_ || g.head_dim != head_dim_) {
      std::string layers;
      for (size_t i = 0; i < std::min<size_t>(layers_.size(), 16); ++i) {
        layers += (i == 0 ? "" : ", ") + std::to_string(layers_[i]);
      }
      refuse("it was made for layers " + layers + (layers_.size() > 16 ? ", ..." : "") + " with " +
             std::to_string(heads_) + " query heads of head_dim " + std::to_string(head_dim_) +
             "; the input has layer " + std::to_string(g.layer) + " with " + std::to_string(g.query_heads) +
             " query heads of head_dim " + std::to_string(g.head_dim));
    }
    // Each query head of the group has its own channels.
    if (rounded()) c.per_token<uint8_t>("levels", g.group * Quantiser::bytes(kept_, label_bits));
    c.per_token<float>("labels", g.group * (rounded() ? Quantiser::grid_width : kept_));
  }

  void encode(const attnlab::KeyBlock& keys, attnlab::ColumnsView& c) const {
    const auto labels = c.column<float>("labels");
    const int64_t label_width = rounded() ? Quantiser::grid_width : kept_;
    const int64_t group = labels.width() / label_width, bytes = Quantiser::bytes(kept_, label_bits);
    std::vector<float> gathered(static_cast<size_t>(kept_));
    for (int64_t head = 0; head < group; ++head) {
      const auto channels = channels_of(keys.layer(), keys.kv_head() * group + head);
      for (int64_t j = keys.begin(); j < keys.end(); ++j) {
        const auto label = part(labels[j], head, label_width);
        gather(keys.key(j), channels, rounded() ? std::span<float>(gathered) : label);
        if (rounded()) {
          const auto levels = part(c.column<uint8_t>("levels")[j], head, bytes);
          Quantiser(label_bits).pack(gathered, levels, label);
        }
      }
    }
  }

  void score(const attnlab::Tile& tile, attnlab::Scores& out) const {
    const int64_t group = tile.group(), rows = tile.row_count();
    const auto queries = tile.scratch<float>(rows * kept_);
    int64_t end = 0;
    for (auto query : tile.queries()) {
      const int64_t query_end = tile.visible_end(query);
      tile.count_read(query_end * group * record_bytes());
      end = std::max(end, query_end);
    }
    for (int64_t row = 0; row < rows; ++row) {
      const auto query = part(queries, row, kept_);
      gather(tile.query(row), channels_of(tile.layer(), tile.kv_head() * group + row % group), query);
      if (rounded()) Quantiser(label_bits).round(query);
    }
    for (int64_t head = 0; head < group; ++head) {
      // Each group-th row belongs to the head.
      const attnlab::Matrix<float> of_head(queries.data() + head * kept_, rows / group, kept_, group * kept_);
      const attnlab::Output scores = out.from(head, 0);
      multiply_labels(tile, head, end, of_head, {scores.data, group * scores.stride});
    }
    for (int64_t row = 0; row < rows; ++row) {
      const auto scores = out.row(row);
      const auto row_end = tile.visible_end({row, 1});
      const float* const* bias = tile.table()->bias;
      if (bias != nullptr && bias[row] != nullptr) {
        for (int64_t j = 0; j < row_end; ++j) scores[static_cast<size_t>(j)] += bias[row][j];
      }
      std::fill(scores.begin() + row_end, scores.end(), -std::numeric_limits<float>::infinity());
    }
  }

 private:
  struct Integers {
    std::vector<int64_t> shape, values;
  };

  bool rounded() const { return label_bits < 16; }

  /// Of one query head.
  int64_t record_bytes() const {
    constexpr auto float_bytes = static_cast<int64_t>(sizeof(float));
    return rounded() ? Quantiser::bytes(kept_, label_bits) + Quantiser::grid_width * float_bytes
                     : kept_ * float_bytes;
  }

  /// Scores of some rows of a head for keys [0, end).
  void multiply_labels(const attnlab::Tile& tile, int64_t head, int64_t end,
                       const attnlab::Matrix<float>& queries, attnlab::Output scores) const {
    const auto labels = tile.uncounted_column<float>("labels").records(0, end);
    if (!rounded()) {
      attnlab::kernels::dot(queries, {labels.data() + head * kept_, end, kept_, tile.group() * kept_},
                            tile.scale(), scores);
      return;
    }
    constexpr int64_t block_keys = 512;
    const auto levels = tile.uncounted_column<uint8_t>("levels").records(0, end);
    const int64_t bytes = Quantiser::bytes(kept_, label_bits);
    const auto unpacked = tile.scratch<float>(block_keys * kept_);
    for (int64_t first = 0; first < end; first += block_keys) {
      const int64_t count = std::min(block_keys, end - first);
      for (int64_t j = 0; j < count; ++j) {
        const int64_t set = (first + j) * tile.group() + head;
        Quantiser(label_bits)
            .unpack(part(levels, set, bytes), part(labels, set, Quantiser::grid_width),
                    part(unpacked, j, kept_));
      }
      attnlab::kernels::dot(queries, {unpacked.data(), count, kept_, kept_}, tile.scale(),
                            scores.from(0, first));
    }
  }

  [[noreturn]] void refuse(const std::string& what) const {
    throw ParameterError("sorted_channel_file", sorted_channel_file.value + ": " + what);
  }

  static std::string shape_text(const std::vector<int64_t>& shape) {
    std::string text;
    for (int64_t extent : shape) text += (text.empty() ? "[" : ", ") + std::to_string(extent);
    return text + "]";
  }

  Integers integers(const std::string& name, int32_t rank) const {
    attnlab_tensor tensor{};
    try {
      tensor = host().artifact(sorted_channel_file, name);
    } catch (const attnlab::HostError& error) {
      throw ParameterError("sorted_channel_file", error.what());
    }
    Integers integers;
    integers.shape.assign(tensor.shape, tensor.shape + tensor.rank);
    const bool known = tensor.dtype == ATTNLAB_I32 || tensor.dtype == ATTNLAB_I64;
    if (!known || tensor.rank != rank) {
      refuse("\"" + name + "\" has shape " + shape_text(integers.shape) + (known ? "" : " of another type") +
             "; allowed: int32 or int64 of " + (rank == 1 ? "[layers]" : "[layers, query heads, head_dim]"));
    }
    int64_t count = 1;
    for (int64_t extent : integers.shape) count *= extent;
    for (int64_t i = 0; i < count; ++i) {
      integers.values.push_back(tensor.dtype == ATTNLAB_I32 ? static_cast<const int32_t*>(tensor.data)[i]
                                                            : static_cast<const int64_t*>(tensor.data)[i]);
    }
    return integers;
  }

  void check_list(std::span<const int64_t> list, const std::string& name, int64_t index) const {
    std::vector<bool> seen(list.size());
    for (int64_t channel : list) {
      const bool inside = channel >= 0 && channel < head_dim_;
      if (!inside || seen[static_cast<size_t>(channel)]) {
        refuse("\"" + name + "\", layer " + std::to_string(layers_[static_cast<size_t>(index / heads_)]) +
               ", head " + std::to_string(index % heads_) + " has channel " + std::to_string(channel) +
               (inside ? " twice" : "") + "; allowed: each of 0 to " + std::to_string(head_dim_ - 1) +
               " once");
      }
      seen[static_cast<size_t>(channel)] = true;
    }
  }

  /// The kept channels of a query head, ascending.
  std::span<const int64_t> channels_of(int64_t layer, int64_t head) const {
    const int64_t index = std::find(layers_.begin(), layers_.end(), layer) - layers_.begin();
    return part(std::span(channels_), index * heads_ + head, kept_);
  }

  template <class T>
  static std::span<T> part(std::span<T> all, int64_t index, int64_t width) {
    return all.subspan(static_cast<size_t>(index * width), static_cast<size_t>(width));
  }

  static void gather(std::span<const float> vector, std::span<const int64_t> channels, std::span<float> out) {
    for (size_t i = 0; i < channels.size(); ++i) out[i] = vector[static_cast<size_t>(channels[i])];
  }

  std::vector<int64_t> layers_;
  int64_t heads_ = 0, head_dim_ = 0, kept_ = 0;
  std::vector<int64_t> channels_;  ///< [layers_, heads_, kept_]
};

ATTNLAB_PLUGIN(DoubleSparsity);
