// Whether this build runs under a sanitizer, whose runtime takes signals and want of memory into its own
// hands.
#pragma once

#ifdef __has_feature
#define ATTNLAB_HAS_FEATURE(name) __has_feature(name)
#else
#define ATTNLAB_HAS_FEATURE(name) 0
#endif

namespace attnlab::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
    ATTNLAB_HAS_FEATURE(address_sanitizer) || ATTNLAB_HAS_FEATURE(thread_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

}  // namespace attnlab::test
