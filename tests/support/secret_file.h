// Files that hold secrets: sinks refuse them while every user of the system can read them.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace outseal::test {

/// Writes `text` to a file that only its owner can read; @returns its path.
inline std::string write_secret(const std::string& path, std::string_view text) {
  std::ofstream{path} << text;
  using std::filesystem::perms;
  std::filesystem::permissions(path, perms::owner_read | perms::owner_write);
  return path;
}

}  // namespace outseal::test
