#include "sinks/http/answer.h"

#include <charconv>

namespace outseal::sinks {
namespace {

using Kind = HttpVerdict::Kind;

HttpVerdict judge_conflict(const HttpAnswer& answer, Position position,
                           const std::string& receiver) {
  HttpVerdict verdict{.kind = Kind::retry_later, .retry_after = answer.retry_after};
  if (!answer.position) {
    verdict.detail = receiver + " answered 409: it still works on the same event";
    verdict.hint = "if this lasts, raise outseal.timeout_ms above the time that it takes";
  } else if (*answer.position >= position) {
    verdict.kind = Kind::delivered;
  } else {
    verdict.detail = receiver + " has position " + std::to_string(answer.position->value()) +
                     " and was sent " + std::to_string(position.value());
    verdict.hint =
        "a receiver that counts positions needs outseal.in_flight=1 and every event from its"
        " position on: if it lost its memory, set the position there by hand";
  }
  return verdict;
}

/// Statuses that tell of the moment or of us, not of the event. 407 comes from a proxy; a token
/// that has expired (401, 403) must not set the whole stream aside.
bool may_pass(long status) {
  return status == 401 || status == 403 || status == 407 || status == 408 || status == 425 ||
         status == 429 || status >= 500;
}

/// What to do about a status that may pass.
std::string hint_for(long status) {
  switch (status) {
    case 401:
    case 403:
      return "check outseal.secrets_file and outseal.headers_file";
    case 407:
      return "use a proxy that wants no password";
    case 404:
    case 405:
    case 421:
      return "check the URL; a gateway answers so while the receiver is deployed, so the event is"
             " parked only after outseal.grace_ms";
    case 429:
      return "raise the receiver's limits, or lower outseal.in_flight";
    default:
      return "see the receiver's own log, or that of a gateway before it";
  }
}

}  // namespace

long parse_status_line(std::string_view line) {
  constexpr std::size_t kBegin = 9;
  if (!line.starts_with("HTTP/1.1 ") && !line.starts_with("HTTP/1.0 ")) return 0;
  unsigned status = 0;
  const std::string_view digits = line.substr(kBegin, 3);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), status);
  const bool ends = line.find_first_of(" \r\n", kBegin) == kBegin + 3;
  return ends && error == std::errc{} && end == digits.data() + digits.size() ? long{status} : 0;
}

std::optional<Position> parse_position(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return Position{number};
}

bool may_be_of_gateway(long status) { return status == 404 || status == 405 || status == 421; }

HttpVerdict judge(const HttpAnswer& answer, Position position, const std::string& receiver,
                  std::chrono::milliseconds grace_left) {
  if (answer.status == 0)
    return {.kind = Kind::retry_later,
            .detail = receiver + ": " + answer.trouble,
            .hint = answer.hint,
            .retry_after = answer.retry_after};
  if (answer.status >= 200 && answer.status < 300) return {};
  if (answer.status == 409) return judge_conflict(answer, position, receiver);
  const std::string detail = receiver + " answered " + std::to_string(answer.status);
  if (answer.status == 410)
    return {.kind = Kind::gone,
            .detail = detail + ": it wants no more events",
            .hint = "start the relay again once it does, or give up the subscription"};
  if (may_pass(answer.status) || (may_be_of_gateway(answer.status) && grace_left.count() > 0))
    return {.kind = Kind::retry_later,
            .detail = detail,
            .hint = hint_for(answer.status),
            .retry_after = answer.retry_after};
  if (answer.status >= 400)
    return {.kind = Kind::rejected,
            .detail = detail,
            .hint = "find out there what is wrong with the event, then redrive or discard it"};
  if (answer.status < 300)
    return {.kind = Kind::retry_later,
            .detail = detail,
            .hint = "check that host and port are those of a webhook receiver"};
  return {.kind = Kind::retry_later,
          .detail = detail + (answer.trouble.empty() ? "" : ": " + answer.trouble),
          .hint =
              "give the URL that the receiver has now; only 307 and 308 to the same scheme,"
              " host and port are followed"};
}

}  // namespace outseal::sinks
