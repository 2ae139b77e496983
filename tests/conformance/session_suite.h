// One suite for every kind of session that a service may have. A new kind joins by a file like
// session_libpq_test.cc, which says how such a session is opened, used and closed.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/url.h"
#include "outseal/outseal.h"

namespace outseal::test {

/// A service's session, opened and used by a library that is not outseal.
class ServiceSession {
 public:
  virtual ~ServiceSession() = default;
  /// As the service passes it to outseal.
  virtual Session session() = 0;
  /// @throws std::runtime_error if the SQL is refused.
  virtual void run(const std::string& sql) = 0;

  struct Replacement {
    std::string name;
    std::function<void()> make;
  };
  /// The ways to end the connection, whatever lives on it, and to have another one afterwards.
  virtual std::vector<Replacement> replacements() = 0;
  /// Ends it for good: outseal is then given what is left of it.
  virtual void close() = 0;
};

/// A fresh database with the schema and a table `account (id, balance)` with the rows (1, 100) and
/// (2, 100), whose service has sessions of one kind.
class SessionsUnderTest {
 public:
  virtual ~SessionsUnderTest() = default;
  virtual std::string kind() const = 0;
  virtual Url url() const = 0;
  virtual std::unique_ptr<ServiceSession> open() const = 0;
};

/// Defined by the file that includes this suite's cases: a database for each kind under test.
std::vector<std::unique_ptr<SessionsUnderTest>> make_sessions();

/// Applies the schema to a database, which is created if it is SQLite's.
void prepare_database(const Url& url);

inline constexpr const char* kCharge = "UPDATE account SET balance = balance - 5 WHERE id = 1";

inline Event charged() {
  return {.topic = "payments", .key = "1", .type = "charged", .payload = "{}"};
}

/// What a session of one kind is tested with.
class SessionFixture {
 public:
  explicit SessionFixture(const SessionsUnderTest& under_test) : sessions{under_test} {}

  const SessionsUnderTest& sessions;
  std::unique_ptr<ServiceSession> service = sessions.open();

  Session session() const { return service->session(); }
  void run(const std::string& sql) const { service->run(sql); }
  bool is_sqlite() const { return sessions.url().scheme == "sqlite"; }
  /// By connections of their own.
  long events() const { return number("SELECT count(*) FROM outseal_outbox"); }
  long balance() const {
    const std::string account = is_sqlite() ? "account" : "public.account";
    return number("SELECT balance FROM " + account + " WHERE id = 1");
  }
  /// Charges account 1, appends an event and replies.
  Handler charging(Reply reply = {}) const;

 private:
  long number(const std::string& sql) const;
};

/// The code of the Error that `call` throws.
ErrorCode code_of(const std::function<void()>& call);

}  // namespace outseal::test
