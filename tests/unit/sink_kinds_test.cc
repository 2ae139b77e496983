// What each kind of sink says of itself: it holds together, its sink keeps it, and its page says
// the same.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "outseal/error.h"
#include "sinks/registry.h"
#include "support/paths.h"

namespace outseal::sinks {
namespace {

Url parsed(const std::string& text) { return Url::parse("sink", text); }

Error error_of(const std::string& url) {
  try {
    make_sink(parsed(url), context_of("/outseal/test", "main"));
  } catch (const Error& error) {
    return error;
  }
  FAIL("not refused: " << url);
  return Error{ErrorCode::internal, "", ""};
}

/// The table of parameters as a page has it; empty if there are none.
std::string table_of(const SinkFacts& facts) {
  std::string text;
  for (const Parameter& row : facts.parameters)
    text += "| `" + std::string{row.name} + "` | " + row.default_text() + " | " + row.range_text() +
            " | " + std::string{row.help} + " |\n";
  return text.empty() ? text
                      : "| parameter | default | range | meaning |\n|---|---|---|---|\n" + text;
}

std::string page_of(const SinkFacts& facts) {
  std::ifstream in{std::filesystem::path{test::source_folder()} / "lib/src/sinks" /
                   std::string{facts.name} / "README.md"};
  return {std::istreambuf_iterator<char>{in}, {}};
}

}  // namespace

TEST_CASE("the page of each kind has its parameters, its addresses and its name") {
  for (const SinkKind* const kind : all_kinds()) {
    const SinkFacts& facts = kind->facts();
    CAPTURE(facts.name);
    const std::string page = page_of(facts);
    const std::string table = table_of(facts);
    const auto begin = page.find("| parameter |");
    const auto end = std::min(page.find("\n\n", std::min(begin, page.size())), page.size());
    const std::string written =
        begin == std::string::npos ? "" : page.substr(begin, end + 1 - begin);
    CHECK_MESSAGE(written == table, "the page's table must be:\n" << table);
    for (const SinkForm& form : facts.forms)
      for (const std::string_view scheme : form.schemes)
        if (scheme != "postgres") CHECK(page.find(std::string{scheme} + ":") != std::string::npos);
  }
}

TEST_CASE("rows hold together: names and schemes are there once, a default is one of the values") {
  std::set<std::string_view> schemes;
  for (const SinkKind* const kind : all_kinds()) {
    const SinkFacts& facts = kind->facts();
    CAPTURE(facts.name);
    CHECK_FALSE(facts.guarantees.empty());
    for (const SinkForm& form : facts.forms)
      for (const std::string_view scheme : form.schemes) {
        CHECK(schemes.insert(scheme).second);
        CHECK(find_kind(parsed(std::string{scheme} + ":x")) == kind);
      }
    std::set<std::string_view> names;
    for (const Parameter& row : facts.parameters) {
      CAPTURE(row.name);
      CHECK(names.insert(row.name).second);
      CHECK_FALSE(row.help.empty());
      CHECK(row.min <= row.fallback);
      CHECK(row.fallback <= row.max);
      if (row.kind != Parameter::Kind::choice) continue;
      const auto words = row.word_list();
      CHECK(std::find(words.begin(), words.end(), row.otherwise) != words.end());
    }
  }
}

TEST_CASE("a sink keeps out a second copy as its kind says") {
  for (const std::string address : {"file:events", "stdout:", "sqlite:inbox.db",
                                    "postgresql://h/shop", "http://h/hook", "nats://h/STREAM"}) {
    const SinkFacts& facts = kind_of(parsed(address)).facts();
    for (const SinkGuarantee& guarantee : facts.guarantees) {
      const std::string url =
          address + (guarantee.when.empty() ? "" : "?" + std::string{guarantee.when});
      CAPTURE(url);
      const auto sink = make_sink(parsed(url), context_of("/outseal/test", "main"));
      CHECK(sink->features().second_copy == guarantee.second_copy);
    }
  }
}

TEST_CASE("what no row allows is refused, and the error says what is allowed") {
  CHECK(error_of("ftp://h/x").hint() ==
        "known sinks: file:PATH, stdout:, sqlite:PATH, postgresql:, http:, https:, nats:");
  CHECK(error_of("file:e?compress=yes").hint() ==
        "known parameters: segment_bytes event_bytes_max");
  CHECK(error_of("sqlite:e?event_bytes_max=255").message() ==
        "parameter \"event_bytes_max\" must be a whole number from 256 to 268435456");
  CHECK(error_of("nats://h/E?shared=yes").message() ==
        "parameter \"shared\" must be true or false");
  CHECK(error_of("http://h/?outseal.mode=odd").message() ==
        "parameter \"outseal.mode\" must be binary or structured");
  CHECK(error_of("stdout:?segment_bytes=1").message() == "unknown parameter \"segment_bytes\"");
}

TEST_CASE("an identity has no secret, and tells one sink from another") {
  const auto same = [](const char* one, const char* other) {
    return is_same_sink(parsed(one), parsed(other));
  };
  CHECK(sink_identity(parsed("nats://me:sesame@h/E?in_flight=1")) == "nats://me@h/E");
  CHECK(sink_identity(parsed("postgres://me:sesame@h/shop?sslmode=require&port=5433")) ==
        "postgresql://me@h/shop?port=5433");
  CHECK(same("file:./events", "file:events"));
  CHECK(same("postgres://h/shop?connect_timeout=3", "postgresql://h/shop"));
  CHECK(same("https://me@h/hook/", "https://h/hook?outseal.in_flight=1"));
  CHECK(same("nats://h:4222/E", "nats://me@h,i/E"));
  CHECK_FALSE(same("http://h/hook", "https://h/hook"));
  CHECK_FALSE(same("file:events", "sqlite:events"));
  CHECK_FALSE(same("carrier:x", "carrier:x"));
}

TEST_CASE("several subscriptions share what tells their events apart") {
  const auto shareable = [](const char* text) {
    const Url url = parsed(text);
    return kind_of(url).is_shareable(url);
  };
  CHECK_FALSE(shareable("file:events"));
  CHECK_FALSE(shareable("stdout:"));
  CHECK_FALSE(shareable("nats://h/E"));
  CHECK(shareable("nats://h/E?shared=true"));
  CHECK(shareable("sqlite:inbox.db"));
  CHECK(shareable("https://h/hook"));
}

}  // namespace outseal::sinks
