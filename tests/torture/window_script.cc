#include "torture/window_script.h"

#include <utility>

namespace outseal::test {
namespace {

std::string key_text(std::size_t key) { return key == 0 ? "" : "key-" + std::to_string(key); }

std::string prepared_name(int number) { return "'script-" + std::to_string(number) + "'"; }

}  // namespace

Script::Script(std::vector<PostgresClient>& clients, std::uint64_t seed) : random_{seed} {
  for (PostgresClient& client : clients) sessions_.push_back({.client = &client});
  owners_.fill(kNobody);
}

Script::~Script() {
  try {
    finish();
  } catch (const SqlFailure&) {  // A failed test leaves its server as it is.
  }
}

void Script::act() {
  if (!prepared_.empty() && random_.percent(12))
    return end_prepared(random_.below(prepared_.size()), random_.percent(70));
  Session& session = sessions_[random_.below(sessions_.size())];
  if (!session.open) return begin(session);
  const std::uint64_t chance = random_.below(100);
  if (chance < 44) {
    append(session);
  } else if (chance < 54) {
    session.client->rows("SELECT pg_current_xact_id()");
    ++counts_.early_xids;
  } else if (chance < 66) {
    savepoint(session);
  } else if (chance < 74) {
    return_to_savepoint(session);
  } else if (chance < 90) {
    end(session, "COMMIT");
  } else if (chance < 95) {
    end(session, "ROLLBACK");
  } else if (prepared_.size() < 3) {
    prepare(session);
  }
}

void Script::finish() {
  while (!prepared_.empty()) end_prepared(0, random_.percent(50));
  for (Session& session : sessions_)
    if (session.open) end(session, random_.percent(70) ? "COMMIT" : "ROLLBACK");
}

void Script::begin(Session& session) {
  session.client->rows(random_.percent(20) ? "BEGIN ISOLATION LEVEL REPEATABLE READ" : "BEGIN");
  session.open = true;
  session.work = {.number = numbers_++, .appended = {}, .savepoints = {}};
}

void Script::append(Session& session) {
  const std::uint64_t count = random_.percent(10) ? 12 : random_.between(1, 3);
  std::string values;
  for (std::uint64_t i = 0; i < count; ++i) {
    std::size_t key = random_.below(kKeys);
    int& owner = owners_[key];
    if (key != 0 && owner == kNobody) owner = session.work.number;
    if (key != 0 && owner != session.work.number) key = 0;
    const Appended event{new_event_id(), key, random_.percent(60)};
    session.work.appended.push_back(event);
    values += (i == 0 ? "('" : ", ('") + event.id.to_string() + "', '" +
              (event.topic_a ? "a" : "b") + "', '" + key_text(key) + "', 'x', '\\x" +
              std::string(2 * random_.below(60), '5') + "')";
  }
  session.client->rows(
      "INSERT INTO outseal.outbox (event_id, topic, key, type, payload_bytes) VALUES " + values);
  counts_.events += count;
}

void Script::savepoint(Session& session) {
  session.client->rows("SAVEPOINT s" + std::to_string(session.work.savepoints.size()));
  session.work.savepoints.push_back(session.work.appended.size());
}

/// Keys stay with the transaction, though the server would give their locks back.
void Script::return_to_savepoint(Session& session) {
  std::vector<std::size_t>& savepoints = session.work.savepoints;
  if (savepoints.empty()) return;
  const std::size_t place = random_.below(savepoints.size());
  session.client->rows("ROLLBACK TO s" + std::to_string(place));
  session.work.appended.resize(savepoints[place]);
  savepoints.resize(place + 1);
  ++counts_.returns_to_savepoint;
}

void Script::end(Session& session, const std::string& how) {
  session.client->rows(how);
  session.open = false;
  close(session.work, how == "COMMIT");
}

void Script::prepare(Session& session) {
  session.client->rows("PREPARE TRANSACTION " + prepared_name(session.work.number));
  session.open = false;
  prepared_.push_back(std::move(session.work));
  ++counts_.prepared;
}

void Script::end_prepared(std::size_t place, bool commits) {
  const std::string name = prepared_name(prepared_[place].number);
  for (Session& session : sessions_) {
    if (session.open) continue;  // It cannot be done inside of a transaction.
    session.client->rows((commits ? "COMMIT PREPARED " : "ROLLBACK PREPARED ") + name);
    close(prepared_[place], commits);
    prepared_.erase(prepared_.begin() + static_cast<std::ptrdiff_t>(place));
    return;
  }
  end(sessions_[0], "COMMIT");
}

void Script::close(Work& work, bool commits) {
  for (int& owner : owners_)
    if (owner == work.number) owner = kNobody;
  if (commits) committed_.insert(committed_.end(), work.appended.begin(), work.appended.end());
  ++(commits ? counts_.commits : counts_.rollbacks);
}

std::vector<CommittedEvent> Script::committed(bool only_topic_a) const {
  std::vector<CommittedEvent> events;
  for (const Appended& event : committed_)
    events.push_back({event.id, key_text(event.key),
                      only_topic_a && !event.topic_a ? Fate::set_aside : Fate::due});
  return events;
}

}  // namespace outseal::test
