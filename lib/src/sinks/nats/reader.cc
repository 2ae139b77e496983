#include "sinks/nats/reader.h"

#include "outseal/error.h"
#include "sinks/nats/stream.h"

namespace outseal::sinks {
namespace {

[[noreturn]] void fail(const std::string& what, const std::string& hint = {}) {
  throw Error{ErrorCode::sink_unreachable, "read", what, {.hint = hint}};
}

using MetaDataPtr = std::unique_ptr<jsMsgMetaData, NatsDestroy<jsMsgMetaData_Destroy>>;

}  // namespace

NatsReader::NatsReader(const NatsSinkOptions& options, std::string_view our_name)
    : options_{options}, our_name_{our_name} {
  OpenResult result = connection_.connect(options_);
  if (result.status != OpenResult::Status::opened) fail(result.detail, result.hint);
  const NatsStreamInfoPtr info = ask_for_stream(connection_, options_, result, Deleted::listed);
  if (result.status != OpenResult::Status::opened) fail(result.detail, result.hint);
  if (!info) fail("stream " + options_.stream + " does not exist");
  if (info->State.Msgs == 0) return;
  last_sequence_ = last_kept(info->State);
  jsSubOptions wish;
  jsSubOptions_Init(&wish);
  wish.Stream = options_.stream.c_str();
  wish.Ordered = true;
  natsSubscription* messages = nullptr;
  jsErrCode code{};
  const natsStatus status =
      js_SubscribeSync(&messages, connection_.streams(), ">", nullptr, &wish, &code);
  messages_.reset(messages);
  if (status != NATS_OK)
    fail("cannot read stream " + options_.stream + ": " + describe(status) + " (" +
             std::to_string(static_cast<int>(code)) + ")",
         connection_.is_denied() ? "the user needs to publish to $JS.API.CONSUMER.CREATE." +
                                       options_.stream + " and $JS.FC.>"
                                 : "");
}

bool NatsReader::next(SinkRecord& record) {
  if (last_sequence_ == 0) return false;
  natsMsg* made = nullptr;
  const natsStatus status =
      natsSubscription_NextMsg(&made, messages_.get(), options_.timeout.count());
  const NatsMessagePtr message{made};
  if (status != NATS_OK)
    fail("stream " + options_.stream + " cannot be read to its end: " + describe(status));
  jsMsgMetaData* found = nullptr;
  if (natsMsg_GetMetaData(&found, made) != NATS_OK)
    fail("stream " + options_.stream + " sends something that is none of its messages");
  const MetaDataPtr meta{found};
  const std::uint64_t sequence = meta->Sequence.Stream;
  // That nothing is pending would not do as an end: the server that sends may lag.
  if (sequence >= last_sequence_) last_sequence_ = 0;

  auto headers = headers_of(made);
  const auto identity = identify(headers, our_name_);
  encoded_.clear();
  append_canonical(encoded_, natsMsg_GetSubject(made), headers, payload_of(made));
  record.position = identity ? identity->position : Position{};
  record.event_id = identity ? identity->event_id : EventId{};
  record.encoded = encoded_;
  record.where = NatsMark::text(options_.stream, sequence);
  return true;
}

}  // namespace outseal::sinks
