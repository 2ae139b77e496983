// The configuration file.
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "cli/config_file.h"
#include "fuzz/fuzz.h"
#include "outseal/error.h"

using namespace outseal;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const int file = ::memfd_create("config", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  fuzz::require(
      ::ftruncate(file, 0) == 0 && ::pwrite(file, data, size, 0) == static_cast<ssize_t>(size),
      "the file is written");
  try {
    const tools::Config config = tools::read_config(path);
    for (const auto& table : config.subscriptions)
      fuzz::require(!table.name().empty(), "every subscription has a name");
  } catch (const Error& error) {
    fuzz::require(error.code() == ErrorCode::invalid_config, "a bad file is the user's fault");
    fuzz::require(error.operation().starts_with(path), "an error names the file");
  }
  return 0;
}
