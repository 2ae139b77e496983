// Reads what a `file:` sink holds: rotated segments in order, then the active file.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "model/sink.h"
#include "sinks/file/segments.h"

namespace outseal::sinks {

/// Gives out every line up to where the active file ended when it was reached, also while a relay
/// appends and rotates. A line that is not ours has position 0; one without an end as well, and its
/// `where` ends in " (torn)". A sink without files is empty.
///
/// Threads: Not thread-safe; one thread at a time.
class FileReader final : public SinkReader {
 public:
  explicit FileReader(std::string path) : path_{std::move(path)} {}

  bool next(SinkRecord& record) override;

 private:
  bool open_next();
  bool open_rotated();
  void refresh_rotated();

  const std::string path_;
  std::vector<Segment> rotated_;  ///< Segments that are still to be read, ascending.
  std::size_t next_rotated_ = 0;
  Position last_rotated_;  ///< First position of the newest segment that was opened.
  bool at_active_ = false;
  Descriptor file_;
  std::string name_;
  std::optional<LineReader> lines_;
  JsonCheck json_{JsonCheck::kLineLevelsMax};
};

}  // namespace outseal::sinks
