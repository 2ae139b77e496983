#include "sinks/http/sink.h"

#include <algorithm>
#include <chrono>
#include <queue>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/failpoint.h"
#include "outseal/error.h"
#include "sinks/http/answer.h"

namespace outseal::sinks {
namespace {

using Status = DeliveryResult::Status;

constexpr std::size_t kBatchEventsMin = 16;
constexpr std::size_t kBatchEventsMax = 256;
/// Rounds of requests in a batch: enough to keep all places busy, few enough to end in time.
constexpr std::size_t kBatchRounds = 8;

}  // namespace

/// One deliver(): which events are done, which may start, and what stopped it.
class HttpSink::Round {
 public:
  Round(HttpSink& sink, const Batch& batch, std::size_t from)
      : sink_{sink}, batch_{batch}, from_{from}, end_{batch.size()}, done_(batch.size(), false) {
    std::unordered_map<std::string_view, std::size_t> last_of_key;
    next_of_key_.resize(batch.size(), kNone);
    for (std::size_t index = from; index < batch.size(); ++index) {
      if (sink.delivered_.contains(batch.entries[index].id) && !mutant("no_memory_of_delivered")) {
        done_[index] = true;
        continue;
      }
      const std::string_view key = key_of_message(batch.encoded(index));
      const auto [last, is_first] = last_of_key.try_emplace(key, index);
      if (key.empty() || is_first || mutant("no_key_order"))
        ready_.push(index);
      else
        next_of_key_[last->second] = index;
      last->second = index;
    }
  }

  DeliveryResult run(HttpExchange& exchange) {
    const auto stop_at = std::chrono::steady_clock::now() + sink_.options_.timeout;
    do {
      if (std::chrono::steady_clock::now() > stop_at) is_late_ = true;
      start_ready(exchange);
      for (const auto& [index, answer] : exchange.wait()) settle(index, answer);
    } while (exchange.under_way() > 0 || may_start());
    return result();
  }

 private:
  static constexpr std::size_t kNone = SIZE_MAX;

  Position position(std::size_t index) const { return advance(batch_.first, index); }

  bool may_start() const {
    return !is_late_ && !retry_ && !gone_ && !ready_.empty() && ready_.top() < end_;
  }

  void start_ready(HttpExchange& exchange) {
    while (may_start() && exchange.has_room()) {
      const std::size_t index = ready_.top();
      ready_.pop();
      HttpMessage message = HttpMessage::parse(batch_.encoded(index));
      // Not part of what is encoded: which event stands before is known when the batch is bound.
      const EventId previous = batch_.tail_after(index).event_id;
      const std::string previous_id = previous.is_nil() ? "" : previous.to_string();
      if (!previous_id.empty()) message.fields.emplace_back("outseal-previous-id", previous_id);
      exchange.start(index, message);
    }
  }

  void settle(std::size_t index, const HttpAnswer& answer) {
    const auto grace_left = sink_.grace_left(batch_.entries[index].id, answer.status);
    HttpVerdict verdict = judge(answer, position(index), sink_.options_.shown, grace_left);
    switch (verdict.kind) {
      case HttpVerdict::Kind::delivered:
        done_[index] = true;
        sink_.remember(batch_.entries[index].id);
        failpoint("http.after_answer");
        if (next_of_key_[index] != kNone) ready_.push(next_of_key_[index]);
        break;
      case HttpVerdict::Kind::retry_later:
        retry_after_ = std::max(retry_after_, verdict.retry_after);
        if (index >= retry_index_) break;
        retry_index_ = index;
        retry_ = std::move(verdict);
        break;
      case HttpVerdict::Kind::rejected:
        // Events before it are still due: with them it is known where the batch is cut.
        if (index >= end_) break;
        end_ = index;
        rejection_ = std::move(verdict);
        break;
      case HttpVerdict::Kind::gone:
        gone_ = std::move(verdict);
        break;
    }
  }

  /// All before this one are delivered.
  std::size_t prefix() const {
    const auto place =
        std::find(done_.begin() + static_cast<std::ptrdiff_t>(from_), done_.end(), false);
    return static_cast<std::size_t>(place - done_.begin());
  }

  DeliveryResult result() {
    const std::size_t done = prefix();
    const auto ended = [this, done](Status status, const HttpVerdict& verdict) {
      return DeliveryResult{.status = status,
                            .done = done,
                            .detail = verdict.detail,
                            .hint = verdict.hint,
                            .retry_after = retry_after_};
    };
    if (gone_) return ended(Status::failed, *gone_);
    if (retry_) return ended(Status::retry_later, *retry_);
    if (rejection_ && done == end_) {
      forget(done);
      sink_.unfound_since_.erase(batch_.entries[done].id);
      return ended(Status::rejected, *rejection_);
    }
    if (done == batch_.size()) {
      forget(done);
      return {.done = done, .mark = "position " + std::to_string(position(done).value() - 1)};
    }
    return {.status = Status::retry_later,
            .done = done,
            .detail = sink_.options_.shown + " is slow: " + std::to_string(done) + " of " +
                      std::to_string(batch_.size()) + " events in " +
                      std::to_string(sink_.options_.timeout.count()) + " ms",
            .hint =
                "what was delivered is not sent again; let the receiver answer first and work"
                " later"};
  }

  /// The relay takes note of the first `count` events: they do not come again.
  void forget(std::size_t count) {
    for (std::size_t index = 0; index < count; ++index)
      sink_.delivered_.erase(batch_.entries[index].id);
  }

  HttpSink& sink_;
  const Batch& batch_;
  const std::size_t from_;
  std::size_t end_;  ///< Nothing from here on is started: the place of the first refused event.
  std::vector<bool> done_;
  std::vector<std::size_t> next_of_key_;
  /// Events that may be sent, the earliest first.
  std::priority_queue<std::size_t, std::vector<std::size_t>, std::greater<>> ready_;
  bool is_late_ = false;
  std::optional<HttpVerdict> retry_;
  std::size_t retry_index_ = kNone;
  std::chrono::milliseconds retry_after_{0};  ///< The longest wish of all.
  std::optional<HttpVerdict> rejection_;
  std::optional<HttpVerdict> gone_;
};

HttpSink::HttpSink(HttpSinkOptions options, const SinkContext& context)
    : options_{std::move(options)},
      encoder_{context.event_source,
               context.stream,
               {.structured = options_.structured, .body_bytes_max = options_.event_bytes_max}} {}

SinkFeatures HttpSink::features() const {
  return {.batch_events_max =
              std::clamp(kBatchRounds * options_.in_flight, kBatchEventsMin, kBatchEventsMax)};
}

std::optional<std::string> HttpSink::encode(const EventRow& row, Position position,
                                            std::string& out) {
  return encoder_.encode(row, position, out);
}

OpenResult HttpSink::open() {
  exchange_.emplace(options_);
  if (options_.without_prefix.empty()) return {};
  return {.detail = "the URL has options without their prefix: they go to the endpoint alone",
          .hint = "if they are for the sink, write " + options_.without_prefix};
}

DeliveryResult HttpSink::deliver(const Batch& batch, std::size_t from) {
  if (!exchange_)
    return {.status = Status::retry_later, .done = from, .detail = "the sink is not open"};
  return Round{*this, batch, from}.run(*exchange_);
}

void HttpSink::close() noexcept { exchange_.reset(); }

/// What a batch leaves behind here comes again, unless another relay has taken over meanwhile.
void HttpSink::remember(const EventId& id) {
  if (delivered_.size() >= 2 * kBatchEventsMax) delivered_.clear();
  delivered_.insert(id);
  unfound_since_.erase(id);
}

/// How much longer `status` is not final for this event, if it may be a gateway's.
std::chrono::milliseconds HttpSink::grace_left(const EventId& id, long status) {
  if (!may_be_of_gateway(status)) return {};
  // What another relay has taken over may stay behind here.
  if (unfound_since_.size() >= 4 * kBatchEventsMax) unfound_since_.clear();
  const auto now = std::chrono::steady_clock::now();
  const auto since = unfound_since_.try_emplace(id, now).first->second;
  return std::chrono::duration_cast<std::chrono::milliseconds>(since + options_.grace - now);
}

std::unique_ptr<SinkReader> HttpSink::read() {
  throw Error{ErrorCode::invalid_config,
              "read",
              "a webhook receiver cannot be read back",
              {.hint = "compare with the receiver's own inbox, see outseal-reconcile"}};
}

}  // namespace outseal::sinks
