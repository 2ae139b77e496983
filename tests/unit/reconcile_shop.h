// A database and a file sink for the reconciler's tests: events are published by the store's own
// steps, then the tests damage what they like.
#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "reconcile/run.h"
#include "sinks/file/sink.h"
#include "sinks/stdout/sink.h"
#include "sql/connection.h"
#include "store/migrations.h"
#include "store/subscription.h"
#include "support/temp_folder.h"

namespace outseal::test {

using Lines = std::vector<std::string>;

class Shop {
 public:
  explicit Shop(sinks::FileSinkOptions sink_options = {}) : sink_options_{sink_options} {
    connection_ = sql::open(url(), sql::OpenMode::create);
    connection_->execute("PRAGMA journal_mode = WAL");
    store::migrate_up(*connection_, store::newest_version(), {});
  }

  Url url() const { return Url::parse("--db", "sqlite:" + folder_.file("shop.db")); }
  std::string sink_path() const { return folder_.file("events.ndjson"); }
  sql::Connection& connection() { return *connection_; }
  void sql(const std::string& text) { connection_->execute(text); }
  std::int64_t number(const std::string& text) {
    const auto statement = connection_->prepare(text);
    return statement->step() ? statement->integer(0) : -1;
  }

  /// Commits events of one key, as any program may.
  void append(int count, const std::string& key = "k", const std::string& topic = "orders") {
    sql("BEGIN IMMEDIATE");
    for (int i = 0; i < count; ++i)
      sql("INSERT INTO outseal_outbox (topic, key, type, payload) VALUES ('" + topic + "', '" +
          key + "', 'made', '{\"n\":" + std::to_string(i) + "}')");
    sql("COMMIT");
  }

  std::unique_ptr<Sink> make_sink(const std::string& subscription = "main") const {
    return std::make_unique<sinks::FileSink>(sink_path(), "/outseal/" + subscription,
                                             sink_options_);
  }

  /// What a relay does, with batches of at most `batch` events; the last one stays pending, half
  /// delivered, if `leave_pending`.
  void publish(std::size_t batch = 5, bool leave_pending = false,
               const SubscriptionSpec& spec = main_spec()) {
    const auto sink = make_sink(spec.name);
    store::SubscriptionLog log{*connection_, spec.name, *sink};
    log.declare(spec);
    const Acquisition lease = log.acquire("test", kLease);
    Cursor cursor = lease.state.cursor;
    Tail tail = lease.state.acked;
    sink->open();
    for (;;) {
      Batch page = log.read_page(cursor, tail, {.events_max = batch});
      if (page.entries.empty() && page.parked.empty() && page.to == cursor) break;
      log.bind(page, std::nullopt, kLease);
      cursor = page.to;
      if (page.entries.empty()) continue;
      if (leave_pending) {
        page.entries.resize(page.size() / 2);
        page.bytes.resize(page.entries.back().end);
        sink->deliver(page, 0);
        return;
      }
      const DeliveryResult result = sink->deliver(page, 0);
      if (result.status == DeliveryResult::Status::rejected) {
        log.settle(page, result.done, result.detail, cursor, kLease);
        tail = page.tail_after(result.done);
        continue;
      }
      tail = page.tail_after(page.size());
      log.acknowledge({.tail = tail, .first = page.first, .mark = result.mark}, kLease);
    }
    log.release();
  }

  static SubscriptionSpec main_spec() {
    return {.name = "main",
            .topics = {"orders"},
            .sink = "file:events.ndjson",
            .event_source = "/outseal/main"};
  }

  /// A run of the named checks, by default all, without any grace.
  reconcile::RunResult reconcile(const std::vector<std::string>& checks = {},
                                 std::vector<std::string> subscriptions = {}) {
    options.subscriptions = std::move(subscriptions);
    const reconcile::SinkMaker maker =
        [this](const reconcile::SubscriptionInfo& subscription) -> reconcile::SinkForReading {
      if (subscription.sink == "stdout:")
        return {std::make_unique<sinks::StdoutSink>(subscription.event_source)};
      return {make_sink(subscription.name)};
    };
    const auto own = sql::open(url());
    return reconcile::run_checks(*own, reconcile::select_checks(checks), options, maker);
  }

  /// Subjects that are open after a run of journal_sink.
  Lines compare() {
    reconcile({"journal_sink"});
    return open_subjects("journal_sink");
  }
  Lines open_subjects(const std::string& check = "") {
    Lines subjects;
    reconcile::list_findings(*connection_, {.check = check}, [&](const auto& finding) {
      subjects.push_back(finding.subject.text());
    });
    return subjects;
  }

  /// The lines of the active file, each with its end.
  Lines read_lines() const {
    std::ifstream file{sink_path(), std::ios::binary};
    Lines lines;
    for (std::string line; std::getline(file, line);)
      lines.push_back(line + (file.eof() ? "" : "\n"));
    return lines;
  }
  void write_lines(const Lines& lines) const {
    std::ofstream file{sink_path(), std::ios::binary | std::ios::trunc};
    for (const std::string& line : lines) file << line;
  }
  void damage(const std::function<void(Lines&)>& change) const {
    Lines lines = read_lines();
    change(lines);
    write_lines(lines);
  }

  reconcile::CheckOptions options{.grace_stuck = {}, .grace_unpublished = {}, .grace_parked = {}};

 private:
  static constexpr std::chrono::milliseconds kLease{60'000};

  TempFolder folder_;
  sinks::FileSinkOptions sink_options_;
  std::unique_ptr<sql::Connection> connection_;
};

}  // namespace outseal::test
