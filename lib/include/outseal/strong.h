// Strong types: numbers and strings that cannot be mistaken for one another.
#pragma once

#include <compare>
#include <cstddef>
#include <functional>
#include <utility>

namespace outseal {

/// A value of type `T` that is only comparable with values of the same `Tag`.
///
/// There is no arithmetic; where a type has a successor, a named function gives it.
/// Threads: Immutable.
template <typename Tag, typename T>
class Strong {
 public:
  constexpr Strong() = default;
  constexpr explicit Strong(T value) : value_(std::move(value)) {}

  constexpr const T& value() const noexcept { return value_; }
  friend constexpr auto operator<=>(const Strong&, const Strong&) = default;

 private:
  T value_{};
};

}  // namespace outseal

template <typename Tag, typename T>
struct std::hash<outseal::Strong<Tag, T>> {
  std::size_t operator()(const outseal::Strong<Tag, T>& strong) const noexcept {
    return std::hash<T>{}(strong.value());
  }
};
