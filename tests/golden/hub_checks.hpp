// How each golden case of sparse-attention-hub is checked. Rules are those of spec/maskers.md.
#pragma once

#include <ostream>
#include <string>

namespace attnlab::golden {

/// A line of the table that accounts for every case.
struct TableRow {
  std::string name;                 ///< folder in golden/hub
  void (*check)(const TableRow&);   ///< reports through gtest
  std::string rule = {};            ///< why the case is not compared exactly; empty for `exactly` alone
  std::string missing_masker = {};  ///< `not_built` only: id of the masker that the case needs
};

/// For gtest's messages.
void PrintTo(const TableRow& row, std::ostream* out);

/// Masks bit for bit at visible positions, weights and output to 1e-5.
void exactly(const TableRow& row);
/// The reference writes zeros and computes dense attention: ours is active at every visible position.
void dense(const TableRow& row);
/// The reference returns Full: our mask is the window.
void window_where_reference_is_full(const TableRow& row);
/// The reference attends to later keys: our mask is its mask without them.
void host_causality(const TableRow& row);
/// The reference ranks by q.k + bias: ours ranks by scale * q.k + bias.
void ranks_scaled_logits(const TableRow& row);
/// The reference selects nothing and returns NaN: ours selects one key.
void at_least_one_key(const TableRow& row);
/// The reference's softmax underflows: ours takes the maximum of the active keys.
void maximum_over_active_keys(const TableRow& row);
/// The product refuses the parameter, naming what is allowed.
void refused(const TableRow& row);

/// The last stage samples: exact sample size, p = n / S, none of the deterministic keys.
void sample(const TableRow& row);
/// A sampling stage and then a deterministic one, which chooses as if nothing had been sampled.
void sampled_keys_stay_candidates(const TableRow& row);
/// 200 seeds: mean denominator ratio within three standard errors of 1, where the reference's is not.
void unbiased_denominator(const TableRow& row);

/// With the dumped centres: codes equal, also those of keys appended in a second step; with the dumped codes:
/// scores, and masks and outputs of the rows without ties.
void quantised_by_given_centres(const TableRow& row);
/// The same, but some codes of the reference belong to centres before the last update: ours are nearer.
void codes_of_final_centres(const TableRow& row);
/// The same, but the reference gives appended keys the channel of queries: ours are those of k-means.
void appended_keys_are_keys(const TableRow& row);
/// With the dumped planes: buckets, scores, masks and outputs.
void hashed_by_given_planes(const TableRow& row);
/// The same, but the reference chooses among all keys: ours among those that are not active yet.
void hashed_beyond_active_keys(const TableRow& row);
/// hash_attention with the dumped weights: codes bit for bit, and the keys of the highest integer scores; the
/// reference's mask wherever ties and its jitter leave no choice.
void highest_hash_scores(const TableRow& row);
/// Our pages are those with the largest bounds over visible keys, as many as the budget holds; the reference
/// takes at least three and bounds pages by later keys too.
void pages_within_budget(const TableRow& row);
/// As `exactly`, the channel lists of the case converted to our file.
void exactly_with_channels(const TableRow& row);
/// Adaptive sampling, last stage: a pilot with p = 1, and a sample whose size follows from it by steps 2
/// and 3.
void pilot_and_sample(const TableRow& row);
/// The reference returns Full where fewer than two keys may be sampled: ours takes what there is.
void residual_where_reference_is_full(const TableRow& row);
/// 200 seeds: mean denominator ratio within three standard errors of 1, errors within epsilon as promised.
void unbiased_and_covered(const TableRow& row);
/// magic_pig on the reference's hyperplanes with its semantics: the mask where the KV head holds the batch's
/// largest key norm, collision probabilities everywhere.
void same_collisions(const TableRow& row);
/// magic_pig over 200 seeds: mean denominator ratio within three standard errors of 1, and every key drawn as
/// often as its collision probability says.
void collides_as_in_theory(const TableRow& row);

/// The case needs a masker that the catalog lacks; fails as soon as the catalog has it.
void not_built(const TableRow& row);
/// The case is compared by the test file that the rule begins with.
void elsewhere(const TableRow& row);

}  // namespace attnlab::golden
