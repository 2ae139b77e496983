// Whether a text is JSON, and the members of a JSON object.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>

namespace outseal::sinks {

/// Tells whether a text is JSON. Its own class so that the parser's header stays in one file.
///
/// Stricter than RFC 8259 in two points: no lone surrogates in \u escapes, and a limit on levels.
/// Threads: Not thread-safe; one thread at a time.
class JsonCheck {
 public:
  /// Levels that a payload or headers may have. Chosen by us: lines have some more, and 1,024 is
  /// where many parsers end.
  static constexpr std::size_t kLevelsMax = 1'000;
  static constexpr std::size_t kLineLevelsMax = 1'024;

  /// A name and its value, unescaped; no value if it is not a string. Valid until the next call of
  /// any member function.
  using TakeMember = std::function<void(std::string_view, std::optional<std::string_view>)>;

  explicit JsonCheck(std::size_t levels_max);
  ~JsonCheck();

  bool is_json(std::string_view text);
  bool is_object(std::string_view text);
  /// Passes each member of an object to `take`, in the order of the text and repeated names as
  /// often as they occur. False, without a call, if `text` is not a JSON object.
  bool members(std::string_view text, const TakeMember& take);

 private:
  struct Parser;
  std::unique_ptr<Parser> parser_;  ///< Reused: it keeps its memory from event to event.
};

}  // namespace outseal::sinks
