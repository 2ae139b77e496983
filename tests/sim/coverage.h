// Which situations the schedules went through: a simulation that never meets them proves nothing.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace outseal::sim {

// Name and meaning of each situation.
#define OUTSEAL_SIM_SITUATIONS(X)                                                            \
  X(takeover, "a lease taken over from a relay that had not given it back")                  \
  X(takeover_with_ghost, "a takeover while a delivery of a dead relay was still on its way") \
  X(ghost_stored, "an event of a dead relay stored by the sink")                             \
  X(ghost_refused, "an event of a dead relay refused by the sink's condition")               \
  X(zombie_stored, "an event stored for a relay that no longer leads")                       \
  X(zombie_refused, "an event of a relay that no longer leads refused")                      \
  X(fenced_bind, "an intent refused by the fence")                                           \
  X(fenced_acknowledge, "an acknowledgement refused by the fence")                           \
  X(fenced_settle, "a settlement refused by the fence")                                      \
  X(fenced_renew, "a renewal refused by the fence")                                          \
  X(late_write_fenced, "a write that arrived after its relay had given up, refused")         \
  X(late_write_done, "a write that arrived after its relay had given up, done")              \
  X(doubtful_bind, "an intent whose success was not reported")                               \
  X(doubtful_acknowledge, "an acknowledgement whose success was not reported")               \
  X(doubtful_settle, "a settlement whose success was not reported")                          \
  X(stale_page, "an intent refused because an operator had decided meanwhile")               \
  X(empty_bind, "an intent without events: all were set aside or filtered out")              \
  X(parked_unbound, "an event refused before it had a position")                             \
  X(parked_behind, "an event parked behind one of its key")                                  \
  X(settled, "an event refused after it had a position")                                     \
  X(settled_middle, "a refused event with stored ones before and unbound ones after it")     \
  X(settled_redrive, "a redriven event refused again after it had a position")               \
  X(parked_again, "a queued event set aside again before it had a position")                 \
  X(redriven, "a parked event bound to a position")                                          \
  X(discarded, "a parked event discarded by the operator")                                   \
  X(recovered_none, "a pending batch of which the sink had nothing")                         \
  X(recovered_part, "a pending batch of which the sink had a part")                          \
  X(recovered_whole, "a pending batch that the sink had as a whole")                         \
  X(conflict, "a delivery refused by the sink's condition")                                  \
  X(doubtful_delivery, "a delivery whose outcome was not reported")                          \
  X(lock_held, "a sink locked by another relay")                                             \
  X(receiver_skipped, "a repeated event recognised by the receiver")                         \
  X(sink_restarted, "a sink that was away for a while")                                      \
  X(lost_tail, "a sink that lost what it had stored")                                        \
  X(lied, "a sink that acknowledged what it had not stored")                                 \
  X(rebuilt, "acknowledged events sent again")                                               \
  X(halted_on_loss, "a halt because the sink had lost events")                               \
  X(foreign_event, "an event of somebody else in the sink")                                  \
  X(restored, "a database restored to an older state")                                       \
  X(halted_on_fork, "a halt because database and sink disagree")                             \
  X(crashed_while_binding, "a crash while an intent was under way")                          \
  X(crashed_while_delivering, "a crash while a delivery was under way")                      \
  X(stopped, "a relay that stopped because it was asked to")                                 \
  X(paused, "a subscription paused by the operator")                                         \
  X(paused_in_flight, "a subscription paused while a batch was bound and not acknowledged")

enum class Seen : std::size_t {
#define X(name, meaning) name,
  OUTSEAL_SIM_SITUATIONS(X)
#undef X
      count_
};

inline constexpr std::size_t kSituations = static_cast<std::size_t>(Seen::count_);

inline constexpr std::array<std::string_view, kSituations> kSituationMeanings{
#define X(name, meaning) meaning,
    OUTSEAL_SIM_SITUATIONS(X)
#undef X
};

/// How often each situation occurred.
struct Coverage {
  std::array<std::uint64_t, kSituations> counts{};

  void note(Seen situation) { ++counts[static_cast<std::size_t>(situation)]; }
  Coverage& operator+=(const Coverage& other) {
    for (std::size_t at = 0; at < kSituations; ++at) counts[at] += other.counts[at];
    return *this;
  }
};

}  // namespace outseal::sim
