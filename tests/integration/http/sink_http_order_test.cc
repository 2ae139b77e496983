// Whom the http: sink sends when: one at a time of each key, in order, and nothing twice that was
// delivered.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <set>

#include "conformance/http_receiver.h"
#include "sinks/http/exchange.h"
#include "support/mutant.h"

namespace outseal::test {
namespace {

using httplib::Request;
using httplib::Response;
using Status = DeliveryResult::Status;

/// Notes who is there at the same time.
class Crowd {
 public:
  void enter(const std::string& key) {
    const std::lock_guard lock{mutex_};
    now_.insert(key);
    most_ = std::max(most_, now_.size());
    if (!key.empty() && now_.count(key) > 1) two_of_a_key_ = true;
    changed_.notify_all();
  }
  void leave(const std::string& key) {
    const std::lock_guard lock{mutex_};
    now_.erase(now_.find(key));
  }
  /// Waits until `count` are there; false after a long time.
  bool wait_for(std::size_t count) {
    std::unique_lock lock{mutex_};
    return changed_.wait_for(lock, std::chrono::seconds{20}, [&] { return most_ >= count; });
  }
  std::size_t most() const {
    const std::lock_guard lock{mutex_};
    return most_;
  }
  bool two_of_a_key() const {
    const std::lock_guard lock{mutex_};
    return two_of_a_key_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::multiset<std::string> now_;  // Guarded by mutex_, like all below.
  std::size_t most_ = 0;
  bool two_of_a_key_ = false;
};

std::string key_of(const Request& request) { return request.get_header_value("ce-subject"); }

std::uint64_t position_of(const Request& request) {
  return std::stoull(request.get_header_value("outseal-position"));
}

std::vector<std::string> many_keys(std::size_t count) {
  std::vector<std::string> keys;
  for (std::size_t n = 0; n < count; ++n)
    keys.push_back(n % 7 == 0 ? "" : "key-" + std::to_string(n * n % 11));
  return keys;
}

std::vector<std::uint64_t> positions(const HttpReceiver& receiver) {
  std::vector<std::uint64_t> found;
  for (const Asked& asked : receiver.asked()) found.push_back(asked.position());
  return found;
}

TEST_CASE("never two of a key at once, each key in order, many keys in parallel") {
  Crowd crowd;
  const HttpReceiver receiver{[&](const Request& request, Response&) {
    crowd.enter(key_of(request));
    std::this_thread::sleep_for(std::chrono::milliseconds{position_of(request) % 3});
    crowd.leave(key_of(request));
  }};
  const auto sink = make_http(receiver.url("?outseal.in_flight=8"));
  REQUIRE(sink->open().status == OpenResult::Status::opened);
  const auto keys = many_keys(64);
  for (std::uint64_t batch = 0; batch < 5; ++batch) {
    const auto result = sink->deliver(make_keyed_batch(*sink, tail_of(64 * batch), keys), 0);
    REQUIRE(result.status == Status::delivered);
  }
  CHECK_FALSE(crowd.two_of_a_key());
  CHECK(crowd.most() <= 8);
  std::map<std::string, std::uint64_t> last;
  std::set<std::uint64_t> all;
  for (const Asked& asked : receiver.asked()) {
    CHECK(all.insert(asked.position()).second);
    const std::string key = asked.header("ce-subject");
    if (key == "(none)") continue;
    CHECK(asked.position() > last[key]);
    last[key] = asked.position();
  }
  CHECK(all.size() == 320);
}

TEST_CASE("as many requests as allowed are under way, events without key among them") {
  Crowd crowd;
  std::atomic<std::size_t> expected{4};
  const HttpReceiver receiver{[&](const Request& request, Response& response) {
    crowd.enter(key_of(request));
    response.status = crowd.wait_for(expected) ? 200 : 500;
    crowd.leave(key_of(request));
  }};
  const auto sink = make_http(receiver.url("?outseal.in_flight=6"));
  REQUIRE(sink->open().status == OpenResult::Status::opened);
  // Connections that the rest can use; only few may be new at a time.
  const auto first = sink->deliver(make_keyed_batch(*sink, {}, {"a", "b", "c", "d"}), 0);
  REQUIRE(first.status == Status::delivered);
  expected = 6;
  const std::vector<std::string> keys{"a", "a", "a", "b", "", "", "a", "", "c", "b"};
  const auto rest = sink->deliver(make_keyed_batch(*sink, tail_of(4), keys), 0);
  CHECK(rest.status == Status::delivered);
  CHECK(crowd.most() == 6);
}

TEST_CASE("few connections at a time are new, so that they fit into a receiver's short queue") {
  Crowd crowd;
  std::once_flag once;
  std::size_t most_of_new = 0;
  const HttpReceiver receiver{[&](const Request& request, Response&) {
    crowd.enter(key_of(request));
    crowd.wait_for(sinks::kNewConnectionsMax);
    std::call_once(once, [&] {
      std::this_thread::sleep_for(std::chrono::milliseconds{100});  // Time for more to come.
      most_of_new = crowd.most();
    });
    crowd.leave(key_of(request));
  }};
  const auto sink = make_http(receiver.url("?outseal.in_flight=16"));
  REQUIRE(sink->open().status == OpenResult::Status::opened);
  const std::vector<std::string> keys(30, "");
  CHECK(sink->deliver(make_keyed_batch(*sink, {}, keys), 0).status == Status::delivered);
  CHECK(most_of_new == sinks::kNewConnectionsMax);
}

TEST_CASE("with one in flight there is one order for all, over one connection") {
  std::mutex mutex;
  std::set<int> ports;
  const HttpReceiver receiver{[&](const Request& request, Response&) {
    const std::lock_guard lock{mutex};
    ports.insert(request.remote_port);
  }};
  const auto sink = make_http(receiver.url("?outseal.in_flight=1"));
  REQUIRE(sink->open().status == OpenResult::Status::opened);
  const auto keys = many_keys(100);
  REQUIRE(sink->deliver(make_keyed_batch(*sink, {}, keys), 0).status == Status::delivered);
  const auto found = positions(receiver);
  CHECK(found.size() == 100);
  CHECK(std::is_sorted(found.begin(), found.end()));
  // Each names the one before it, so that a receiver can tell an old numbering from the new one.
  std::string previous = "(none)";
  for (const auto& asked : receiver.asked()) {
    CHECK(asked.header("outseal-previous-id") == previous);
    previous = asked.header("webhook-id");
  }
  const std::lock_guard lock{mutex};
  CHECK(ports.size() == 1);
}

TEST_CASE("what was delivered behind an event that was not is not sent again") {
  std::atomic<bool> ready{false};
  const HttpReceiver receiver{[&](const Request& request, Response& response) {
    if (position_of(request) == 3 && !ready) response.status = 503;
  }};
  const auto sink = make_http(receiver.url("?outseal.in_flight=4"));
  REQUIRE(sink->open().status == OpenResult::Status::opened);
  const auto keys = many_keys(40);
  const Batch batch = make_keyed_batch(*sink, {}, keys);
  const auto first = sink->deliver(batch, 0);
  CHECK(first.status == Status::retry_later);
  CHECK(first.done == 2);
  const auto tried = positions(receiver);
  CHECK(tried.size() < 40);
  sink->close();
  ready = true;
  REQUIRE(sink->open().status == OpenResult::Status::opened);
  CHECK(sink->deliver(batch, 0).status == Status::delivered);
  auto all = positions(receiver);
  CHECK(all.size() == 41);
  CHECK(std::count(all.begin(), all.end(), 3U) == 2);
  // Then it is forgotten: who binds the same events again means it.
  CHECK(sink->deliver(batch, 0).status == Status::delivered);
  CHECK(positions(receiver).size() == 81);
}

TEST_CASE("a refused event leaves those before it delivered and those of its key unsent") {
  const HttpReceiver receiver{[&](const Request& request, Response& response) {
    if (position_of(request) == 3 &&
        request.get_header_value("webhook-id") == event_id_at(Position{3}).to_string())
      response.status = 422;
  }};
  const auto sink = make_http(receiver.url("?outseal.in_flight=4"));
  REQUIRE(sink->open().status == OpenResult::Status::opened);
  // 2 stands behind 1, so it is sent when 3 may have been refused already.
  const std::vector<std::string> keys{"a", "a", "bad", "b", "bad", "c", "d", "e", "f", "g"};
  const Batch batch = make_keyed_batch(*sink, {}, keys);
  const auto result = sink->deliver(batch, 0);
  CHECK(result.status == Status::rejected);
  CHECK(result.done == 2);
  CHECK(result.detail.find("422") != std::string::npos);
  const auto first = positions(receiver);
  CHECK(std::count(first.begin(), first.end(), 5U) == 0);
  CHECK(std::count(first.begin(), first.end(), 2U) == 1);

  // The relay parks 3 and 5 and binds the others to new positions.
  Batch rest;
  rest.first = Position{3};
  rest.prior = batch.tail_after(2);
  for (const std::size_t index : {3U, 5U, 6U, 7U, 8U, 9U}) {
    rest.bytes += batch.encoded(index);
    rest.entries.push_back({batch.entries[index].seq, batch.entries[index].id, rest.bytes.size()});
  }
  CHECK(sink->deliver(rest, 0).status == Status::delivered);
  std::map<std::string, int> times;
  for (const Asked& asked : receiver.asked()) ++times[asked.header("webhook-id")];
  CHECK(times.size() == 9);
  for (const auto& [id, count] : times) CHECK(count == 1);
}

TEST_CASE("trouble before a refused event comes first") {
  std::atomic<bool> ready{false};
  const HttpReceiver receiver{[&](const Request& request, Response& response) {
    if (position_of(request) == 1 && !ready) response.status = 500;
    if (position_of(request) == 2) response.status = 400;
  }};
  const auto sink = make_http(receiver.url("?outseal.in_flight=2"));
  REQUIRE(sink->open().status == OpenResult::Status::opened);
  const Batch batch = make_keyed_batch(*sink, {}, {"a", "b", "c"});
  const auto first = sink->deliver(batch, 0);
  CHECK(first.status == Status::retry_later);
  CHECK(first.done == 0);
  ready = true;
  const auto second = sink->deliver(batch, 0);
  CHECK(second.status == Status::rejected);
  CHECK(second.done == 1);
}

TEST_CASE("nothing more is started once the time is up, and nothing delivered is lost") {
  const HttpReceiver receiver{[](const Request&, Response&) {
    std::this_thread::sleep_for(std::chrono::milliseconds{60});
  }};
  const auto sink = make_http(receiver.url("?outseal.in_flight=1&outseal.timeout_ms=500"));
  REQUIRE(sink->open().status == OpenResult::Status::opened);
  const Batch batch = make_keyed_batch(*sink, {}, many_keys(16));
  std::size_t done = 0;
  for (int tries = 0; tries < 20; ++tries) {
    const auto result = sink->deliver(batch, 0);
    if (result.status == Status::delivered) break;
    CHECK(result.status == Status::retry_later);
    CHECK(result.done >= done);
    done = result.done;
  }
  CHECK(positions(receiver).size() >= 16);
  CHECK(positions(receiver).back() == 16);
}

TEST_CASE("without its guards a webhook of a key overtakes another, or is sent twice") {
  CHECK(passes_with_mutant("", "never two of a key*"));
  CHECK_FALSE(passes_with_mutant("no_key_order", "never two of a key*"));
  CHECK(passes_with_mutant("", "what was delivered behind*"));
  CHECK_FALSE(passes_with_mutant("no_memory_of_delivered", "what was delivered behind*"));
}

}  // namespace
}  // namespace outseal::test
