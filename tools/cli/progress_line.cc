#include "progress_line.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace outseal::tools {

ProgressLine::ProgressLine(bool wanted) : wanted_{wanted && ::isatty(STDERR_FILENO) == 1} {}

ProgressLine::~ProgressLine() {
  if (shown_) static_cast<void>(std::fputs("\r\033[K", stderr));
}

void ProgressLine::operator()(std::string_view what, std::uint64_t done, std::uint64_t total) {
  if (!wanted_) return;
  std::string line = "\r" + std::string{what} + ": " + std::to_string(done);
  if (total != 0) line += " of " + std::to_string(std::max(done, total));
  static_cast<void>(std::fputs((line + "\033[K").c_str(), stderr));
  shown_ = true;
}

}  // namespace outseal::tools
