// Files that a user names in a setting, and that a program reads.
#pragma once

#include <fstream>
#include <string>
#include <string_view>

namespace outseal {

enum class Secrecy {
  open,
  secret,  ///< Nobody else may read or change it.
};

/// Opens the file `path`, which the user has given as `what`.
///
/// @throws Error{invalid_config} by `operation` if it is not a regular file (a pipe would be waited
///         for, and is empty when it is read again), cannot be read or is empty, or if it is secret
///         and every user of the system can read or change it.
std::ifstream open_given_file(std::string_view operation, const std::string& what,
                              const std::string& path, Secrecy secrecy);

}  // namespace outseal
