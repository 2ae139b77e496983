#include "torture/effect_ledger.h"

#include <sqlite3.h>

#include <stdexcept>

#include "base/failpoint.h"

namespace outseal::test {

using Delivery = ProviderModel::Delivery;
using namespace std::chrono_literals;

ProviderProfile ProviderModel::profile() const {
  return {.name = name,
          .replays = honours_keys ? Replays::any : Replays::nothing,
          .window = honours_keys ? 24h : 0h,
          .margin = 5min,
          .absence_after = 90s,
          .max_in_flight = 60s,
          .cancels_by_key = true};
}

Ledger::Ledger(const std::string& path, const ProviderModel& model) : model_{model} {
  if (sqlite3_open(path.c_str(), &handle_) != SQLITE_OK) throw std::runtime_error{"ledger"};
  sqlite3_busy_timeout(handle_, 60'000);
  run("PRAGMA synchronous = OFF");
  run("CREATE TABLE IF NOT EXISTS request (key TEXT, due INTEGER)");
  run("CREATE TABLE IF NOT EXISTS charge (key TEXT, voided INTEGER DEFAULT 0)");
  run("CREATE INDEX IF NOT EXISTS request_key ON request (key)");
  run("CREATE INDEX IF NOT EXISTS charge_key ON charge (key)");
  run("CREATE TABLE IF NOT EXISTS clock (now INTEGER)");
  run("INSERT INTO clock SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM clock)");
}

Ledger::~Ledger() { sqlite3_close_v2(handle_); }

void Ledger::run(const std::string& sql, const std::string& key) { number(sql, key); }

std::int64_t Ledger::number(const std::string& sql, const std::string& key) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(handle_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK)
    throw std::runtime_error{sqlite3_errmsg(handle_)};
  sqlite3_bind_text(statement, 1, key.c_str(), -1, SQLITE_TRANSIENT);
  const int code = sqlite3_step(statement);
  const std::int64_t value = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
  sqlite3_finalize(statement);
  if (code != SQLITE_ROW && code != SQLITE_DONE) throw std::runtime_error{sqlite3_errmsg(handle_)};
  return value;
}

/// A key that is known, even one whose charge was voided, is not charged again.
void Ledger::charge(const std::string& key) {
  if (model_.honours_keys && number("SELECT count(*) FROM charge WHERE key = ?1", key) > 0) return;
  run("INSERT INTO charge (key) VALUES (?1)", key);
}

CallResult Ledger::request(const std::string& key) {
  failpoint("provider.before_request");
  run("BEGIN IMMEDIATE");
  const bool is_known =
      model_.honours_keys && number("SELECT count(*) FROM charge WHERE key = ?1", key) > 0;
  const bool is_late = model_.delivery == Delivery::late && !is_known;
  run("INSERT INTO request SELECT ?1, " +
          std::string{is_late ? "now + " +
                                    std::to_string(
                                        std::chrono::milliseconds{ProviderModel::kLateness}.count())
                              : "NULL"} +
          " FROM clock",
      key);
  if (!is_late) charge(key);
  run("COMMIT");
  failpoint("provider.after_request");
  const bool is_lost = model_.delivery == Delivery::lost && !is_known;
  if (is_lost || is_late) return {.verdict = CallResult::Verdict::uncertain};
  return {.verdict = CallResult::Verdict::applied, .reference = "ch_" + key};
}

AskResult Ledger::ask(const std::string& key) {
  failpoint("provider.ask");
  if (charges(key) > 0) return {.answer = AskResult::Answer::applied, .reference = "ch_" + key};
  return {.answer = AskResult::Answer::not_found_yet};
}

/// About a key that it does not know yet it does nothing.
CancelResult Ledger::cancel(const std::string& key) {
  failpoint("provider.before_cancel");
  run("UPDATE charge SET voided = 1 WHERE key = ?1", key);
  failpoint("provider.after_cancel");
  return {.answer = CancelResult::Answer::cancelled};
}

void Ledger::pass(std::chrono::milliseconds time) {
  run("UPDATE clock SET now = now + " + std::to_string(time.count()));
  while (number("SELECT count(*) FROM request, clock WHERE due <= now") > 0) {
    const std::int64_t row =
        number("SELECT r.rowid FROM request r, clock WHERE due <= now LIMIT 1");
    run("UPDATE request SET due = NULL WHERE rowid = " + std::to_string(row));
    const std::string same = "FROM request WHERE rowid = " + std::to_string(row);
    const std::string unless_known =
        model_.honours_keys ? " AND key NOT IN (SELECT key FROM charge)" : "";
    run("INSERT INTO charge (key) SELECT key " + same + unless_known);
  }
}

std::int64_t Ledger::requests(const std::string& key) {
  return number("SELECT count(*) FROM request WHERE key = ?1", key);
}

std::int64_t Ledger::charges(const std::string& key) {
  return number("SELECT count(*) FROM charge WHERE key = ?1 AND NOT voided", key);
}

}  // namespace outseal::test
