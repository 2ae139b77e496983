#include "sinks/file/reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <limits>

#include "outseal/error.h"

namespace outseal::sinks {
namespace {

Descriptor open_to_read(const std::string& path) {
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file && errno != ENOENT)
    throw Error{ErrorCode::sink_unreachable, "read", with_errno("cannot open", path)};
  return file;
}

}  // namespace

bool FileReader::next(SinkRecord& record) {
  Line line;
  while (!lines_ || !lines_->next(line)) {
    if (at_active_ || !open_next()) return false;
  }
  const auto head = parse_own_line(line.bytes, json_);
  record.position = head ? head->position : Position{};
  record.event_id = head ? head->event_id : EventId{};
  record.encoded = line.bytes;
  record.where = name_;
  record.where += ':';
  record.where += std::to_string(line.offset);
  record.torn = line.torn;
  if (line.torn) record.where += " (torn)";
  return true;
}

bool FileReader::open_next() {
  lines_.reset();
  for (;;) {
    if (open_rotated()) return true;
    Descriptor active = open_to_read(path_);
    struct stat info {};
    if (active && ::fstat(active.get(), &info) != 0)
      throw Error{ErrorCode::sink_unreachable, "read", with_errno("cannot look at", path_)};
    // Between the look for segments and this open, the file may have been rotated away: it, or the
    // one before it, is then among the segments, which come first.
    refresh_rotated();
    if (next_rotated_ < rotated_.size()) continue;
    at_active_ = true;
    if (!active) return false;
    file_ = std::move(active);
    name_ = name_of_file(path_);
    lines_.emplace(file_.get(), path_, static_cast<std::uint64_t>(info.st_size));
    return true;
  }
}

bool FileReader::open_rotated() {
  if (next_rotated_ == rotated_.size()) refresh_rotated();
  if (next_rotated_ == rotated_.size()) return false;
  const Segment& segment = rotated_[next_rotated_++];
  file_ = open_to_read(segment.path);
  if (!file_)
    throw Error{ErrorCode::sink_unreachable, "read", segment.path + " was removed meanwhile"};
  name_ = name_of_file(segment.path);
  lines_.emplace(file_.get(), segment.path);
  last_rotated_ = segment.first;
  return true;
}

void FileReader::refresh_rotated() {
  rotated_ = rotated_segments(path_);
  next_rotated_ = 0;
  while (next_rotated_ < rotated_.size() && rotated_[next_rotated_].first <= last_rotated_)
    ++next_rotated_;
}

}  // namespace outseal::sinks
