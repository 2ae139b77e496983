// Header fields of requests: name and value in turns, '|' between them.
#include <string>

#include "base/text.h"
#include "fuzz/fuzz.h"
#include "operation/front/fields.h"

using namespace outseal;
using namespace outseal::front;
using fuzz::require;

namespace {

/// As a structured field writes it.
std::string quoted(const std::string& key) {
  std::string text = "\"";
  for (const char c : key) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + '"';
}

void check_key(const HttpFields& fields, bool accept_token) {
  const KeyField field = read_key(fields, accept_token, 255);
  int given = 0;
  for (const auto& [name, value] : fields) given += lower_case(name) == "idempotency-key" ? 1 : 0;
  require((given == 0) == (field.kind == KeyField::Kind::none), "none is none");
  require((given > 1) == (field.kind == KeyField::Kind::repeated), "two are refused");
  require(field.kind != KeyField::Kind::malformed || !field.why.empty(), "a refusal says why");
  if (field.kind != KeyField::Kind::key) return require(field.key.empty(), "no key without one");
  require(!field.key.empty() && field.key.size() <= 255, "a key has a length in range");
  for (const char c : field.key) require(c >= ' ' && c <= '~', "a key is printable ASCII");
  const KeyField again = read_key({{"idempotency-key", quoted(field.key)}}, accept_token, 255);
  require(again.kind == KeyField::Kind::key && again.key == field.key, "written, it is the same");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Fields input{fuzz::text_of(data, size)};
  HttpFields fields;
  while (!input.is_done()) {
    std::string name{input.next()};
    fields.emplace_back(std::move(name), input.next());
  }
  check_key(fields, false);
  check_key(fields, true);
  const Preferences wants = read_preferences(fields);
  require(!wants.wait || (wants.wait->count() >= 0 && wants.wait->count() <= 1'000'000'000),
          "a wait in range");
  for (const auto& [name, value] : fields)
    if (is_sound_field(name, value))
      require((name + value).find_first_of(std::string{"\r\n\0", 3}) == std::string::npos,
              "a sound field ends no line");
  return 0;
}
