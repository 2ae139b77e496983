#include "operation/front/fields.h"

#include <algorithm>
#include <utility>

#include "base/text.h"

namespace outseal::front {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_alpha(char c) { return is_lower(c) || (c >= 'A' && c <= 'Z'); }
/// RFC 9110, section 5.6.2.
bool is_tchar(char c) {
  return is_alpha(c) || is_digit(c) ||
         std::string_view{"!#$%&'*+-.^_`|~"}.find(c) != std::string_view::npos;
}
bool is_token_char(char c) { return is_tchar(c) || c == ':' || c == '/'; }

/// Without the spaces and tabs that HTTP allows around a value.
std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// Reads a structured field from left to right.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_{text} {}

  bool is_done() const { return rest_.empty(); }
  bool starts_with(char c) const { return !rest_.empty() && rest_.front() == c; }
  bool take(char c) {
    if (!starts_with(c)) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void skip_spaces() {
    while (take(' ')) {
    }
  }
  template <typename Is>
  std::string_view take_while(Is is) {
    const auto end = std::find_if_not(rest_.begin(), rest_.end(), is);
    const auto word = rest_.substr(0, static_cast<std::size_t>(end - rest_.begin()));
    rest_.remove_prefix(word.size());
    return word;
  }

  /// A String; RFC 8941, section 4.2.5.
  std::optional<std::string> string() {
    if (!take('"')) return std::nullopt;
    std::string value;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return value;
      if (c < ' ' || c > '~') return std::nullopt;
      if (c != '\\') {
        value += c;
        continue;
      }
      if (!starts_with('"') && !starts_with('\\')) return std::nullopt;
      value += rest_.front();
      rest_.remove_prefix(1);
    }
    return std::nullopt;  // It has no end.
  }

  /// Parameters, of which none is known: they must be well-formed, and are passed over. Section
  /// 4.2.3.2.
  bool parameters() {
    while (take(';')) {
      skip_spaces();
      if (!starts_with('*') && (rest_.empty() || !is_lower(rest_.front()))) return false;
      take_while([](char c) {
        return is_lower(c) || is_digit(c) ||
               std::string_view{"_-.*"}.find(c) != std::string_view::npos;
      });
      if (take('=') && !bare_item()) return false;
    }
    return true;
  }

 private:
  /// Section 4.2.3.1.
  bool bare_item() {
    if (starts_with('"')) return string().has_value();
    if (take('?')) return take('0') || take('1');
    if (take(':')) {
      take_while([](char c) {
        return is_alpha(c) || is_digit(c) ||
               std::string_view{"+/="}.find(c) != std::string_view::npos;
      });
      return take(':');
    }
    if (starts_with('*') || (!rest_.empty() && is_alpha(rest_.front()))) {
      take_while(is_token_char);
      return true;
    }
    return number();
  }

  /// At most 15 digits, or 12 and 3 behind a point. Section 4.2.4.
  bool number() {
    take('-');
    const std::size_t whole = take_while(is_digit).size();
    if (!take('.')) return whole >= 1 && whole <= 15;
    const std::size_t part = take_while(is_digit).size();
    return whole >= 1 && whole <= 12 && part >= 1 && part <= 3;
  }

  std::string_view rest_;
};

KeyField malformed(std::string_view why) { return {.kind = KeyField::Kind::malformed, .why = why}; }

KeyField key_from(std::string_view value, bool accept_token, std::size_t bytes_max) {
  if (value.size() > kFieldBytesMax) return malformed("it is too long");
  Reader reader{value};
  std::string key;
  if (accept_token && !reader.starts_with('"')) {
    key = reader.take_while(is_token_char);
    if (!reader.is_done()) return malformed("it is neither a quoted string nor a single token");
  } else {
    auto text = reader.string();
    if (!text) return malformed("it must be one string in double quotes, of printable ASCII");
    if (!reader.parameters() || !reader.is_done())
      return malformed("something that does not belong there follows the string");
    key = std::move(*text);
  }
  if (key.empty()) return malformed("it is empty");
  if (key.size() > bytes_max) return malformed("it is too long");
  return {.kind = KeyField::Kind::key, .key = std::move(key)};
}

/// Up to `separator`, but not inside of quotes; takes it off `rest`.
std::string_view next_part(std::string_view& rest, char separator) {
  bool quoted = false;
  std::size_t end = 0;
  for (; end < rest.size() && (quoted || rest[end] != separator); ++end) {
    if (rest[end] == '\\' && quoted)
      ++end;
    else if (rest[end] == '"')
      quoted = !quoted;
  }
  end = std::min(end, rest.size());
  const std::string_view part = rest.substr(0, end);
  rest.remove_prefix(std::min(rest.size(), end + 1));
  return part;
}

/// Whole seconds; those of more than nine digits are as good as for ever.
std::optional<std::chrono::seconds> seconds_of(std::string_view text) {
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"')
    text = text.substr(1, text.size() - 2);
  if (text.empty() || text.size() > 18 || !std::all_of(text.begin(), text.end(), is_digit))
    return std::nullopt;
  std::int64_t number = 0;
  for (const char digit : text) number = number * 10 + (digit - '0');
  return std::chrono::seconds{std::min<std::int64_t>(number, 1'000'000'000)};
}

void read_preference(std::string_view text, Preferences& found, bool& has_wait) {
  const std::string_view named = trimmed(next_part(text, ';'));  // Parameters are passed over.
  const auto equals = named.find('=');
  const std::string name = lower_case(trimmed(named.substr(0, equals)));
  if (name == "respond-async") found.respond_async = true;
  if (name != "wait" || std::exchange(has_wait, true)) return;  // The first one counts.
  if (equals != std::string_view::npos) found.wait = seconds_of(trimmed(named.substr(equals + 1)));
}

}  // namespace

KeyField read_key(const HttpFields& fields, bool accept_token, std::size_t bytes_max) {
  const std::string* value = nullptr;
  for (const auto& [name, text] : fields) {
    if (lower_case(name) != "idempotency-key") continue;
    if (value != nullptr) return {.kind = KeyField::Kind::repeated};
    value = &text;
  }
  if (value == nullptr) return {};
  return key_from(trimmed(*value), accept_token, bytes_max);
}

Preferences read_preferences(const HttpFields& fields) {
  Preferences found;
  bool has_wait = false;
  for (const auto& [name, value] : fields) {
    if (lower_case(name) != "prefer" || value.size() > kFieldBytesMax) continue;
    for (std::string_view rest = value; !rest.empty();)
      read_preference(next_part(rest, ','), found, has_wait);
  }
  return found;
}

bool is_sound_field(std::string_view name, std::string_view value) {
  return !name.empty() && std::all_of(name.begin(), name.end(), is_tchar) &&
         std::all_of(value.begin(), value.end(), [](char c) {
           return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
         });
}

}  // namespace outseal::front
