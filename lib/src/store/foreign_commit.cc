// What is left to do after a service has committed a Transaction by itself: its rows are in, so its
// events and the record of its key have to follow, as many of them as can be stored.
#include <algorithm>
#include <utility>

#include "sql/own_transaction.h"
#include "store/transaction.h"

namespace outseal {
namespace {

/// A message with more ids than this is read by nobody.
constexpr std::size_t kNamedMax = 20;

using Body = std::function<void(sql::Connection&)>;

class Settlement {
 public:
  Settlement(sql::Connection& session, std::chrono::milliseconds wait)
      : session_{session}, wait_{wait} {}

  void store(store::DeferredEvents& events, const Body& record) {
    std::span<const sql::NewEvent> all = events.deferred();
    try {
      return transact([&](sql::Connection& to) {
        all = events.missing(to);
        insert(to, all);
        if (record) record(to);
      });
    } catch (const Error& error) {
      if (!record && all.size() == 1) return note_events({all.front().id}, error.message());
    }
    if (record) store_record(record);
    store_one_by_one(all);
  }

  /// What could not be stored, and why; empty if nothing.
  const std::string& missing() const { return missing_; }

 private:
  static void insert(sql::Connection& to, std::span<const sql::NewEvent> events) {
    store::in_parts(events, [&](std::span<const sql::NewEvent> part) {
      store::run_insert(sql::append_events(to, part), part);
    });
  }

  /// On the session if it can; else by another connection of the same user. The session may be
  /// lost or in another transaction, or have settings that forbid it, such as a role.
  void transact(const Body& body) {
    const auto on = [&](sql::Connection& to) {
      sql::transact(to, wait_, [&] {
        // The service's next transaction may hold what we need, and waits for us.
        sql::limit_lock_waits(to, std::max(wait_, std::chrono::milliseconds{1}));
        body(to);
      });
    };
    if (beside_ == nullptr && !session_.lost() && session_.is_idle()) {
      try {
        return on(session_);
      } catch (const Error&) {  // Perhaps for such a setting.
      }
    }
    if (beside_ == nullptr) beside_ = session_.open_beside();
    if (beside_ == nullptr)
      throw Error{ErrorCode::unreachable, "store", "no other connection could be opened"};
    on(*beside_);
  }

  /// Without it a retry would run the handler again, so it comes first.
  void store_record(const Body& record) {
    try {
      transact(record);
    } catch (const Error& error) {
      missing_ = "the record of the key (" + error.message() + ')';
    }
  }

  /// One that is refused must not cost the others.
  void store_one_by_one(std::span<const sql::NewEvent> events) {
    std::vector<std::string_view> ids;
    std::string reason;
    bool hopeless = false;
    for (const sql::NewEvent& event : events) {
      try {
        if (!hopeless) transact([&](sql::Connection& to) { insert(to, std::span{&event, 1}); });
      } catch (const Error& error) {
        hopeless = error.code() == ErrorCode::unreachable || error.code() == ErrorCode::denied;
        if (reason.empty()) reason = error.message();
        ids.push_back(event.id);
        continue;
      }
      if (hopeless) ids.push_back(event.id);
    }
    if (!ids.empty()) note_events(ids, reason);
  }

  void note_events(const std::vector<std::string_view>& ids, const std::string& reason) {
    if (!missing_.empty()) missing_ += ", and ";
    missing_ += ids.size() == 1 ? "the event" : "the events";
    for (std::size_t i = 0; i < std::min(ids.size(), kNamedMax); ++i)
      missing_ += (i == 0 ? " " : ", ") + std::string{ids[i]};
    if (ids.size() > kNamedMax)
      missing_ += " and " + std::to_string(ids.size() - kNamedMax) + " more";
    missing_ += " (" + reason + ')';
  }

  sql::Connection& session_;
  std::chrono::milliseconds wait_;
  std::unique_ptr<sql::Connection> beside_;
  std::string missing_;
};

}  // namespace

void Transaction::Impl::settle_foreign_commit(std::string_view operation, const Body& record) {
  std::string message = "the service committed the transaction by other means";
  std::string hint = "leave COMMIT to Transaction::commit()";
  if (in_handler) throw Error{ErrorCode::foreign_commit, operation, message, {.hint = hint}};
  Settlement settlement{*connection, options.busy_wait};
  settlement.store(*events, record);
  if (settlement.missing().empty()) {
    message += "; what belongs to it was stored by a transaction of its own";
  } else {
    message += "; what could not be stored: " + settlement.missing();
    hint += "; add what is missing before anything runs again";
  }
  own = nullptr;
  end = Error{ErrorCode::foreign_commit, operation, message, {.hint = hint}};
  throw Error{*end};
}

}  // namespace outseal
