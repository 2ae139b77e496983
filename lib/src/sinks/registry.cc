#include "sinks/registry.h"

#include <algorithm>
#include <array>

#include "outseal/error.h"

namespace outseal::sinks {

// Each in the kind.cc of its folder.
const SinkKind& file_kind();
const SinkKind& stdout_kind();
const SinkKind& inbox_kind();
const SinkKind& http_kind();
const SinkKind& nats_kind();

std::span<const SinkKind* const> all_kinds() {
  static const std::array kinds{
      &file_kind(), &stdout_kind(), &inbox_kind(),
#ifdef OUTSEAL_SINK_HTTP
      &http_kind(),
#endif
#ifdef OUTSEAL_SINK_NATS
      &nats_kind(),
#endif
  };
  return kinds;
}

const SinkKind* find_kind(const Url& url) {
  const auto kinds = all_kinds();
  const auto found = std::find_if(kinds.begin(), kinds.end(), [&](const SinkKind* kind) {
    return kind->find_form(url.scheme) != nullptr;
  });
  return found == kinds.end() ? nullptr : *found;
}

const SinkKind& kind_of(const Url& url) {
  if (const SinkKind* const kind = find_kind(url)) return *kind;
  std::string known;
  for (const SinkKind* const kind : all_kinds())
    for (const SinkForm& form : kind->facts().forms)
      known += (known.empty() ? "" : ", ") + std::string{form.shown};
  throw Error{ErrorCode::invalid_argument,
              "sink",
              "unknown scheme \"" + url.scheme + "\"",
              {.hint = "known sinks: " + known}};
}

std::unique_ptr<Sink> make_sink(const Url& url, const SinkContext& context) {
  return kind_of(url).make(url, context);
}

std::string sink_identity(const Url& url) { return kind_of(url).identity(url); }

bool is_same_sink(const Url& one, const Url& other) {
  const SinkKind* const kind = find_kind(one);
  return kind != nullptr && kind == find_kind(other) && kind->is_same(one, other);
}

bool is_identity_address(const Url& url) {
  const SinkKind* const kind = find_kind(url);
  return kind != nullptr && kind->find_form(url.scheme)->identity_is_address;
}

void refuse_source_as_sink(const Url& database, const Url& sink) {
  if (kind_of(sink).is_database(sink, database))
    throw Error{ErrorCode::invalid_argument,
                "sink",
                "the sink is the database that the events come from",
                {.hint = "give the receiver a database file of its own"}};
}

}  // namespace outseal::sinks
