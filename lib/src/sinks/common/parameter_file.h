// Files that a parameter of a sink's URL names: secrets and certificates.
#pragma once

#include <fstream>
#include <string>
#include <string_view>

#include "base/url.h"

namespace outseal::sinks {

/// Whether a file holds what nobody else may know: keys, passwords, tokens.
enum class Secrecy { open, secret };

/// Opens the file at `path`, which parameter `name` gives.
/// @throws Error{invalid_config} if it cannot be read or is empty, or if it is secret and every
///         user of the system can read or change it.
std::ifstream open_parameter_file(const Url& url, std::string_view name, const std::string& path,
                                  Secrecy secrecy);

/// The path that parameter `name` gives, of a file that can be read; empty if it is not given.
/// @throws as open_parameter_file() does.
std::string readable_file(const Url& url, std::string_view name, Secrecy secrecy);

}  // namespace outseal::sinks
