// What the tests of the SQL inbox share: a receiver's database, and the sink on it. The files
// sink_inbox_sqlite_test.cc and sink_inbox_postgres_test.cc say how a fresh one is made.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "conformance/sink_suite.h"
#include "sinks/inbox/sink.h"
#include "sql/connection.h"

namespace soci {
class session;
}

namespace outseal::test {

class InboxUnderTest : public SinkUnderTest {
 public:
  static constexpr std::size_t kEventBytesMax = 4'096;

  /// A database with the schema, if it should have one.
  virtual Url url() const = 0;
  /// A session as a service would open it.
  virtual std::unique_ptr<soci::session> session() const = 0;

  std::unique_ptr<Sink> make() const override {
    return std::make_unique<sinks::InboxSink>(
        url(), kStream, sinks::InboxSinkOptions{.event_bytes_max = kEventBytesMax});
  }
  /// With another stream, and without a limit that is in the way.
  std::unique_ptr<Sink> make_large(const std::string& stream = kStream) const {
    return std::make_unique<sinks::InboxSink>(url(), stream);
  }
  std::string stored() const override {
    std::string bytes;
    SinkRecord record;
    for (const auto reader = make()->read(); reader->next(record);) bytes += record.encoded;
    return bytes;
  }
  std::size_t oversize_bytes() const override { return kEventBytesMax + 1; }

  std::unique_ptr<sql::Connection> connect() const { return sql::open(url()); }
  /// SQL with the tables' names as SQLite has them.
  void execute(const std::string& sql) const;

  static constexpr const char* kStream = "/outseal/test#main";
};

/// Defined by each of the two files.
std::unique_ptr<InboxUnderTest> make_inbox(bool with_schema = true);

}  // namespace outseal::test
