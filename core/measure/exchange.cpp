#include "core/measure/exchange.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/base/error.hpp"
#include "core/base/stopwatch.hpp"
#include "core/io/json.hpp"
#include "core/io/wire.hpp"

namespace attnlab::measure {
namespace {

using base::UserError;
using io::Json;

std::string error_text(const UserError& error) {
  const base::Mistake& m = error.mistake();
  const Json json = {{"summary", error.summary()},
                     {"exit", static_cast<int>(error.exit())},
                     {"file", m.file},
                     {"line", m.line},
                     {"column", m.column},
                     {"pointer", m.pointer},
                     {"found", m.found},
                     {"allowed", m.allowed},
                     {"suggestion", m.suggestion}};
  return io::line_text(json);
}

[[noreturn]] void throw_error(int rank, const std::string& text) {
  const Json json = Json::parse(text);
  const auto field = [&](const char* key) { return json.at(key).get<std::string>(); };
  throw UserError(fmt::format("{} (on rank {})", field("summary"), rank),
                  {.file = field("file"),
                   .line = json.at("line").get<int>(),
                   .column = json.at("column").get<int>(),
                   .pointer = field("pointer"),
                   .found = field("found"),
                   .allowed = field("allowed"),
                   .suggestion = field("suggestion")},
                  static_cast<base::Exit>(json.at("exit").get<int>()));
}

}  // namespace

Exchange::Exchange(base::Ranks& ranks, size_t piece_bytes)
    : ranks_(ranks),
      piece_bytes_(piece_bytes),
      pieces_(static_cast<size_t>(ranks.count())),
      drained_(static_cast<size_t>(ranks.count())) {}

void Exchange::lead(const std::function<void()>& body) {
  ATTNLAB_CHECK(rank() == 0, "rank 0 leads");
  const auto stop = [&] {
    for (int other = 1; other < count(); ++other) send(other, Kind::stop, 0, {});
    drain();
  };
  try {
    body();
  } catch (...) {
    stop();
    throw;
  }
  stop();
}

void Exchange::follow(const std::function<void()>& body) {
  try {
    body();
  } catch (const Stopped&) {
  } catch (const UserError& error) {
    send(0, Kind::error, 0, error_text(error));
  } catch (const std::exception& error) {
    send(0, Kind::error, 0, error_text(UserError(error.what(), {}, base::Exit::failed)));
  }
  try {
    while (!stopped_) receive_patiently();
  } catch (const Stopped&) {
  }
  drain();
}

/// After rank 0's word to stop each rank tells all others that it sends nothing more, and takes what still
/// comes until they have said the same: nothing is left for whatever the job does next.
void Exchange::drain() {
  stopped_ = true;
  for (int other = 0; other < count(); ++other) {
    if (other != rank()) send(other, Kind::drained, 0, {});
  }
  drained_[static_cast<size_t>(rank())] = true;
  on_wait = nullptr;
  while (std::find(drained_.begin(), drained_.end(), false) != drained_.end()) receive_patiently();
  arrived_.clear();
}

void Exchange::send(int to, Kind kind, uint64_t tag, std::string bytes) {
  if (to == rank()) {
    arrived_[{to, kind, tag}].push_back(std::move(bytes));
    return;
  }
  const std::string_view all = bytes;
  size_t begin = 0;
  do {
    const size_t size = std::min(piece_bytes_, all.size() - begin);
    io::WireWriter piece;
    piece.value(kind);
    piece.value(static_cast<uint8_t>(begin + size < all.size()));
    piece.value(tag);
    piece.values(std::span<const char>(all.substr(begin, size)));
    sent_bytes_ += piece.bytes().size();
    ranks_.send(to, piece.take());
    begin += size;
  } while (begin < all.size());
}

std::string Exchange::wait(int from, Kind kind, uint64_t tag) {
  const Key key{from, kind, tag};
  while (true) {
    if (const auto found = arrived_.find(key); found != arrived_.end()) {
      std::string bytes = std::move(found->second.front());
      found->second.pop_front();
      if (found->second.empty()) arrived_.erase(found);
      return bytes;
    }
    receive_patiently();
  }
}

void Exchange::poll() {
  while (receive(0)) {
  }
}

/// Takes one message, or none for a while.
void Exchange::receive_patiently() {
  receive(on_wait ? 0.2 : base::Ranks::forever);
}

/// False: no message came.
bool Exchange::receive(double seconds) {
  const base::Stopwatch watch;
  const auto message = ranks_.receive(base::Ranks::anyone, seconds);
  wait_seconds_ += watch.seconds();
  if (on_wait) on_wait();
  if (!message) return false;
  io::WireReader reader(message->bytes);
  const auto kind = reader.value<Kind>();
  const bool more = reader.value<uint8_t>() != 0;
  const auto tag = reader.value<uint64_t>();
  std::string& bytes = pieces_[static_cast<size_t>(message->from)];
  bytes.append(reader.rest());
  if (!more) accept(message->from, kind, tag, std::exchange(bytes, {}));
  return true;
}

void Exchange::accept(int from, Kind kind, uint64_t tag, std::string bytes) {
  if (kind == Kind::drained) {
    drained_[static_cast<size_t>(from)] = true;
  } else if (stopped_) {
    return;
  } else if (kind == Kind::stop) {
    stopped_ = true;
    throw Stopped();
  } else if (kind == Kind::error) {
    throw_error(from, bytes);
  } else {
    arrived_[{from, kind, tag}].push_back(std::move(bytes));
  }
}

}  // namespace attnlab::measure
