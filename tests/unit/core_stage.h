// The core on its own: inputs by hand, commands looked at one by one.
#pragma once

#include <doctest/doctest.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "relay/core.h"

namespace outseal::test {

using namespace relay;

inline EventId id_of(std::uint8_t number) {
  std::array<std::uint8_t, 16> bytes{};
  bytes[15] = number;
  return EventId{bytes};
}

inline Tail tail_at(std::uint8_t position) {
  return position == 0 ? Tail{} : Tail{Position{position}, id_of(position)};
}

/// Events first..last; the event at position p has seq p and id p.
inline BatchPtr batch_of(std::uint8_t first, std::uint8_t last) {
  Batch batch;
  batch.first = Position{first};
  batch.prior = tail_at(static_cast<std::uint8_t>(first - 1));
  batch.from = {.after_seq = Seq{first - 1}};
  batch.to = {.after_seq = Seq{last}};
  for (std::uint8_t p = first; p <= last; ++p) {
    batch.bytes += "x";
    batch.entries.push_back({Seq{p}, id_of(p), batch.bytes.size()});
  }
  return std::make_shared<Batch>(std::move(batch));
}

inline BatchPtr nothing_after(std::uint8_t position) {
  Batch batch;
  batch.first = advance(Position{position});
  batch.prior = tail_at(position);
  batch.from = batch.to = {.after_seq = Seq{position}};
  return std::make_shared<Batch>(std::move(batch));
}

inline SubscriptionState state_of(std::uint8_t acked, std::uint8_t bound) {
  SubscriptionState state;
  state.cursor.after_seq = Seq{bound};
  state.acked = tail_at(acked);
  state.mark = "where " + std::to_string(acked) + " ends";
  state.bound = Position{bound};
  state.epoch = Epoch{7};
  return state;
}

inline SinkOpened opened_at(std::optional<Tail> tail) { return {OpenResult{.tail = tail}}; }

struct Relay {
  Core core;
  Milliseconds now{0};
  std::vector<Command> last;

  explicit Relay(CoreOptions options = {}) : core{options} { on(Started{}); }
  void on(const Input& input) { last = core.on(input, now); }
  template <typename C>
  const C* find() const {
    for (const Command& command : last)
      if (const C* found = std::get_if<C>(&command)) return found;
    return nullptr;
  }
  template <typename C>
  const C& get() const {
    const C* found = find<C>();
    REQUIRE(found != nullptr);
    return *found;
  }
  /// What an operator was told, if it is this.
  template <typename O>
  const O* reported() const {
    const Report* report = find<Report>();
    return report == nullptr ? nullptr : std::get_if<O>(&report->what);
  }
  /// What looks wrong halts only a relay that still leads: the lease is asked for first.
  const Halt& halt() {
    get<RenewLease>();
    on(LeaseRenewed{});
    return get<Halt>();
  }
  void lead(std::uint8_t acked, std::uint8_t bound) {
    get<AcquireLease>();
    on(LeaseGranted{state_of(acked, bound)});
    get<OpenSink>();
  }
  /// Leads with an empty sink; events 1 to `end` are bound and on their way to it.
  void begin_delivery(std::uint8_t end) {
    lead(0, 0);
    on(opened_at(Tail{}));
    on(PageRead{batch_of(1, end)});
    on(Bound{});
  }
};

}  // namespace outseal::test
