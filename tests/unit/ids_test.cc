#include "outseal/ids.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <set>
#include <thread>
#include <vector>

#include "outseal/error.h"

using namespace outseal;

TEST_CASE("new event ids are UUIDv7, ascend and are unique over threads") {
  std::vector<std::vector<EventId>> ids(4);
  std::vector<std::thread> threads;
  for (auto& mine : ids)
    threads.emplace_back([&mine] {
      for (int i = 0; i < 5'000; ++i) mine.push_back(new_event_id());
    });
  for (auto& thread : threads) thread.join();
  std::set<EventId> all;
  for (const auto& mine : ids) {
    CHECK(std::is_sorted(mine.begin(), mine.end()));
    all.insert(mine.begin(), mine.end());
  }
  CHECK(all.size() == 20'000);
  const std::string text = ids[0][0].to_string();
  CHECK(text[14] == '7');
  CHECK(std::string{"89ab"}.find(text[19]) != std::string::npos);
}

TEST_CASE("an event id is read from its canonical text and nothing else") {
  const EventId id = new_event_id();
  CHECK(EventId::parse(id.to_string()) == id);
  CHECK(EventId{}.is_nil());
  for (const char* wrong :
       {"", "0190a1b2-0000-7000-8000-00000000000", "x", "0190A1B2-0000-7000-8000-000000000000",
        "0190a1b2+0000-7000-8000-000000000000", "0190a1b2-0000-7000-8000-0000000000000",
        "{190a1b2-0000-7000-8000-000000000000"})
    CHECK_FALSE(EventId::parse(wrong).has_value());
}

TEST_CASE("every error code has its own name, a recovery and an exit code") {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(ErrorCode::internal); ++i) {
    const auto code = static_cast<ErrorCode>(i);
    names.insert(name_of(code));
    CHECK_FALSE(name_of(recovery_of(code)).empty());
    CHECK(std::set<int>{2, 3, 4, 5, 70}.contains(exit_code_of(code)));
  }
  CHECK(names.size() == static_cast<std::size_t>(ErrorCode::internal) + 1);
  CHECK(recovery_of(ErrorCode::conflict) == Recovery::retry_transaction);
  CHECK(recovery_of(ErrorCode::commit_in_doubt) == Recovery::find_out);
  const Error error{ErrorCode::conflict, "begin", "busy", {.hint = "wait", .detail_code = "5"}};
  CHECK(std::string{error.what()} == "begin: busy");
  CHECK(error.hint() == "wait");
  CHECK(error.detail_code() == "5");
}
