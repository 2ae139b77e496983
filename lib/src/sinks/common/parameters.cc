#include "sinks/common/parameters.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <sstream>

#include "base/given_file.h"
#include "outseal/error.h"

namespace outseal::sinks {
namespace {

/// "268435456 (256 MiB)"; what is no whole number of these, as it is.
std::string bytes_text(std::uint64_t bytes) {
  const std::string number = std::to_string(bytes);
  std::size_t unit = 0;
  for (; unit < 3 && bytes >= 1024 && bytes % 1024 == 0; ++unit) bytes /= 1024;
  constexpr std::array kUnits{"", "KiB", "MiB", "GiB"};
  return unit == 0 ? number : number + " (" + std::to_string(bytes) + " " + kUnits[unit] + ")";
}

/// A value of the parameter `name`, for humans.
std::string number_text(std::string_view name, std::uint64_t number) {
  return name.find("bytes") == std::string_view::npos ? std::to_string(number) : bytes_text(number);
}

}  // namespace

std::string_view Parameter::kind_name() const {
  constexpr std::array<std::string_view, 5> kNames{"number", "choice", "text", "file",
                                                   "secret_file"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::vector<std::string> Parameter::word_list() const {
  std::istringstream in{std::string{words}};
  return {std::istream_iterator<std::string>{in}, {}};
}

std::string Parameter::default_text() const {
  return kind == Kind::number ? number_text(name, fallback) : std::string{otherwise};
}

std::string Parameter::range_text() const {
  if (kind == Kind::choice) {
    std::string text;
    for (const std::string& word : word_list()) text += (text.empty() ? "" : " or ") + word;
    return text;
  }
  if (kind == Kind::file) return "a file";
  if (kind == Kind::secret_file) return "a file with a secret";
  if (kind == Kind::text) return {};
  return number_text(name, min) + " to " + number_text(name, max);
}

Parameters::Parameters(const Url& url, std::span<const Parameter> rows, OtherParameters others)
    : url_{url}, rows_{rows} {
  std::string known;
  for (const Parameter& row : rows) {
    if (!known.empty()) known += ' ';
    known += row.name;
  }
  if (others == OtherParameters::refused) url.refuse_parameters_except(known);
  for (const Parameter& row : rows) {
    if (row.kind == Parameter::Kind::number) static_cast<void>(number(row.name));
    if (row.kind != Parameter::Kind::choice || !has(row.name)) continue;
    const auto words = row.word_list();
    if (std::find(words.begin(), words.end(), url.text(row.name)) == words.end())
      throw Error{ErrorCode::invalid_argument, url.scheme + " URL",
                  "parameter \"" + std::string{row.name} + "\" must be " + row.range_text()};
  }
}

std::uint64_t Parameters::number(std::string_view name) const {
  const Parameter& row = row_of(name);
  return url_.number(name, row.fallback, row.min, row.max);
}

std::string Parameters::word(std::string_view name) const {
  return has(name) ? url_.text(name) : std::string{row_of(name).otherwise};
}

std::ifstream Parameters::open_file(std::string_view name) const {
  const bool is_secret = row_of(name).kind == Parameter::Kind::secret_file;
  return open_given_file(url_.scheme + " URL", std::string{name}, url_.text(name),
                         is_secret ? Secrecy::secret : Secrecy::open);
}

void Parameters::check_files() const {
  for (const Parameter& row : rows_)
    if (row.is_file() && has(row.name)) static_cast<void>(open_file(row.name));
}

const Parameter& Parameters::row_of(std::string_view name) const {
  const auto found =
      std::find_if(rows_.begin(), rows_.end(), [&](const auto& row) { return row.name == name; });
  if (found == rows_.end())
    throw Error{ErrorCode::internal, "sink", "no row of parameter " + std::string{name}};
  return *found;
}

}  // namespace outseal::sinks
