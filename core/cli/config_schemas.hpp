// JSON Schemas (draft 2020-12) of the configs of every command, made from the parameter tables.
#pragma once

#include <string>
#include <vector>

#include "core/io/json.hpp"
#include "core/plugin/catalog.hpp"

namespace attnlab::cli {

/// Schemas with the methods of one catalog, which must outlive it. A file that extends others may leave out
/// what they say.
class ConfigSchemas {
 public:
  explicit ConfigSchemas(const plugin::Catalog& catalog);

  io::Json run() const { return run_; }
  io::Json sweep() const;
  io::Json train() const;
  io::Json compare() const;
  io::Json operators() const;
  /// Of `attnlab forward`.
  io::Json layer() const;

 private:
  io::Json begun(const std::string& command) const;
  void add_scheme_definitions(io::Json& schema) const;

  const plugin::Catalog& catalog_;
  io::Json run_;
};

/// What schemas are put together from.
namespace schema {

io::Json text(const std::string& description);
/// What is defined once: {"$ref": ...}.
io::Json reference(const std::string& name);
/// An object of these members and no others. `partial`: a weaker file may say the rest.
io::Json object(const std::vector<plugin::Parameter>& parameters, bool partial = false);
/// `object` with one member more.
io::Json with_member(io::Json object, const std::string& key, const io::Json& value, bool required);
/// One value, or a list of values.
io::Json one_or_list(const io::Json& value, size_t least, size_t most);
/// Puts these members into `whole`.
void add(io::Json& whole, const std::vector<plugin::Parameter>& parameters);
/// A config with members that are required, except where it extends a file: there they may be `part`.
io::Json finished(io::Json whole, const io::Json& members, const io::Json& part);

}  // namespace schema
}  // namespace attnlab::cli
