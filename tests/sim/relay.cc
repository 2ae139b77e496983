#include "sim/relay.h"

#include <utility>
#include <variant>

#include "observe/log_line.h"

namespace outseal::sim {

void SimRelay::start(const relay::CoreOptions& options, Sender sender, SimSink& sink,
                     Milliseconds now) {
  core_.emplace(options);
  sender_ = sender;
  owner_ = name_ + '.' + std::to_string(sender);
  end_ = {};
  paused_until_ = Milliseconds{0};
  feed(relay::Started{}, sink, now);
}

void SimRelay::kill(SimSink& sink) {
  core_.reset();
  wake_.reset();
  granted_.reset();
  sink.close(sender_);
}

void SimRelay::feed(const relay::Input& input, SimSink& sink, Milliseconds now) {
  const std::string time = trace_ == nullptr ? "" : std::to_string(now.count()) + '\t' + name_;
  if (trace_ != nullptr) trace_->push_back(time + " <- " + describe(input));
  for (relay::Command& command : core_->on(input, now)) {
    if (trace_ != nullptr) trace_->push_back(time + " -> " + describe(command));
    carry_out(command, sink, now);
  }
}

void SimRelay::carry_out(relay::Command& command, SimSink& sink, Milliseconds now) {
  if (const auto* wait = std::get_if<relay::Wait>(&command)) {
    wake_ = now + wait->duration;
  } else if (std::holds_alternative<relay::CloseSink>(command)) {
    sink.close(sender_);
  } else if (std::holds_alternative<relay::OpenSink>(command)) {
    if (sink_call) broken_ = "two sink commands at once";
    sink_call = SinkCall{};
  } else if (auto* deliver = std::get_if<relay::Deliver>(&command)) {
    if (sink_call) broken_ = "two sink commands at once";
    sink_call = SinkCall{SimDelivery{sender_, fence_.epoch, deliver->batch, deliver->from}};
  } else if (auto* halt = std::get_if<relay::Halt>(&command)) {
    finish({std::move(*halt), false}, sink);
  } else if (const auto* done = std::get_if<relay::Finish>(&command)) {
    finish({std::nullopt, done->drained}, sink);
  } else if (!std::holds_alternative<relay::Report>(command)) {
    if (database_call) broken_ = "two database commands at once";
    database_call = DatabaseCall{{std::move(command), owner_, fence_}};
  }
}

/// The process ends; the driver waits for nothing that is under way.
void SimRelay::finish(RelayEnd end, SimSink& sink) {
  end_ = std::move(end);
  kill(sink);
}

void SimRelay::answer_database(SimSink& sink, Milliseconds now) {
  const DatabaseReply reply = *std::move(database_call->reply);
  database_call.reset();
  fence_ = reply.fence;
  if (const auto* granted = std::get_if<relay::LeaseGranted>(&reply.input)) {
    granted_ = granted->state;
  }
  feed(reply.input, sink, now);
}

void SimRelay::answer_sink(SimSink& sink, Milliseconds now) {
  const relay::Input input = *std::move(sink_call->reply);
  sink_call.reset();
  feed(input, sink, now);
}

void SimRelay::fire_timer(SimSink& sink, Milliseconds now) {
  wake_.reset();
  feed(relay::TimerFired{}, sink, now);
}

namespace {

template <typename... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <typename... F>
Overloaded(F...) -> Overloaded<F...>;

std::string text(const Tail& tail) {
  return std::to_string(tail.position.value()) + ':' +
         (tail.event_id.is_nil() ? "-" : tail.event_id.to_string().substr(32));
}

std::string text(const Batch& batch) {
  std::string out = batch.kind == BatchKind::redrive ? " redrive [" : " [";
  for (std::size_t at = 0; at < batch.size(); ++at) {
    out += (at == 0 ? "" : " ") + text(batch.tail_after(at + 1));
  }
  out += "] prior " + text(batch.prior) + " seq " + std::to_string(batch.from.after_seq.value()) +
         ".." + std::to_string(batch.to.after_seq.value());
  for (const ParkedEntry& entry : batch.parked) {
    out += (entry.behind ? " behind " : " refused ") + std::to_string(entry.seq.value());
  }
  return out;
}

std::string text(const std::optional<Ack>& ack) { return ack ? " ack " + text(ack->tail) : ""; }

}  // namespace

std::string describe(const relay::Command& command) {
  return std::visit(
      Overloaded{
          [](const relay::AcquireLease&) -> std::string { return "acquire"; },
          [](const relay::RenewLease&) -> std::string { return "renew"; },
          [](const relay::ReleaseLease&) -> std::string { return "release"; },
          [](const relay::ReadPage& read) {
            return "read page after seq " + std::to_string(read.from.after_seq.value()) +
                   " prior " + text(read.prior);
          },
          [](const relay::ReadJournal& read) {
            return "read journal at " + std::to_string(read.position.value());
          },
          [](const relay::Bind& bind) { return "bind" + text(*bind.batch) + text(bind.ack); },
          [](const relay::Acknowledge& ack) { return "acknowledge" + text(ack.ack); },
          [](const relay::Settle& settle) {
            return "settle" + text(*settle.batch) + " done " + std::to_string(settle.done);
          },
          [](const relay::OpenSink&) -> std::string { return "open sink"; },
          [](const relay::Deliver& deliver) {
            return "deliver" + text(*deliver.batch) + " from " + std::to_string(deliver.from);
          },
          [](const relay::CloseSink&) -> std::string { return "close sink"; },
          [](const relay::Wait& wait) { return "wait " + std::to_string(wait.duration.count()); },
          [](const relay::Report& report) {
            const auto line = observe::log_line(report.what);
            return "report " + std::string{line ? line->event : "something"};
          },
          [](const relay::Halt& halt) { return "HALT " + halt.what; },
          [](const relay::Finish& done) -> std::string {
            return done.drained ? "finish drained" : "finish";
          }},
      command);
}

std::string describe(const relay::Input& input) {
  return std::visit(
      Overloaded{
          [](const relay::Started&) -> std::string { return "started"; },
          [](const relay::TimerFired&) -> std::string { return "timer"; },
          [](const relay::StopRequested&) -> std::string { return "stop"; },
          [](const relay::LeaseGranted& granted) {
            const SubscriptionState& state = granted.state;
            return "granted epoch " + std::to_string(state.epoch.value()) + " acked " +
                   text(state.acked) + " bound " + std::to_string(state.bound.value()) + " seq " +
                   std::to_string(state.cursor.after_seq.value());
          },
          [](const relay::LeaseDenied& denied) { return "denied by " + denied.holder; },
          [](const relay::LeasePaused&) -> std::string { return "paused"; },
          [](const relay::LeaseRenewed&) -> std::string { return "renewed"; },
          [](const relay::LeaseReleased&) -> std::string { return "released"; },
          [](const relay::PageRead& read) { return "page" + text(*read.batch); },
          [](const relay::JournalRead& read) { return "journal" + text(*read.batch); },
          [](const relay::JournalUnreadable& bad) { return "unreadable: " + bad.why; },
          [](const relay::Bound&) -> std::string { return "bound"; },
          [](const relay::PageStale&) -> std::string { return "page stale"; },
          [](const relay::Acknowledged&) -> std::string { return "acknowledged"; },
          [](const relay::Settled& settled) {
            return "settled, seq " + std::to_string(settled.cursor.after_seq.value());
          },
          [](const relay::Fenced&) -> std::string { return "fenced"; },
          [](const relay::DatabaseFailed& failed) { return "database failed: " + failed.what; },
          [](const relay::SinkOpened& opened) {
            return "sink opened: " + opened.result.detail +
                   (opened.result.tail ? " tail " + text(*opened.result.tail) : "");
          },
          [](const relay::Delivered& delivered) {
            return "delivered " + std::to_string(static_cast<int>(delivered.result.status)) +
                   " done " + std::to_string(delivered.result.done) + ' ' + delivered.result.detail;
          }},
      input);
}

}  // namespace outseal::sim
