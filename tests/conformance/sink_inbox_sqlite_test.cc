// The sink suite on the SQL inbox of an SQLite file, and what only a file can get wrong.
#include <doctest/doctest.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <filesystem>
#include <fstream>

#include "conformance/inbox_fixture.h"
#include "outseal/error.h"
#include "sinks/registry.h"
#include "store/migrations.h"
#include "support/program.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

using Opened = OpenResult::Status;
using Status = DeliveryResult::Status;

class SqliteInbox final : public InboxUnderTest {
 public:
  explicit SqliteInbox(bool with_schema) {
    const auto connection = sql::open(url(), sql::OpenMode::create);
    if (with_schema) store::migrate_up(*connection, store::newest_version(), {});
    connection->execute("CREATE TABLE mine (id INTEGER)");
  }
  Url url() const override { return Url::parse("--sink", "sqlite:" + path()); }
  std::unique_ptr<soci::session> session() const override {
    return std::make_unique<soci::session>(soci::sqlite3, "dbname=" + path());
  }

 private:
  std::string path() const { return folder_.file("inbox.db"); }

  TempFolder folder_;
};

std::unique_ptr<Sink> sink_of(const std::string& url) {
  return sinks::make_sink(Url::parse("--sink", url), sinks::context_of("/outseal/test", "main"));
}

}  // namespace

std::unique_ptr<InboxUnderTest> make_inbox(bool with_schema) {
  return std::make_unique<SqliteInbox>(with_schema);
}

TEST_CASE("a path without a database is unusable and stays as it is") {
  const TempFolder folder;
  std::ofstream{folder.file("text")} << std::string(2'000, 'x');
  for (const std::string name : {"missing.db", "text", "."}) {
    const auto opened = sink_of("sqlite:" + folder.file(name))->open();
    CHECK(opened.status == Opened::unusable);
    CHECK_FALSE(opened.detail.empty());
    CHECK_FALSE(opened.hint.empty());
  }
  CHECK_FALSE(std::filesystem::exists(folder.file("missing.db")));
}

TEST_CASE("a file that was replaced is noticed before anything is written to the old one") {
  const auto inbox = make_inbox();
  const auto sink = inbox->make();
  REQUIRE(sink->open().status == Opened::opened);
  std::filesystem::rename(inbox->url().rest, inbox->url().rest + ".old");
  const auto result = sink->deliver(make_batch(*sink, {}, 3), 0);
  CHECK(result.status == Status::retry_later);
  CHECK(result.detail.find("replaced or moved") != std::string::npos);
  CHECK(sink->open().status == Opened::unusable);
}

TEST_CASE("the URL is checked when the sink is made, and remembered by its absolute path") {
  for (const std::string url :
       {"sqlite:", "sqlite::memory:", "sqlite:a.db?mode=ro", "sqlite:a.db?event_bytes_max=1"})
    CHECK_THROWS_AS(sink_of(url), Error);
  CHECK_NOTHROW(sink_of("sqlite:a.db?event_bytes_max=1000"));
  const auto identity = [](const std::string& url) {
    return sinks::sink_identity(Url::parse("--sink", url));
  };
  const std::string here = std::filesystem::current_path().string();
  CHECK(identity("sqlite:x/../a.db?event_bytes_max=1000") == "sqlite:" + here + "/a.db");
  CHECK(identity("sqlite:" + here + "/a.db") == "sqlite:" + here + "/a.db");
  CHECK(identity("postgres://u:secret@h/d?sslmode=require") == "postgresql://u@h/d");
}

TEST_CASE("the database that the events come from is refused as their inbox") {
  const auto inbox = make_inbox();
  const auto url = [&](const std::string& path) { return Url::parse("", "sqlite:" + path); };
  const std::string path = inbox->url().rest;
  std::filesystem::create_symlink(path, path + ".link");
  CHECK_THROWS_AS(sinks::refuse_source_as_sink(url(path), url(path)), Error);
  CHECK_THROWS_AS(sinks::refuse_source_as_sink(url(path), url(path + ".link")), Error);
  CHECK_THROWS_AS(sinks::refuse_source_as_sink(url("none.db"), url("./none.db")), Error);
  CHECK_NOTHROW(sinks::refuse_source_as_sink(url(path), url("none.db")));
  CHECK_NOTHROW(sinks::refuse_source_as_sink(url(path), Url::parse("", "file:" + path)));
}

TEST_CASE("the inbox in the source's own file holds nobody up") {
  // Not refused when somebody makes it through two names of the file that nobody can compare.
  const auto inbox = make_inbox();
  const auto source = inbox->connect();
  const auto sink = inbox->make();
  REQUIRE(sink->open().status == Opened::opened);
  source->execute("INSERT INTO outseal_outbox (topic, type, payload) VALUES ('t', 'x', '')");
  CHECK(sink->deliver(make_batch(*sink, {}, 3), 0).status == Status::delivered);
  source->execute("INSERT INTO outseal_outbox (topic, type, payload) VALUES ('t', 'x', '')");
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without the condition on the tail this suite fails") {
  const TempFolder folder;
  const auto suite = [&](const std::string& mutant) {
    Program program{{.arguments = {std::filesystem::read_symlink("/proc/self/exe").string(),
                                   "--test-case=a batch that does not follow*"},
                     .environment = {{"OUTSEAL_MUTANT", mutant}},
                     .folder = folder.path().string(),
                     .log = folder.file("log")}};
    return program.wait();
  };
  CHECK(suite("none") == 0);
  CHECK(suite("no_inbox_condition") == 1);
}
#endif

}  // namespace outseal::test
