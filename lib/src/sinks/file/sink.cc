#include "sinks/file/sink.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/failpoint.h"
#include "outseal/error.h"
#include "sinks/file/reader.h"

namespace outseal::sinks {
namespace {

#ifdef OUTSEAL_FAULTS
constexpr bool kSplitsWrites = true;  // So that a crash in the middle of a write can be had.
#else
constexpr bool kSplitsWrites = false;
#endif

/// Events are not for every user of the system; the umask may take more away.
constexpr mode_t kFileMode = 0640;

constexpr std::string_view kHintForeign =
    "see what does not belong there with outseal-reconcile run --check journal_sink, and take it "
    "out;"
    " outseal does not touch the file";

/// open() failed with errno: is it worth waiting?
OpenResult cannot_open(const std::string& path) {
  const bool may_pass = errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EIO ||
                        errno == ENOSPC || errno == EDQUOT || errno == EINTR || errno == ESTALE;
  return {.status = may_pass ? OpenResult::Status::retry_later : OpenResult::Status::unusable,
          .detail = with_errno("cannot open", path),
          .hint = may_pass ? "free space, memory or file descriptors"
                           : "create the folder, and let this user read and write it and the file"};
}

OpenResult refused(const std::string& path, std::uint64_t offset, const std::string& what) {
  return {.status = OpenResult::Status::refused,
          .detail = path + " at byte " + std::to_string(offset) + ": " + what,
          .hint = std::string{kHintForeign}};
}

std::string read_pid(int file) {
  char text[20];
  const ssize_t got = ::pread(file, text, sizeof text, 0);
  const std::string_view pid{text, got > 0 ? static_cast<std::size_t>(got) : 0};
  const auto end = pid.find_first_not_of("0123456789");
  return end == 0 || pid.empty() ? "another process" : "process " + std::string{pid.substr(0, end)};
}

DeliveryResult trouble(DeliveryResult::Status status, std::string detail, std::string hint) {
  return {.status = status, .detail = std::move(detail), .hint = std::move(hint)};
}

DeliveryResult later(std::string_view what, const std::string& path) {
  return trouble(DeliveryResult::Status::retry_later, with_errno(what, path),
                 "free space or repair the storage; what was half written is cut off");
}

DeliveryResult conflict(std::string detail) {
  return trouble(DeliveryResult::Status::conflict, std::move(detail),
                 "find out what else writes this file");
}

std::string tail_text(const Tail& tail) {
  return "position " + std::to_string(tail.position.value()) + " (" + tail.event_id.to_string() +
         ")";
}

}  // namespace

FileSink::FileSink(std::string path, std::string_view event_source, const FileSinkOptions& options)
    : path_{std::move(path)},
      folder_{folder_of(path_)},
      name_{name_of_file(path_)},
      options_{options},
      encoder_{event_source, options.event_bytes_max} {
  if (name_.empty() || name_ == "." || name_ == "..")
    throw Error{ErrorCode::invalid_argument,
                "file sink",
                "\"" + path_ + "\" is not the path of a file",
                {.hint = "write file:PATH, for example file:events.ndjson"}};
}

SinkFeatures FileSink::features() const {
  return {.second_copy = SecondCopy::refuses, .exclusive = true, .readable = true};
}

std::optional<std::string> FileSink::encode(const EventRow& row, Position position,
                                            std::string& out) {
  return encoder_.encode(row, position, out);
}

std::unique_ptr<SinkReader> FileSink::read() { return std::make_unique<FileReader>(path_); }

void FileSink::close() noexcept {
  active_.reset();
  // The file stays: to remove it would let two processes lock two files of this name.
  if (lock_ && ::ftruncate(lock_.get(), 0) != 0) errno = 0;
  lock_.reset();
  ready_ = false;
}

// --- open --------------------------------------------------------------------------------------

OpenResult FileSink::open() {
  close();
  if (failed_)
    return {.status = OpenResult::Status::unusable,
            .detail = path_ + " could not be made durable earlier",
            .hint = "check the storage, then start again"};
  auto problem = take_lock();
  if (!problem) problem = open_active();
  auto result = problem ? *std::move(problem) : find_tail();
  if (result.status == OpenResult::Status::opened) result = make_durable();
  ready_ = result.status == OpenResult::Status::opened;
  if (!ready_) close();
  return result;
}

std::optional<OpenResult> FileSink::take_lock() {
  struct stat info {};
  if (::lstat(path_.c_str(), &info) == 0 && !S_ISREG(info.st_mode))
    return OpenResult{.status = OpenResult::Status::unusable,
                      .detail = path_ + " is not a regular file",
                      .hint = "give the path of a file itself, not of a folder, link or device"};
  if (::access(folder_.c_str(), W_OK | X_OK) != 0) return cannot_open(folder_);
  const std::string path = path_ + std::string{kLockSuffix};
  lock_ = Descriptor{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode)};
  if (!lock_) return cannot_open(path);
  if (mutant("no_sink_condition")) return std::nullopt;
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    const std::string holder = read_pid(lock_.get());
    lock_.reset();  // Not by close(), which would empty the holder's file.
    return OpenResult{.status = OpenResult::Status::retry_later,
                      .detail = path + " is locked by " + holder,
                      .hint = "only one relay writes a file; stop the other one or wait for it"};
  }
  const std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(lock_.get(), 0) != 0 ||
      ::pwrite(lock_.get(), pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size()))
    return cannot_open(path);
  return std::nullopt;
}

std::optional<OpenResult> FileSink::open_active() {
  active_ = Descriptor{::open(path_.c_str(), O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW)};
  if (!active_ && errno != ENOENT) return cannot_open(path_);
  return std::nullopt;
}

OpenResult FileSink::find_tail() {
  const auto rotated = rotated_segments(path_);
  const Scan scan = active_ ? scan_segment(active_.get(), path_) : Scan{};
  if (!scan.fault.empty()) return refused(path_, scan.fault_offset, scan.fault);
  tail_ = scan.last;
  first_ = scan.first;
  whole_ = scan.whole_bytes;
  size_ = scan.bytes;
  if (rotated.empty()) return {.tail = tail_};
  if (first_.value() == 0) {
    if (auto problem = find_tail_in_rotated(rotated)) return *std::move(problem);
    return {.tail = tail_};
  }
  const Segment& before = rotated.back();
  const Descriptor file{::open(before.path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) return cannot_open(before.path);
  const auto last = last_line(file.get(), before.path);
  if (!last || advance(last->position) != first_)
    return refused(path_, 0,
                   "its first position " + std::to_string(first_.value()) +
                       " does not follow the last one of " + before.path);
  return {.tail = tail_};
}

/// The active file has no whole line: the tail is in the newest rotated segment.
std::optional<OpenResult> FileSink::find_tail_in_rotated(const std::vector<Segment>& rotated) {
  const Segment& newest = rotated.back();
  const Descriptor file{::open(newest.path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file) return cannot_open(newest.path);
  const Scan scan = scan_segment(file.get(), newest.path);
  if (!scan.fault.empty()) return refused(newest.path, scan.fault_offset, scan.fault);
  if (scan.first != newest.first)
    return refused(newest.path, 0, "it does not start with the position in its name");
  if (scan.whole_bytes != scan.bytes)
    return refused(newest.path, scan.whole_bytes, "a rotated segment must end in a whole line");
  tail_ = scan.last;
  if (rotated.size() == 1) return std::nullopt;
  const Segment& before = rotated[rotated.size() - 2];
  const Descriptor older{::open(before.path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!older) return cannot_open(before.path);
  const auto last = last_line(older.get(), before.path);
  if (last && advance(last->position) == newest.first) return std::nullopt;
  return refused(newest.path, 0,
                 "its first position does not follow the last one of " + before.path);
}

/// Invariant (4).
OpenResult FileSink::make_durable() {
  if ((!active_ || options_.sync(active_.get()) == 0) && sync_folder()) return {.tail = tail_};
  failed_ = true;
  return {.status = OpenResult::Status::unusable,
          .detail = with_errno("cannot sync", path_),
          .hint = "check the storage, then start again"};
}

// --- deliver -----------------------------------------------------------------------------------

DeliveryResult FileSink::deliver(const Batch& batch, std::size_t from) {
  if (failed_)
    return trouble(DeliveryResult::Status::failed, path_ + " could not be made durable earlier",
                   "check the storage, then start again");
  if (!ready_)
    return trouble(DeliveryResult::Status::retry_later, path_ + " is not open", "open it first");
  if (auto problem = check_condition(batch, from)) return *std::move(problem);
  const std::size_t begin = from == 0 ? 0 : batch.entries[from - 1].end;
  const std::string_view bytes = std::string_view{batch.bytes}.substr(begin);
  if (!bytes.empty()) {
    auto problem = repair();
    if (!problem) problem = rotate(bytes.size());
    if (!problem && !active_) problem = create_active();
    if (!problem) problem = append(bytes);
    if (problem) {
      close();
      problem->done = from;
      return *std::move(problem);
    }
    if (first_.value() == 0) first_ = advance(batch.first, from);
    tail_ = batch.tail_after(batch.size());
  }
  return {.done = batch.size(), .mark = name_ + ":" + std::to_string(whole_)};
}

FileSink::Trouble FileSink::check_condition(const Batch& batch, std::size_t from) const {
  if (mutant("no_sink_condition")) return std::nullopt;
  const Tail expected = batch.tail_after(from);
  if (tail_ != expected)
    return conflict(path_ + " ends with " + tail_text(tail_) + ", expected " + tail_text(expected));
  if (!is_unchanged()) return conflict(path_ + " was replaced, cut or written by somebody else");
  return std::nullopt;
}

bool FileSink::is_unchanged() const {
  struct stat there {};
  const bool exists = ::lstat(path_.c_str(), &there) == 0;
  if (!active_) return !exists;
  struct stat ours {};
  return exists && ::fstat(active_.get(), &ours) == 0 && there.st_ino == ours.st_ino &&
         there.st_dev == ours.st_dev && static_cast<std::uint64_t>(there.st_size) == size_;
}

FileSink::Trouble FileSink::repair() {
  if (size_ == whole_ || mutant("no_torn_tail_repair")) return std::nullopt;
  failpoint("file.before_repair");
  if (::ftruncate(active_.get(), static_cast<off_t>(whole_)) != 0)
    return later("cannot cut", path_);
  if (::fsync(active_.get()) != 0) return not_durable(with_errno("cannot sync", path_));
  failpoint("file.after_repair");
  size_ = whole_;
  return std::nullopt;
}

/// Crash: after the rename there is no active file; open() then takes the tail from the segment.
FileSink::Trouble FileSink::rotate(std::size_t bytes) {
  if (first_.value() == 0 || size_ + bytes <= options_.segment_bytes) return std::nullopt;
  failpoint("file.before_rotate");
  const std::string target = segment_path(path_, first_);
  struct stat info {};
  if (::lstat(target.c_str(), &info) == 0) return conflict(target + " already exists");
  if (std::rename(path_.c_str(), target.c_str()) != 0) return later("cannot rename", path_);
  failpoint("file.after_rename");
  if (!sync_folder()) return not_durable(with_errno("cannot sync", folder_));
  active_.reset();
  first_ = {};
  whole_ = size_ = 0;
  failpoint("file.after_rotate");
  return std::nullopt;
}

FileSink::Trouble FileSink::create_active() {
  constexpr int kFlags = O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC;
  active_ = Descriptor{::open(path_.c_str(), kFlags, kFileMode)};
  if (!active_) return later("cannot create", path_);
  if (!sync_folder()) return not_durable(with_errno("cannot sync", folder_));
  return std::nullopt;
}

FileSink::Trouble FileSink::append(std::string_view bytes) {
  failpoint("file.before_write");
  const std::size_t first_part = kSplitsWrites ? bytes.size() / 2 : 0;
  if (kSplitsWrites) {
    if (auto problem = write_all(bytes.substr(0, first_part))) return problem;
    failpoint("file.after_partial_write");
  }
  if (auto problem = write_all(bytes.substr(first_part))) return problem;
  failpoint("file.after_write");
  // Linux marks pages clean when writing them back failed: a second sync would succeed and lie.
  if (options_.sync(active_.get()) != 0) return not_durable(with_errno("cannot sync", path_));
  failpoint("file.after_fsync");
  size_ += bytes.size();
  whole_ = size_;
  return std::nullopt;
}

FileSink::Trouble FileSink::write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(active_.get(), bytes.data(), bytes.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return later("cannot write", path_);
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return std::nullopt;
}

FileSink::Trouble FileSink::not_durable(std::string detail) {
  failed_ = true;
  return trouble(DeliveryResult::Status::failed, std::move(detail),
                 "check the storage, then start again");
}

bool FileSink::sync_folder() const {
  const Descriptor folder{::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  return folder && ::fsync(folder.get()) == 0;
}

}  // namespace outseal::sinks
