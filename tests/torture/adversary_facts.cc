#include "torture/adversary_facts.h"

#include <algorithm>
#include <sstream>

namespace outseal::test::adversary {
namespace {

bool tells_of_commit(const std::string& code) {
  return code == "foreign_commit" || code == "commit_in_doubt";
}

}  // namespace

void Facts::take(const std::string& line) {
  std::istringstream stream{line};
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  if (words.empty()) return;
  const std::string& verb = words.front();
  if (verb == "move") ++moves;
  if (verb == "end") outcomes.push_back(words.at(1) + " " + words.at(2));
  if (verb == "tx") take_transaction(words);
  if (verb == "look") {
    TransactionFacts& tx = transactions[std::stoi(words.at(1))];
    tx.has_looked = true;
    tx.looked.clear();
    for (std::size_t i = 2; i < words.size(); ++i) tx.looked.insert(std::stoi(words[i]));
  }
  if (verb == "event")
    events.push_back({.n = std::stoi(words.at(1)),
                      .id = words.at(2),
                      .key = words.at(3) == "-" ? "" : words.at(3),
                      .way = words.at(4),
                      .label = std::stoi(words.at(5)),
                      .index = static_cast<int>(events.size())});
  if (verb == "run") {
    keys[words.at(1)].runs.push_back(std::stoi(words.at(2)));
    transactions[keys[words.at(1)].runs.back()].handled = true;
  }
  if (verb == "executing") ++keys[words.at(1)].executing;
  if (verb == "result") take_result(words);
  if (verb == "bad") complaints.push_back(line.substr(4));
  if (verb == "#") errors += line + '\n';
  if (verb == "usable") usable = true;
  if (verb == "finished") finished = true;
}

void Facts::take_transaction(const std::vector<std::string>& words) {
  TransactionFacts& tx = transactions[std::stoi(words.at(1))];
  const std::string& what = words.at(2);
  const auto complain = [&](const std::string& text) {
    complaints.push_back("transaction " + words.at(1) + ": " + text);
  };
  const auto said = [&](const std::string& code, bool final) {
    if (code == "foreign_commit") {
      if (!tx.foreign && !tx.prepared) complain("foreign_commit, but nobody else committed it");
      tx.said_foreign = !tx.handled;  // What belongs to it is stored when the handler has ended.
    }
    if (code == "commit_in_doubt") tx.said_in_doubt = true;
    if (final && (tx.foreign || tx.said_in_doubt) && !tells_of_commit(code))
      complain(what + " " + code + ", which says that nothing is committed, but the service had" +
               (tx.foreign ? " committed" : " been told of a doubt"));
    if (final && code == "internal" && !tx.committed) complain("an internal error");
  };
  if (what == "begun") {
    tx.checked = true;
    tx.marker = std::stoi(words.at(3));
  } else if (what == "committing") {
    tx.committing = true;
  } else if (what == "committed") {
    if (tx.committed) complain("committed twice");
    if (tx.foreign || tx.prepared) complain("commit() succeeded behind the service's own COMMIT");
    tx.committed = true;
  } else if (what == "commit_failed") {
    tx.has_looked = false;  // If the next one succeeds, it may be of other rows.
    tx.committing = false;
    if (!tx.committed) said(words.at(3), true);
  } else if (what == "rolled_back") {
    if (tx.foreign || tx.committed) complain("rollback() succeeded, but it is committed");
  } else if (what == "rollback_failed") {
    if (!tx.committed) said(words.at(3), true);
  } else if (what == "said") {
    said(words.at(3), false);
  } else if (what == "ending") {
    tx.ending = true;
  } else if (what == "foreign") {
    tx.foreign = true;
  } else if (what == "prepared") {
    tx.prepared = true;
  }
}

void Facts::take_result(const std::vector<std::string>& words) {
  KeyFacts& key = keys[words.at(1)];
  --key.executing;
  const std::string& outcome = words.at(2);
  const std::string& verdict = words.at(3);  // Or the error's code.
  TransactionFacts& tx = transactions[std::stoi(words.at(4))];
  const auto complain = [&](const std::string& text) {
    complaints.push_back("key " + words.at(1) + ": " + text);
  };
  outcomes.push_back("result " + outcome + " " + verdict);
  if (tx.foreign && !(outcome == "error" && tells_of_commit(verdict)))
    complain("its handler's COMMIT is not reported, but " + outcome + " " + verdict);
  if (outcome == "executed") {
    if (!key.recorded.empty()) complain("executed again");
    key.recorded = verdict;
    if (verdict == "success") tx.committed = true;
  } else if (outcome == "replayed") {
    if (key.recorded != verdict && key.recorded != "?")
      complain("replayed " + verdict + ", recorded is " + key.recorded);
    key.recorded = verdict;
  } else if (outcome == "error" && verdict == "foreign_commit") {
    tx.said_foreign = true;
    // Unless the handler executed the same key again behind its COMMIT: the first record stands.
    const bool stands = !key.recorded.empty() && key.recorded != "?";
    if (tx.foreign && !stands) key.recorded = words.at(5);
    if (!tx.foreign && !tx.prepared) complain("foreign_commit, but nobody else committed it");
  } else if (outcome == "error" && verdict == "commit_in_doubt") {
    tx.said_in_doubt = true;
    key.recorded = "?";
  } else if (outcome == "error" && verdict == "internal") {
    complain("an internal error");
  } else if (outcome == "in_progress") {  // A prepared transaction holds the key's lock.
    if (std::none_of(transactions.begin(), transactions.end(),
                     [](const auto& known) { return known.second.prepared; }))
      complain("in progress, but nobody executes it");
  } else if (outcome != "error" && outcome != "threw" && outcome != "released") {
    complain("unexpected outcome " + outcome);
  }
}

}  // namespace outseal::test::adversary
