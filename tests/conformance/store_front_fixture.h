// A service with an HTTP front on a database under test, and its clients.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "conformance/store_helpers.h"
#include "conformance/store_suite.h"
#include "outseal/http_front.h"

namespace outseal::test {

inline std::string field(const HttpResponse& response, const std::string& name) {
  for (const auto& [each, value] : response.headers)
    if (each == name) return value;
  return {};
}

/// One request's connection, and what its handler does.
class Client {
 public:
  Client(const StoreUnderTest& store, HttpFront& front) : store_{store}, front_{front} {}

  HttpResponse post(HttpFields headers, const std::string& body = "{\"amount\":5}",
                    Reply reply = {.status = 201, .body = "{\"paid\":5}"}) {
    return post(std::move(headers), body,
                [&](Session db, const Operation& operation, const ExecuteOptions& options) {
                  return execute(db, operation, charging(*session_, reply), options);
                });
  }
  HttpResponse post(HttpFields headers, const std::string& body, const HttpFront::Work& work) {
    return front_.serve(
        opener(),
        {.target = "/charges", .headers = std::move(headers), .body = body, .principal = principal},
        work);
  }
  HttpResponse post(const std::string& key) { return post({{"Idempotency-Key", key}}); }
  HttpResponse get(const std::string& location, HttpFields headers = {}) {
    return front_.serve_status(
        opener(), {.method = "GET", .headers = std::move(headers), .principal = principal},
        location.substr(location.rfind('/') + 1));
  }

  std::string principal = "shop";
  int broken = 0;  ///< How often no connection can be had.
  int opened = 0;

  SessionOpener opener() {
    return [this]() -> Session {
      ++opened;
      if (broken-- > 0) throw std::runtime_error{"no route"};
      session_ = store_.session();
      return *session_;
    };
  }
  soci::session& session() { return *session_; }

 private:
  const StoreUnderTest& store_;
  HttpFront& front_;
  std::unique_ptr<soci::session> session_;
};

/// What an observer is told of answers. Thread-safe as far as it is told.
struct Decisions {
  std::mutex mutex;
  std::vector<std::string> seen;

  Observer observer() {
    return [this](const Observation& what) {
      const std::lock_guard lock{mutex};
      if (const auto* call = std::get_if<HttpCall>(&what))
        seen.push_back(
            std::string{call->decision ? name_of(*call->decision) : std::string_view{"threw"}} +
            (call->from_cache ? " cached" : "") + (call->waited ? " waited" : ""));
    };
  }
};

inline const RetryPolicy kQuick{.attempts_max = 3,
                                .backoff = std::chrono::milliseconds{1},
                                .backoff_max = std::chrono::milliseconds{2}};

struct Shop {
  explicit Shop(HttpFrontOptions given = {.scope = {}}) : options{std::move(given)} {
    options.scope = "payments";
    options.retry = kQuick;
    options.execute.wait = std::chrono::milliseconds{100};
    options.execute.observer = decisions.observer();
    options.location_prefix = "/operations/";
    front = std::make_unique<HttpFront>(options);
  }

  const std::unique_ptr<StoreUnderTest> store = make_store();
  Decisions decisions;
  HttpFrontOptions options;
  std::unique_ptr<HttpFront> front;

  Client client() const { return {*store, *front}; }
  long charged() const { return 100 - balance(*store->session(), 1); }
  /// Makes of the record of "k" one with an effect.
  void open(const std::string& effect) const {
    change_beside(
        "UPDATE outseal_idempotency SET expires_at = NULL, purge_at = NULL, status = NULL,"
        " body = NULL, content_type = NULL, completed_at = NULL, fence = 1,"
        " handle = substr(fingerprint, 1, 16), lease_until = created_at + {day},"
        " state = 'in_progress'");
    change_beside(
        "INSERT INTO outseal_effect (operation, name, request_hash, provider, provider_key,"
        " policies, state, intended_at, external_ref) SELECT key_hash, 'charge', fingerprint,"
        " 'p', 'k', 'hand_over', '" +
        effect + "', created_at, 'ch_1' FROM outseal_idempotency");
  }
  /// Runs SQL beside clients, who may hold SQLite's write lock for a moment.
  void change_beside(const std::string& sql) const {
    const auto session = store->session();
    for (int attempt = 0;; ++attempt) {
      try {
        return change(*session, sql);
      } catch (const soci::soci_error&) {
        if (!store->one_writer() || attempt == 10'000) throw;
        std::this_thread::yield();
      }
    }
  }
  void finish() const {
    change_beside(
        "UPDATE outseal_idempotency SET expires_at = created_at + {day}, purge_at = created_at"
        " + {day}, status = 201, body = fingerprint, content_type = 'x/y', completed_at ="
        " created_at, state = 'succeeded'");
  }
};

}  // namespace outseal::test
