#include "model/finding.h"

namespace outseal {

std::string_view name_of(Severity severity) {
  switch (severity) {
    case Severity::warning:
      return "warning";
    case Severity::error:
      return "error";
    case Severity::critical:
      return "critical";
  }
  return "error";
}

std::string_view name_of(Scope::Kind kind) {
  return kind == Scope::Kind::database ? "database" : "subscription";
}

std::string Subject::text() const {
  std::string all = scope.name;
  if (!locator.empty()) all += (all.empty() ? "" : "@") + locator;
  if (!kind.empty()) all += (all.empty() ? "" : " ") + kind;
  return all;
}

}  // namespace outseal
