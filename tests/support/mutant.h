// Runs a case of this very program again with one guard switched off.
#pragma once

#include <doctest/doctest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

namespace outseal::test {

/// Whether the case `name` of this program passes in a process of its own with `mutant`. See
/// base/failpoint.h: a guard is switched off for the whole of a process.
inline bool passes_with_mutant(const std::string& mutant, const std::string& name) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string command =
      "OUTSEAL_MUTANT='" + mutant + "' '" + self + "' -tc='" + name + "' >/dev/null 2>&1";
  return std::system(command.c_str()) == 0;  // NOLINT(cert-env33-c): both are ours.
}

}  // namespace outseal::test
