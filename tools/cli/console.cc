#include "console.h"

#include <fcntl.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <new>

#include "base/text.h"
#include "stderr_writer.h"

namespace outseal::tools {

namespace {

/// How long the end of a program waits for a slow reader of standard error. Chosen by us: a reader
/// at work needs milliseconds.
constexpr std::chrono::milliseconds kStderrPatience{500};

/// The bytes from the first that is part of no well-formed UTF-8 on are shown one by one.
std::size_t whole_character(std::string_view text) {
  for (std::size_t length = 1; length <= std::min<std::size_t>(4, text.size()); ++length)
    if (is_utf8(text.substr(0, length))) return length;
  return 0;
}

/// Width on a terminal, counted in code points: enough for ids, topics and most keys.
std::size_t width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

/// A value of a log line: quoted as JSON if it has spaces, quotes or control characters.
std::string log_value(std::string_view value) {
  const bool plain = !value.empty() && std::all_of(value.begin(), value.end(), [](char c) {
    return static_cast<unsigned char>(c) > ' ' && c != '"' && c != '=' && c != '\x7f';
  });
  if (plain) return printable(value);
  std::string quoted;
  append_json_string(quoted, printable(value));
  return quoted;
}

/// Takes over standard error once there is a log; empty until then. Never destroyed.
StderrWriter* stderr_writer = nullptr;

/// For everything that goes to standard error.
void write_to_stderr(std::string_view lines) {
  if (stderr_writer != nullptr)
    stderr_writer->put(lines);
  else
    std::cerr << lines;
}

class LogSink final : public spdlog::sinks::base_sink<std::mutex> {
 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    write_to_stderr({line.data(), line.size()});
  }
  void flush_() override {}
};

void print_error(const Error& error, bool json) {
  if (json) {
    JsonObject object;
    object.add("error", name_of(error.code())).add("operation", printable(error.operation()));
    object.add("message", printable(error.message())).add("hint", printable(error.hint()));
    object.add("recovery", name_of(error.recovery()));
    if (!error.detail_code().empty()) object.add("detail_code", error.detail_code());
    object.add("exit_code", exit_code_of(error.code()));
    return write_to_stderr(object.text() + "\n");
  }
  std::string text = "error: " + printable(error.what());
  if (!error.detail_code().empty()) text += " (" + printable(error.detail_code()) + ")";
  if (!error.hint().empty()) text += "\nhint: " + printable(error.hint());
  write_to_stderr(text + "\n");
}

}  // namespace

std::string_view exit_codes_help() {
  return "  0   fine\n"
         "  1   findings, or not drained\n"
         "  2   wrong usage or configuration\n"
         "  3   database unreachable, or its schema is missing or another version\n"
         "  4   sink unreachable\n"
         "  5   refused for safety\n"
         "  70  internal error\n";
}

JsonObject& JsonObject::add(std::string_view name, std::string_view value) {
  std::string text;
  append_json_string(text, is_utf8(value) ? std::string{value} : printable(value));
  return add_raw(name, text);
}

JsonObject& JsonObject::add_raw(std::string_view name, std::string_view value) {
  if (!members_.empty()) members_ += ',';
  append_json_string(members_, name);
  members_ += ':';
  members_ += value;
  return *this;
}

std::string json_array(const std::vector<std::string>& texts) {
  std::string array = "[";
  for (const std::string& text : texts) {
    if (array.size() > 1) array += ',';
    append_json_string(array, is_utf8(text) ? text : printable(text));
  }
  return array + "]";
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t length = whole_character(text);
    const auto first = static_cast<unsigned char>(text.front());
    if (length == 0 || first < 0x20 || first == 0x7f)
      out += '?';
    else
      out += text.substr(0, length);
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

std::string format_duration_ms(std::int64_t milliseconds) {
  const std::int64_t seconds = milliseconds / 1'000;
  if (milliseconds < 0) return "0 ms";
  if (milliseconds < 1'000) return std::to_string(milliseconds) + " ms";
  if (seconds < 60) return std::to_string(seconds) + " s";
  if (seconds < 3'600) return std::to_string(seconds / 60) + " min";
  if (seconds < 172'800) return std::to_string(seconds / 3'600) + " h";
  return std::to_string(seconds / 86'400) + " d";
}

void print_table(const std::vector<std::string>& header,
                 const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(header.size());
  const auto measure = [&widths](const std::vector<std::string>& cells) {
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], width(cells[i]));
  };
  measure(header);
  for (const auto& row : rows) measure(row);
  const auto print = [&widths](const std::vector<std::string>& cells) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      line += cells[i];
      if (i + 1 < cells.size()) line.append(widths[i] - width(cells[i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    print_line(line);
  };
  print(header);
  for (const auto& row : rows) print(row);
}

void print_line(std::string_view line) { std::cout << line << '\n'; }

void print_text(std::string_view text) { std::cout << text; }

void start_log(std::string_view level) {
  if (stderr_writer == nullptr) stderr_writer = new StderrWriter;
  auto logger = std::make_shared<spdlog::logger>("outseal", std::make_shared<LogSink>());
  logger->set_level(spdlog::level::from_str(std::string{level}));
  logger->set_pattern("time=%Y-%m-%dT%H:%M:%S.%eZ %v", spdlog::pattern_time_type::utc);
  spdlog::set_default_logger(std::move(logger));
}

void write_log(const observe::LogLine& line) {
  // Not spdlog's name of the level: it says "warning" where --log-level says "warn".
  const std::string level{line.level};
  std::string text = "level=" + level + " event=" + std::string{line.event};
  for (const observe::LogField& field : line.fields)
    text += " " + std::string{field.name} + "=" + log_value(field.value);
  spdlog::log(spdlog::level::from_str(level), spdlog::string_view_t{text.data(), text.size()});
}

void print_note(bool json, std::string_view note, std::string_view hint) {
  if (json) return;
  std::string text = "note: " + std::string{note} + "\n";
  if (!hint.empty()) text += "hint: " + std::string{hint} + "\n";
  write_to_stderr(text);
}

int report_error(std::exception_ptr error, bool json) {
  std::cout.flush();
  try {
    std::rethrow_exception(std::move(error));
  } catch (const Error& known) {
    print_error(known, json);
    return exit_code_of(known.code());
  } catch (const std::exception& unknown) {
    print_error(Error{ErrorCode::internal, "internal error", unknown.what()}, json);
  } catch (...) {
    print_error(Error{ErrorCode::internal, "internal error", "an unknown exception"}, json);
  }
  return kExitInternal;
}

void open_standard_descriptors() {
  int file = -1;
  do {
    file = ::open("/dev/null", O_RDONLY);
    if (file < 0) ::_exit(kExitInternal);
  } while (file <= STDERR_FILENO);
  ::close(file);
}

void flush_errors() {
  if (stderr_writer != nullptr) stderr_writer->flush(kStderrPatience);
}

void flush_results() {
  std::cout.flush();
  // Not open for writing: nobody wants the results, see open_standard_descriptors().
  const int flags = ::fcntl(STDOUT_FILENO, F_GETFL);
  if (flags >= 0 && (flags & O_ACCMODE) == O_RDONLY) return;
  if (!std::cout)
    throw Error{ErrorCode::storage,
                "print",
                "cannot write to standard output",
                {.hint = "check that its reader lives and its disk has room"}};
}

}  // namespace outseal::tools
