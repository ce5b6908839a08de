// One attention problem in a .npz or .safetensors file.
#pragma once

#include <memory>
#include <string>

#include "core/data/problem.hpp"

namespace attnlab::data {

/// Opens an archive with the tensors
///   q [B, Hq, Sq, D]   k [B, Hkv, Sk, D]   v [B, Hkv, Sk, Dv]    float32, float16, bfloat16 or float64
/// ([H, S, D] is read as batch 1), Hkv dividing Hq and Sq <= Sk: the queries are the last positions.
/// Optional:
///   bias [B or 1, Hq or 1, Sq, Sk]   floating point, added to the logits; may hold -inf
///   kv_valid_len [B]                 integers in [1, Sk]: keys from there on are padding. When it is below
///   Sq, the
///                                    first Sq - kv_valid_len rows sit before position 0 and see nothing
///   sinks [Hq]                       floating point, learned sink logits
/// Other tensors are ignored; the description names them. The source has the single layer 0 and states
/// neither scale nor causality. Throws UserError naming the tensor and both shapes when they disagree.
std::unique_ptr<Source> open_archive(const std::string& path);

}  // namespace attnlab::data
