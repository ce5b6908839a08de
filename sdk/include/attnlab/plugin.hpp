// From a C++ class to the plugin entry: registration, error translation, the ELF note. Included by the
// facets.
#pragma once

#include <attnlab/abi.h>
#include <attnlab/params.hpp>

#include <algorithm>
#include <atomic>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#define ATTNLAB_SDK_VERSION "0.2.0"

/// True when a const T has the optional method `name` for these arguments. Does not compile when T has a
/// method of that name with others: a misspelt signature must not turn a method off in silence.
#define ATTNLAB_HAS_METHOD(T, name, ...)                                                       \
  (::attnlab::detail::optional_method<requires(const T& object) { object.name(__VA_ARGS__); }, \
                                      requires { &T::name; }>())

namespace attnlab {

/// The call was refused or failed on the host's side; carries the host's words.
class HostError : public std::runtime_error {
 public:
  HostError(attnlab_status status, const std::string& message)
      : std::runtime_error(message), status_(status) {}
  attnlab_status status() const { return status_; }

 private:
  attnlab_status status_;
};

namespace detail {

template <bool callable, bool named>
consteval bool optional_method() {
  static_assert(callable || !named,
                "an optional method has other arguments than the SDK documents, or is not const");
  return callable;
}

inline void fill(attnlab_error* error, attnlab_status code, std::string_view message,
                 std::string_view pointer = {}) {
  if (error == nullptr) return;
  error->code = code;
  auto copy = [](char* to, size_t capacity, std::string_view from) {
    size_t size = std::min(capacity - 1, from.size());
    from.copy(to, size);
    to[size] = '\0';
  };
  copy(error->message, sizeof error->message, message);
  copy(error->pointer, sizeof error->pointer, pointer);
}

/// Runs `body` so that nothing unwinds through the boundary.
template <class Body>
attnlab_status guard(attnlab_error* error, Body&& body) noexcept {
  try {
    body();
    return ATTNLAB_OK;
  } catch (const ParameterError& e) {
    fill(error, ATTNLAB_INVALID_PARAMETER, e.what(), e.pointer());
    return ATTNLAB_INVALID_PARAMETER;
  } catch (const HostError& e) {
    fill(error, e.status(), e.what());
    return e.status();
  } catch (const std::exception& e) {
    fill(error, ATTNLAB_FAILED, e.what());
  } catch (...) {
    fill(error, ATTNLAB_FAILED, "an exception that is not a std::exception");
  }
  return ATTNLAB_FAILED;
}

/// Calls a fallible function of the host and throws what it reports.
template <class Call>
void checked(Call&& call) {
  attnlab_error error{};
  error.struct_size = sizeof error;
  if (attnlab_status status = call(&error); status != ATTNLAB_OK) throw HostError(status, error.message);
}

}  // namespace detail

/// The host, as a method sees it. Cheap to copy; valid as long as the method's instance. Safe from any
/// thread.
class Host {
 public:
  Host() = default;
  explicit Host(const attnlab_host* table) : table_(table) {}

  /// Calls body(i) for i in [0, count) on the host's threads and waits. An exception is rethrown after the
  /// loop.
  template <class Body>
  void parallel_for(int64_t count, const Body& body) const {
    struct Loop {
      const Body* body;
      std::exception_ptr* failures;
    };
    std::vector<std::exception_ptr> failures(static_cast<size_t>(count));
    Loop loop{&body, failures.data()};
    table_->parallel_for(
        table_->context, count,
        [](void* context, int64_t index) {
          auto* self = static_cast<Loop*>(context);
          try {
            (*self->body)(index);
          } catch (...) {
            self->failures[index] = std::current_exception();
          }
        },
        &loop);
    for (auto& failure : failures) {
      if (failure) std::rethrow_exception(failure);
    }
  }
  void log(std::string_view message, int32_t level = ATTNLAB_INFO) const {
    table_->log(table_->context, level, to_abi(message));
  }
  /// A named figure of this instance; the host reports mean, p95 and maximum.
  void metric(std::string_view name, double value) const {
    table_->metric(table_->context, to_abi(name), value);
  }
  bool cancelled() const { return table_->cancelled(table_->context) != 0; }
  /// A tensor of the weight file (.safetensors, .npz) that a PATH parameter names, contiguous; float16 and
  /// bfloat16 come as float32. The name "__metadata__/KEY" gives a string of a safetensors file's metadata as
  /// uint8. Lives as long as the instance; asking again is cheap. Throws HostError.
  attnlab_tensor artifact(const Path& path, std::string_view name) const {
    attnlab_tensor tensor{};
    tensor.struct_size = sizeof tensor;
    detail::checked([&](attnlab_error* error) {
      return table_->artifact(table_->context, to_abi(path.value), to_abi(name), &tensor, error);
    });
    return tensor;
  }
  const attnlab_host* table() const { return table_; }

 private:
  const attnlab_host* table_ = nullptr;
};

namespace detail {

/// The host's `attnlab.kernels/1`, of which a process has one; null as long as no host has made an instance,
/// and with a host that has none. Read by <attnlab/kernels.hpp>.
inline std::atomic<const attnlab_kernels*> host_kernels{nullptr};

/// The description of T, built on first use and kept for ever.
template <class T>
Description<T>& description_of() {
  static Description<T>* instance = [] {
    auto* d = new Description<T>();
    d->method.struct_size = sizeof(attnlab_method);
    d->method.facet = T::facet;
    d->version("0.1.0");
    T::describe(*d);
    return d;
  }();
  return *instance;
}

/// Constructs T from validated values; a method may define `void prepare()` to check them together and
/// precompute.
template <class T>
attnlab_status create(const attnlab_host* host, const attnlab_value* values, uint64_t count, void** self,
                      attnlab_error* error) noexcept {
  return guard(error, [&] {
    const auto& description = description_of<T>();
    if (count != description.setters.size()) {
      throw HostError(ATTNLAB_CONTRACT, "the host passed another number of parameters than the table has");
    }
    if (host != nullptr && host->query != nullptr) {
      host_kernels.store(
          static_cast<const attnlab_kernels*>(host->query(host->context, to_abi("attnlab.kernels/1"))),
          std::memory_order_release);
    }
    auto instance = std::make_unique<T>();
    instance->attach(Host(host));
    for (uint64_t i = 0; i < count; ++i) description.setters[i](*instance, values[i]);
    if constexpr (requires { &T::prepare; }) instance->prepare();
    *self = instance.release();
  });
}

template <class T>
void destroy(void* self) noexcept {
  delete static_cast<T*>(self);
}

template <class T>
const attnlab_method* method_of() {
  static const attnlab_method* instance = [] {
    auto& d = description_of<T>();
    for (const auto& parameter : d.parameters) d.parameter_table.push_back(&parameter);
    d.method.parameters = d.parameter_table.data();
    d.method.parameter_count = d.parameter_table.size();
    for (auto& preset : d.presets) {
      for (size_t i = 0; i < preset.keys.size(); ++i) {
        for (const auto& parameter : d.parameters) {
          if (from_abi(parameter.key) == from_abi(preset.keys[i])) convert(preset.values[i], parameter);
        }
      }
      preset.info.keys = preset.keys.data();
      preset.info.values = preset.values.data();
      preset.info.count = preset.keys.size();
      d.preset_table.push_back(preset.info);
    }
    d.method.presets = d.preset_table.data();
    d.method.preset_count = d.preset_table.size();
    T::fill_table(d.method, static_cast<const T*>(nullptr));
    return &d.method;
  }();
  return instance;
}

template <class... Methods>
attnlab_status describe_library(const attnlab_library** library, attnlab_error* error) noexcept {
  return guard(error, [&] {
    static const attnlab_method* const methods[] = {method_of<Methods>()...};
    static const attnlab_library instance{sizeof(attnlab_library), 0, methods, sizeof...(Methods)};
    *library = &instance;
  });
}

template <size_t N>
constexpr void copy_text(char (&to)[N], std::string_view from) {
  for (size_t i = 0; i + 1 < N && i < from.size(); ++i) to[i] = from[i];
}

#if defined(__clang__)
inline constexpr const char* compiler = "clang " __clang_version__;
#elif defined(__GNUC__)
inline constexpr const char* compiler = "gcc " __VERSION__;
#else
inline constexpr const char* compiler = "unknown";
#endif

/// CPU features that the compiler was allowed to use anywhere in the library.
constexpr uint32_t cpu_features() {
  uint32_t features = 0;
#ifdef __SSE4_1__
  features |= ATTNLAB_CPU_SSE41;
#endif
#ifdef __AVX__
  features |= ATTNLAB_CPU_AVX;
#endif
#ifdef __AVX2__
  features |= ATTNLAB_CPU_AVX2;
#endif
#ifdef __FMA__
  features |= ATTNLAB_CPU_FMA;
#endif
#ifdef __AVX512F__
  features |= ATTNLAB_CPU_AVX512F;
#endif
#ifdef __AVX512BW__
  features |= ATTNLAB_CPU_AVX512BW;
#endif
#ifdef __AVX512VL__
  features |= ATTNLAB_CPU_AVX512VL;
#endif
#ifdef __AVX512BF16__
  features |= ATTNLAB_CPU_AVX512BF16;
#endif
#ifdef __AMX_TILE__
  features |= ATTNLAB_CPU_AMX;
#endif
  return features;
}

/// An ELF note: header (name size, description size, type), name padded to 4 bytes, description.
struct Note {
  uint32_t name_size = 8;
  uint32_t description_size = sizeof(attnlab_note);
  uint32_t type = ATTNLAB_NOTE_TYPE;
  char name[8] = {'a', 't', 't', 'n', 'l', 'a', 'b', '\0'};
  attnlab_note description{};
};

// The description starts 20 bytes into the note, so it must not hold anything that wants 8-byte alignment.
static_assert(sizeof(attnlab_note) == 264 && alignof(attnlab_note) == 4 && sizeof(Note) == 284);

constexpr attnlab_note make_note(std::string_view ids) {
  attnlab_note note{};
  note.magic = ATTNLAB_MAGIC;
  note.abi_major = ATTNLAB_ABI_MAJOR;
  note.abi_minor = ATTNLAB_ABI_MINOR;
#ifdef __FAST_MATH__
  note.flags = ATTNLAB_NOTE_FAST_MATH;
#endif
  note.cpu_features = cpu_features();
  copy_text(note.sdk_version, ATTNLAB_SDK_VERSION);
  copy_text(note.compiler, compiler);
  copy_text(note.ids, ids);
  return note;
}

}  // namespace detail
}  // namespace attnlab

#ifndef ATTNLAB_PLUGIN_IDS
#define ATTNLAB_PLUGIN_IDS ""
#endif

// The section must be of type SHT_NOTE. Clang derives the type from the name; for GCC it is smuggled into the
// name.
#ifdef __clang__
#define ATTNLAB_NOTE_SECTION ".note.attnlab"
#else
#define ATTNLAB_NOTE_SECTION ".note.attnlab,\"a\",@note#"
#endif

/// The table of one or more methods, without exporting it: for tests and for methods linked into a program.
#define ATTNLAB_STATIC_PLUGIN(name, ...)                           \
  const attnlab_plugin_entry name = {sizeof(attnlab_plugin_entry), \
                                     ATTNLAB_MAGIC,                \
                                     ATTNLAB_ABI_MAJOR,            \
                                     ATTNLAB_ABI_MINOR,            \
                                     ATTNLAB_SDK_VERSION,          \
                                     ::attnlab::detail::compiler,  \
                                     &::attnlab::detail::describe_library<__VA_ARGS__>}

/// Ends a plugin's source file: exports the entry of one or more methods and writes the ELF note.
#define ATTNLAB_PLUGIN(...)                                                                             \
  extern "C" {                                                                                          \
  __attribute__((visibility("default"))) extern const attnlab_plugin_entry attnlab_plugin;              \
  ATTNLAB_STATIC_PLUGIN(attnlab_plugin, __VA_ARGS__);                                                   \
  }                                                                                                     \
  namespace {                                                                                           \
  __attribute__((section(ATTNLAB_NOTE_SECTION), used, aligned(4)))                                      \
  const ::attnlab::detail::Note attnlab_elf_note{.description =                                         \
                                                     ::attnlab::detail::make_note(ATTNLAB_PLUGIN_IDS)}; \
  }                                                                                                     \
  static_assert(true)
