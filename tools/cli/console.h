// What the programs say, and where.
//
//   stdout   results: tables and sentences for people; with --json one JSON value a line
//   stderr   everything else: logs, progress, "error: ..." and "hint: ..."
//
// Logs are one line an event: time=... level=... event=NAME key=value ... . Errors are in lower
// case without a full stop; the hint is a sentence that says what to do. With --json an error is
// one JSON object on stderr. Payloads, raw idempotency keys and passwords are never printed.
#pragma once

#include <concepts>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "observe/log_line.h"
#include "outseal/error.h"

namespace outseal::tools {

/// Exit codes of all programs besides those of errors, which exit_code_of() gives.
inline constexpr int kExitFine = 0;
inline constexpr int kExitFindings = 1;  ///< Findings, or not drained.
inline constexpr int kExitInternal = 70;

/// The list of exit codes for --help.
std::string_view exit_codes_help();

/// A JSON object that is being written.
class JsonObject {
 public:
  JsonObject& add(std::string_view name, std::string_view value);
  JsonObject& add(std::string_view name, const char* value) {
    return add(name, std::string_view{value});
  }
  JsonObject& add(std::string_view name, bool value) {
    return add_raw(name, value ? "true" : "false");
  }
  JsonObject& add(std::string_view name, std::integral auto value) {
    return add_raw(name, std::to_string(value));
  }
  JsonObject& add_null(std::string_view name) { return add_raw(name, "null"); }
  /// `value` is JSON already.
  JsonObject& add_raw(std::string_view name, std::string_view value);
  /// The object with its braces.
  std::string text() const { return "{" + members_ + "}"; }

 private:
  std::string members_;
};

/// `texts` as a JSON array of strings.
std::string json_array(const std::vector<std::string>& texts);

/// `text` as it may be shown: bytes that are no UTF-8 and control characters become '?'.
std::string printable(std::string_view text);

/// "3.2 s", "5 min", "2 h", "4 d".
std::string format_duration_ms(std::int64_t milliseconds);

/// Writes rows under a header, columns aligned with two spaces between, to stdout.
void print_table(const std::vector<std::string>& header,
                 const std::vector<std::vector<std::string>>& rows);

/// Writes one line to stdout.
void print_line(std::string_view line);
/// Writes text that brings its own line ends.
void print_text(std::string_view text);

/// Opens those of the descriptors 0 to 2 that are closed, so that no database connection or file
/// gets their numbers and with them what is printed. Written to they fail: `stdout:` must not take
/// events for nobody. To be called before anything else.
/// Source: glibc does the same for programs with raised privileges (csu/check_fds.c).
void open_standard_descriptors();

/// Sets up the log on stderr. Level: "debug", "info", "warn" or "error". From then on whatever goes
/// to stderr is written by another thread, see stderr_writer.h.
void start_log(std::string_view level);
/// Writes one line to the log, from any thread.
void write_log(const observe::LogLine& line);

/// Prints a note for people ("note: ..." and "hint: ...") to stderr; nothing with `json`.
void print_note(bool json, std::string_view note, std::string_view hint);

/// Prints `error` to stderr as the rules above say. @returns the exit code.
int report_error(std::exception_ptr error, bool json);

/// Waits a moment for stderr to take what was written to it.
void flush_errors();

/// Flushes stdout, unless it was closed when the program began. @throws Error{storage} if what was
/// printed did not arrive.
void flush_results();

}  // namespace outseal::tools
