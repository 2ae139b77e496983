// Runs the programs of the adversarial suite, each in a process of its own, and judges them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "torture/adversary_program.h"
#include "torture/adversary_site.h"

namespace outseal::test::adversary {

struct Coverage {
  std::uint64_t programs = 0;
  std::uint64_t killed = 0;
  std::uint64_t committed = 0;  ///< Transactions whose commit() returned.
  std::uint64_t lost = 0;       ///< Steps whose row survived a kill behind a foreign COMMIT alone.
  std::map<std::string, std::uint64_t> outcomes;  ///< "commit ok", "append constraint", ...

  std::uint64_t of(const std::string& outcome) const;
};

/// Runs `count` programs, or the one that OUTSEAL_SEED names, until one is found wrong: that one is
/// printed move by move. Adds to `coverage`.
void run_campaign(const Site& site, std::uint64_t count, Coverage& coverage);

/// Checks that all of `outcomes` have happened, in a full run.
void check_coverage(const Coverage& coverage, const std::vector<std::string>& outcomes);

/// Checks that the programs of the case `name` find the guard missing that each of `mutants`
/// switches off; in a full run.
void check_mutants(const std::vector<std::string>& mutants, const std::string& name);

}  // namespace outseal::test::adversary
