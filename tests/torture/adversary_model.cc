#include "torture/adversary_model.h"

#include <algorithm>
#include <utility>

#include "outseal/outseal.h"

namespace outseal::test::adversary {
namespace {

class Judge {
 public:
  Judge(const Site& site, const Facts& facts, const Committed& now, bool killed)
      : site_{site}, facts_{facts}, now_{now}, killed_{killed}, found_{facts.complaints} {}

  std::vector<std::string> judge() {
    rows_and_events();
    order();
    for (const auto& [label, tx] : facts_.transactions)
      if (tx.checked) transaction(label, tx);
    for (const auto& [key, key_facts] : facts_.keys) operation(key, key_facts);
    if (!killed_ && !facts_.finished) complain("the program did not finish");
    if (killed_) return found_;
    if (!facts_.usable) complain("the session is not usable");
    return found_;
  }

 private:
  void complain(const std::string& text) { found_.push_back(text); }

  const TransactionFacts& facts_of(int label) const {
    static const TransactionFacts kNone{};
    const auto at = facts_.transactions.find(label);
    return at == facts_.transactions.end() ? kNone : at->second;
  }

  /// PostgreSQL, as transaction.h says: the service sends COMMIT, the process dies before outseal
  /// notices, or then names the event as one that it could not store.
  bool may_be_lost(const EventFact& event) const {
    const TransactionFacts& tx = facts_of(event.label);
    if (!site_.postgres() || event.way != "api") return false;
    const bool named = facts_.errors.find(event.id) != std::string::npos;
    return (tx.said_foreign && named) || (killed_ && tx.ending && !tx.said_foreign);
  }

  void rows_and_events() {
    std::map<std::pair<std::string, int>, const EventFact*> appended;
    for (const EventFact& event : facts_.events) appended[{event.id, event.n}] = &event;
    std::set<std::pair<std::string, int>> stored;
    for (const Committed::Event& event : now_.events) {
      stored.emplace(event.id, event.n);
      const auto at = appended.find({event.id, event.n});
      if (at == appended.end()) {
        complain("event " + event.id + " of step " + std::to_string(event.n) +
                 " is there, but was not appended");
      } else if (at->second->way == "api" && at->second->key != event.key) {
        complain("event " + event.id + " has the key " + event.key);
      }
      if (!now_.rows.contains(event.n))
        complain("step " + std::to_string(event.n) + ": its event is there, its row is not");
    }
    for (const EventFact& event : facts_.events)
      if (now_.rows.contains(event.n) && !stored.contains({event.id, event.n}) &&
          !may_be_lost(event))
        complain("step " + std::to_string(event.n) + ": its row is there, its event " + event.id +
                 " is not");
  }

  /// Those that were stored behind a foreign COMMIT are in order among themselves.
  void order() {
    std::map<std::string, const EventFact*> by_id;
    for (const EventFact& event : facts_.events) by_id[event.id + std::to_string(event.n)] = &event;
    std::map<std::pair<std::string, int>, int> last;
    for (const Committed::Event& event : now_.events) {
      const auto at = by_id.find(event.id + std::to_string(event.n));
      if (at == by_id.end() || event.key.empty() || at->second->way == "beside") continue;
      const EventFact& fact = *at->second;
      const bool late = fact.way == "api" && facts_of(fact.label).foreign;
      int& newest = last.try_emplace({event.key, late ? fact.label : 0}, -1).first->second;
      if (fact.index < newest)
        complain("step " + std::to_string(event.n) +
                 ": its event comes behind a newer one of key " + event.key);
      newest = std::max(newest, fact.index);
    }
  }

  void transaction(int label, const TransactionFacts& tx) {
    const std::string name = "transaction " + std::to_string(label);
    const bool there = now_.rows.contains(tx.marker);
    const bool unknown =
        tx.said_in_doubt || (killed_ && (tx.ending || tx.committing)) || is_executing(label);
    const bool must = !tx.prepared && (tx.committed || tx.foreign || tx.said_foreign);
    if (must && !there) complain(name + " was committed, but is not there");
    if (!must && !unknown && there) complain(name + " is there, but was not committed");
    std::set<int> rows;
    for (const auto& [n, of] : now_.rows)
      if (of == label) rows.insert(n);
    if (tx.committed && tx.has_looked && rows != tx.looked)
      complain(name + " has other rows than just before commit()");
    const bool in_other = std::any_of(now_.other_rows.begin(), now_.other_rows.end(),
                                      [&](const auto& row) { return row.second == label; });
    if (in_other && !there) complain(name + " is in one of two files");
    if (in_other && site_.splits_files()) complain(name + " could have been split by a crash");
  }

  bool is_executing(int label) const {
    return killed_ && std::any_of(facts_.keys.begin(), facts_.keys.end(), [&](const auto& key) {
             return key.second.executing > 0 && !key.second.runs.empty() &&
                    key.second.runs.back() == label;
           });
  }

  void operation(const std::string& key, const KeyFacts& facts) {
    int committed = 0;
    bool lost = false;
    bool foreign = false;
    for (const int label : facts.runs) {
      const TransactionFacts& tx = facts_of(label);
      if (tx.checked && now_.rows.contains(tx.marker)) ++committed;
      foreign = foreign || (tx.foreign && !tx.prepared);
      lost = lost || (killed_ && tx.ending && !tx.said_foreign);
    }
    const auto at = now_.records.find(key);
    const std::string record = at == now_.records.end() ? "" : at->second;
    const std::string name = "key " + key + " ";
    if (committed > 1) complain(name + "has taken effect " + std::to_string(committed) + " times");
    if (lost) return;
    if (record.empty() && committed > 0) complain(name + "has taken effect without a record");
    if (record == "success" && committed == 0) complain(name + "is recorded without its rows");
    if (record == "final_failure" && committed > 0 && !foreign)
      complain(name + "has failed, but its rows are there");
    const bool unknown = facts.recorded == "?" || (killed_ && facts.executing > 0);
    if (!unknown && record != facts.recorded)
      complain(name + "is recorded as '" + record + "' instead of '" + facts.recorded + "'");
  }

  const Site& site_;
  const Facts& facts_;
  const Committed& now_;
  bool killed_;
  std::vector<std::string> found_;
};

}  // namespace

Committed read_committed(const Site& site, soci::session& reader) {
  Committed now;
  const auto read_rows = [&](const std::string& table, std::map<int, int>& rows) {
    const soci::rowset<soci::row> found = (reader.prepare << "SELECT n, label FROM " + table);
    for (const soci::row& row : found) rows[row.get<int>(0)] = row.get<int>(1);
  };
  read_rows("work", now.rows);
  if (!site.postgres()) read_rows("other.work", now.other_rows);
  const soci::rowset<soci::row> found =
      (reader.prepare << "SELECT CAST(event_id AS TEXT), key, CAST(payload AS TEXT) FROM " +
                             site.outbox() + " ORDER BY seq");
  for (const soci::row& row : found)
    now.events.push_back(
        {row.get<std::string>(0), row.get<std::string>(1), std::stoi(row.get<std::string>(2))});
  for (const std::string key : {"k0", "k1"})
    if (const auto known =
            find(reader, {.scope = "s", .key = key, .fingerprint = fingerprint(key)}))
      now.records[key] = !known->reply                               ? "none"
                         : known->reply->verdict == Verdict::success ? "success"
                                                                     : "final_failure";
  return now;
}

void clear(const Site& site, soci::session& reader) {
  for (const std::string& table : {std::string{"work"}, site.outbox(), site.idempotency()})
    reader << "DELETE FROM " + table;
  reader << "DELETE FROM later";
  if (!site.postgres()) reader << "DELETE FROM other.work";
}

std::vector<std::string> complaints(const Site& site, const Facts& facts, const Committed& now,
                                    bool killed) {
  return Judge{site, facts, now, killed}.judge();
}

}  // namespace outseal::test::adversary
