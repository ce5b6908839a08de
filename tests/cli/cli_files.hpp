// The files that a case starts from: configs, tensors, traces, and damaged ones.
#pragma once

#include <initializer_list>
#include <string>

#include "core/io/json.hpp"

namespace attnlab::cli_test {

/// Throws std::runtime_error when `object` is no object or has a key that is not listed: a misspelt
/// expectation must not pass.
void only_keys(const io::Json& object, std::initializer_list<const char*> allowed);

/// "files" of a case: name -> text, or any other JSON value, which is written as JSON.
void write_files(const std::string& folder, const io::Json& files);

/// One entry of "make" of a case:
///   {"npz": PATH, "tensors": {NAME: TENSOR}}
///   {"npy": PATH, "tensor": TENSOR}
///   {"trace": PATH, "layers", "heads", "kv_heads", "head_dim", "tokens"}   a valid trace folder
///   {"copy": FROM, "to": PATH}
///   {"truncate": PATH, "bytes": N}
/// TENSOR = {"shape", "dtype": "f4" (default) | "f8" | "i4" | "i8", "fill": "gaussian" (default) | a number,
///           "poke": [{"at": [indices], "value": a number | "nan" | "inf" | "-inf"}]}
void make_file(const std::string& folder, const io::Json& recipe);

}  // namespace attnlab::cli_test
