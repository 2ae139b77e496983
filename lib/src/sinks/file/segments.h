// The files behind a `file:` sink, and how their lines are read and judged.
//
//   PATH                        the active file; appended to
//   PATH.00000000000000000042   a rotated segment, complete for good; its first event is position
//   42 PATH.lock                   held with flock(2) by the process that writes
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/batch.h"
#include "sinks/common/cloudevents.h"

namespace outseal::sinks {

/// A file descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_{number} {}
  Descriptor(Descriptor&& other) noexcept : number_{std::exchange(other.number_, -1)} {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { reset(); }

  void reset() noexcept;
  int get() const noexcept { return number_; }
  explicit operator bool() const noexcept { return number_ >= 0; }

 private:
  int number_ = -1;
};

/// The last part of `path`.
std::string name_of_file(const std::string& path);
/// The folder of `path`, "." if it names none.
std::string folder_of(const std::string& path);
/// "what PATH: text of errno".
std::string with_errno(std::string_view what, const std::string& path);

struct Segment {
  std::string path;
  Position first;
};

/// Path of the rotated segment of `path` that starts with `first`.
std::string segment_path(const std::string& path, Position first);

/// The rotated segments of `path`, ascending.
/// @throws Error{sink_unreachable} if the folder cannot be read.
std::vector<Segment> rotated_segments(const std::string& path);

/// A line, or what stands where a line should be.
struct Line {
  std::string_view bytes;  ///< With its '\n', if it has one; valid until the next next().
  std::uint64_t offset = 0;
  bool torn = false;  ///< The file ends in it, and it has no '\n'.
  bool is_whole() const { return bytes.ends_with('\n'); }
};

/// Reads the lines of a file in memory that does not grow with the file.
class LineReader {
 public:
  /// Reads `file`, which stays the caller's, up to offset `end`; `name` is for errors.
  LineReader(int file, std::string name,
             std::uint64_t end = std::numeric_limits<std::uint64_t>::max());

  /// False at the end. What exceeds kLineBytesMax without a '\n' comes in pieces.
  /// @throws Error{sink_unreachable} if the file cannot be read.
  bool next(Line& line);

 private:
  bool fill();

  int file_;
  std::string name_;
  std::uint64_t end_;
  std::uint64_t offset_ = 0;  ///< Of buffer_[begin_] in the file.
  std::vector<char> buffer_;
  std::size_t begin_ =
      0;  ///< buffer_[begin_, filled_) is read from the file and not yet given out.
  std::size_t filled_ = 0;
};

/// What a line says if it is a whole line of ours: the head and JSON to its end. Without the look
/// at the rest, half a line with another one glued to it would pass.
std::optional<LineHead> parse_own_line(std::string_view bytes, JsonCheck& json);

/// What the last line of `file` says; nothing unless it is a whole line of ours.
/// @throws Error{sink_unreachable} if the file cannot be read.
std::optional<LineHead> last_line(int file, const std::string& name);

/// What a segment holds.
struct Scan {
  Position first;                 ///< 0 if it has no whole line.
  Tail last;                      ///< Its last whole line.
  std::uint64_t whole_bytes = 0;  ///< Where that line ends.
  std::uint64_t bytes = 0;        ///< All of it; what lies behind whole_bytes is what a crash tore.
  std::string fault = {};         ///< Not empty: somebody else's data, or a gap; what it is, and
  std::uint64_t fault_offset = 0;  ///< where it starts.
};

/// Reads a segment from its start and tells what a crash left behind from what is not ours.
///
/// Damage by a crash is a last line that was cut off, or NUL bytes where a file system knew the
/// length of the file but had not yet written its pages. All that follows the first such place
/// counts as damaged, and must again be damage or lines of ours; anything else is a fault.
/// @throws Error{sink_unreachable} if the file cannot be read.
Scan scan_segment(int file, const std::string& name);

}  // namespace outseal::sinks
