// Progress of long work, for a person who is watching.
#pragma once

#include <cstdint>
#include <string_view>

namespace outseal::tools {

/// Overwrites one line on stderr if that is a terminal, and removes it in the end.
class ProgressLine {
 public:
  explicit ProgressLine(bool wanted);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// `total` is 0 if it is not known.
  void operator()(std::string_view what, std::uint64_t done, std::uint64_t total);

 private:
  bool wanted_;
  bool shown_ = false;
};

}  // namespace outseal::tools
