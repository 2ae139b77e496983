#include "relay/sink_worker.h"

#include <chrono>
#include <exception>
#include <utility>

#include "base/text.h"

namespace outseal::relay {
namespace {

using std::chrono::steady_clock;

/// Much of what a sink says came over a network.
constexpr std::size_t kSaidBytesMax = 500;

template <typename Result>
void make_plain(Result& result) {
  for (std::string* said : {&result.detail, &result.hint}) *said = plain_text(*said, kSaidBytesMax);
}

}  // namespace

void Mailbox::put(Input input) {
  {
    const std::lock_guard lock{mutex_};
    inputs_.push_back(std::move(input));
  }
  filled_.notify_one();
}

Input Mailbox::take(std::chrono::steady_clock::time_point deadline) {
  std::unique_lock lock{mutex_};
  if (!filled_.wait_until(lock, deadline, [this] { return !inputs_.empty(); })) return TimerFired{};
  Input input = std::move(inputs_.front());
  inputs_.pop_front();
  return input;
}

struct SinkWorker::Shared {
  std::shared_ptr<SinkSession> sink;
  std::shared_ptr<Mailbox> mailbox;
  std::mutex mutex;
  std::condition_variable filled;
  std::deque<Command> commands;  // Guarded by mutex.
  bool ended = false;            // Guarded by mutex.

  std::optional<Command> next() {
    std::unique_lock lock{mutex};
    filled.wait(lock, [this] { return ended || !commands.empty(); });
    if (commands.empty()) return std::nullopt;
    Command command = std::move(commands.front());
    commands.pop_front();
    return command;
  }

  void carry_out(const OpenSink& open) {
    SinkOpened opened;
    const auto begin = steady_clock::now();
    try {
      sink->resume_from(open.acked, open.mark);
      opened.result = sink->open();
    } catch (const std::exception& error) {
      opened.result = {.status = OpenResult::Status::retry_later, .detail = error.what()};
    }
    opened.took = observe::since(begin);
    make_plain(opened.result);
    mailbox->put(std::move(opened));
  }

  void carry_out(const Deliver& deliver) {
    Delivered delivered;
    const auto begin = steady_clock::now();
    try {
      delivered.result = sink->deliver(*deliver.batch, deliver.from);
    } catch (const std::exception& error) {  // In doubt: the tail will tell.
      delivered.result = {.status = DeliveryResult::Status::retry_later, .detail = error.what()};
    }
    delivered.took = observe::since(begin);
    make_plain(delivered.result);
    delivered.result.mark = plain_text(delivered.result.mark, kSaidBytesMax);
    mailbox->put(std::move(delivered));
  }

  void carry_out(const CloseSink&) const { sink->close(); }

  void run() {
    while (const auto command = next())
      std::visit([this](const auto& what) { carry_out(what); }, *command);
    sink->close();
  }
};

SinkWorker::SinkWorker(std::shared_ptr<SinkSession> sink, std::shared_ptr<Mailbox> mailbox)
    : shared_{std::make_shared<Shared>()} {
  shared_->sink = std::move(sink);
  shared_->mailbox = std::move(mailbox);
  thread_ = std::thread{[shared = shared_] { shared->run(); }};
}

SinkWorker::~SinkWorker() {
  {
    const std::lock_guard lock{shared_->mutex};
    shared_->ended = true;
  }
  shared_->filled.notify_one();
  if (thread_.joinable()) thread_.join();
}

void SinkWorker::post(Command command) {
  {
    const std::lock_guard lock{shared_->mutex};
    shared_->commands.push_back(std::move(command));
  }
  shared_->filled.notify_one();
}

void SinkWorker::abandon() { thread_.detach(); }

}  // namespace outseal::relay
