#include "sinks/file/segments.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <system_error>

#include "outseal/error.h"

namespace outseal::sinks {
namespace {

constexpr std::size_t kSegmentDigits = 20;
constexpr std::size_t kBufferBytes = 256U << 10U;
/// Storage is written in whole sectors, so that what was lost ends at a multiple of this.
constexpr std::uint64_t kSectorBytes = 512;

[[noreturn]] void throw_unreadable(std::string_view what, const std::string& path) {
  throw Error{ErrorCode::sink_unreachable, "read", with_errno(what, path)};
}

/// The position in the name of a rotated segment of `prefix`; nothing if it is another file.
std::optional<Position> position_in_name(std::string_view name, std::string_view prefix) {
  if (name.size() != prefix.size() + kSegmentDigits || !name.starts_with(prefix)) return {};
  std::uint64_t number = 0;
  const char* const last = name.data() + name.size();
  const auto [end, error] = std::from_chars(name.data() + prefix.size(), last, number);
  if (error != std::errc{} || end != last || number == 0) return {};
  return Position{number};
}

std::size_t read_at(int file, char* to, std::size_t count, std::uint64_t offset,
                    const std::string& name) {
  for (;;) {
    const ssize_t got = ::pread(file, to, count, static_cast<off_t>(offset));
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) throw_unreadable("cannot read", name);
  }
}

/// Whether a crash can have left `line`, which is not a whole line of ours.
bool is_crash_damage(const Line& line, JsonCheck& json) {
  const auto nul = line.bytes.find('\0');
  if (!may_be_cut_line(line.bytes.substr(0, nul))) return false;
  if (nul == std::string_view::npos) return line.torn;
  const auto behind = line.bytes.rfind('\0') + 1;
  const std::string_view rest = line.bytes.substr(behind);
  return parse_own_line(rest, json).has_value() || (line.torn && may_be_cut_line(rest)) ||
         rest.empty() || (line.offset + behind) % kSectorBytes == 0;
}

}  // namespace

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}

void Descriptor::reset() noexcept {
  if (number_ >= 0) ::close(number_);
  number_ = -1;
}

std::string name_of_file(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string folder_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string with_errno(std::string_view what, const std::string& path) {
  const int number = errno;
  return std::string{what} + " " + path + ": " + std::generic_category().message(number);
}

std::string segment_path(const std::string& path, Position first) {
  const std::string digits = std::to_string(first.value());
  return path + "." + std::string(kSegmentDigits - digits.size(), '0') + digits;
}

std::vector<Segment> rotated_segments(const std::string& path) {
  const std::string folder = folder_of(path);
  const std::string prefix = name_of_file(path) + ".";
  const std::unique_ptr<DIR, int (*)(DIR*)> list{::opendir(folder.c_str()), ::closedir};
  if (!list) throw_unreadable("cannot list the folder", folder);
  std::vector<Segment> segments;
  errno = 0;
  while (const dirent* entry = ::readdir(list.get())) {
    if (const auto first = position_in_name(entry->d_name, prefix))
      segments.push_back({segment_path(path, *first), *first});
  }
  if (errno != 0) throw_unreadable("cannot list the folder", folder);
  std::sort(segments.begin(), segments.end(),
            [](const Segment& a, const Segment& b) { return a.first < b.first; });
  return segments;
}

LineReader::LineReader(int file, std::string name, std::uint64_t end)
    : file_{file}, name_{std::move(name)}, end_{end}, buffer_(kBufferBytes) {}

bool LineReader::next(Line& line) {
  std::size_t length = 0;  // Bytes behind begin_ that were searched without success.
  for (bool more = true;;) {
    const char* const from = buffer_.data() + begin_;
    const void* const found = std::memchr(from + length, '\n', filled_ - begin_ - length);
    if (found != nullptr) {
      length = static_cast<std::size_t>(static_cast<const char*>(found) - from) + 1;
      break;
    }
    length = filled_ - begin_;
    if (!more || length >= kLineBytesMax) break;
    more = fill();
  }
  line.bytes = {buffer_.data() + begin_, length};
  line.offset = offset_;
  begin_ += length;
  offset_ += length;
  line.torn = begin_ == filled_ && length < kLineBytesMax && !line.is_whole();
  return length > 0;
}

/// Reads more into the buffer; false at the end of the file.
bool LineReader::fill() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, filled_ - begin_);
    filled_ -= begin_;
    begin_ = 0;
  }
  if (filled_ == buffer_.size()) buffer_.resize(std::min(buffer_.size() * 2, kLineBytesMax));
  const std::uint64_t at = offset_ + filled_;
  const std::uint64_t left = end_ > at ? end_ - at : 0;
  const auto room =
      static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size() - filled_, left));
  const std::size_t got = room == 0 ? 0 : read_at(file_, buffer_.data() + filled_, room, at, name_);
  filled_ += got;
  return got > 0;
}

std::optional<LineHead> parse_own_line(std::string_view bytes, JsonCheck& json) {
  if (!bytes.ends_with("}\n")) return std::nullopt;
  const auto head = parse_line_head(bytes);
  return head && json.is_json(bytes) ? head : std::nullopt;
}

std::optional<LineHead> last_line(int file, const std::string& name) {
  struct stat info {};
  if (::fstat(file, &info) != 0) throw_unreadable("cannot look at", name);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  JsonCheck json{JsonCheck::kLineLevelsMax};
  std::string bytes;
  for (std::uint64_t window = kBufferBytes;; window *= 4) {
    window = std::min(window, size);
    bytes.resize(window);
    bytes.resize(read_at(file, bytes.data(), bytes.size(), size - window, name));
    if (bytes.size() < 2) return std::nullopt;
    const auto before = bytes.rfind('\n', bytes.size() - 2);
    if (before != std::string::npos)
      return parse_own_line(std::string_view{bytes}.substr(before + 1), json);
    if (window == size || window > kLineBytesMax) return parse_own_line(bytes, json);
  }
}

Scan scan_segment(int file, const std::string& name) {
  Scan scan;
  JsonCheck json{JsonCheck::kLineLevelsMax};
  LineReader lines{file, name};
  bool damaged = false;
  for (Line line; lines.next(line); scan.bytes = line.offset + line.bytes.size()) {
    const auto head = parse_own_line(line.bytes, json);
    if (damaged && head) continue;
    if (!head) {
      damaged = true;
      if (is_crash_damage(line, json)) continue;
      scan.fault = "what stands there was not written by this sink";
    } else if (scan.first.value() != 0 && head->position != advance(scan.last.position)) {
      scan.fault = "position " + std::to_string(head->position.value()) + " follows position " +
                   std::to_string(scan.last.position.value());
    } else {
      if (scan.first.value() == 0) scan.first = head->position;
      scan.last = {head->position, head->event_id};
      scan.whole_bytes = line.offset + line.bytes.size();
      continue;
    }
    scan.fault_offset = line.offset;
    return scan;
  }
  return scan;
}

}  // namespace outseal::sinks
