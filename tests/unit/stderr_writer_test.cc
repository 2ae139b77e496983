// Standard error whose reader has stopped.
#include "cli/stderr_writer.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <string>

#include "support/program.h"

namespace outseal::tools {
namespace {

using std::chrono::milliseconds;

constexpr int kLines = 5'000;
constexpr std::size_t kLineBytes = 1'000;  // Together more than a pipe and the queue hold.

const std::string kDropped = "level=warn event=log_dropped lines=";

std::string line_of(int number) {
  std::string line = "line " + std::to_string(number) + " ";
  line.resize(kLineBytes - 1, '.');
  return line + "\n";
}

/// Reads what is in the pipe now; blocks if there is nothing.
void read_some(int pipe, std::string& text) {
  std::array<char, 65'536> buffer{};
  const ssize_t got = ::read(pipe, buffer.data(), buffer.size());
  REQUIRE(got > 0);
  text.append(buffer.data(), static_cast<std::size_t>(got));
}

TEST_CASE("lines that a stopped reader does not take are counted, the others arrive in order") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const int stderr_before = ::dup(STDERR_FILENO);
  REQUIRE(::dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
  auto* const writer = new StderrWriter;  // It lives as long as the process.
  for (int i = 0; i < kLines; ++i) writer->put(line_of(i));
  writer->flush(milliseconds{1});  // Gives up: nobody reads.

  std::string text;
  int next = 0;  // The line to come.
  int dropped = 0;
  while (next < kLines) {
    read_some(ends[0], text);
    for (std::size_t end = 0; (end = text.find('\n')) != std::string::npos;) {
      const std::string line = text.substr(0, end + 1);
      text.erase(0, end + 1);
      const std::size_t count = line.find(kDropped);
      if (count == std::string::npos) {
        REQUIRE(line == line_of(next++));
        continue;
      }
      const int lines = std::stoi(line.substr(count + kDropped.size()));
      next += lines;
      dropped += lines;
    }
  }
  writer->put("the last one\n");
  writer->flush(std::chrono::minutes{1});
  read_some(ends[0], text);
  ::dup2(stderr_before, STDERR_FILENO);
  CHECK(next == kLines);
  CHECK(dropped > 0);
  CHECK(dropped < kLines - 1'000);
  CHECK(text == "the last one\n");
}

}  // namespace
}  // namespace outseal::tools
