// The parameters of a sink's URL. One row declares each: it is parsed, checked, listed and
// described by that row.
#pragma once

#include <cstdint>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/url.h"

namespace outseal::sinks {

/// One parameter of a kind of sink.
struct Parameter {
  enum class Kind {
    number,       ///< A whole number; its unit is part of the name.
    choice,       ///< One of `words`.
    text,         ///< Checked by the sink.
    file,         ///< The path of a file.
    secret_file,  ///< The same; nobody else may read or change it.
  };

  std::string_view name;  ///< As in the URL.
  Kind kind = Kind::text;
  /// Of a number.
  std::uint64_t fallback = 0;
  std::uint64_t min = 0;
  std::uint64_t max = 0;
  std::string_view words = {};  ///< Of a choice, separated by spaces.
  /// What holds without the parameter, unless it is a number: one of `words`, a pattern, or what a
  /// person calls it ("the system's"); empty: nothing.
  std::string_view otherwise = {};
  std::string_view help;

  bool is_file() const { return kind == Kind::file || kind == Kind::secret_file; }
  /// "number", "choice", "text", "file" or "secret_file".
  std::string_view kind_name() const;
  std::vector<std::string> word_list() const;
  /// What holds without the parameter; may be empty.
  std::string default_text() const;
  /// "1 to 256", "true or false", "a file"; may be empty.
  std::string range_text() const;
};

/// Whose the parameters are that no row has.
enum class OtherParameters {
  refused,
  passed_on,  ///< To the server's own client library, which refuses what it does not know.
};

/// The parameters of one URL. The rows must outlive it.
///
/// Threads: Immutable.
class Parameters {
 public:
  /// @throws Error{invalid_argument} naming the parameter, and never its value, if it is unknown or
  ///         its value is not one of its row.
  Parameters(const Url& url, std::span<const Parameter> rows,
             OtherParameters others = OtherParameters::refused);

  bool has(std::string_view name) const { return url_.parameters.contains(std::string{name}); }
  std::uint64_t number(std::string_view name) const;
  /// The value of a choice; without one what holds otherwise.
  std::string word(std::string_view name) const;
  bool flag(std::string_view name) const { return word(name) == "true"; }
  /// A text, or the path of a file; empty without one.
  std::string text(std::string_view name) const { return url_.text(name); }

  /// Opens the file that a parameter names, which must be given.
  /// @throws as open_given_file().
  std::ifstream open_file(std::string_view name) const;
  /// @throws as open_file() does, for each file that is named.
  void check_files() const;

 private:
  const Parameter& row_of(std::string_view name) const;

  const Url& url_;
  std::span<const Parameter> rows_;
};

}  // namespace outseal::sinks
