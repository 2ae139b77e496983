#include "bench/pg_relay.h"

#include <atomic>
#include <fstream>
#include <stdexcept>
#include <stop_token>

#include "bench/bench.h"
#include "sinks/registry.h"
#include "support/paths.h"

namespace outseal::bench {
namespace {

/// Takes everything and keeps nothing but its tail: what a perfect sink would cost.
class NullSink final : public Sink {
 public:
  SinkFeatures features() const override {
    return {.second_copy = SecondCopy::refuses, .exclusive = true};
  }
  std::optional<std::string> encode(const EventRow& row, Position, std::string& out) override {
    out.append(reinterpret_cast<const char*>(row.id.bytes().data()), row.id.bytes().size());
    out += row.payload;
    return std::nullopt;
  }
  OpenResult open() override { return {.tail = tail_}; }
  DeliveryResult deliver(const Batch& batch, std::size_t from) override {
    if (tail_ != batch.tail_after(from)) return {.status = DeliveryResult::Status::conflict};
    tail_ = batch.tail_after(batch.size());
    return {.done = batch.size()};
  }
  void close() noexcept override {}
  std::unique_ptr<SinkReader> read() override { throw std::logic_error{"nothing to read"}; }

 private:
  Tail tail_;
};

/// Passes everything on to a sink, and notes what it acknowledges.
class WatchedSink final : public Sink {
 public:
  WatchedSink(std::unique_ptr<Sink> sink, std::shared_ptr<Deliveries> deliveries)
      : sink_{std::move(sink)}, deliveries_{std::move(deliveries)} {}

  SinkFeatures features() const override { return sink_->features(); }
  std::size_t payload_bytes_max() const override { return sink_->payload_bytes_max(); }
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override {
    return sink_->encode(row, position, out);
  }
  void resume_from(const Tail& acked, std::string_view mark) override {
    sink_->resume_from(acked, mark);
  }
  OpenResult open() override { return sink_->open(); }
  DeliveryResult deliver(const Batch& batch, std::size_t from) override {
    DeliveryResult result = sink_->deliver(batch, from);
    if (result.status == DeliveryResult::Status::delivered) deliveries_->note(batch, from);
    return result;
  }
  void close() noexcept override { sink_->close(); }
  std::unique_ptr<SinkReader> read() override { return sink_->read(); }

 private:
  std::unique_ptr<Sink> sink_;
  std::shared_ptr<Deliveries> deliveries_;
};

relay::RelayOptions relay_options(const Stage& stage, const RelayRun::Options& options,
                                  const std::string& sink) {
  relay::RelayOptions relay;
  relay.database = Url::parse("--db", stage.url());
  relay.subscription.name = options.subscription;
  relay.subscription.sink = sink;
  relay.subscription.event_source = "/outseal/" + options.subscription;
  relay.core.drain = options.drain;
  relay.page = store::kServerPage;
  return relay;
}

}  // namespace

// --- Deliveries ----------------------------------------------------------------------------------

void Deliveries::note(const Batch& batch, std::size_t from) {
  const auto now = Clock::now();
  const std::lock_guard lock{mutex_};
  count_ += batch.size() - from;
  ++batches_;
  if (keeps_times_)
    for (std::size_t i = from; i < batch.size(); ++i) times_.emplace_back(batch.entries[i].id, now);
  grown_.notify_all();
}

void Deliveries::wait_for(std::uint64_t events) {
  std::unique_lock lock{mutex_};
  if (!grown_.wait_for(lock, std::chrono::minutes{2}, [&] { return count_ >= events; }))
    throw std::runtime_error{"the relay has delivered only " + std::to_string(count_) + " events"};
}

std::uint64_t Deliveries::count() {
  const std::lock_guard lock{mutex_};
  return count_;
}

std::uint64_t Deliveries::batches() {
  const std::lock_guard lock{mutex_};
  return batches_;
}

std::unordered_map<EventId, Clock::time_point> Deliveries::times() {
  const std::lock_guard lock{mutex_};
  return {times_.begin(), times_.end()};
}

// --- RelayRun ------------------------------------------------------------------------------------

RelayRun::RelayRun(const Stage& stage, const Options& options,
                   std::shared_ptr<Deliveries> deliveries) {
  const bool to_file = options.sink == "file:";
  const Url url =
      Url::parse("--sink", to_file ? options.sink + folder_.file("events") : options.sink);
  options_ = relay_options(stage, options, url.redacted());
  auto sink = url.scheme == "null"
                  ? std::make_unique<NullSink>()
                  : sinks::make_sink(url, sinks::context_of(options_.subscription.event_source,
                                                            options.subscription));
  auto watched = std::make_unique<WatchedSink>(std::move(sink), std::move(deliveries));
  thread_ = std::jthread{[this, sink = std::move(watched)](const std::stop_token& stop) mutable {
    try {
      const auto note_lease = [this](std::string_view, const observe::Observation& what) {
        if (!std::holds_alternative<observe::Led>(what)) return;
        const std::lock_guard lock{mutex_};
        leading_ = true;
        changed_.notify_all();
      };
      relay::run(options_, std::move(sink), stop, note_lease);
    } catch (...) {
      const std::lock_guard lock{mutex_};
      failure_ = std::current_exception();
      changed_.notify_all();
    }
  }};
}

void RelayRun::wait_until_leading() {
  std::unique_lock lock{mutex_};
  changed_.wait(lock, [this] { return leading_ || failure_; });
  if (failure_) std::rethrow_exception(failure_);
}

void RelayRun::wait() {
  thread_.join();
  if (failure_) std::rethrow_exception(failure_);
}

void RelayRun::finish() {
  thread_.request_stop();
  wait();
}

// --- Measurements --------------------------------------------------------------------------------

Drain drain(const Stage& stage, const SinkUrl& sink, std::optional<int> events) {
  static int subscriptions = 0;
  const auto deliveries = std::make_shared<Deliveries>();
  Drain result;
  const auto start = Clock::now();
  RelayRun relay{
      stage,
      {.sink = sink, .drain = !events, .subscription = "drain" + std::to_string(++subscriptions)},
      deliveries};
  if (events)
    deliveries->wait_for(static_cast<std::uint64_t>(*events));
  else
    relay.wait();
  result.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  result.events = deliveries->count();
  result.batches = deliveries->batches();
  if (events) relay.finish();
  return result;
}

Latency latency(const SinkUrl& sink, std::chrono::duration<double> time,
                const std::function<std::shared_ptr<void>(const Stage&)>& disturb) {
  constexpr int kClients = 4;
  constexpr std::chrono::milliseconds kBeat{kClients};  // 1,000/s in all.
  constexpr std::chrono::milliseconds kWarmUp{500};
  const Stage stage;
  const auto deliveries = std::make_shared<Deliveries>();
  deliveries->keep_times();
  RelayRun relay{stage, {.sink = sink}, deliveries};
  relay.wait_until_leading();
  stage.checkpoint();
  const std::shared_ptr<void> disturbance = disturb ? disturb(stage) : nullptr;

  std::vector<std::vector<std::pair<EventId, Clock::time_point>>> committed(kClients);
  const auto start = Clock::now() + kWarmUp;
  const auto end = start + time;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kClients; ++i)
      threads.emplace_back([&, i] {
        Client client{stage, Stage::kClientsMax - 1 - i};
        auto due = start - kWarmUp + std::chrono::milliseconds{i};
        for (; due < end; due += kBeat) {
          std::this_thread::sleep_until(due);
          const EventId id = client.with_append();
          if (due >= start) committed[static_cast<std::size_t>(i)].emplace_back(id, Clock::now());
        }
      });
  }
  const std::chrono::duration<double> took = Clock::now() - start;

  std::size_t expected = 0;
  for (const auto& part : committed) expected += part.size();
  std::vector<double> milliseconds;
  test::wait_until("all acknowledgements", [&] {
    const auto acknowledged = deliveries->times();
    milliseconds.clear();
    for (const auto& part : committed)
      for (const auto& [id, when] : part)
        if (const auto found = acknowledged.find(id); found != acknowledged.end())
          milliseconds.push_back(
              std::chrono::duration<double, std::milli>(found->second - when).count());
    return milliseconds.size() == expected;
  });
  relay.finish();
  return {.p50 = quantile(milliseconds, 0.5),
          .p95 = quantile(milliseconds, 0.95),
          .p99 = quantile(milliseconds, 0.99),
          .rate = static_cast<double>(expected) / took.count()};
}

// --- The program ---------------------------------------------------------------------------------

std::unique_ptr<test::Program> start_relay(const Stage& stage, const std::string& sink,
                                           const test::TempFolder& folder) {
  return std::make_unique<test::Program>(test::Launch{
      .arguments = {outseal::test::program_path("outseal-relay"), "run", "--sink", sink},
      .environment = {{"OUTSEAL_DB", stage.url()}},
      .folder = folder.path().string(),
      .log = folder.file("relay.log")});
}

double peak_memory_mib(const std::string& process) {
  std::ifstream status{"/proc/" + process + "/status"};
  for (std::string word; status >> word;)
    if (double kib = 0; word == "VmHWM:" && status >> kib) return kib / 1024;
  return 0;
}

void reset_own_peak_memory() { std::ofstream{"/proc/self/clear_refs"} << "5"; }

}  // namespace outseal::bench
