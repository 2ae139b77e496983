#include "sinks/common/json_check.h"

#include <simdjson.h>

#include <algorithm>

namespace outseal::sinks {
namespace {

/// Documents up to this size share one parser; the memory for a larger one is given back.
constexpr std::size_t kParserBytesKept = 1U << 20U;
constexpr std::size_t kParserBytesAtFirst = 16U << 10U;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

/// Removes leading digits; false if there are none.
bool take_digits(std::string_view& text) {
  const std::size_t before = text.size();
  while (!text.empty() && is_digit(text.front())) text.remove_prefix(1);
  return text.size() < before;
}

/// Source: RFC 8259, section 6.
bool is_number(std::string_view text) {
  if (text.starts_with('-')) text.remove_prefix(1);
  if (text.starts_with('0')) {
    text.remove_prefix(1);
  } else if (!take_digits(text)) {
    return false;
  }
  if (text.starts_with('.')) {
    text.remove_prefix(1);
    if (!take_digits(text)) return false;
  }
  if (text.starts_with('e') || text.starts_with('E')) {
    text.remove_prefix(1);
    if (text.starts_with('+') || text.starts_with('-')) text.remove_prefix(1);
    if (!take_digits(text)) return false;
  }
  return text.empty();
}

/// `json` with each well-formed number replaced by 0.
std::string without_numbers(std::string_view json) {
  std::string out;
  for (std::size_t place = 0; place < json.size();) {
    const std::size_t begin = place;
    if (json[place] == '"') {
      for (++place; place < json.size() && json[place] != '"'; ++place) {
        if (json[place] == '\\') ++place;
      }
      place = std::min(place + 1, json.size());
      out += json.substr(begin, place - begin);
    } else if (json[place] == '-' || is_digit(json[place])) {
      place = std::min(json.find_first_not_of("0123456789+-.eE", place), json.size());
      const std::string_view token = json.substr(begin, place - begin);
      out += is_number(token) ? std::string_view{"0"} : token;
    } else {
      out += json[place++];
    }
  }
  return out;
}

}  // namespace

struct JsonCheck::Parser {
  const std::size_t levels_max;
  simdjson::dom::parser dom;
  simdjson::dom::element root;

  explicit Parser(std::size_t levels) : levels_max{levels} { allocate(); }

  bool parse(std::string_view text) {
    give_back_memory();
    // Some versions of the parser skip a byte order mark; inside of a line it would be a fault.
    if (text.starts_with("\xef\xbb\xbf")) return false;
    if (accepts(text)) return true;
    // A number that fits no machine type is JSON all the same, and may be somebody's money.
    const std::string plain = without_numbers(text);
    return plain != text && accepts(plain);
  }

  bool accepts(std::string_view text) {
    return dom.parse(text.data(), text.size()).get(root) == simdjson::SUCCESS;
  }

  void allocate() {
    // If this fails, so will parse(), which then reports it.
    [[maybe_unused]] const auto fault = dom.allocate(kParserBytesAtFirst, levels_max);
  }

  void give_back_memory() {
    if (dom.capacity() <= kParserBytesKept) return;
    dom = simdjson::dom::parser{};
    allocate();
  }
};

JsonCheck::JsonCheck(std::size_t levels_max) : parser_{std::make_unique<Parser>(levels_max)} {}

JsonCheck::~JsonCheck() = default;

bool JsonCheck::is_json(std::string_view text) {
  const bool valid = parser_->parse(text);
  parser_->give_back_memory();
  return valid;
}

bool JsonCheck::is_object(std::string_view text) {
  const bool valid = parser_->parse(text) && parser_->root.is_object();
  parser_->give_back_memory();
  return valid;
}

bool JsonCheck::members(std::string_view text, const TakeMember& take) {
  simdjson::dom::object object;
  if (!parser_->parse(text) || parser_->root.get_object().get(object) != simdjson::SUCCESS)
    return false;
  for (const auto member : object) {
    std::string_view value;
    const bool is_text = member.value.get(value) == simdjson::SUCCESS;
    take(member.key, is_text ? std::optional{value} : std::nullopt);
  }
  return true;
}

}  // namespace outseal::sinks
