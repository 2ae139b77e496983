// A service that performs a program of the adversarial suite and tells what it sees.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "outseal/outseal.h"
#include "torture/adversary_program.h"
#include "torture/adversary_site.h"

namespace outseal::test::adversary {

class Service {
 public:
  /// `tell` takes the lines that Facts::take() reads.
  using Tell = std::function<void(const std::string&)>;
  Service(const Site& site, const Program& program, Tell tell);
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  /// All of the program, its end included.
  void run();
  /// Executes the keys of programs again, as a client would.
  void run_keys_again(const std::vector<std::string>& keys);

 private:
  struct Slot {
    std::unique_ptr<Transaction> owned;
    Transaction* tx = nullptr;  ///< The owned one, or a handler's.
    int label = 0;
    bool joined = false;
  };
  struct Undone {};  ///< What a handler throws.

  void perform(const Move& move);
  std::string act(const Move& move);
  std::string act_on_transaction(const Move& move);
  std::string act_by_sql(const Move& move);
  std::string act_on_session(const Move& move);
  std::string act_beside(const Move& move);

  std::string begin(const Move& move);
  std::string join(const Move& move);
  std::string append_to(Slot& slot, const Move& move);
  std::string commit(Slot& slot, const Move& move);
  std::string roll_back(Slot& slot);
  void destroy(Slot& slot);
  std::string execute_operation(const std::string& key, const Move& move);
  Reply handle(Transaction& tx, const std::string& key, const Move& move);
  void finish();

  /// Runs a statement and swallows its error.
  bool sql(const std::string& text);
  /// Runs a statement that may end the transaction at hand; `begins`: and begins another one.
  std::string end_by_sql(const std::string& text, Act act, bool begins);
  std::string append_by_sql(const Move& move);
  std::string use_helper(const Move& move);
  /// Runs a statement that SQLite undoes with all of its transaction.
  std::string break_sqlite(Act act);
  bool add_row(int label, int n);
  int new_label() { return ++last_label_; }
  /// Forgets the label of a transaction that is over.
  void look_around(bool begun = false);
  /// What `call` throws, as a word; tells it of the transaction `label`.
  std::string answer(int label, const std::string& what, const std::function<void()>& call);
  void note_error(int label, const std::string& what, const Error& error);
  EventId pooled_id(std::uint32_t choice) const { return pool_.at(choice % pool_.size()); }
  Slot& slot_of(const Move& move);
  TransactionOptions options_of(const Move& move, int label);

  const Site& site_;
  const Program& program_;
  Tell tell_;
  std::unique_ptr<soci::session> session_;
  std::unique_ptr<soci::session> beside_;
  std::unique_ptr<StatementCache> statements_;
  std::vector<EventId> pool_{new_event_id(), new_event_id()};  ///< Ids that several appends use.
  std::vector<Slot> slots_ = std::vector<Slot>(3);             ///< The last one is the handler's.
  int last_label_ = 0;
  int last_n_ = 0;
  int current_ = 0;  ///< Label of the transaction that the session is in; 0: none.
  int moves_ = 0;
  bool locked_ = false;  ///< The one beside holds SQLite's write lock.
};

}  // namespace outseal::test::adversary
