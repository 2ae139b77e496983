// Reads the events of a stream back out of a SQL inbox.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "model/sink.h"
#include "sql/inbox_sink.h"

namespace outseal::sinks {

/// In the order of positions, a page in memory at a time; no statement and no transaction stay open
/// in between.
class InboxReader final : public SinkReader {
 public:
  InboxReader(std::unique_ptr<sql::Connection> connection, std::string stream);

  bool next(SinkRecord& record) override;

 private:
  struct Row {
    Position position;
    EventId id;
    std::size_t end;  ///< One past its last byte in bytes_.
  };

  void read_page();
  void append(sql::InboxRow row);

  std::unique_ptr<sql::Connection> connection_;
  const std::string stream_;
  std::string bytes_;
  std::vector<Row> rows_;
  std::size_t given_ = 0;  ///< Rows of the page that next() has given.
  Position last_;          ///< Of the page.
};

}  // namespace outseal::sinks
