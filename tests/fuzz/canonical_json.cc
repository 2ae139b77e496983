// Any text as JSON: its canonical form is canonical, and never that of a text kept as it is.
#include <string>

#include "fuzz/fuzz.h"
#include "outseal/fingerprint.h"

using namespace outseal;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  const std::string form = canonical_json(text);
  if (form.starts_with("raw:")) {
    require(std::string_view{form}.substr(4) == text, "what has no form is kept as it is");
    return 0;
  }
  require(canonical_json(form) == form, "a canonical form is its own");
  require(canonical_json("[" + std::string{text} + "\n]") == "[" + form + "]" ||
              canonical_json("[" + std::string{text} + "\n]").starts_with("raw:"),
          "a part has the form that it has alone");
  return 0;
}
