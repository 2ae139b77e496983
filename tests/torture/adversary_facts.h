// What a program has told of itself, move by move, through a pipe: it may be killed at any time.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

namespace outseal::test::adversary {

struct TransactionFacts {
  bool checked = false;     ///< Begun by Transaction or execute(): what they say must be true.
  bool handled = false;     ///< By a handler of execute().
  int marker = 0;           ///< n of its first row.
  bool committing = false;  ///< commit() was called and has not answered.
  bool committed = false;   ///< commit() has returned, or execute() with success.
  bool ending = false;      ///< The service sent something like COMMIT in it.
  bool foreign = false;     ///< That was a COMMIT, and it succeeded.
  bool prepared = false;    ///< That was PREPARE TRANSACTION, and it succeeded.
  bool said_foreign = false;
  bool said_in_doubt = false;
  std::set<int> looked;  ///< The rows that it held just before commit().
  bool has_looked = false;
};

struct EventFact {
  int n = 0;
  std::string id;
  std::string key;
  std::string way;  ///< api, sql or beside.
  int label = 0;
  int index = 0;  ///< In the order of appends.
};

struct KeyFacts {
  std::vector<int> runs;  ///< Labels of the handler's transactions.
  int executing = 0;      ///< Calls that have not answered; a handler may call again.
  std::string recorded;   ///< The verdict that must be on record; empty: none.
};

struct Facts {
  std::map<int, TransactionFacts> transactions;
  std::vector<EventFact> events;
  std::map<std::string, KeyFacts> keys;
  std::vector<std::string> complaints;  ///< Answers that contradict what went before.
  std::vector<std::string> outcomes;    ///< For the count of what has happened.
  std::string errors;                   ///< The messages of all errors.
  bool usable = false;
  bool finished = false;
  int moves = 0;

  void take(const std::string& line);

 private:
  void take_transaction(const std::vector<std::string>& words);
  void take_result(const std::vector<std::string>& words);
};

}  // namespace outseal::test::adversary
