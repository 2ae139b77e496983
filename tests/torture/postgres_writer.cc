#include "torture/postgres_writer.h"

#include <libpq-fe.h>
#include <soci/postgresql/soci-postgresql.h>
#include <sys/socket.h>

#include <algorithm>
#include <set>
#include <thread>
#include <utility>

namespace outseal::test {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr const char* kTopic = "torture";

/// The handler of an operation gives up in a way that only a bug could.
struct GiveUp : std::runtime_error {
  using std::runtime_error::runtime_error;
};

PGconn* handle_of(soci::session& session) {
  return static_cast<soci::postgresql_session_backend*>(session.get_backend())->conn_;
}

bool is_conflict(const std::string& state) {
  return state == "40001" || state == "40P01" || state == "55P03";
}

std::string quoted(const std::string& text) { return "'" + text + "'"; }

}  // namespace

PostgresWriter::PostgresWriter(WriterOptions options)
    : options_{std::move(options)}, random_{options_.seed} {}

void PostgresWriter::run(const std::atomic<bool>& stop) {
  stop_ = &stop;
  while (!stop) {
    ids_.clear();
    try {
      if (!session_) connect();
      if (!session_) continue;
      act();
    } catch (const soci::postgresql_soci_error& error) {
      settle(Known::undone);
      if (is_conflict(error.sqlstate()))
        ++counts_.conflicts;
      else if (PQstatus(handle_of(*session_)) == CONNECTION_OK)
        faults_.push_back(options_.name + ": " + error.sqlstate() + " " + error.what());
    } catch (const soci::soci_error& error) {
      settle(Known::undone);
      if (PQstatus(handle_of(*session_)) == CONNECTION_OK)
        faults_.push_back(options_.name + ": " + error.what());
    } catch (const Error& error) {
      settle(Known::undone);  // Unless commit() has said more already.
      if (error.code() == ErrorCode::conflict)
        ++counts_.conflicts;
      else if (PQstatus(handle_of(*session_)) == CONNECTION_OK)
        faults_.push_back(options_.name + ": " + error.what());
    } catch (const GiveUp&) {
      settle(Known::undone);
    }
    recover();
  }
}

void PostgresWriter::connect() {
  try {
    session_ = std::make_unique<soci::session>(soci::postgresql, options_.conninfo);
    PQsetNoticeProcessor(
        handle_of(*session_), [](void*, const char*) {}, nullptr);
  } catch (const soci::soci_error&) {  // The server is down.
    std::this_thread::sleep_for(milliseconds{10});
  }
}

void PostgresWriter::recover() {
  if (!session_) return;
  PGconn* handle = handle_of(*session_);
  if (PQstatus(handle) == CONNECTION_OK && PQtransactionStatus(handle) != PQTRANS_IDLE)
    PQclear(PQexec(handle, "ROLLBACK"));
  if (PQstatus(handle) == CONNECTION_OK) return;
  ++counts_.lost_connections;
  session_.reset();
}

void PostgresWriter::act() {
  end_due_prepared();
  if (options_.patient) return long_transaction();
  const std::uint64_t kind = random_.below(100);
  if (kind < 45) return library_transaction();
  if (kind < 60) return operate();
  if (kind < 70) return joined_transaction();
  plain_transaction();
}

// --- Kinds of transactions -----------------------------------------------------------------------

void PostgresWriter::library_transaction() {
  Transaction tx{*session_, {.named_statements = !options_.pooled}};
  begin_work();
  work([&](const Event& event) { append(tx, event); }, "library");
  if (chance(12)) {
    ++counts_.rollbacks;
    return settle(Known::undone);
  }
  if (chance(2)) cut_connection();
  commit(tx);
}

/// The service begins and ends the transaction itself.
void PostgresWriter::joined_transaction() {
  *session_ << "BEGIN";
  begin_work();
  Transaction tx = Transaction::join(*session_, {.named_statements = !options_.pooled});
  work([&](const Event& event) { append(tx, event); }, "joined");
  end_by_sql();
}

/// A producer without the library.
void PostgresWriter::plain_transaction() {
  *session_ << "BEGIN";
  begin_work();
  work([this](const Event& event) { append_by_sql(event); }, "plain");
  end_by_sql();
}

/// Its events have low numbers and an early xid, and come late. Its key is its own: nobody waits.
void PostgresWriter::long_transaction() {
  Transaction tx{*session_, {.named_statements = !options_.pooled}};
  begin_work();
  *session_ << "SELECT pg_current_xact_id()";
  const Append append_event = chance(50) ? Append{[&](const Event& event) { append(tx, event); }}
                                         : [this](const Event& event) { append_by_sql(event); };
  change(options_.name, append_event, "long");
  const auto end = steady_clock::now() + milliseconds{random_.between(100, 500)};
  while (steady_clock::now() < end && !*stop_) {
    pause(60);
    if (chance(50)) change(options_.name, append_event, "long");
  }
  ++counts_.long_ones;
  if (chance(10)) return settle(Known::undone);
  commit(tx);
}

/// There are few operations, so that most tries are repetitions. One in doubt is asked again.
void PostgresWriter::operate() {
  const std::string name = std::to_string(random_.below(300));
  const Operation operation{
      .scope = "torture", .key = name, .fingerprint = fingerprint("request " + name)};
  std::vector<std::string> tried;
  try {
    execute(operation, tried);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::commit_in_doubt) throw;
    const std::vector<std::string> first = std::exchange(tried, {});
    recover();
    while (!session_ && !*stop_) connect();
    if (!session_ || execute(operation, tried) != Outcome::executed) return;
    for (const std::string& id : first) known_[id] = Known::undone;
  }
}

/// @param tried the events of a commit that is in doubt.
Outcome PostgresWriter::execute(const Operation& operation, std::vector<std::string>& tried) {
  const std::uint64_t way = random_.below(12);
  ids_.clear();
  const Handler handler = [&](Transaction& tx) -> Reply {
    begin_work();
    work([&](const Event& event) { append(tx, event); }, "op-" + operation.key);
    if (way == 0) throw GiveUp{"handler"};
    if (way == 1) return {.verdict = Verdict::final_failure, .status = 402};
    if (way == 2) return {.verdict = Verdict::retryable_failure, .status = 503};
    if (way == 3 && chance(20)) cut_connection();
    return {.status = 201, .body = operation.key};
  };
  try {
    const ExecuteResult result =
        outseal::execute(*session_, operation, handler,
                         {.wait = milliseconds{300}, .named_statements = !options_.pooled});
    ++(result.outcome == Outcome::executed ? counts_.operations : counts_.replays);
    const bool kept =
        result.outcome == Outcome::executed && result.reply->verdict == Verdict::success;
    settle(!kept ? Known::undone : async_ ? Known::unflushed : Known::committed);
    return result.outcome;
  } catch (const Error& error) {
    if (error.code() != ErrorCode::commit_in_doubt) throw;
    ++counts_.commits_in_doubt;
    tried = ids_;
    settle(Known::in_doubt);
    throw;
  }
}

void PostgresWriter::end_due_prepared() {
  if (prepared_.empty() || steady_clock::now() < prepared_.front().due) return;
  const Prepared prepared = prepared_.front();
  prepared_.erase(prepared_.begin());
  ids_ = prepared.ids;
  for (const std::string& id : ids_) known_[id] = Known::in_doubt;
  const bool commits = chance(65);
  try {
    *session_ << (commits ? "COMMIT PREPARED " : "ROLLBACK PREPARED ") + quoted(prepared.name);
    settle(commits ? Known::committed : Known::undone);
  } catch (const soci::soci_error&) {
    ids_.clear();
    throw;
  }
}

// --- What they do --------------------------------------------------------------------------------

void PostgresWriter::begin_work() {
  ++counts_.transactions;
  async_ = chance(options_.async_percent);
  if (async_) *session_ << "SET LOCAL synchronous_commit = off";
}

void PostgresWriter::work(const Append& append, const std::string& type) {
  if (chance(25)) {
    *session_ << "SELECT pg_current_xact_id()";
    ++counts_.early_xids;
    pause(2);
  }
  for (const std::string& key : some_keys()) {
    if (chance(35))
      savepoint(key, append, type, 0);
    else
      change(key, append, type);
    if (chance(10)) pause(2);
  }
}

/// In order, so that they do not lock each other out; but for some, so that they do. None that a
/// prepared transaction of ours may hold: we would wait for ourselves.
std::vector<std::string> PostgresWriter::some_keys() {
  if (!prepared_.empty()) return {options_.name};
  std::vector<std::string> keys;
  for (std::uint64_t left = random_.between(1, 4); left > 0; --left)
    keys.push_back("k" + std::to_string(random_.below(kSharedKeys)));
  if (!chance(5)) std::sort(keys.begin(), keys.end());
  if (chance(10)) keys.emplace_back();
  return keys;
}

/// Raises the key's version and tells of it; of the empty key there is none.
void PostgresWriter::change(const std::string& key, const Append& append, const std::string& type) {
  long long version = 0;
  if (!key.empty())
    *session_ << "UPDATE k SET version = version + 1 WHERE key = " + quoted(key) +
                     " RETURNING version",
        soci::into(version);
  const EventId id = new_event_id();
  ids_.push_back(id.to_string());
  known_[ids_.back()] = Known::undone;  // Until it is committed.
  append({.topic = kTopic,
          .key = key,
          .type = type,
          .payload = "{\"version\":" + std::to_string(version) + ",\"pad\":\"" +
                     std::string(random_.below(200), 'x') + "\"}",
          .id = id});
}

void PostgresWriter::savepoint(const std::string& key, const Append& append,
                               const std::string& type, int depth) {
  const std::string name = "s" + std::to_string(depth);
  const std::size_t before = ids_.size();
  *session_ << "SAVEPOINT " + name;
  change(key, append, type);
  if (depth < 2 && chance(30)) savepoint(key, append, type, depth + 1);
  if (chance(55)) {
    if (chance(20)) {
      try {
        *session_ << "SELECT 1 / 0";
      } catch (const soci::postgresql_soci_error& error) {
        if (error.sqlstate() != "22012") throw;
      }
    }
    *session_ << "ROLLBACK TO " + name;
    ids_.resize(before);
    ++counts_.returns_to_savepoint;
    if (chance(50)) change(key, append, type);
  } else if (chance(50)) {
    *session_ << "RELEASE " + name;
  }
}

void PostgresWriter::append_by_sql(const Event& event) {
  const std::string id = quoted(event.id->to_string());
  const std::string payload = quoted(event.payload);
  const std::string names =
      quoted(event.topic) + ", " + quoted(event.key) + ", " + quoted(event.type) + ", ";
  switch (random_.below(3)) {
    case 0:
      *session_ << "INSERT INTO outseal.outbox (event_id, topic, key, type, payload) VALUES (" +
                       id + ", " + names + payload + ")";
      break;
    case 1:
      *session_ << "SELECT outseal.append(" + names + payload + ", event_id => " + id + ")";
      break;
    default:
      *session_ << "SELECT outseal.append(" + names + "CAST(" + payload +
                       " AS jsonb), event_id => " + id + ")";
  }
}

/// Commits, rolls back, prepares, or loses the connection.
void PostgresWriter::end_by_sql() {
  const std::uint64_t way = random_.below(100);
  if (way < 12) {
    *session_ << "ROLLBACK";
    ++counts_.rollbacks;
    return settle(Known::undone);
  }
  const std::vector<std::string> ids = std::exchange(ids_, {});
  for (const std::string& id : ids) known_[id] = Known::in_doubt;
  if (way < 14) cut_connection();
  try {
    if (way < 30 && prepared_.empty()) {
      const std::string name =
          options_.name + "-" + std::to_string(options_.seed) + "-" + std::to_string(names_++);
      *session_ << "PREPARE TRANSACTION " + quoted(name);
      prepared_.push_back({name, ids, steady_clock::now() + milliseconds{random_.below(50)}});
      ++counts_.prepared;
      return;
    }
    *session_ << "COMMIT";
  } catch (const soci::soci_error&) {
    if (PQstatus(handle_of(*session_)) == CONNECTION_OK) ids_ = ids;  // Refused, hence undone.
    throw;
  }
  ids_ = ids;
  settle(async_ ? Known::unflushed : Known::committed);
}

void PostgresWriter::commit(Transaction& tx) {
  try {
    tx.commit();
    settle(async_ ? Known::unflushed : Known::committed);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::commit_in_doubt) {
      ++counts_.commits_in_doubt;
      settle(Known::in_doubt);
    }
    throw;
  }
}

/// As a network would.
void PostgresWriter::cut_connection() { ::shutdown(PQsocket(handle_of(*session_)), SHUT_RDWR); }

/// Of the transaction's events; nothing is left to be said of them.
void PostgresWriter::settle(Known known) {
  for (const std::string& id : ids_) known_[id] = known;
  ids_.clear();
}

void PostgresWriter::pause(std::uint64_t ms_max) {
  std::this_thread::sleep_for(std::chrono::microseconds{random_.below(ms_max * 1'000)});
}

}  // namespace outseal::test
