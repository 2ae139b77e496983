// What leaves: replies and problems. Pure functions.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "outseal/http_front.h"

namespace outseal::front {

/// A response, and what it was decided by.
struct Answer {
  HttpDecision decision;
  HttpResponse response;
};

/// What a problem tells besides its type.
struct Details {
  std::string_view detail = {};
  std::optional<std::chrono::milliseconds> retry_after = {};
  std::optional<bool> safe_new_key = {};
  std::optional<Verdict> ended = {};
  const std::vector<EffectOutcome>* effects = nullptr;
  std::string location = {};
};

Answer problem(HttpDecision decision, const HttpFrontOptions& options, const Details& details);

/// A reply, the service's own or a stored one.
/// @throws Error{invalid_argument} for a status that is none of HTTP's.
Answer reply_answer(HttpDecision decision, const Reply& reply);

/// @param respond_async  whether the client would rather have 202 than 409.
/// @param status  null if nobody looked.
Answer answer_to(const ExecuteResult& result, const OperationStatus* status, bool respond_async,
                 const HttpFrontOptions& options);

/// For who asks by a handle.
Answer answer_to(const OperationStatus& status, const HttpFrontOptions& options);

}  // namespace outseal::front
