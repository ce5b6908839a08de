// Config documents, as tests write them.
#pragma once

#include "core/config/document.hpp"

namespace attnlab::test {

/// A document of these members, as if the file test.json in /data held them.
inline config::Document document_of(const io::Json& json) {
  config::Document document;
  for (const auto& item : json.items())
    document.set("/" + config::escape(item.key()), item.value(), {"test.json", "/data"});
  return document;
}

}  // namespace attnlab::test
