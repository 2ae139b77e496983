// What the reconciler finds, and what it is about.
#pragma once

#include <compare>
#include <string>
#include <string_view>
#include <utility>

namespace outseal {

enum class Severity { warning, error, critical };
std::string_view name_of(Severity severity);

/// How much of the world a finding, or what was not looked at, is about.
struct Scope {
  enum class Kind { database, subscription };

  Kind kind = Kind::database;
  std::string name;  ///< Of the subscription, else empty.

  static Scope of(std::string subscription) {
    return {Kind::subscription, std::move(subscription)};
  }
  auto operator<=>(const Scope&) const = default;
};
std::string_view name_of(Scope::Kind kind);

/// What a finding is about. Stable over runs: by it a finding is recognised when it is seen again.
struct Subject {
  Scope scope;
  /// Where in it: "17" (a position), "seq:4711" (a number in the outbox), "key:a", ... May be
  /// empty.
  std::string locator;
  /// Stable snake_case name of what is wrong, if the check knows several kinds.
  std::string kind;

  auto operator<=>(const Subject&) const = default;
  /// For people: "SUBSCRIPTION@LOCATOR KIND" without the parts that are empty.
  std::string text() const;
};

/// Something that is not as it should be.
struct Finding {
  Subject subject;
  Severity severity = Severity::error;
  std::string detail;  ///< One sentence. No payloads, no raw idempotency keys.
};

}  // namespace outseal
