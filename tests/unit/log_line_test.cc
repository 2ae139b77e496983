// What the log says about each observation. Names of events and fields are a contract.
#include "observe/log_line.h"

#include <doctest/doctest.h>

#include <chrono>
#include <set>
#include <utility>
#include <vector>

using namespace outseal;
using namespace outseal::observe;
using namespace std::chrono_literals;

namespace {

/// "LEVEL EVENT name=value, ...", or nothing if the log has no line for it.
std::string text_of(const Observation& what) {
  const auto line = log_line(what);
  if (!line) return "";
  std::string text{line->level};
  text.append(" ").append(line->event);
  for (const LogField& field : line->fields)
    text += (&field == &line->fields.front() ? " " : ", ") + std::string{field.name} + "=" +
            field.value;
  return text;
}

EventId some_id() { return *EventId::parse("0190a3b2-0000-7000-8000-000000000001"); }

std::vector<std::pair<Observation, std::string>> lines() {
  return {
      {Started{"file:/a"}, "info started sink=file:/a"},
      {Subscribed{Seq{4}}, "info subscribed detail=first_seq=4"},
      {Subscribed{}, "info subscribed detail=start=now"},
      {LeaseRefused{}, ""},
      {StoodBy{"host=a"}, "info standby detail=another relay leads: host=a"},
      {Paused{},
       "warn paused detail=an operator paused the subscription; outseal-relay resume lets it go "
       "on"},
      {Led{Epoch{2}, Position{3}, Position{9}}, "info leading detail=epoch=2 position=3"},
      {Fenced{},
       "warn fenced detail=another relay took over, or an operator acted on the subscription"},
      {DatabaseFailed{"gone", "start it", 1s}, "warn database_failed detail=gone; start it"},
      {DatabaseFailed{"gone", "", 1s}, "warn database_failed detail=gone"},
      {Halted{ErrorCode::refused, "relay: fork", "look", {}},
       "error halted error=refused, detail=relay: fork, hint=look"},
      {Halted{}, "error halted error=internal"},
      {Abandoned{},
       "warn abandoned detail=the sink did not answer in time; the next start recovers"},
      {Abandoned{Abandoned::What::relay},
       "warn abandoned detail=did not end in time; the next start recovers"},
      {Finished{7, true}, "info finished published=7, drained=true"},
      {SinkOpened{5us}, ""},
      {SinkWarned{"in memory", "use files"}, "warn sink_warning detail=in memory; use files"},
      {SinkWaiting{"locked", "wait", 1s}, "warn sink_waiting detail=locked; wait"},
      {Rebuilding{3, "the sink is empty"}, "warn rebuilding detail=the sink is empty"},
      {Bound{Position{4}, 2, 100, 5us}, ""},
      {Delivered{DeliveryResult::Status::delivered, 2, 5us}, ""},
      {Acknowledged{Position{4}, 2, 6}, "debug acknowledged published=6"},
      {Settled{Position{4}, 1}, ""},
      {Parked{Seq{8}, {}, "too long"}, "warn parked detail=seq=8 reason=too long"},
      {Parked{Seq{8}, some_id(), "400"},
       "warn parked detail=id=0190a3b2-0000-7000-8000-000000000001 reason=400"},
      {Publishing{9}, "info publishing published=9"},
      {Retained{12, 5us}, "info retained detail=rows_removed=12"},
      {RetentionPaused{},
       "warn retention_paused detail=the write-ahead log waits for a checkpoint by a service"},
      {RetentionFailed{"denied", "grant"}, "warn retention_failed detail=denied; grant"},
      {RetentionKeeps{5, "5 events"}, "warn retention_keeps detail=5 events"},
  };
}

}  // namespace

TEST_CASE("the log says of each observation what its readers know, or nothing") {
  std::set<std::size_t> seen;
  for (const auto& [what, expected] : lines()) {
    seen.insert(what.index());
    CHECK(text_of(what) == expected);
  }
  CHECK(seen.size() == std::variant_size_v<Observation>);
}
