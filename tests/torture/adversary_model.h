// What must be true after a program of the adversarial suite.
#pragma once

#include <soci/soci.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "torture/adversary_facts.h"
#include "torture/adversary_site.h"

namespace outseal::test::adversary {

/// What is committed, read through a session of its own.
struct Committed {
  struct Event {
    std::string id;
    std::string key;
    int n = 0;
  };
  std::map<int, int> rows;                     ///< Label by n.
  std::map<int, int> other_rows;               ///< Those of SQLite's other file.
  std::vector<Event> events;                   ///< By seq.
  std::map<std::string, std::string> records;  ///< Verdict by key.
};
Committed read_committed(const Site& site, soci::session& reader);

/// Removes all of it.
void clear(const Site& site, soci::session& reader);

/// Everything that contradicts the promises of the headers. `killed`: before the program's end.
std::vector<std::string> complaints(const Site& site, const Facts& facts, const Committed& now,
                                    bool killed);

}  // namespace outseal::test::adversary
