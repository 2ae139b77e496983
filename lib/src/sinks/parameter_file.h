// Files that a parameter of a sink's URL names: secrets and certificates.
#pragma once

#include <fstream>
#include <string>
#include <string_view>

#include "base/url.h"

namespace outseal::sinks {

/// Opens the file at `path`, which parameter `name` gives.
/// @throws Error{invalid_config} if it cannot be read or is empty.
std::ifstream open_parameter_file(const Url& url, std::string_view name, const std::string& path);

/// The path that parameter `name` gives, of a file that can be read; empty if it is not given.
/// @throws as open_parameter_file() does.
std::string readable_file(const Url& url, std::string_view name);

}  // namespace outseal::sinks
