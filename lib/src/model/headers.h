// Names with values, of an event or a reply, as the databases hold them.
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace outseal {

/// A JSON object of strings; empty text without headers. They must have been validated.
/// @throws Error{invalid_argument} by `caller` if it has more bytes than the tables hold.
std::string headers_to_json(std::string_view caller,
                            const std::map<std::string, std::string>& headers);

/// What headers_to_json() has written.
/// @throws Error{storage} by `caller` if somebody else has written it.
std::map<std::string, std::string> headers_from_json(std::string_view caller,
                                                     std::string_view json);

}  // namespace outseal
