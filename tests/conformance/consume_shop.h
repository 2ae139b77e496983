// A receiving service for the cases of consume() and consume_message().
#pragma once

#include <soci/soci.h>

#include <array>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "conformance/store_helpers.h"

namespace outseal::test {

constexpr const char* kStream = "/outseal/shop#main";

inline EventId id_of(std::uint64_t number) {
  std::array<char, 40> text{};
  static_cast<void>(std::snprintf(text.data(), text.size(), "00000000-0000-7000-8000-%012llu",
                                  static_cast<unsigned long long>(number)));
  return EventId::parse(text.data()).value();
}

/// A store with a table of effects, which would show an event that took effect twice.
struct ConsumeShop {
  std::unique_ptr<StoreUnderTest> store = make_store();
  std::unique_ptr<soci::session> session = store->session();
  std::unique_ptr<soci::session> own = nullptr;  ///< What the loop uses.
  int opened = 0;

  ConsumeShop() { execute("CREATE TABLE effect_of (event bigint, n bigint)"); }

  void execute(const std::string& sql) const { change(*session, sql); }
  long number(const std::string& sql) const {
    long value = 0;
    *session << in_dialect(*session, sql), soci::into(value);
    return value;
  }
  SessionOpener opener() {
    return [this]() -> Session {
      ++opened;
      own = store->session();
      return *own;
    };
  }

  static void apply(soci::session& on, std::uint64_t event) {
    on << "INSERT INTO effect_of VALUES (" + std::to_string(event) +
              ", (SELECT count(*) FROM effect_of))";
  }
  /// As the relay's sink does it. Event n has the key k(n mod 3), and every seventh has none.
  void fill(std::uint64_t first, std::uint64_t last, std::size_t payload_bytes = 4) const {
    for (std::uint64_t n = first; n <= last; ++n)
      execute(
          "INSERT INTO outseal_inbox_event (stream, position, event_id, topic, key, type,"
          " content_type, headers, created_at, received_at, payload) VALUES ('" +
          std::string{kStream} + "', " + std::to_string(n) + ", '" + id_of(n).to_string() +
          "', 'orders', '" + key_of(n) +
          "', 'paid', 'text/plain', '{}', {long_ago}, {long_ago}, '" +
          std::string(payload_bytes, 'x') + "')");
  }
  static std::string key_of(std::uint64_t n) {
    return n % 7 == 0 ? "" : "k" + std::to_string(n % 3);
  }

  /// The events that took effect, in that order.
  std::vector<long> effects() const {
    std::vector<long> events;
    const soci::rowset<long> rows = (session->prepare << "SELECT event FROM effect_of ORDER BY n");
    for (const long event : rows) events.push_back(event);
    return events;
  }
  /// What is set aside, as "NUMBER STATE[ behind]".
  std::vector<std::string> parked() const {
    std::vector<std::string> lines;
    for (const ParkedEvent& event : list_parked(*session, kStream)) {
      std::string number = event.id.to_string().substr(24);
      number.erase(0, number.find_first_not_of('0'));
      lines.push_back(number + ' ' + std::string{name_of(event.state)} +
                      (event.behind ? " behind" : ""));
    }
    return lines;
  }
};

using Lines = std::vector<std::string>;
using Longs = std::vector<long>;

}  // namespace outseal::test
