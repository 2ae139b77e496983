// A kind of sink: what its folder says of itself. registry.h lists all of them.
//
// A sink's URL is its address: how it is reached, with passwords and parameters. Its identity is
// what a subscription remembers and compares: which sink it is.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/url.h"
#include "model/sink.h"
#include "sinks/common/parameters.h"

namespace outseal::sinks {

/// What every sink is told about its subscription.
struct SinkContext {
  std::string event_source;  ///< CloudEvents "source" of the events.
  /// What positions count in, for receivers: one name per database and subscription.
  std::string stream = {};
};

SinkContext context_of(std::string_view event_source, std::string_view subscription);

/// A form of URL that a kind takes.
struct SinkForm {
  std::span<const std::string_view> schemes;
  std::string_view shown;     ///< In a list of what could have been written: "file:PATH", "nats:".
  std::string_view address;   ///< All but the parameters: "nats://HOST[:PORT]/STREAM".
  std::string_view contents;  ///< What it holds: "newline-delimited JSON".
  /// Whose the parameters are that are not the kind's own.
  OtherParameters others = OtherParameters::refused;
  /// To read the sink takes no more than its identity: that leaves out no password and no server,
  /// or there is nothing to be read at all.
  bool identity_is_address = false;
};

/// What a kind promises, and by which means.
struct SinkGuarantee {
  std::string_view when =
      {};                 ///< The parameter that makes it so, "shared=true"; empty: without any.
  std::string_view text;  ///< "exactly once"
  SecondCopy second_copy = SecondCopy::none;
};

/// As in the enumeration: "refuses".
std::string_view name_of(SecondCopy second_copy);

/// What is listed of a kind, and feeds --help, `outseal-relay sinks` and the kind's README.md.
struct SinkFacts {
  std::string_view name;  ///< Of the kind and its folder.
  std::span<const SinkForm> forms;
  std::span<const SinkGuarantee> guarantees;
  std::span<const Parameter> parameters = {};
  bool takes_stdout = false;  ///< Standard output is the sink's: nothing else may be printed there.
};

/// Threads: Immutable.
class SinkKind {
 public:
  explicit SinkKind(const SinkFacts& facts) : facts_{facts} {}
  virtual ~SinkKind() = default;
  SinkKind(const SinkKind&) = delete;
  SinkKind& operator=(const SinkKind&) = delete;

  const SinkFacts& facts() const { return facts_; }
  /// The form that `scheme` belongs to; null if it is none of this kind.
  const SinkForm* find_form(std::string_view scheme) const;

  /// Opens nothing, except the files that parameters name.
  /// @throws Error{invalid_argument} for an unusable address or parameter.
  /// @throws Error{invalid_config} for a file that a parameter names and that cannot be used.
  virtual std::unique_ptr<Sink> make(const Url& url, const SinkContext& context) const = 0;

  /// The text by which a subscription remembers its sink; without secrets, and the same from every
  /// folder. May be parsed as a URL.
  /// @throws Error{invalid_argument} if `url` names no sink.
  virtual std::string identity(const Url& url) const { return url.redacted(); }
  /// Whether two URLs of this kind name one sink, as far as they tell: a default may be written out
  /// in one of them.
  virtual bool is_same(const Url& one, const Url& other) const {
    return identity(one) == identity(other);
  }
  /// Whether several subscriptions may have this sink. Where it counts the positions of one, each
  /// would take the other's events for a fork.
  virtual bool is_shareable(const Url& /*url*/) const { return true; }
  /// Whether the sink is the very database that the events come from.
  virtual bool is_database(const Url& /*url*/, const Url& /*database*/) const { return false; }
  /// What should be there before the sink can be read, and is not: a path; else empty.
  virtual std::string find_missing(const Url& /*url*/) const { return {}; }

 private:
  const SinkFacts facts_;
};

}  // namespace outseal::sinks
