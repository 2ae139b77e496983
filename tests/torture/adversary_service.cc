#include "torture/adversary_service.h"

#include <signal.h>

#include <chrono>
#include <utility>

namespace outseal::test::adversary {
namespace {

constexpr const char* kKeys[] = {"", "a", "z\u00fcrich"};

Event event_of(int n, const std::string& key) {
  return {.topic = "t", .key = key, .type = "x", .payload = std::to_string(n)};
}

std::string shown(const std::string& key) { return key.empty() ? "-" : key; }

Operation operation(const std::string& key) {
  return {.scope = "s", .key = key, .fingerprint = fingerprint(key)};
}

Verdict verdict_of(std::uint32_t choice) {
  switch (choice % 8) {
    case 0:
    case 1:
      return Verdict::final_failure;
    case 2:
      return Verdict::retryable_failure;
    default:
      return Verdict::success;
  }
}

const char* word_of(Verdict verdict) {
  return verdict == Verdict::success ? "success" : "final_failure";
}

}  // namespace

Service::Service(const Site& site, const Program& program, Tell tell)
    : site_{site}, program_{program}, tell_{std::move(tell)}, session_{site.open()} {}

Service::~Service() = default;

void Service::run() {
  if (!site_.postgres() && program_.bits % 4 == 0)
    statements_ = std::make_unique<StatementCache>(*session_);
  for (const Move& move : program_.moves) perform(move);
  finish();
  tell_("finished");
}

void Service::run_keys_again(const std::vector<std::string>& keys) {
  last_label_ = 900;
  last_n_ = 900;
  for (const std::string& key : keys) execute_operation(key, {Act::execute, 0, 7});
  tell_("finished");
}

void Service::perform(const Move& move) {
  tell_("move " + std::string{name_of(move.act)} + " " + std::to_string(move.a) + " " +
        std::to_string(move.b));
  ++moves_;
  if (program_.kill == Kill::at_move && moves_ == static_cast<int>(program_.kill_at))
    ::raise(SIGKILL);
  const std::string outcome = act(move);
  look_around();
  tell_("end " + std::string{name_of(move.act)} + " " + outcome);
}

std::string Service::act(const Move& move) {
  switch (move.act) {
    case Act::begin:
      return begin(move);
    case Act::join:
      return join(move);
    case Act::append:
    case Act::append_bad:
    case Act::commit:
    case Act::roll_back:
    case Act::destroy:
      return act_on_transaction(move);
    case Act::execute:
      return execute_operation(move.a % 3 == 0 ? "k1" : "k0", move);
    case Act::beside_event:
    case Act::beside_update:
    case Act::beside_lock:
    case Act::beside_unlock:
      return act_beside(move);
    default:
      return move.act < Act::reconnect ? act_by_sql(move) : act_on_session(move);
  }
}

Service::Slot& Service::slot_of(const Move& move) {
  // Mostly one that lives: of a handler's, the handler's own.
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& slot = slots_.at((i + (move.b % 8 == 0 ? 0 : 2)) % slots_.size());
    if (slot.tx != nullptr && (move.b % 3 != 0 || i > 0)) return slot;
  }
  return slots_.at(move.b % 2);
}

std::string Service::act_on_transaction(const Move& move) {
  Slot& slot = slot_of(move);
  if (slot.tx == nullptr) return "none";
  switch (move.act) {
    case Act::append:
      return append_to(slot, move);
    case Act::append_bad:
      return answer(slot.label, "said", [&] {
        Event bad = event_of(0, "");
        bad.topic = "no topic";
        append(*slot.tx, bad);
        tell_("bad a topic with a space was taken");
      });
    case Act::commit:
      return commit(slot, move);
    case Act::roll_back:
      return roll_back(slot);
    default:
      if (slot.owned == nullptr) return "handler's";
      destroy(slot);
      return "ok";
  }
}

TransactionOptions Service::options_of(const Move& move, int label) {
  return {.busy_wait = std::chrono::milliseconds{move.b % 3},
          .statements = statements_.get(),
          .named_statements = move.a % 4 != 0,
          .append_at_once = move.a / 4 % 4 == 0,
          .isolation = static_cast<Isolation>(move.a / 16 % 4),
          .observer = [this, label](const Observation& seen) {
            if (const auto* found = std::get_if<UnthrownError>(&seen))
              note_error(label, "said", *found->error);
          }};
}

std::string Service::begin(const Move& move) {
  Slot& slot = slots_.at(move.b % 2);
  Slot next;
  next.label = new_label();
  const std::string result = answer(next.label, "said", [&] {
    next.owned = std::make_unique<Transaction>(*session_, options_of(move, next.label));
  });
  if (next.owned == nullptr) return result;
  next.tx = next.owned.get();
  current_ = next.label;
  const int n = ++last_n_;
  if (add_row(next.label, n))
    tell_("tx " + std::to_string(next.label) + " begun " + std::to_string(n));
  std::swap(slot, next);  // The old one may end after the new one has begun.
  destroy(next);
  return result;
}

std::string Service::join(const Move& move) {
  Slot next;
  next.joined = true;
  next.label = current_;
  const std::string result = answer(0, "said", [&] {
    next.owned.reset(new Transaction(Transaction::join(*session_, options_of(move, current_))));
  });
  if (next.owned == nullptr) return result;
  next.tx = next.owned.get();
  Slot& slot = slots_.at(move.b % 2);
  std::swap(slot, next);
  destroy(next);
  return result;
}

std::string Service::append_to(Slot& slot, const Move& move) {
  const int n = ++last_n_;
  const std::string key = kKeys[move.b / 8 % 3];
  const bool row_first = move.a % 2 == 0;
  const std::uint32_t count = 1 + move.a / 2 % 3;
  if (row_first) add_row(current_, n);
  std::vector<EventId> ids;
  const std::string result = answer(slot.label, "said", [&] {
    if (move.a / 8 % 4 == 0) {
      ids = append(*slot.tx, std::vector<Event>(count, event_of(n, key)));
      return;
    }
    for (std::uint32_t i = 0; i < count; ++i) {
      Event event = event_of(n, key);
      if (i == 0 && move.a / 32 % 6 == 0) event.id = pooled_id(move.a / 256);
      ids.push_back(append(*slot.tx, event));
    }
  });
  for (const EventId& id : ids)
    tell_("event " + std::to_string(n) + " " + id.to_string() + " " + shown(key) + " api " +
          std::to_string(slot.label));
  if (!row_first && !ids.empty()) add_row(current_, n);
  return result;
}

std::string Service::commit(Slot& slot, const Move& move) {
  if (slot.joined) return answer(0, "said", [&] { slot.tx->commit(); });
  if (slot.owned == nullptr)
    return answer(slot.label, "said", [&] {
      slot.tx->commit();
      tell_("bad a handler has committed");
    });
  const std::string label = std::to_string(slot.label);
  if (move.a % 2 == 0 && current_ == slot.label && state_of(*session_) == SessionState::open) {
    std::string line = "look " + label;
    try {
      const soci::rowset<int> rows =
          (session_->prepare << "SELECT n FROM work WHERE label = " + label);
      for (const int n : rows) line += " " + std::to_string(n);
      tell_(line);
    } catch (const soci::soci_error&) {  // Then nothing is known.
    }
  }
  tell_("tx " + label + " committing");
  return answer(slot.label, "commit_failed", [&] {
    slot.tx->commit();
    tell_("tx " + label + " committed");
  });
}

std::string Service::roll_back(Slot& slot) {
  if (slot.joined || slot.owned == nullptr)
    return answer(0, "said", [&] {
      slot.tx->rollback();
      tell_("bad a transaction of somebody else was rolled back");
    });
  return answer(slot.label, "rollback_failed", [&] {
    slot.tx->rollback();
    tell_("tx " + std::to_string(slot.label) + " rolled_back");
  });
}

void Service::destroy(Slot& slot) { slot = Slot{}; }

std::string Service::answer(int label, const std::string& what, const std::function<void()>& call) {
  try {
    call();
    return "ok";
  } catch (const Error& error) {
    note_error(label, what, error);
    return std::string{name_of(error.code())};
  } catch (const std::exception& error) {
    tell_(std::string{"bad an exception that is none of outseal's: "} + error.what());
    return "other";
  }
}

void Service::note_error(int label, const std::string& what, const Error& error) {
  if (label != 0) {
    tell_("tx " + std::to_string(label) + " " + what + " " + std::string{name_of(error.code())});
  }
  tell_("# " + std::string{error.what()});
}

std::string Service::execute_operation(const std::string& key, const Move& move) {
  const Slot outer = Slot{nullptr, slots_.back().tx, slots_.back().label, false};
  int label = 0;
  const char* stored = "final_failure";
  const auto result = [&](const std::string& outcome) {
    tell_("result " + key + " " + outcome + " " + std::to_string(label) + " " + stored);
    slots_.back().tx = outer.tx;
    slots_.back().label = outer.label;
    return outcome.substr(0, outcome.find(' '));
  };
  ExecuteOptions options{.wait = std::chrono::milliseconds{move.b / 8 % 3},
                         .statements = statements_.get(),
                         .named_statements = move.a % 4 != 0,
                         .isolation = static_cast<Isolation>(move.a / 4 % 4)};
  tell_("executing " + key);
  try {
    const ExecuteResult got = execute(
        *session_, operation(key),
        [&](Transaction& tx) {
          label = new_label();
          Reply reply = handle(tx, key, move);
          stored = word_of(reply.verdict);
          return reply;
        },
        options);
    if (got.outcome == Outcome::mismatch || got.outcome == Outcome::in_progress)
      return result(std::string{name_of(got.outcome)} + " none");
    return result(std::string{name_of(got.outcome)} + " " + word_of(got.reply.value().verdict));
  } catch (const Error& error) {
    tell_("# " + std::string{error.what()});
    return result("error " + std::string{name_of(error.code())});
  } catch (const Undone&) {
    return result("threw undone");
  } catch (const std::exception& error) {
    tell_(std::string{"bad an exception that is none of outseal's: "} + error.what());
    return result("threw other");
  }
}

Reply Service::handle(Transaction& tx, const std::string& key, const Move& move) {
  Slot& slot = slots_.back();
  slot.tx = &tx;
  slot.label = current_ = last_label_;
  const std::string label = std::to_string(current_);
  tell_("run " + key + " " + label);
  const int n = ++last_n_;
  if (add_row(current_, n)) tell_("tx " + label + " begun " + std::to_string(n));
  for (const Move& inner : move.body) perform(inner);
  if (move.b % 16 == 15) throw Undone{};
  return {.verdict = verdict_of(move.b), .status = 201};
}

void Service::finish() {
  for (const std::size_t i : {program_.bits / 4 % 2, 1 - program_.bits / 4 % 2})
    destroy(slots_.at(i));
  if (locked_) *beside_ << "ROLLBACK";
  if (site_.postgres()) sql("SELECT 1");  // Notices a connection that is lost.
  if (state_of(*session_) == SessionState::gone) {
    statements_.reset();
    session_->reconnect();
    site_.prepare(*session_);
  }
  look_around();
  if (state_of(*session_) != SessionState::idle)
    sql(program_.bits / 8 % 2 == 0 ? "COMMIT" : "ROLLBACK");
  if (state_of(*session_) != SessionState::idle) sql("ROLLBACK");
  if (site_.postgres()) {
    sql("RESET ROLE");
    sql("SET client_encoding TO 'UTF8'");
  }
  try {
    Transaction tx{*session_};
    const int n = ++last_n_;
    const EventId id = append(tx, event_of(n, ""));
    tell_("event " + std::to_string(n) + " " + id.to_string() + " - api 0");
    *session_ << "INSERT INTO work (label, n) VALUES (0, " + std::to_string(n) + ")";
    tx.commit();
    tell_("usable");
  } catch (const std::exception& error) {
    tell_(std::string{"bad the session is not usable: "} + error.what());
  }
}

}  // namespace outseal::test::adversary
