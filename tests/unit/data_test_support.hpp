// Shared by the tests of tokens to train on.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "core/base/error.hpp"
#include "core/data/token_source.hpp"

namespace attnlab::data {

/// The UserError of an action that must be refused.
inline base::UserError error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const base::UserError& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was refused";
  return base::UserError("");
}

inline base::Mistake mistake_of(const std::function<void()>& action) {
  return error_of(action).mistake();
}

inline void expect_same(const TokenBatch& a, const TokenBatch& b) {
  EXPECT_EQ(a.batch, b.batch);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.inputs, b.inputs);
  EXPECT_EQ(a.targets, b.targets);
}

}  // namespace attnlab::data
