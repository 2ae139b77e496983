// journal_sink against every kind of damage to a file sink and to the journal.
#include <doctest/doctest.h>

#include <atomic>
#include <cstdlib>
#include <numeric>
#include <random>
#include <thread>

#include "outseal/error.h"
#include "reconcile_shop.h"
#include "store/retention.h"
#include "support/scale.h"

using outseal::test::Lines;
using outseal::test::Shop;

namespace {

/// Twelve events in batches of 5, 5 and 2, published and acknowledged.
struct PublishedShop : Shop {
  PublishedShop() {
    append(12);
    publish();
  }
};

}  // namespace

TEST_CASE_FIXTURE(PublishedShop, "an untouched sink has no findings") {
  const auto result = reconcile();
  CHECK(result.open == 0);
  CHECK(open_subjects().empty());
  CHECK(result.checks.size() == 8);
}

TEST_CASE_FIXTURE(PublishedShop, "a removed line is missing at its position") {
  damage([](Lines& lines) { lines.erase(lines.begin() + 6); });
  CHECK(compare() == Lines{"main@7 missing"});
}

TEST_CASE_FIXTURE(PublishedShop, "a removed range is one finding") {
  damage([](Lines& lines) { lines.erase(lines.begin() + 2, lines.begin() + 9); });
  CHECK(compare() == Lines{"main@3 missing"});
}

TEST_CASE_FIXTURE(PublishedShop, "a duplicated line is found wherever it stands") {
  SUBCASE("right behind itself") {
    damage([](Lines& lines) { lines.insert(lines.begin() + 4, lines[3]); });
    CHECK(compare() == Lines{"main@4 duplicate"});
  }
  SUBCASE("at the end") {
    damage([](Lines& lines) { lines.push_back(lines[1]); });
    CHECK(compare() == Lines{"main@2 duplicate"});
  }
  SUBCASE("long before itself") {
    damage([](Lines& lines) { lines.insert(lines.begin() + 1, lines[9]); });
    CHECK(compare() == Lines{"main@10 order", "main@10 duplicate"});
  }
}

TEST_CASE_FIXTURE(PublishedShop, "an edited byte names the event that differs") {
  damage([](Lines& lines) {
    std::string& line = lines[7];
    line.replace(line.find("\"n\":"), 4, "\"m\":");
  });
  CHECK(compare() == Lines{"main@8 altered"});
}

TEST_CASE_FIXTURE(PublishedShop, "swapped lines are out of order") {
  SUBCASE("as they are") {
    damage([](Lines& lines) { std::swap(lines[2], lines[3]); });
    CHECK(compare() == Lines{"main@4 order"});
  }
  SUBCASE("with their positions exchanged as well") {
    damage([](Lines& lines) {
      std::swap(lines[2], lines[3]);
      lines[2].replace(lines[2].find("0004\",\"id\""), 4, "0003");
      lines[3].replace(lines[3].find("0003\",\"id\""), 4, "0004");
    });
    CHECK(compare() == Lines{"main@3 order", "main@4 order"});
  }
  SUBCASE("over batches") {
    damage([](Lines& lines) { std::swap(lines[2], lines[8]); });
    CHECK(compare() == Lines{"main@9 order", "main@3 order"});
  }
}

TEST_CASE_FIXTURE(PublishedShop, "a record that was never bound is a ghost") {
  SUBCASE("behind the end, with an event that stands elsewhere too") {
    damage([](Lines& lines) {
      std::string copy = lines[4];
      copy.replace(copy.find("0005\",\"id\""), 4, "0013");
      lines.push_back(copy);
    });
    CHECK(compare() == Lines{"main@13 ghost", "main@13 duplicate"});
  }
  SUBCASE("in the place of another event") {
    damage([](Lines& lines) {
      std::string& line = lines[4];
      line.replace(line.find("\"id\":\"") + 6, 36, "00000000-0000-7000-8000-000000000000");
    });
    CHECK(compare() == Lines{"main@5 ghost"});
  }
}

TEST_CASE_FIXTURE(PublishedShop, "what outseal did not write is foreign") {
  SUBCASE("in the middle") {
    damage([](Lines& lines) { lines.insert(lines.begin() + 3, "hello\n"); });
    CHECK(compare() == Lines{"main@3 foreign"});
  }
  SUBCASE("at the end") {
    damage([](Lines& lines) { lines.push_back("hello\n"); });
    CHECK(compare() == Lines{"main@12 foreign"});
  }
  SUBCASE("at the end, without an end of its own") {
    damage([](Lines& lines) { lines.push_back("hel"); });
    CHECK(compare() == Lines{"main@12 foreign"});
  }
}

TEST_CASE_FIXTURE(PublishedShop, "a truncated file misses its end") {
  SUBCASE("inside of a line") {
    damage([](Lines& lines) {
      lines.resize(9);
      lines.back().resize(20);
    });
    CHECK(compare() == Lines{"main@8 foreign", "main@9 missing"});
  }
  SUBCASE("between two lines") {
    damage([](Lines& lines) { lines.resize(9); });
    CHECK(compare() == Lines{"main@10 missing"});
  }
  SUBCASE("to nothing") {
    damage([](Lines& lines) { lines.clear(); });
    CHECK(compare() == Lines{"main@1 missing"});
  }
  SUBCASE("and removed") {
    std::filesystem::remove(sink_path());
    CHECK(compare() == Lines{"main@1 missing"});
  }
}

TEST_CASE("rotated segments are read as one sink") {
  Shop shop{{.segment_bytes = outseal::sinks::FileSinkOptions::kSegmentBytesMin}};
  shop.append(100);
  shop.publish();
  CHECK(shop.compare().empty());
  std::filesystem::path oldest;
  int segments = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator{std::filesystem::path{shop.sink_path()}.parent_path()})
    if (entry.path().filename().string().starts_with("events.ndjson.0")) {
      ++segments;
      if (oldest.empty() || entry.path() < oldest) oldest = entry.path();
    }
  REQUIRE(segments > 2);
  std::filesystem::remove(oldest);
  CHECK(shop.compare() == Lines{"main@1 missing"});
}

TEST_CASE_FIXTURE(PublishedShop, "an edited journal row is found though the sink is whole") {
  SUBCASE("hash") {
    sql("UPDATE outseal_journal SET hash = zeroblob(32) WHERE first_position = 6");
    CHECK(compare() == Lines{"main@6 chain", "main@6 journal"});
  }
  SUBCASE("chain hash") {
    sql("UPDATE outseal_journal SET chain_hash = zeroblob(32) WHERE first_position = 6");
    CHECK(compare() == Lines{"main@6 chain", "main@11 chain"});
  }
  SUBCASE("count") {
    sql("UPDATE outseal_journal SET event_count = 4 WHERE first_position = 6");
    const Lines subjects = compare();
    CHECK(subjects.front() == "main@6 chain");
    CHECK(std::find(subjects.begin(), subjects.end(), "main@10 journal") != subjects.end());
  }
  SUBCASE("last event id") {
    sql("UPDATE outseal_journal SET last_event_id = 'x' WHERE first_position = 6");
    CHECK(compare() == Lines{"main@10 journal"});
  }
  SUBCASE("removed") {
    sql("DELETE FROM outseal_journal WHERE first_position = 6");
    CHECK(compare() == Lines{"main@6 journal", "main@seq:6 lost", "main@seq:7 lost",
                             "main@seq:8 lost", "main@seq:9 lost", "main@seq:10 lost"});
  }
}

TEST_CASE_FIXTURE(PublishedShop, "the subscription must agree with its journal") {
  SUBCASE("chain hash") {
    sql("UPDATE outseal_subscription SET chain_hash = zeroblob(32)");
    CHECK(compare() == Lines{"main@12 chain"});
  }
  SUBCASE("positions") {
    sql("UPDATE outseal_subscription SET bound_position = 14, acked_position = 14");
    const Lines subjects = compare();
    CHECK(std::find(subjects.begin(), subjects.end(), "main@14 journal") != subjects.end());
    CHECK(std::find(subjects.begin(), subjects.end(), "main@13 missing") != subjects.end());
  }
}

TEST_CASE_FIXTURE(PublishedShop, "an event that the cursor passed over is lost") {
  append(1);
  sql("UPDATE outseal_subscription SET after_seq = 13, acked_seq = 13");
  CHECK(compare() == Lines{"main@seq:13 lost"});
  append(3);
  CHECK_THROWS_AS(publish(), outseal::Error);  // No relay goes on from there.
  CHECK(compare() == Lines{"main@seq:13 lost"});
  reconcile({"passed_over_events"});
  CHECK(open_subjects("passed_over_events") == Lines{"seq:13 passed_over"});
}

TEST_CASE_FIXTURE(PublishedShop, "events of other topics are not missed") {
  append(3, "k", "invoices");
  append(3);
  append(3, "k", "invoices");
  publish();
  CHECK(compare().empty());
}

TEST_CASE_FIXTURE(PublishedShop, "the pending batch may be there in part") {
  append(6);
  publish(6, true);
  CHECK(number("SELECT bound_position - acked_position FROM outseal_subscription") == 6);
  REQUIRE(read_lines().size() == 15);
  CHECK(compare().empty());
  SUBCASE("torn") {
    damage([](Lines& lines) { lines.back().resize(30); });
    CHECK(compare().empty());
  }
  SUBCASE("but with nothing of somebody else behind it") {
    damage([](Lines& lines) { lines.push_back("hello\n"); });
    CHECK(compare() == Lines{"main@15 foreign"});
  }
  SUBCASE("nor in front of what a crash tore") {
    damage([](Lines& lines) {
      lines.back().resize(30);
      lines.insert(lines.end() - 1, "hello\n");
    });
    CHECK(compare() == Lines{"main@14 foreign"});
  }
  SUBCASE("but not with other bytes") {
    damage([](Lines& lines) { lines.back().replace(lines.back().find("\"n\""), 3, "\"m\""); });
    CHECK(compare() == Lines{"main@15 altered"});
  }
}

TEST_CASE("retention of rows and journal leaves nothing to complain about") {
  Shop shop;
  shop.append(40);
  shop.publish();
  const auto age = std::chrono::milliseconds{1};
  std::this_thread::sleep_for(age * 5);
  SUBCASE("events gone: their hashes still prove the sink") {
    shop.sql("DELETE FROM outseal_outbox WHERE seq <= 17");
    CHECK(shop.compare().empty());
    shop.damage([](Lines& lines) { lines[3].replace(lines[3].find("\"n\""), 3, "\"m\""); });
    CHECK(shop.compare() == Lines{"main@1 altered"});
  }
  SUBCASE("journal gone as well: its positions are archived") {
    while (outseal::store::retain_step(shop.connection(), "main",
                                       {.events = age, .journal = age, .step_rows = 3}) != 0) {
    }
    REQUIRE(shop.number("SELECT min(first_position) FROM outseal_journal") > 1);
    CHECK(shop.compare().empty());
    shop.damage([](Lines& lines) { lines.erase(lines.begin(), lines.begin() + 4); });
    CHECK(shop.compare().empty());
  }
}

TEST_CASE("a redriven event must come before later events of its key") {
  Shop shop{{.event_bytes_max = 400}};
  shop.append(2, "a");
  shop.sql(
      "INSERT INTO outseal_outbox (topic, key, type, payload) VALUES ('orders', 'a', 'made',"
      " '\"' || printf('%.600c', 'x') || '\"')");
  shop.append(2, "a");
  shop.append(2, "b");
  shop.publish();
  CHECK(shop.number("SELECT count(*) FROM outseal_parked WHERE state = 'parked'") == 3);
  CHECK(shop.compare().empty());
  shop.sql(
      "UPDATE outseal_parked SET state = 'discarded' WHERE cause = 'refused';"
      "UPDATE outseal_parked SET state = 'queued' WHERE cause = 'behind'");
  shop.publish();
  CHECK(shop.number("SELECT count(*) FROM outseal_parked WHERE state = 'redriven'") == 2);
  shop.append(1, "a");
  shop.publish();
  CHECK(shop.compare().empty());
  // As if the redrive had put the later event first.
  shop.sql(
      "UPDATE outseal_parked SET position = 99 WHERE position = 5;"
      "UPDATE outseal_parked SET position = 5 WHERE position = 6;"
      "UPDATE outseal_parked SET position = 6 WHERE position = 99");
  CHECK(shop.compare() == Lines{"main@6 order", "main@5 order"});
}

TEST_CASE("a sink that cannot be read is skipped and closes nothing") {
  Shop shop;
  shop.append(3);
  shop.publish();
  shop.damage([](Lines& lines) { lines.pop_back(); });
  CHECK(shop.compare() == Lines{"main@3 missing"});
  shop.sql("UPDATE outseal_subscription SET sink = 'stdout:'");
  const auto result = shop.reconcile({"journal_sink"});
  REQUIRE(result.checks[0].report.skips().size() == 1);
  CHECK(result.checks[0].report.skips()[0].subscription == "main");
  CHECK(result.failure == nullptr);
  CHECK(shop.open_subjects() == Lines{"main@3 missing"});
}

TEST_CASE("no change to the bytes of a sink goes unseen") {
  const char* given = std::getenv("OUTSEAL_SEED");
  const std::uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  MESSAGE("OUTSEAL_SEED=" << seed);
  std::mt19937_64 random{seed};
  const auto below = [&](std::size_t limit) { return static_cast<std::size_t>(random() % limit); };
  Shop shop;
  shop.append(30);
  shop.publish(4);
  const Lines good = shop.read_lines();
  for (std::uint64_t round = 0; round < outseal::test::scaled(100); ++round) {
    Lines lines = good;
    for (std::size_t changes = 1 + below(3); changes > 0 && !lines.empty(); --changes) {
      const auto at = static_cast<std::ptrdiff_t>(below(lines.size()));
      const auto to = static_cast<std::ptrdiff_t>(below(lines.size()));
      std::string& line = lines[static_cast<std::size_t>(at)];
      if (line.empty()) continue;
      switch (below(6)) {
        case 0:
          lines.erase(lines.begin() + at);
          break;
        case 1:
          lines.insert(lines.begin() + to, std::string{line});
          break;
        case 2:
          std::swap(line, lines[static_cast<std::size_t>(to)]);
          break;
        case 3:
          line[below(line.size())] ^= static_cast<char>(1 + below(255));
          break;
        case 4:
          lines.insert(lines.begin() + at, "{}\n");
          break;
        default:
          line.resize(below(line.size()));
          break;
      }
    }
    shop.write_lines(lines);
    // Two changes may undo each other, and a line cut to nothing is none: the bytes count.
    const auto bytes = [](const Lines& all) {
      return std::accumulate(all.begin(), all.end(), std::string{});
    };
    const bool same = bytes(lines) == bytes(good);
    CAPTURE(round);
    CHECK(shop.compare().empty() == same);
  }
  shop.write_lines(good);
  CHECK(shop.compare().empty());
}

TEST_CASE("a relay at work causes no findings") {
  Shop shop;
  std::atomic<bool> stop{false};
  std::thread relay{[&] {
    const auto url = shop.url();
    const auto connection = outseal::sql::open(url);
    const auto sink = shop.make_sink();
    outseal::store::SubscriptionLog log{*connection, "main", *sink};
    const std::chrono::milliseconds lease{60'000};
    log.declare(Shop::main_spec());
    auto state = log.acquire("relay", lease).state;
    sink->open();
    outseal::Cursor cursor = state.cursor;
    outseal::Tail tail = state.acked;
    std::optional<outseal::Ack> ack;
    while (!stop) {
      connection->execute(
          "INSERT INTO outseal_outbox (topic, key, type, payload)"
          " VALUES ('orders', 'k', 'made', '{}'), ('orders', 'k', 'made', '{}')");
      const outseal::Batch page = log.read_page(cursor, tail, {.events_max = 3});
      if (page.entries.empty()) continue;
      log.bind(page, ack, lease);
      sink->deliver(page, 0);
      cursor = page.to;
      tail = page.tail_after(page.size());
      ack = outseal::Ack{.tail = tail, .first = page.first, .mark = {}};
    }
  }};
  while (shop.number("SELECT count(*) FROM outseal_journal") < 1) std::this_thread::yield();
  for (int i = 0; i < 30; ++i) CHECK(shop.compare().empty());
  stop = true;
  relay.join();
  CHECK(shop.compare().empty());
}
