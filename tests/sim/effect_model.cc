#include "sim/effect_model.h"

#include <algorithm>

namespace outseal::sim {

using attempt::may_take_over;
using attempt::may_write;

// --- The database --------------------------------------------------------------------------------

OperationView OperationDatabase::load(Milliseconds now) const {
  const Milliseconds clock = now + off_;
  OperationView view = record_;
  view.lease_left = lease_until_ - clock;
  for (EffectRow& row : view.effects) {
    const Times& times = times_.at(row.outcome.name);
    row.first_sent_ago.reset();
    row.last_sent_ago.reset();
    if (times.first_sent) row.first_sent_ago = clock - *times.first_sent;
    if (times.last_sent) row.last_sent_ago = clock - *times.last_sent;
  }
  return view;
}

std::optional<OperationView> OperationDatabase::take_over(std::int64_t fence, Milliseconds lease,
                                                          Milliseconds now) {
  if (record_.fence != fence || !may_take_over(load(now))) return std::nullopt;
  ++record_.fence;
  ++record_.attempts;
  record_.state = OperationView::State::in_progress;
  lease_until_ = now + off_ + lease;
  return load(now);
}

bool OperationDatabase::may_begin_or_write(std::optional<std::int64_t> fence) const {
  if (!fence) return record_.state == OperationView::State::absent;
  return may_write(record_.state, record_.fence, *fence);
}

bool OperationDatabase::advance(const Advance& advance, Milliseconds now) {
  if (!may_begin_or_write(advance.fence)) return false;
  const Milliseconds clock = now + off_;
  if (!advance.fence) {
    record_.state = OperationView::State::in_progress;
    record_.fence = record_.attempts = 1;
  }
  settle(advance.settled, clock);
  if (advance.send) send(*advance.send, advance.lease, clock);
  if (!advance.sending.empty()) times_[advance.sending].last_sent = clock + advance.lease;
  lease_until_ = clock + advance.lease;
  if (advance.hand_over) record_.state = OperationView::State::unknown;
  return true;
}

bool OperationDatabase::finish(std::optional<std::int64_t> fence,
                               const std::vector<Settle>& settled, const Reply& reply,
                               Milliseconds now) {
  if (!may_begin_or_write(fence)) return false;
  settle(settled, now + off_);
  record_.state = reply.verdict == Verdict::success ? OperationView::State::succeeded
                                                    : OperationView::State::failed;
  record_.reply = reply;
  ++finishes_;
  return true;
}

void OperationDatabase::decide(const std::string& effect, EffectState state) {
  find(effect)->outcome.state = state;
}

void OperationDatabase::settle(const std::vector<Settle>& settled, Milliseconds clock) {
  for (const Settle& each : settled) {
    EffectRow* const row = find(each.name);
    if (row == nullptr || row->outcome.state != EffectState::intended) continue;
    Times& times = times_[each.name];
    if (each.state != EffectState::intended) {
      row->outcome.state = each.state;
      row->outcome.reference = each.reference;
      row->compensation = each.compensation;
    } else if (each.sent != Settle::Sent::open) {
      times.last_sent.reset();
      if (each.sent == Settle::Sent::never) times.first_sent.reset();
    } else if (times.last_sent) {
      times.last_sent = std::min(*times.last_sent, clock);
    }
  }
}

void OperationDatabase::send(const Send& send, Milliseconds lease, Milliseconds clock) {
  EffectRow* row = find(send.name);
  if (row == nullptr) {
    row = &record_.effects.emplace_back();
    row->outcome.name = send.name;
    row->request_hash = send.request_hash;
    row->provider = send.provider;
    row->provider_key = send.provider_key;
    row->asked = send.amount;
  }
  ++row->outcome.attempts;
  Times& times = times_[send.name];
  if (!times.first_sent) times.first_sent = clock;
  times.last_sent = clock + lease;
}

EffectRow* OperationDatabase::find(const std::string& name) {
  const auto found = std::find_if(record_.effects.begin(), record_.effects.end(),
                                  [&](const EffectRow& each) { return each.outcome.name == name; });
  return found == record_.effects.end() ? nullptr : &*found;
}

// --- The provider --------------------------------------------------------------------------------

std::size_t Provider::send(const std::string& key, Milliseconds now, Random& random) {
  const auto way = static_cast<std::uint64_t>(plan_.way_max.count());
  // Most are fast.
  const Milliseconds takes{random.below(random.percent(60) ? way / 50 + 1 : way + 1)};
  requests_.push_back({.key = key, .arrives = now + takes});
  ++on_their_way_;
  ++known_[key].requests;
  return requests_.size() - 1;
}

void Provider::arrive(Milliseconds now, Random& random) {
  if (on_their_way_ == 0) return;
  std::vector<Request*> due;
  for (Request& each : requests_)
    if (!each.has_arrived && each.arrives <= now) due.push_back(&each);
  std::stable_sort(due.begin(), due.end(),
                   [](const Request* a, const Request* b) { return a->arrives < b->arrives; });
  for (Request* const each : due) {
    each->has_arrived = true;
    --on_their_way_;
    each->result = take(known_[each->key], each->key, each->arrives, random);
    if (random.percent(plan_.lost_percent)) continue;
    const std::uint64_t back = random.percent(80) ? 500 : 60'000;
    each->answered = each->arrives + Milliseconds{random.below(back)};
  }
}

CallResult Provider::take(Known& known, const std::string& key, Milliseconds now, Random& random) {
  if (known.is_cancelled)
    return {.verdict = CallResult::Verdict::refused, .reference = "cancelled"};
  const Replays replays = plan_.profile.replays;
  if (replays != Replays::nothing) {
    if (known.first && now < *known.first + plan_.profile.window && known.kept) return *known.kept;
    if (!known.first || now >= *known.first + plan_.profile.window) known.first = now;
  }
  ++known.executions;
  CallResult result{.verdict = CallResult::Verdict::refused};
  if (!random.percent(plan_.refused_percent)) {
    ++known.applied;
    result = {.verdict = CallResult::Verdict::applied,
              .reference = key + "#" + std::to_string(known.applied)};
    const auto lag = static_cast<std::uint64_t>(plan_.lag_max.count());
    known.visible = now + Milliseconds{random.below(lag + 1)};
  }
  if (replays == Replays::any ||
      (replays == Replays::success && result.verdict == CallResult::Verdict::applied))
    known.kept = result;
  else
    known.kept.reset();
  return result;
}

std::optional<CallResult> Provider::answer(std::size_t request, Milliseconds now) const {
  const Request& asked = requests_[request];
  if (!asked.answered || *asked.answered > now) return std::nullopt;
  return asked.result;
}

AskResult Provider::ask(const std::string& key, Milliseconds now, Random& random) const {
  if (random.percent(10)) return {.answer = AskResult::Answer::cannot_tell};
  const auto found = known_.find(key);
  if (found != known_.end() && found->second.applied > 0 && found->second.visible <= now)
    return {.answer = AskResult::Answer::applied, .reference = key + "#1"};
  return {.answer = AskResult::Answer::not_found_yet};
}

CancelResult Provider::cancel(const std::string& key, Random& random) {
  if (random.percent(10)) return {.answer = CancelResult::Answer::cannot_tell};
  Known& known = known_[key];
  if (known.applied > 0 && random.percent(50))
    return {.answer = CancelResult::Answer::applied, .reference = key + "#1"};
  known.applied = 0;
  known.is_cancelled = true;
  if (random.percent(20)) return {.answer = CancelResult::Answer::cannot_tell};  // Answer lost.
  return {.answer = CancelResult::Answer::cancelled};
}

int Provider::effects(const std::string& key) const {
  const auto found = known_.find(key);
  return found == known_.end() ? 0 : found->second.applied;
}

int Provider::executions(const std::string& key) const {
  const auto found = known_.find(key);
  return found == known_.end() ? 0 : found->second.executions;
}

int Provider::requests(const std::string& key) const {
  const auto found = known_.find(key);
  return found == known_.end() ? 0 : found->second.requests;
}

}  // namespace outseal::sim
