// The option table against what it cannot take from the library by itself: prose.
#include "cli/options.h"

#include <doctest/doctest.h>

#include "store/log_reader.h"

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
