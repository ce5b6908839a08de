// Masks in .npz files that numpy and scipy read.
#pragma once

#include <string>

#include "core/mask/mask.hpp"

namespace attnlab::mask {

/// Writes the members
///
///     shape        int64 [4]               B, Hq, Sq, Sk
///     extents      int64 [2]               batch b and heads h in storage; smaller ones broadcast (see
///     `Extents`) state        int64 []                0 empty, 1 full, 2 dense, 3 sparse probability float32
///     [b, h, Sq, Sk]  dense: p, 0 where not active row_ptr      int64 [b * h * Sq + 1]  sparse: CSR over the
///     stored rows, query fastest, then head, then batch column       int32 [entries]         sparse: keys,
///     rising in each row log_weight   float32 [entries]       sparse: -log p; missing when all entries are
///     deterministic
///
/// and, where p and -log p do not determine each other (see `Mask`), log_weight [b, h, Sq, Sk] beside a dense
/// probability or probability [entries] beside a sparse log_weight. In Python a sparse mask is
///
///     f = numpy.load("mask.npz")
///     p = numpy.exp(-f["log_weight"]) if "log_weight" in f else numpy.ones(f["column"].size, numpy.float32)
///     rows = scipy.sparse.csr_matrix((p, f["column"], f["row_ptr"]), shape=(f["row_ptr"].size - 1,
///     f["shape"][3]))
///
/// The file appears complete or not at all. Throws UserError (Exit::failed) when it cannot be written.
/// O(stored).
void save_mask(const Mask& mask, const std::string& path);

/// Reads what `save_mask` or numpy wrote, with the state, extents and bits of the saved mask. Every array is
/// checked as in `Mask::dense` and `Mask::sparse`; memory is bounded by the members. Throws UserError naming
/// file, member and entry. O(stored).
Mask load_mask(const std::string& path);

}  // namespace attnlab::mask
