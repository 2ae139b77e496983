// Database sessions that one thread steps through in an order given by the seed, and what they have
// committed.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "sim/random.h"
#include "support/history.h"
#include "torture/postgres_client.h"

namespace outseal::test {

/// How often each kind of step was taken.
struct ScriptCounts {
  std::uint64_t events = 0;
  std::uint64_t commits = 0;
  std::uint64_t rollbacks = 0;
  std::uint64_t returns_to_savepoint = 0;
  std::uint64_t early_xids = 0;
  std::uint64_t prepared = 0;
};

/// A key belongs to one transaction at a time, as a row lock would have it; a transaction appends
/// to a key only while it owns it. Steps that would wait for another session are never taken.
///
/// Threads: Not thread-safe; one thread at a time.
class Script {
 public:
  /// `clients` are the sessions; they are left without a transaction.
  Script(std::vector<PostgresClient>& clients, std::uint64_t seed);
  ~Script();

  /// One step of one session.
  void act();
  /// Ends everything that is still open.
  void finish();

  /// In the order of commits. Events of topic "b" are set aside if `only_topic_a`.
  std::vector<CommittedEvent> committed(bool only_topic_a) const;
  const ScriptCounts& counts() const { return counts_; }

 private:
  static constexpr std::size_t kKeys = 4;  ///< Key 0 is the empty one, which nobody owns.
  static constexpr int kNobody = -1;

  struct Appended {
    EventId id;
    std::size_t key = 0;
    bool topic_a = true;
  };
  /// One transaction, open in a session or prepared.
  struct Work {
    int number = kNobody;
    std::vector<Appended> appended;
    std::vector<std::size_t> savepoints;  ///< How much was appended at each.
  };
  struct Session {
    PostgresClient* client;
    bool open = false;
    Work work = {};
  };

  void begin(Session& session);
  void append(Session& session);
  void savepoint(Session& session);
  void return_to_savepoint(Session& session);
  void end(Session& session, const std::string& how);
  void prepare(Session& session);
  void end_prepared(std::size_t place, bool commits);
  void close(Work& work, bool commits);

  sim::Random random_;
  std::vector<Session> sessions_;
  std::vector<Work> prepared_;
  std::array<int, kKeys> owners_;
  std::vector<Appended> committed_;
  int numbers_ = 0;
  ScriptCounts counts_;
};

}  // namespace outseal::test
