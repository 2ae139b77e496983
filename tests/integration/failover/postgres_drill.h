// What drills of failovers and restores share: subscriptions with file sinks, the real programs,
// and a relay that stops wherever the drill wants it to.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "store/subscription.h"
#include "support/history.h"
#include "support/temp_folder.h"

namespace outseal::test {

/// How a program ended, and all that it wrote.
struct Ended {
  int code = 0;
  std::string output;
  bool says(const std::string& text) const { return output.find(text) != std::string::npos; }
};

/// Runs one of outseal's programs to its end; the first word is its name.
Ended run_program(const std::vector<std::string>& words, const std::string& log);

/// What a sink holds, compared with an outbox that was published as a whole.
struct Verdict {
  std::vector<std::string> violations;  ///< Of order, completeness or uniqueness.
  std::set<std::string> ghosts;         ///< Ids that only the sink has.
};

/// The sinks of one drill, outside of all databases. An event of the type "poison" is larger than
/// they take.
class Drill {
 public:
  std::string sink(const std::string& subscription) const;
  std::string sink_path(const std::string& subscription) const;
  std::string log() const { return folder_.file("log"); }
  std::string file(const std::string& name) const { return folder_.file(name); }

  /// outseal-relay run --drain.
  Ended drain(const std::string& url, const std::string& subscription) const;
  Ended rebase(const std::string& url, const std::string& subscription) const;
  Ended relay(const std::vector<std::string>& words) const;
  /// The subjects of what outseal-reconcile finds, without grace.
  std::vector<std::string> findings(const std::string& url) const;

  /// What a relay does with up to `events` events, acknowledgement and all.
  void publish(const std::string& url, const std::string& subscription, std::size_t events) const;
  /// Binds up to `events` events, and stores only the first `arrived` of them.
  void bind(const std::string& url, const std::string& subscription, std::size_t events,
            std::size_t arrived) const;

  std::vector<StoredEvent> stored(const std::string& subscription) const;
  /// For subscriptions to all topics.
  Verdict verify(const std::string& url, const std::string& subscription) const;

 private:
  TempFolder folder_;
};

/// SQL that appends `count` events in a transaction each, with keys in turn.
std::string appending(int count, const std::string& topic = "t");

/// SQL that uses up `count` numbers of transactions.
std::string idling(int count);

/// A number that a statement gives.
std::int64_t number(const std::string& text);

}  // namespace outseal::test
