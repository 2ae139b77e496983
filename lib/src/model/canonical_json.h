// The pieces of canonical_json(): numbers and strings as JCS writes them.
#pragma once

#include <string>
#include <string_view>

namespace outseal {

/// Appends `number` as ECMAScript writes it. It must be finite.
/// Source: RFC 8785, section 3.2.2.3; ECMA-262, Number::toString.
void append_canonical_number(std::string& out, double number);
/// Appends a JSON number in that notation if a double holds exactly what is written.
/// @returns whether it does; if not, nothing is appended.
bool append_if_exact(std::string& out, std::string_view literal);

/// Whether the member name `left` comes before `right`: by UTF-16 code units. Both are UTF-8.
/// Source: RFC 8785, section 3.2.3.
bool comes_before(std::string_view left, std::string_view right);

}  // namespace outseal
