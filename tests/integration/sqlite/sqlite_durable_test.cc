// What is intended is on the disk before the request leaves, whatever the session has set.
#include <doctest/doctest.h>
#include <sqlite3.h>

#include <array>
#include <string>
#include <tuple>

#include "outseal/outseal.h"
#include "outseal/testing.h"
#include "support/mutant.h"
#include "support/temp_folder.h"

using namespace outseal;
using namespace outseal::test;
using namespace std::chrono_literals;

namespace {

/// SQLite's own way to the files, which counts how often one is synced.
class CountingFiles {
 public:
  CountingFiles() {
    below = sqlite3_vfs_find(nullptr);
    vfs_ = *below;
    vfs_.zName = "counting";
    vfs_.xOpen = open;
    sqlite3_vfs_register(&vfs_, 0);
  }
  ~CountingFiles() { sqlite3_vfs_unregister(&vfs_); }
  CountingFiles(const CountingFiles&) = delete;
  CountingFiles& operator=(const CountingFiles&) = delete;

  static int syncs;

 private:
  static int open(sqlite3_vfs*, sqlite3_filename name, sqlite3_file* file, int flags, int* out) {
    const int result = below->xOpen(below, name, file, flags, out);
    if (result != SQLITE_OK || file->pMethods == nullptr) return result;
    // The file itself has other methods than its log and journals; all sync alike.
    static std::array<sqlite3_io_methods, 2> methods;
    sqlite3_io_methods& counting = methods.at((flags & SQLITE_OPEN_MAIN_DB) != 0 ? 0 : 1);
    counting = *file->pMethods;
    real_sync = counting.xSync;
    counting.xSync = [](sqlite3_file* of, int how) {
      ++syncs;
      return real_sync(of, how);
    };
    file->pMethods = &counting;
    return result;
  }

  static sqlite3_vfs* below;
  static int (*real_sync)(sqlite3_file*, int);
  sqlite3_vfs vfs_{};
};
int CountingFiles::syncs = 0;
sqlite3_vfs* CountingFiles::below = nullptr;
int (*CountingFiles::real_sync)(sqlite3_file*, int) = nullptr;

/// How often a file is synced between the beginning of an operation and its request.
int syncs_before_call(const char* synchronous) {
  const CountingFiles files;
  const TempFolder folder;
  sqlite3* handle = nullptr;
  REQUIRE(sqlite3_open_v2(folder.file("shop.db").c_str(), &handle,
                          SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "counting") == SQLITE_OK);
  migrate(handle);
  const std::string pragma = std::string{"PRAGMA synchronous = "} + synchronous;
  sqlite3_exec(handle, ("PRAGMA journal_mode = wal; " + pragma).c_str(), nullptr, nullptr, nullptr);
  int before = 0;
  int syncs = 0;
  const auto pay = [&](const std::string& key) {
    const Effect effect{.name = "charge",
                        .request = "amount=5",
                        .provider = {.name = "test"},
                        .policies = {Policy::hand_over},
                        .call = [&](EffectCall&) {
                          syncs = CountingFiles::syncs - before;
                          return CallResult{.verdict = CallResult::Verdict::applied};
                        }};
    const Operation operation{
        .scope = "payments", .key = key, .fingerprint = fingerprint("amount=5")};
    before = CountingFiles::syncs;
    return execute(handle, operation, effect,
                   [](Transaction&, const EffectOutcome&) { return Reply{}; })
        .outcome;
  };
  CHECK(pay("first") == Outcome::executed);  // It also syncs a new log's header.
  CHECK(pay("second") == Outcome::executed);
  sqlite3_stmt* asked = nullptr;
  sqlite3_prepare_v2(handle, "PRAGMA synchronous", -1, &asked, nullptr);
  sqlite3_step(asked);
  const std::string after = std::to_string(sqlite3_column_int(asked, 0));
  CHECK(after == (std::string{synchronous} == "NORMAL" ? "1" : after));  // As the session had it.
  sqlite3_finalize(asked);
  sqlite3_close(handle);
  return syncs;
}

}  // namespace

TEST_CASE("an intent is synced before its request leaves, whatever PRAGMA synchronous says") {
  for (const char* synchronous : {"NORMAL", "OFF", "FULL", "EXTRA"}) {
    INFO(synchronous);
    CHECK(syncs_before_call(synchronous) > 0);
  }
}

TEST_CASE("without that an intent is not synced") {
  CHECK_FALSE(passes_with_mutant("no_durable_intent", "an intent is synced before*"));
}
