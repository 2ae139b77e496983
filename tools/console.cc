#include "console.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <iostream>
#include <new>

#include "base/text.h"

namespace outseal::tools {

namespace {

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

void print_error(const Error& error, bool json) {
  if (json) {
    JsonObject object;
    object.add("error", name_of(error.code())).add("operation", printable(error.operation()));
    object.add("message", printable(error.message())).add("hint", printable(error.hint()));
    object.add("recovery", name_of(error.recovery()));
    if (!error.detail_code().empty()) object.add("detail_code", error.detail_code());
    object.add("exit_code", exit_code_of(error.code()));
    std::cerr << object.text() << '\n';
    return;
  }
  std::cerr << "error: " << printable(error.what());
  if (!error.detail_code().empty()) std::cerr << " (" << printable(error.detail_code()) << ")";
  std::cerr << '\n';
  if (!error.hint().empty()) std::cerr << "hint: " << printable(error.hint()) << '\n';
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
  auto logger = std::make_shared<spdlog::logger>("outseal",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(spdlog::level::from_str(std::string{level}));
  logger->set_pattern("time=%Y-%m-%dT%H:%M:%S.%eZ %v", spdlog::pattern_time_type::utc);
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

void log_event(std::string_view level, std::string_view event, const std::vector<Field>& fields) {
  // Not spdlog's name of the level: it says "warning" where --log-level says "warn".
  std::string line = "level=" + std::string{level} + " event=" + std::string{event};
  for (const Field& field : fields)
    line += " " + std::string{field.name} + "=" + log_value(field.value);
  spdlog::log(spdlog::level::from_str(std::string{level}),
              spdlog::string_view_t{line.data(), line.size()});
}

void print_note(bool json, std::string_view note, std::string_view hint) {
  if (json) return;
  std::cerr << "note: " << note << '\n';
  if (!hint.empty()) std::cerr << "hint: " << hint << '\n';
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

void flush_results() {
  std::cout.flush();
  if (!std::cout)
    throw Error{ErrorCode::storage,
                "print",
                "cannot write to standard output",
                {.hint = "check that its reader lives and its disk has room"}};
}

}  // namespace outseal::tools
