#include "operation/front/response.h"

#include <array>

#include "base/failpoint.h"
#include "base/text.h"
#include "operation/front/fields.h"
#include "outseal/error.h"

namespace outseal {
namespace front {
namespace {

constexpr const char* kProblemType = "application/problem+json";

struct Problem {
  std::string_view name;
  int status;
  std::string_view title;
  std::string_view detail;
};

/// In the order of HttpDecision. The first three are no problems.
constexpr std::array kProblems{
    Problem{"executed", 0, "", ""},
    Problem{"replayed", 0, "", ""},
    Problem{"released", 0, "", ""},
    Problem{"accepted", 202, "The operation is in progress", "Ask for it at the location."},
    Problem{"in_progress", 409, "The operation is in progress",
            "A request with this idempotency key is being executed. Repeat it with the same key."},
    Problem{"mismatch", 422, "The idempotency key was used for another request",
            "Use a new key for each new request, and repeat a request as it was."},
    Problem{"unknown", 409, "The outcome of the operation is unknown",
            "An operator has to find it out. Do not ask for the same thing under a new key."},
    Problem{"disputed", 409, "The outcome of the operation is disputed",
            "An operator has to decide. Do not ask for the same thing under a new key."},
    Problem{"not_applied", 409, "The operation was not applied",
            "It is proven that nothing was done. You may ask again under a new key."},
    Problem{"expired", 410, "The response is no longer kept",
            "The operation has ended, and is not executed again."},
    Problem{"key_missing", 400, "Idempotency-Key is missing",
            "This request needs a header field Idempotency-Key with a key of its own, in quotes."},
    Problem{"key_malformed", 400, "Idempotency-Key is malformed", ""},
    Problem{"key_repeated", 400, "Idempotency-Key was given more than once", "Give one key."},
    Problem{"rate_limited", 429, "Too many new idempotency keys",
            "Repetitions are not limited. Nothing was done: come again with the same key."},
    Problem{"replay_denied", 403, "The stored response must not be shown to you", ""},
    Problem{"not_found", 404, "There is no such operation", ""},
    Problem{"unavailable", 503, "The request cannot be answered now",
            "It may have been executed. Repeat it with the same key: it is never executed twice."},
};

const Problem& problem_of(HttpDecision decision) {
  return kProblems.at(static_cast<std::size_t>(decision));
}

void add_text(std::string& json, std::string_view name, std::string_view text) {
  json += json.size() > 1 ? "," : "";
  append_json_string(json, name);
  json += ':';
  append_json_string(json, is_utf8(text) ? text : std::string_view{"?"});
}

void add_raw(std::string& json, std::string_view name, std::string_view value) {
  json += json.size() > 1 ? "," : "";
  append_json_string(json, name);
  (json += ':') += value;
}

std::string effects_json(const std::vector<EffectOutcome>& effects) {
  std::string json = "[";
  for (const EffectOutcome& effect : effects) {
    json += json.size() > 1 ? "," : "";
    std::string each = "{";
    add_text(each, "name", effect.name);
    add_text(each, "state", name_of(effect.state));
    if (!effect.reference.empty()) add_text(each, "reference", effect.reference);
    (json += each) += '}';
  }
  return json + "]";
}

std::string_view ended_text(Verdict verdict) {
  return verdict == Verdict::success ? "success" : "final_failure";
}

/// Whole seconds, and never none: a client that comes again at once helps nobody.
std::string seconds_text(std::chrono::milliseconds time) {
  return std::to_string(
      std::max<std::int64_t>(1, std::chrono::ceil<std::chrono::seconds>(time).count()));
}

void forbid_storing(HttpResponse& response) {
  if (!mutant("front_may_be_cached")) response.headers.emplace_back("Cache-Control", "no-store");
}

/// Those that are ours or the framework's to give.
bool is_ours(std::string_view name) {
  constexpr std::array<std::string_view, 8> kOurs{
      "cache-control", "connection",          "content-length",     "content-type",
      "date",          "idempotent-replayed", "preference-applied", "transfer-encoding"};
  const std::string lower = lower_case(name);
  return std::find(kOurs.begin(), kOurs.end(), lower) != kOurs.end();
}

Details details_of(const OperationStatus* status) {
  if (status == nullptr) return {};
  return {.safe_new_key = status->safe_new_key,
          .ended = status->ended,
          .effects = status->effects.empty() ? nullptr : &status->effects};
}

Answer unknown_answer(const OperationStatus* status, const HttpFrontOptions& options) {
  const bool disputed = status != nullptr && status->state == OperationState::disputed;
  return problem(disputed ? HttpDecision::disputed : HttpDecision::unknown, options,
                 details_of(status));
}

}  // namespace

Answer problem(HttpDecision decision, const HttpFrontOptions& options, const Details& details) {
  const Problem& each = problem_of(decision);
  Answer answer{decision, {.status = each.status}};
  std::string& json = answer.response.body;
  json = "{";
  add_text(json, "type", options.problem_base + std::string{each.name});
  add_text(json, "title", each.title);
  add_raw(json, "status", std::to_string(each.status));
  const std::string_view detail = details.detail.empty() ? each.detail : details.detail;
  if (!detail.empty()) add_text(json, "detail", detail);
  if (details.safe_new_key) add_raw(json, "safe_new_key", *details.safe_new_key ? "true" : "false");
  if (details.ended) add_text(json, "ended", ended_text(*details.ended));
  if (!details.location.empty()) add_text(json, "location", details.location);
  if (details.effects != nullptr) add_raw(json, "effects", effects_json(*details.effects));
  json += '}';
  HttpFields& headers = answer.response.headers;
  const bool accepted = decision == HttpDecision::accepted;
  headers.emplace_back("Content-Type", accepted ? "application/json" : kProblemType);
  if (details.retry_after) headers.emplace_back("Retry-After", seconds_text(*details.retry_after));
  if (accepted) headers.emplace_back("Location", details.location);
  forbid_storing(answer.response);
  return answer;
}

Answer reply_answer(HttpDecision decision, const Reply& reply) {
  // What is stored is final, so it is answered, too: with the nearest that HTTP has.
  const bool is_http = reply.status >= 200 && reply.status <= 599;
  const int status = is_http ? reply.status : reply.verdict == Verdict::success ? 200 : 500;
  Answer answer{decision, {.status = status, .headers = {}, .body = reply.body}};
  if (status == 204 || status == 205 || status == 304) answer.response.body.clear();
  HttpFields& headers = answer.response.headers;
  if (!reply.content_type.empty()) headers.emplace_back("Content-Type", reply.content_type);
  for (const auto& [name, value] : reply.headers)
    if (is_sound_field(name, value) && !is_ours(name)) headers.emplace_back(name, value);
  if (decision == HttpDecision::replayed) headers.emplace_back("Idempotent-Replayed", "true");
  forbid_storing(answer.response);
  return answer;
}

Answer answer_to(const ExecuteResult& result, const OperationStatus* status, bool respond_async,
                 const HttpFrontOptions& options) {
  const std::string location = result.handle.empty() || options.location_prefix.empty()
                                   ? std::string{}
                                   : options.location_prefix + result.handle;
  switch (result.outcome) {
    case Outcome::executed:
      if (result.reply) return reply_answer(HttpDecision::executed, *result.reply);
      break;
    case Outcome::replayed:
      if (result.reply) return reply_answer(HttpDecision::replayed, *result.reply);
      break;
    case Outcome::released:
      if (result.reply) return reply_answer(HttpDecision::released, *result.reply);
      return problem(HttpDecision::unavailable, options,
                     {.detail = "Nothing was done. Repeat it with the same key.",
                      .retry_after = ExecuteResult::kRetryAfterDefault});
    case Outcome::mismatch:
      return problem(
          mutant("front_mismatch_conflicts") ? HttpDecision::in_progress : HttpDecision::mismatch,
          options, {});
    case Outcome::in_progress: {
      const bool accept = respond_async && !location.empty();
      return problem(accept ? HttpDecision::accepted : HttpDecision::in_progress, options,
                     {.retry_after = result.retry_after, .location = location});
    }
    case Outcome::expired: {
      Details details = details_of(status);
      details.ended = result.ended;
      return problem(HttpDecision::expired, options, details);
    }
    case Outcome::unknown:
      break;
  }
  // Also what nobody has thought of: unknown is what does no harm.
  return unknown_answer(status, options);
}

Answer answer_to(const OperationStatus& status, const HttpFrontOptions& options) {
  switch (status.state) {
    case OperationState::absent:
      return problem(HttpDecision::not_found, options, {});
    case OperationState::in_progress:
      return problem(
          HttpDecision::accepted, options,
          {.retry_after = status.retry_after, .location = options.location_prefix + status.handle});
    case OperationState::succeeded:
    case OperationState::failed:
      if (status.reply) return reply_answer(HttpDecision::replayed, *status.reply);
      break;
    case OperationState::expired:
      return problem(HttpDecision::expired, options, details_of(&status));
    case OperationState::unknown:
    case OperationState::disputed:
      break;
  }
  return unknown_answer(&status, options);
}

}  // namespace front

std::string_view name_of(HttpDecision decision) { return front::problem_of(decision).name; }

Reply not_applied_reply(const HttpFrontOptions& options) {
  const front::Answer answer =
      front::problem(HttpDecision::not_applied, options, {.safe_new_key = true});
  return {.verdict = Verdict::final_failure,
          .status = answer.response.status,
          .body = answer.response.body,
          .content_type = front::kProblemType};
}

HttpResponse http_response(const ExecuteResult& result, const OperationStatus* status,
                           const HttpFrontOptions& options) {
  return front::answer_to(result, status, false, options).response;
}

}  // namespace outseal
