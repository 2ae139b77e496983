#include "sinks/nats/stream.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <set>
#include <thread>

namespace outseal::sinks {
namespace {

using Status = OpenResult::Status;

constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;
/// NATS's own default. It only has to bridge the time that a message is under way: what keeps
/// duplicates out is the expected sequence.
constexpr std::int64_t kDuplicatesSeconds = 120;

/// How to make a stream that is fit, with NATS's own tool.
std::string recipe(const NatsSinkOptions& options, const NatsSubject& subject) {
  return "create it with create=true in the sink's URL, or with: nats stream add " +
         options.stream + " --subjects '" + subject.space() +
         "' --storage file --retention limits --discard new --deny-delete --deny-purge"
         " --dupe-window 2m --replicas " +
         std::to_string(options.replicas) + " --defaults";
}

/// Why a request about a stream failed.
OpenResult failure_of(const NatsConnection& connection, const NatsSinkOptions& options,
                      const std::string& what, natsStatus status, jsErrCode code) {
  OpenResult result{.status = Status::retry_later, .detail = what + ": " + describe(status)};
  if (connection.is_denied()) {
    result.status = Status::unusable;
    result.detail = what + ": the server does not permit it";
    result.hint = "the user needs to publish to $JS.API.STREAM.INFO." + options.stream +
                  ", $JS.API.STREAM.MSG.GET." + options.stream +
                  " and the stream's subjects, and to subscribe to _INBOX.>";
  } else if (code == JSNotEnabledForAccountErr) {
    result.status = Status::unusable;
    result.detail = what + ": JetStream is not enabled for this account";
    result.hint = "enable JetStream in the server's configuration";
  } else if (status == NATS_NO_RESPONDERS) {
    result.detail = what + ": nobody answers";
    result.hint = "enable JetStream in the server's configuration, or wait for its cluster";
  } else if (code != 0) {
    result.detail += " (" + std::to_string(static_cast<int>(code)) + ")";
    const char* const said = nats_GetLastError(nullptr);
    if (said != nullptr && *said != '\0') result.detail += std::string{", "} + said;
  }
  return result;
}

/// Creates the stream.
NatsStreamInfoPtr create_stream(const NatsConnection& connection, const NatsSinkOptions& options,
                                const NatsSubject& subject, OpenResult& failure) {
  jsStreamConfig config;
  jsStreamConfig_Init(&config);
  const char* subjects[]{subject.space().c_str()};
  config.Name = options.stream.c_str();
  config.Description = "written by outseal-relay alone";
  config.Subjects = subjects;
  config.SubjectsLen = 1;
  config.Storage = js_FileStorage;
  config.Retention = js_LimitsPolicy;
  config.Discard = js_DiscardNew;
  config.DenyDelete = true;
  config.DenyPurge = true;
  config.Duplicates = kDuplicatesSeconds * kNanosecondsPerSecond;
  config.Replicas = static_cast<std::int64_t>(options.replicas);
  jsStreamInfo* info = nullptr;
  jsErrCode code{};
  const natsStatus status = js_AddStream(&info, connection.streams(), &config, nullptr, &code);
  if (status != NATS_OK)
    failure =
        failure_of(connection, options, "cannot create stream " + options.stream, status, code);
  return NatsStreamInfoPtr{info};
}

std::string list_subjects(const jsStreamConfig& config) {
  std::string list;
  for (int i = 0; i < config.SubjectsLen; ++i)
    list += (list.empty() ? "" : ", ") + std::string{config.Subjects[i]};
  return list;
}

/// How much of our subjects the stream listens to.
enum class Coverage { none, some, all };

Coverage coverage_of(const jsStreamConfig& config, const NatsSubject& subject) {
  Coverage coverage = Coverage::none;
  for (int i = 0; i < config.SubjectsLen; ++i) {
    if (subject_covers(config.Subjects[i], subject.space())) return Coverage::all;
    if (subjects_overlap(config.Subjects[i], subject.space())) coverage = Coverage::some;
  }
  return coverage;
}

/// What rules the stream out; empty if nothing does.
std::string fault_of(const jsStreamConfig& config, const NatsSinkOptions& options) {
  if (config.Sealed) return "it is sealed";
  if (config.Mirror != nullptr) return "it mirrors another stream";
  if (config.NoAck) return "it does not acknowledge messages (no_ack)";
  if (config.Storage == js_MemoryStorage && !options.allow_memory)
    return "it is kept in memory and gone with its server; allow_memory=true accepts that";
  if (options.shared) return {};
  if (config.SourcesLen > 0) return "it takes messages from other streams (sources)";
  if (config.Retention != js_LimitsPolicy)
    return "it drops messages that are consumed, so that its end cannot be found again after a "
           "crash (retention must be limits; a work queue can take its messages from this stream)";
  return {};
}

void add_warning(OpenResult& result, const std::string& warning) {
  result.detail += (result.detail.empty() ? "" : "; ") + warning;
}

bool removes_at_limits(const jsStreamConfig& config) {
  const bool is_limited = config.MaxMsgs > 0 || config.MaxBytes > 0 || config.MaxMsgsPerSubject > 0;
  return config.MaxAge > 0 || (is_limited && config.Discard == js_DiscardOld);
}

/// What weakens the promise without ruling the stream out.
void add_warnings(const jsStreamConfig& config, const NatsSinkOptions& options, Coverage coverage,
                  OpenResult& result) {
  const std::string stream = "stream " + options.stream;
  if (config.Storage == js_MemoryStorage)
    add_warning(result, stream + " is kept in memory: a restart of its server loses it");
  if (removes_at_limits(config))
    add_warning(result, stream +
                            " removes old messages at its limits (max_age, or discard old):"
                            " a receiver that lags behind loses them");
  if (coverage == Coverage::some)
    add_warning(result, stream + " listens to " + list_subjects(config) +
                            ", which is only a part of our subjects: other events will wait");
  if (options.shared)
    add_warning(result, stream +
                            " is shared: an event that is sent again later than its duplicate"
                            " window of " +
                            std::to_string(config.Duplicates / kNanosecondsPerSecond) +
                            " s, after a crash or an outage, is stored twice");
}

NatsMessagePtr message_at(const NatsConnection& connection, const NatsSinkOptions& options,
                          std::uint64_t sequence, OpenResult& failure) {
  natsMsg* message = nullptr;
  jsErrCode code{};
  const natsStatus status =
      js_GetMsg(&message, connection.streams(), options.stream.c_str(), sequence, nullptr, &code);
  if (status != NATS_OK && status != NATS_NOT_FOUND)
    failure = failure_of(connection, options, "cannot read stream " + options.stream, status, code);
  return NatsMessagePtr{message};
}

OpenResult tail_in(natsMsg* message, const NatsSinkOptions& options, std::string_view our_name) {
  const auto identity = identify(headers_of(message), our_name);
  if (identity) return {.tail = Tail{identity->position, identity->event_id}};
  return {
      .status = Status::refused,
      .detail = "the last message of stream " + options.stream + " (sequence " +
                std::to_string(natsMsg_GetSequence(message)) + ") is not one of this subscription",
      .hint =
          "find out who else writes this stream (outseal-reconcile run --check journal_sink tells"
          " what is foreign) and give the subscription one of its own; shared=true accepts other"
          " writers, with a weaker guarantee"};
}

/// True if a message that is gone while an older one is still there can only be one that the server
/// took back itself, after it had refused it for the limits of the account.
bool only_drops_the_oldest(const jsStreamConfig& config) {
  return config.DenyDelete && config.DenyPurge && config.MaxMsgsPerSubject <= 0;
}

/// The tail of a stream whose last message is gone.
OpenResult tail_without_last(const NatsConnection& connection, const NatsSinkOptions& options,
                             std::string_view our_name, const NatsMark& mark,
                             const jsStreamInfo& info) {
  const std::uint64_t last = info.State.LastSeq;
  // We are the only writer: the same sequence is the same event.
  if (mark.sequence == last) return {.tail = mark.acked};
  const std::string gone =
      "message " + std::to_string(last) + ", the last one of stream " + options.stream + ", ";
  if (info.State.Msgs > 0) {
    OpenResult failure;
    const NatsStreamInfoPtr later = ask_for_stream(connection, options, failure, Deleted::listed);
    // A new leader may not have caught up with what the old one said.
    if (!later || later->State.LastSeq != last || message_at(connection, options, last, failure))
      return {.status = Status::retry_later, .detail = gone + "cannot be read yet"};
    if (only_drops_the_oldest(*info.Config))
      if (const NatsMessagePtr message =
              message_at(connection, options, last_kept(later->State), failure))
        return tail_in(message.get(), options, our_name);
  }
  return {.status = Status::refused,
          .detail = gone + "has expired or was removed, and the database did not note its sequence",
          .hint =
              "delete the stream, create it anew, and outseal-relay run sends all retained events"
              " again; to prevent this, give it a longer max_age, deny_delete and deny_purge"};
}

OpenResult find_tail(const NatsConnection& connection, const NatsSinkOptions& options,
                     std::string_view our_name, const NatsMark& mark, const jsStreamInfo& info) {
  if (info.State.LastSeq == 0) return {.tail = Tail{}};
  OpenResult failure;
  const NatsMessagePtr message =
      info.State.Msgs == 0 ? nullptr : message_at(connection, options, info.State.LastSeq, failure);
  if (failure.status != Status::opened) return failure;
  if (message) return tail_in(message.get(), options, our_name);
  return tail_without_last(connection, options, our_name, mark, info);
}

OpenResult gap_at(std::uint64_t sequence, const std::string& what, const NatsSinkOptions& options) {
  return {.status = Status::refused,
          .detail = "message " + std::to_string(sequence) + " of stream " + options.stream + " " +
                    what + ", and events behind the one that it kept out are stored already",
          .hint =
              "find out who else writes this stream, and whether the limits of its account were"
              " reached; then delete it, create it anew, and outseal-relay run sends all retained"
              " events again"};
}

/// Reads from the end back to what the database knows, and looks whether an event is missing.
///
/// If the stream lost what the database knows, so that events are sent again, nobody noted up to
/// where they were acknowledged. Then all is read that can have been under way.
OpenResult refuse_gaps(const NatsConnection& connection, const NatsSinkOptions& options,
                       std::string_view our_name, const NatsMark& mark, const jsStreamInfo& info,
                       const Tail& tail) {
  const bool has_acked = tail.position >= mark.acked.position;
  const std::uint64_t known = has_acked ? mark.acked.position.value() : 0;
  const std::uint64_t last = info.State.LastSeq;
  const std::uint64_t under_way = std::min<std::uint64_t>(last, NatsSinkOptions::kInFlightMax);
  const std::uint64_t from = std::max(info.State.FirstSeq, last - under_way + 1);
  std::uint64_t above = tail.position.value() + 1;  // The position that is next to be seen, plus 1.
  std::uint64_t removed = 0;  // Messages before it that may have been events of ours.
  for (std::uint64_t sequence = last; sequence >= from && above > known + 1; --sequence) {
    OpenResult failure;
    const NatsMessagePtr message = message_at(connection, options, sequence, failure);
    if (failure.status != Status::opened) return failure;
    if (!message) {
      if (!only_drops_the_oldest(*info.Config)) ++removed;
      continue;
    }
    const auto identity = identify(headers_of(message.get()), our_name);
    if (!identity) return gap_at(sequence, "is not one of this subscription", options);
    const std::uint64_t position = identity->position.value();
    if (position >= above || position + 1 + removed < above)
      return gap_at(sequence, "is not followed by the next event", options);
    above = position;
    removed = 0;
  }
  const bool begins_here = from == info.State.FirstSeq && !removes_at_limits(*info.Config) &&
                           only_drops_the_oldest(*info.Config);
  if (has_acked && begins_here && above > known + 1)
    return gap_at(from, "is not the event that comes next", options);
  return {.tail = tail};
}

/// Asks until the stream has all that the database knows to be in it, or for as long as one answer
/// may take.
NatsStreamInfoPtr ask_until_caught_up(const NatsConnection& connection,
                                      const NatsSinkOptions& options, const NatsMark& mark,
                                      OpenResult& failure) {
  constexpr std::chrono::milliseconds kPause{50};
  const auto deadline = std::chrono::steady_clock::now() + options.timeout;
  for (;;) {
    NatsStreamInfoPtr info = ask_for_stream(connection, options, failure);
    const bool lags = info && info->Config->Replicas > 1 && info->State.LastSeq < mark.sequence;
    if (!lags || std::chrono::steady_clock::now() >= deadline) return info;
    std::this_thread::sleep_for(kPause);
  }
}

}  // namespace

std::uint64_t last_kept(const jsStreamState& state) {
  const std::set<std::uint64_t> gone{state.Deleted, state.Deleted + state.DeletedLen};
  std::uint64_t sequence = state.LastSeq;
  while (sequence > 0 && gone.contains(sequence)) --sequence;
  return sequence;
}

std::string NatsMark::text(std::string_view stream, std::uint64_t sequence) {
  return std::string{stream} + ":" + std::to_string(sequence);
}

NatsMark NatsMark::parse(std::string_view stream, const Tail& acked, std::string_view mark) {
  const NatsMark unknown{.acked = acked};
  if (!mark.starts_with(stream) || mark.size() <= stream.size() + 1 || mark[stream.size()] != ':')
    return unknown;
  const std::string_view number = mark.substr(stream.size() + 1);
  NatsMark parsed = unknown;
  const auto [end, error] =
      std::from_chars(number.data(), number.data() + number.size(), parsed.sequence);
  if (error != std::errc{} || end != number.data() + number.size()) return unknown;
  return parsed;
}

NatsStreamInfoPtr ask_for_stream(const NatsConnection& connection, const NatsSinkOptions& options,
                                 OpenResult& failure, Deleted deleted) {
  jsOptions wish;
  jsOptions_Init(&wish);
  wish.Stream.Info.DeletedDetails = deleted == Deleted::listed;
  jsStreamInfo* info = nullptr;
  jsErrCode code{};
  const natsStatus status =
      js_GetStreamInfo(&info, connection.streams(), options.stream.c_str(), &wish, &code);
  if (status != NATS_OK && code != JSStreamNotFoundErr)
    failure =
        failure_of(connection, options, "cannot ask for stream " + options.stream, status, code);
  return NatsStreamInfoPtr{info};
}

OpenResult open_stream(const NatsConnection& connection, const NatsSinkOptions& options,
                       const NatsSubject& subject, std::string_view our_name, const NatsMark& mark,
                       NatsStreamFacts& facts) {
  OpenResult failure;
  NatsStreamInfoPtr info = ask_until_caught_up(connection, options, mark, failure);
  const bool missing = !info && failure.status == Status::opened;
  if (missing && options.create) info = create_stream(connection, options, subject, failure);
  if (failure.status != Status::opened) return failure;
  if (!info)
    return {.status = Status::unusable,
            .detail = "stream " + options.stream + " does not exist",
            .hint = recipe(options, subject)};

  const jsStreamConfig& config = *info->Config;
  const std::string fault = fault_of(config, options);
  if (!fault.empty())
    return {.status = Status::unusable,
            .detail = "stream " + options.stream + " cannot be used: " + fault,
            .hint = "use another stream; " + recipe(options, subject)};
  const Coverage coverage = coverage_of(config, subject);
  if (coverage == Coverage::none)
    return {.status = Status::unusable,
            .detail = "stream " + options.stream + " listens to " + list_subjects(config) +
                      ", our subjects are " + subject.space(),
            .hint = "add them to the stream, or give subject=PREFIX.{topic}.{key}"};

  OpenResult result =
      options.shared ? OpenResult{} : find_tail(connection, options, our_name, mark, *info);
  if (result.status == Status::opened && result.tail && config.Replicas > 1)
    result = refuse_gaps(connection, options, our_name, mark, *info, *result.tail);
  if (result.status != Status::opened) return result;
  add_warnings(config, options, coverage, result);
  facts = {
      .last_sequence = info->State.LastSeq,
      .message_bytes_max = config.MaxMsgSize > 0 ? static_cast<std::size_t>(config.MaxMsgSize) : 0,
      .replicated = config.Replicas > 1};
  return result;
}

}  // namespace outseal::sinks
