// The file of requests that replay-check sends.
#pragma once

#include <string>
#include <vector>

#include "replay_client.h"

namespace outseal::tools {

/// Reads one JSON object a line: `path`, `method` (POST if not given), `key` (a new one if not
/// given), `headers` (an object of strings), and `body` (text that is sent as it is, or any other
/// JSON, then with the content type application/json). Empty lines are passed over.
///
/// @throws Error{invalid_config} naming file, line and member.
std::vector<ReplayRequest> read_replay_requests(const std::string& path);

/// "NAME: VALUE" as a field.
/// @throws Error{invalid_config} naming `where` if it is none.
std::pair<std::string, std::string> parse_http_field(const std::string& where,
                                                     const std::string& text);

}  // namespace outseal::tools
