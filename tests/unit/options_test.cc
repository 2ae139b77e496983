// Prose that names defaults, against the library that has them.
#include "cli/options.h"

#include <doctest/doctest.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <string>

#include "model/stop_budget.h"
#include "store/log_reader.h"
#include "support/paths.h"

using namespace outseal;
using tools::Option;

TEST_CASE("the help of the batch limits gives the defaults of both databases") {
  const auto says = [](Option option, const std::string& sqlite, const std::string& server) {
    const std::string text = sqlite + " on SQLite and " + server + " on PostgreSQL if not given";
    CHECK_MESSAGE(tools::row_of(option).help.find(text) != std::string_view::npos, text);
  };
  const auto mebibytes = [](std::size_t bytes) { return std::to_string(bytes >> 20U) + " MiB"; };
  const store::PageLimits file;
  const store::PageLimits& server = store::kServerPage;
  says(Option::batch_events, std::to_string(file.events_max), std::to_string(server.events_max));
  says(Option::batch_bytes, mebibytes(file.bytes_max), mebibytes(server.bytes_max));
}

TEST_CASE("tools/README.md promises the times that a stop may take") {
  std::ifstream file{test::source_folder() + "/tools/README.md"};
  const std::string readme{std::istreambuf_iterator<char>{file}, {}};
  const auto says = [&](const std::string& text, std::chrono::milliseconds time) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time).count();
    const std::string promise = text + std::to_string(seconds) + " s";
    CHECK_MESSAGE(readme.find(promise) != std::string::npos, promise);
  };
  says("all within ", StopBudget::kProcess);
  says("does not answer within ", StopBudget::kDelivery);
}
