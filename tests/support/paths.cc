#include "support/paths.h"

namespace outseal::test {

std::string source_folder() { return OUTSEAL_SOURCE_DIR; }

std::string program_path(std::string_view name) {
  return std::string{OUTSEAL_BIN_DIR} + "/" + std::string{name};
}

}  // namespace outseal::test
