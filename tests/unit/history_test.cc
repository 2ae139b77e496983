// The checker must miss nothing: each kind of broken history is reported.
#include "support/history.h"

#include <doctest/doctest.h>

#include <array>
#include <chrono>

namespace outseal::test {
namespace {

EventId id_of(std::size_t number) {
  std::array<std::uint8_t, 16> bytes{};
  for (std::size_t at = 0; at < 8; ++at) {
    bytes[15 - at] = static_cast<std::uint8_t>(number >> (8 * at));
  }
  return EventId{bytes};
}

/// `count` events over three keys; every fourth event has none.
std::vector<CommittedEvent> committed_events(std::size_t count) {
  std::vector<CommittedEvent> events;
  for (std::size_t n = 1; n <= count; ++n) {
    events.push_back({id_of(n), n % 4 == 0 ? "" : "key" + std::to_string(n % 3)});
  }
  return events;
}

std::vector<StoredEvent> stored_all(const std::vector<CommittedEvent>& events) {
  std::vector<StoredEvent> stored;
  for (const CommittedEvent& event : events) {
    if (event.fate == Fate::set_aside) continue;
    stored.push_back({Position{stored.size() + 1}, event.id, event.key});
  }
  return stored;
}

void renumber(std::vector<StoredEvent>& stored) {
  for (std::size_t at = 0; at < stored.size(); ++at) stored[at].position = Position{at + 1};
}

bool reports(const std::vector<std::string>& violations, std::string_view part) {
  for (const std::string& violation : violations) {
    if (violation.find(part) != std::string::npos) return true;
  }
  return false;
}

TEST_CASE("a right history has no violation") {
  auto events = committed_events(100);
  events[10].fate = Fate::set_aside;
  const auto stored = stored_all(events);
  CHECK(check_history(events, stored, Extent::drained).empty());
  CHECK(check_history({}, {}, Extent::drained).empty());
}

TEST_CASE("events without a key and of different keys may change places") {
  const auto events = committed_events(8);
  auto stored = stored_all(events);
  std::swap(stored[0], stored[1]);
  std::swap(stored[3], stored[7]);
  renumber(stored);
  CHECK(check_history(events, stored, Extent::drained).empty());
}

TEST_CASE("a missing event is a violation, in a prefix only before a later one of its key") {
  const auto events = committed_events(12);
  auto stored = stored_all(events);
  stored.resize(9);
  CHECK(reports(check_history(events, stored, Extent::drained), "missing: commit 9"));
  CHECK(check_history(events, stored, Extent::prefix).empty());
  stored.erase(stored.begin());
  renumber(stored);
  CHECK(reports(check_history(events, stored, Extent::prefix), "missing: commit 0"));
}

TEST_CASE("an event that is stored twice is a violation") {
  const auto events = committed_events(5);
  auto stored = stored_all(events);
  stored.push_back({Position{6}, stored[2].id, stored[2].key});
  CHECK(reports(check_history(events, stored, Extent::drained), "stored twice, at positions 3"));
}

TEST_CASE("an event that was never committed is a violation") {
  const auto events = committed_events(5);
  auto stored = stored_all(events);
  stored.push_back({Position{6}, id_of(77), "key1"});
  CHECK(reports(check_history(events, stored, Extent::prefix), "never committed"));
}

TEST_CASE("an event that was set aside must not be stored") {
  auto events = committed_events(5);
  const auto stored = stored_all(events);
  events[1].fate = Fate::set_aside;
  CHECK(reports(check_history(events, stored, Extent::drained), "set aside, but stored"));
}

TEST_CASE("two events of one key out of order are a violation") {
  const auto events = committed_events(9);
  auto stored = stored_all(events);
  std::swap(stored[1], stored[4]);  // commits 1 and 4 are both of key2
  renumber(stored);
  CHECK(reports(check_history(events, stored, Extent::drained), "out of order"));
}

TEST_CASE("a key that changed on its way is a violation") {
  const auto events = committed_events(3);
  auto stored = stored_all(events);
  stored[0].key = "other";
  CHECK(reports(check_history(events, stored, Extent::drained), "key changed"));
}

TEST_CASE("a gap, a repeated and a foreign position are violations") {
  const auto events = committed_events(6);
  for (const std::uint64_t wrong : {0U, 2U, 7U}) {
    auto stored = stored_all(events);
    stored[3].position = Position{wrong};
    CHECK(reports(check_history(events, stored, Extent::drained),
                  "position " + std::to_string(wrong) + " stands where 4 should"));
  }
}

TEST_CASE("one id at two commits is a violation of the database") {
  auto events = committed_events(4);
  const auto stored = stored_all(events);
  events.push_back(events[0]);
  CHECK(reports(check_history(events, stored, Extent::drained), "committed twice"));
}

TEST_CASE("the number of reported violations is bounded and the rest is counted") {
  const auto events = committed_events(1'000);
  const auto violations = check_history(events, {}, Extent::drained, 3);
  REQUIRE(violations.size() == 4);
  CHECK(violations.back() == "and 997 more");
}

}  // namespace
}  // namespace outseal::test
