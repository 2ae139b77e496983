#include "sinks/nats/publisher.h"

#include <simdjson.h>

#include <algorithm>
#include <charconv>

#include "base/failpoint.h"

namespace outseal::sinks {
namespace {

using Clock = std::chrono::steady_clock;
using Outcome = NatsPublisher::Outcome;

/// How long to sleep at most before looking whether the server has refused a subject: it says so on
/// the connection, not in a reply.
constexpr std::chrono::milliseconds kLook{50};

}  // namespace

/// Reads what a stream replies. Source: JetStream API, PubAck; an error has the stream's name too.
struct NatsPublisher::Reply {
  simdjson::dom::parser parser;

  // Of the last one that was read:
  std::string_view stream;     ///< Who replies; empty if it is no stream.
  std::uint64_t sequence = 0;  ///< 0: not stored.
  bool duplicate = false;
  std::int64_t error = 0;
  std::string_view description;

  void read(std::string_view json) {
    stream = {};
    sequence = 0;
    duplicate = false;
    error = -1;
    description = "neither stored nor refused";
    simdjson::dom::element root;
    if (parser.parse(json.data(), json.size()).get(root) != simdjson::SUCCESS ||
        root["stream"].get(stream) != simdjson::SUCCESS)
      return;
    simdjson::dom::element fault;
    if (root["error"].get(fault) == simdjson::SUCCESS) {
      // A field that is missing leaves what stands there.
      [[maybe_unused]] auto ignored = fault["err_code"].get(error);
      ignored = fault["description"].get(description);
      return;
    }
    if (root["seq"].get(sequence) != simdjson::SUCCESS || sequence == 0) return;
    [[maybe_unused]] const auto absent = root["duplicate"].get(duplicate);
    error = 0;
    description = {};
  }
};

/// One call of publish().
struct NatsPublisher::Flight {
  const std::size_t from;
  const std::size_t end;
  const std::uint64_t number;  ///< Of entries[from] among all that were ever sent here.
  const std::uint64_t base;    ///< The stream's last sequence before entries[from].
  const bool replicated;       ///< The stream has replicas.
  std::size_t sent;            ///< One past the last entry that was sent.
  std::size_t replies = 0;
  std::vector<std::uint64_t> sequences = {};  ///< By entry from `from`; 0: not acknowledged.
  std::optional<Outcome> trouble = {};        ///< The first; nothing is sent after it.
  bool broken = false;                        ///< No more replies will come.

  /// Messages that are under way.
  std::size_t open() const { return sent - from - replies; }
  bool is_waiting() const { return !broken && open() > 0; }
  bool may_send() const { return !trouble && sent < end; }
  void stop(Outcome::Status status, std::string detail) {
    if (!trouble) trouble = Outcome{.status = status, .detail = std::move(detail)};
  }
  void give_up(std::string detail) {
    broken = true;
    stop(Outcome::Status::in_doubt, std::move(detail));
  }
};

NatsPublisher::NatsPublisher(const NatsConnection& connection, const NatsSinkOptions& options)
    : connection_{connection}, options_{options}, reply_{std::make_unique<Reply>()} {}

NatsPublisher::~NatsPublisher() = default;

natsStatus NatsPublisher::subscribe() {
  natsInbox* inbox = nullptr;
  if (const natsStatus status = natsInbox_Create(&inbox); status != NATS_OK) return status;
  inbox_ = std::string{inbox} + ".";
  natsInbox_Destroy(inbox);
  natsSubscription* replies = nullptr;
  const natsStatus status =
      natsConnection_SubscribeSync(&replies, connection_.get(), (inbox_ + "*").c_str());
  replies_.reset(replies);
  return status;
}

std::size_t NatsPublisher::wire_bytes_max(const NatsMessageView& message) const {
  constexpr std::size_t kPunctuation = 4;  // ": " and CR LF
  constexpr std::size_t kDigitsMax = 20;
  std::size_t bytes =
      message.wire_bytes() + kNatsExpectedStream.size() + options_.stream.size() + kPunctuation;
  if (!options_.shared)
    bytes += kNatsExpectedSequence.size() + kDigitsMax + kPunctuation + kNatsExpectedId.size() +
             EventId::kTextBytes + kPunctuation;
  return bytes;
}

natsStatus NatsPublisher::send(const Batch& batch, std::size_t index, const Flight& flight) {
  const NatsMessageView view{batch.encoded(index)};
  // The client library wants texts that end in NUL: each lies in scratch_ until it is copied.
  const auto text = [this](std::string_view part) {
    const std::size_t begin = scratch_.size();
    scratch_ += part;
    scratch_ += '\0';
    return begin;
  };
  scratch_.clear();
  scratch_.reserve(2 * (view.subject.size() + view.headers.size()) + inbox_.size() + 100);
  const std::size_t subject = text(view.subject);
  const std::size_t reply = text(inbox_ + std::to_string(flight.number + (index - flight.from)));
  natsMsg* made = nullptr;
  natsStatus status = natsMsg_Create(&made, scratch_.data() + subject, scratch_.data() + reply,
                                     view.payload.data(), static_cast<int>(view.payload.size()));
  const NatsMessagePtr message{made};
  const auto set = [&](std::string_view name, std::string_view value) {
    if (status != NATS_OK) return;
    const std::size_t name_at = text(name);
    const std::size_t value_at = text(value);
    status = natsMsgHeader_Set(made, scratch_.data() + name_at, scratch_.data() + value_at);
  };
  NatsMessageView rest = view;
  while (!rest.headers.empty()) {
    const auto [name, value] = rest.take_header();
    set(name, value);
  }
  set(kNatsExpectedStream, options_.stream);
  if (!options_.shared && !mutant("nats_no_expected_sequence"))
    set(kNatsExpectedSequence, std::to_string(flight.base + (index - flight.from)));
  // A server that was started again may not know the id of the last message that it has; of one
  // that it has just stored, it does.
  const bool names_last = !options_.shared && !flight.replicated && index > flight.from;
  if (names_last && !mutant("nats_no_expected_id"))
    set(kNatsExpectedId, batch.entries[index - 1].id.to_string());
  if (status != NATS_OK) return status;
  return natsConnection_PublishMsg(connection_.get(), made);
}

Outcome NatsPublisher::publish(const Batch& batch, std::size_t from, std::size_t end,
                               const NatsStreamFacts& facts) {
  Flight flight{.from = from,
                .end = end,
                .number = sent_,
                .base = facts.last_sequence,
                .replicated = facts.replicated,
                .sent = from};
  flight.sequences.resize(end - from);
  while (flight.is_waiting() || flight.may_send()) {
    while (flight.may_send() && flight.open() < options_.in_flight) {
      if (const natsStatus status = send(batch, flight.sent, flight); status != NATS_OK) {
        flight.give_up("cannot send to stream " + options_.stream + ": " + describe(status));
        break;
      }
      ++flight.sent;
      ++sent_;
    }
    // Half of them at once: sending one for each that comes back would wake a thread each time.
    const std::size_t low = flight.may_send() ? options_.in_flight / 2 : 0;
    while (flight.is_waiting() && flight.open() > low) wait_for_reply(flight);
  }
  Outcome outcome = flight.trouble.value_or(Outcome{});
  const auto first_open = std::find(flight.sequences.begin(), flight.sequences.end(), 0U);
  const auto stored = static_cast<std::size_t>(first_open - flight.sequences.begin());
  outcome.done = from + stored;
  outcome.last_sequence = stored == 0 ? facts.last_sequence : flight.sequences[stored - 1];
  return outcome;
}

/// Takes one reply, and notes if none comes any more.
void NatsPublisher::wait_for_reply(Flight& flight) {
  const auto deadline = Clock::now() + options_.timeout;
  for (;;) {
    natsMsg* made = nullptr;
    const natsStatus status = natsSubscription_NextMsg(&made, replies_.get(), kLook.count());
    const NatsMessagePtr message{made};
    if (status == NATS_OK) return read_reply(made, flight);
    if (status == NATS_NO_RESPONDERS) {
      // It does not say to which message: the prefix ends before it, wherever that is.
      ++flight.replies;
      return flight.stop(Outcome::Status::in_doubt,
                         "no stream takes one of the subjects, or stream " + options_.stream +
                             " has no leader now");
    }
    if (status != NATS_TIMEOUT)
      return flight.give_up("no answer from stream " + options_.stream + ": " + describe(status));
    if (connection_.is_denied())
      return flight.give_up(
          "the server does not permit to publish to one of the subjects of"
          " stream " +
          options_.stream);
    if (Clock::now() >= deadline)
      return flight.give_up("no answer from stream " + options_.stream + " within " +
                            std::to_string(options_.timeout.count()) + " ms");
  }
}

void NatsPublisher::read_reply(natsMsg* message, Flight& flight) {
  const std::string_view subject = natsMsg_GetSubject(message);
  std::uint64_t number = 0;
  const auto [end, error] =
      std::from_chars(subject.data() + std::min(inbox_.size(), subject.size()),
                      subject.data() + subject.size(), number);
  Reply& reply = *reply_;
  reply.read(payload_of(message));
  // Others may listen to our subjects, and answer.
  if (error != std::errc{} || end != subject.data() + subject.size() ||
      reply.stream != options_.stream)
    return;
  const std::size_t index = flight.from + (number - flight.number);
  // Late, or again: what it says of an earlier message, or of this one, was counted.
  if (number < flight.number || index >= flight.sent || flight.sequences[index - flight.from] != 0)
    return;
  ++flight.replies;
  if (reply.error == JSStreamWrongLastSequenceErr || reply.error == JSStreamWrongLastMsgIDErr)
    return flight.stop(Outcome::Status::conflict, "somebody else has written stream " +
                                                      options_.stream + " meanwhile (" +
                                                      std::string{reply.description} + ")");
  if (reply.error != 0)
    return flight.stop(Outcome::Status::in_doubt,
                       "stream " + options_.stream +
                           " refuses a message: " + std::string{reply.description} + " (" +
                           std::to_string(reply.error) + ")");
  const std::uint64_t expected = flight.base + (index - flight.from) + 1;
  // A duplicate is one of a message that stands somewhere, or stood there: the tail will tell.
  const bool in_place = reply.sequence == expected && !reply.duplicate;
  if (!options_.shared && !in_place && !mutant("nats_any_acknowledgement"))
    return flight.stop(Outcome::Status::conflict, "stream " + options_.stream +
                                                      " holds an event at sequence " +
                                                      std::to_string(reply.sequence) +
                                                      " instead of " + std::to_string(expected));
  flight.sequences[index - flight.from] = reply.sequence;
}

}  // namespace outseal::sinks
