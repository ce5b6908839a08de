// What the router of a trained mixture does: its gates over the evaluation sweep.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/data/token_source.hpp"
#include "core/io/json.hpp"
#include "core/model/gpt.hpp"

namespace attnlab::train {

/// Tokens of a sweep in its order, windows one after the other, without the padding of a text's last window.
struct SweptTokens {
  int64_t windows = 0;
  int64_t block = 0;               ///< tokens of a window
  std::vector<int64_t> ids;        ///< [tokens]
  std::vector<int64_t> positions;  ///< [tokens] in the window
  std::vector<int64_t> targets;    ///< [tokens] what follows, or data::ignored_target
  std::vector<double> losses;      ///< [tokens] cross-entropy in nats; 0 without a target

  /// Over the tokens with a target; NaN when there is none.
  double mean_loss() const;
};

/// The gates of one layer.
struct LayerGates {
  int64_t layer = 0;
  std::string scheme;
  std::vector<std::string> branches;
  std::vector<float> gates;    ///< [tokens, branches], those of a token sum to 1
  double cache_elements = -1;  ///< a token's, the mean of what the scheme reported; negative: nothing
};

struct Sweep {
  SweptTokens tokens;
  std::vector<LayerGates> layers;  ///< those whose scheme reports gates, ascending
};

/// Runs the first `windows` windows of the sweep through the model, `batch` at a time. A layer has gates when
/// its scheme reports the intermediate "gates" [batch, tokens, branches] and a metric gate_<branch> for each
/// branch. Throws UserError for gates that are no mixture and losses that are not finite.
Sweep sweep_gates(const model::Gpt& model, const data::TokenSource& source, int64_t windows, int64_t batch);

/// Some of the tokens: what their gates are on average.
struct GateGroup {
  std::string name;
  int64_t tokens = 0;
  std::vector<double> gates;   ///< [branches] mean
  std::vector<double> chosen;  ///< [branches] share of the tokens whose largest gate it is
};

/// What one discrete variable tells of another, in bits, with the bias correction of Miller and Madow
/// (1955): (K - 1) / 2N nats for each entropy, K the values seen. Within [0, entropy].
struct MutualInformation {
  double bits = 0;
  double entropy = 0;  ///< of the first variable, corrected alike
  double share = 0;    ///< bits / entropy; NaN when the entropy is 0
};
MutualInformation mutual_information(std::span<const int64_t> first, std::span<const int64_t> second);

/// One layer's routing.
struct LayerRouting {
  int64_t layer = 0;
  std::string scheme;
  std::vector<std::string> branches;
  GateGroup all;
  double entropy = 0;             ///< of a token's gates, mean over the tokens, nats
  double entropy_share = 0;       ///< of log(branches); NaN with one branch
  MutualInformation information;  ///< of the largest gate and the token's id
  std::vector<GateGroup> classes, positions, losses;
  double cache_elements = -1;  ///< of a token; negative: the scheme reports none
  uint64_t state_bytes = 0;    ///< measured after `state_tokens` tokens of decoding
};

/// Kinds of characters, and "other", in the order of the reports.
const std::vector<std::string>& token_class_names();
/// The kind of a token, an index into token_class_names(). Letters are those of ASCII.
size_t token_class(const data::Tokeniser& tokeniser, int64_t id);

/// Groups by class of the token ("all" without a tokeniser), by eighths of the window and by quarters of the
/// tokens' losses; groups without tokens are left out. O(tokens log tokens).
LayerRouting analyse_layer(const LayerGates& layer, const SweptTokens& tokens,
                           const std::optional<data::Tokeniser>& tokeniser);

/// The loss with a branch out of every mixture that has it, or with all their tokens on it.
struct BranchAblation {
  std::string branch;
  bool forced = false;  ///< false: dropped, the other gates renormalised
  double loss = 0;
  double difference = 0;        ///< to the whole model, nats
  std::vector<int64_t> layers;  ///< where
};

/// What `attnlab routing` found.
struct RoutingRecord {
  std::string title;
  int64_t steps = 0;  ///< of training
  int64_t windows = 0, all_windows = 0, tokens = 0, block = 0;
  double loss = 0;  ///< of these windows, nats
  std::vector<LayerRouting> layers;
  std::vector<BranchAblation> ablations;
  int64_t state_tokens = 0;
  uint64_t state_bytes = 0;  ///< of all layers
};

/// Bytes of each layer's state after decoding the first window of the sweep; sets `tokens` to its length.
std::vector<uint64_t> decode_state_bytes(const model::Gpt& model, const data::TokenSource& source,
                                         int64_t& tokens);

/// Figures that do not exist are null.
io::Json to_json(const RoutingRecord& record);

}  // namespace attnlab::train
