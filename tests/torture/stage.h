// The stage of a torture test: a folder with a database, a file sink, and the real programs on
// them.
//
// What was committed is known from a business table of the producer's, written in the same
// transactions as the events: the outbox itself is not a witness.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "support/history.h"
#include "support/temp_folder.h"
#include "torture/process.h"

namespace outseal::test {

using Environment = std::map<std::string, std::string>;

/// Events larger than this are refused by the sink; the producer makes some.
inline constexpr std::size_t kSinkEventBytesMax = 900;

class Stage {
 public:
  enum class Storage {
    disk,
    memory,  ///< If there is such a file system. SIGKILL takes nothing from it, as from no other.
  };

  /// Makes the folder and the business table; the outbox is left to start_migrate().
  explicit Stage(Storage storage = Storage::disk);

  std::string database() const { return "sqlite:" + folder_.file("service.db"); }
  std::string sink() const;
  std::string sink_path() const { return folder_.file("events.ndjson"); }
  std::string file(const std::string& name) const { return folder_.file(name); }
  const std::string& log() const { return log_; }

  std::unique_ptr<Process> start_migrate(const Environment& environment = {}) const;
  /// `transactions` 0: without end.
  std::unique_ptr<Process> start_producer(std::uint64_t seed, unsigned threads,
                                          std::uint64_t transactions,
                                          const Environment& environment = {}) const;
  std::unique_ptr<Process> start_relay(const std::vector<std::string>& flags,
                                       const Environment& environment = {}) const;
  /// With another sink than ours.
  std::unique_ptr<Process> start_relay_to(const std::string& sink,
                                          const std::vector<std::string>& flags,
                                          const Environment& environment = {}) const;
  std::unique_ptr<Process> start_parked(const std::vector<std::string>& words,
                                        const Environment& environment = {}) const;

  /// Copies the database file, as a backup does while nothing runs.
  void back_up(const std::string& copy) const;
  /// Puts that copy in the database's place, again while nothing runs.
  void restore(const std::string& copy) const;

  void execute(const std::string& sql) const;
  /// The first column of the first row as a number; 0 if there is none.
  std::int64_t number(const std::string& sql) const;

  /// All that must hold for committed events, keys, operations and the sink's content; empty if so.
  std::vector<std::string> violations(Extent extent) const;
  /// The same for what another sink holds.
  std::vector<std::string> violations(Extent extent, const std::vector<StoredEvent>& stored) const;
  /// What the programs wrote, its last part.
  std::string log_tail() const;

 private:
  std::vector<CommittedEvent> committed() const;
  std::vector<StoredEvent> stored() const;

  TempFolder folder_;
  std::string log_;
};

/// Runs a process to its end.
Exit run(std::unique_ptr<Process> process);

}  // namespace outseal::test
