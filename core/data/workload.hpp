// Generated attention problems, some with an exactly known softmax.
#pragma once

#include <memory>

#include "core/config/input_spec.hpp"
#include "core/data/problem.hpp"

namespace attnlab::data {

/// A workload for softmax attention with scale 1/sqrt(head_dim), causal, all keys valid. Values are iid N(0,
/// 1) unless stated otherwise.
///
/// - `gaussian`: q and k are iid N(0, 1).
/// - `power_law`: the i-th heaviest key of a KV head has softmax mass i^-alpha, under a random permutation of
///   the keys.
/// - `cone`: the masses of `power_law`, with keys on one side and queries on the other. The keys have a
///   common mean of length mean_norm sqrt(head_dim), opposite to u (below), and their noise has a low-rank
///   part of `rank` dimensions and the variance of the rest. The mean shifts all logits of a row alike: the
///   softmax does not change, but cos(q, k_j) < 0 wherever ln mass_j - mean ln mass < mean_norm
///   sqrt(head_dim).
/// - `needle`: keys at the chosen depths (as a fraction of the last position; on collision the nearest free
///   key) share `needle_mass` of the last query's mass evenly; every other key weighs the same. The needle
///   positions are those of all heads and layers.
/// - `aggregation`: a random share `relevant_share` of each KV head's keys (at least one key, and all but one
///   at most) holds `relevant_mass` of the last query's mass evenly; every other key weighs the same. A
///   relevant key's value is a + N(0, 1) per channel, a being random signs per KV head: the dense output is
///   about relevant_mass a, and a few of the heaviest keys are no measure of it.
/// - `drift`: keys and queries are centre + N(0, 1) per channel. Positions before round(drift_begin keys)
///   draw their centre among `clusters` N(0, 1) vectors of the KV head, the others among as many new ones; a
///   query's draw is independent of its key's. A query's logits are larger by about sqrt(head_dim) for keys
///   of its own cluster. No mass is known.
///
/// `power_law`, `cone`, `needle` and `aggregation` fill `true_mass`, and every query row of the KV head's
/// group has these masses exactly, up to float32 rounding of q and k: with one unit vector u per (layer,
/// batch, KV head),
///   q = sqrt(head_dim) u + noise in Q,   k_j = (ln mass_j - mean ln mass) u + noise in K,   u, Q, K
///   orthogonal,
/// so that q.k_j / sqrt(head_dim) = ln mass_j + constant. Q and K have (head_dim - 1) / 2 dimensions each
/// (none for head_dim < 3) and touch all channels; the noise has about unit variance per channel.
///
/// Each value is a function of (seed, layer, tensor, place) alone: neither threads nor the order of `load`
/// matter. `load` writes each tensor once, in place; `load_part` makes the part alone (and, for known masses,
/// those of one head at a time). Throws UserError for specifications that cannot be met, including layers
/// larger than the machine's memory unless they are loaded `in_parts`.
std::unique_ptr<Source> open_workload(const config::WorkloadSpec& spec, bool in_parts = false);

}  // namespace attnlab::data
