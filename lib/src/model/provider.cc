#include "outseal/provider.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/text.h"
#include "model/limits.h"
#include "model/validation.h"
#include "outseal/error.h"

namespace outseal {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;

constexpr std::chrono::seconds kTimeMax = std::chrono::hours{24 * 3660};

std::vector<ProviderProfile> make_profiles() {
  // Their keys have a limit: Square's 45 characters, Adyen's 64, Stripe's 255. Ours have 36.
  return {
      {.name = "stripe-v1",
       .replays = Replays::any,  // Also a 500.
       .window = 24h,
       .source = "https://docs.stripe.com/api/idempotent_requests, read 2026-11-30: removed after "
                 "at least 24 hours; the first status and body are repeated, whatever they were"},
      {.name = "stripe-v2",
       .replays = Replays::success,
       .window = 24h * 30,
       .source = "https://docs.stripe.com/api/idempotent_requests, read 2026-11-30: a retry does "
                 "not repeat what succeeded; https://docs.stripe.com/api-v2-overview for the 30 "
                 "days, not verified"},
      {.name = "adyen",
       .replays = Replays::success,
       .window = 24h * 31,
       .source = "https://docs.adyen.com/development-resources/api-idempotency, read 2026-11-30: "
                 "valid for at least 31 days; not checked across regional endpoints, so send "
                 "repetitions to the same one; transient errors may be tried again"},
      {.name = "checkout-com",
       .replays = Replays::success,
       .window = 24h,
       .source = "https://www.checkout.com/docs/payments/manage-payments/retry-a-payment, read "
                 "2026-11-30: kept for 24 hours, if the answer was 2xx"},
      {.name = "square",
       .cancels_by_key = true,
       .source = "https://developer.squareup.com/reference/square/payments-api/"
                 "cancel-payment-by-idempotency-key, read 2026-11-30: cancels by key, and does "
                 "nothing about a key that it does not know yet; https://developer.squareup.com/"
                 "forums/t/28309: no retention period is published"},
      {.name = "qonto",
       .replays = Replays::success,
       .window = 30min,
       .source = "https://docs.qonto.com/get-started/general/idempotent-requests, read 2026-11-30:"
                 " expires after 30 minutes; the successful answer is repeated even to another "
                 "body"},
      {.name = "paypal",
       .source = "https://developer.paypal.com/api/rest/reference/idempotency, read 2026-11-30: "
                 "how long a PayPal-Request-Id is kept depends on the API, and not all have it; "
                 "make a profile for yours"},
      {.name = "mollie",
       .source = "https://docs.mollie.com/reference/api-idempotency, read 2026-11-30 up to where "
                 "it says for how long a key is known, which is not verified; its lists can be "
                 "asked"},
      {.name = "gocardless",
       .source = "https://gocardless.com/blog/idempotency-keys/, read 2026-11-30: a repetition of "
                 "a success is refused with 409 and the resource's id; no period is given there"},
      {.name = "braintree-graphql",
       .replays = Replays::success,
       .window = 24h * 30,
       .source = "https://developer.paypal.com/braintree/graphql/integration_guides/idempotency, "
                 "read 2026-11-30: 30 days; a limited release, and a request that is still in "
                 "progress is refused as retryable"},
  };
}

[[noreturn]] void refuse(const std::string& message, std::string hint) {
  throw Error{ErrorCode::invalid_config, "ProviderProfile", message, {.hint = std::move(hint)}};
}

/// A parser that keeps nothing of an object with a member twice.
json parse_strictly(std::string_view text) {
  std::vector<std::set<std::string>> seen;
  std::string repeated;
  const auto look = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) seen.emplace_back();
    if (event == json::parse_event_t::object_end) seen.pop_back();
    if (event == json::parse_event_t::key && !seen.back().insert(value.get<std::string>()).second)
      repeated = value.get<std::string>();
    return true;
  };
  json parsed = json::parse(text, look, false);
  if (parsed.is_discarded()) refuse("the text is not JSON", "write a JSON object");
  if (!repeated.empty()) refuse("field " + repeated + " is given twice", "once will do");
  if (!parsed.is_object()) refuse("the JSON is not an object", "write a JSON object");
  return parsed;
}

[[noreturn]] void refuse_type(const std::string& field, const std::string& type) {
  refuse("field " + field + " is not " + type, "see provider.h for its type");
}

std::string read_text(const std::string& field, const json& value) {
  if (!value.is_string()) refuse_type(field, "a text");
  return value.get<std::string>();
}

std::chrono::seconds read_seconds(const std::string& field, const json& value) {
  if (!value.is_number_integer() || (value.is_number_unsigned() && value > kTimeMax.count()))
    refuse_type(field, "a whole number of seconds, at most 10 years");
  return std::chrono::seconds{value.get<std::int64_t>()};
}

Replays read_replays(const std::string& field, const json& value) {
  for (const Replays each : {Replays::nothing, Replays::success, Replays::any})
    if (value == name_of(each)) return each;
  refuse_type(field, "one of nothing, success, any");
}

void read_field(ProviderProfile& profile, const std::string& field, const json& value) {
  if (field == "name") {
    profile.name = read_text(field, value);
  } else if (field == "replays") {
    profile.replays = read_replays(field, value);
  } else if (field == "window") {
    profile.window = read_seconds(field, value);
  } else if (field == "margin") {
    profile.margin = read_seconds(field, value);
  } else if (field == "absence_after") {
    profile.absence_after = read_seconds(field, value);
  } else if (field == "max_in_flight") {
    profile.max_in_flight = read_seconds(field, value);
  } else if (field == "cancels_by_key") {
    if (!value.is_boolean()) refuse_type(field, "true or false");
    profile.cancels_by_key = value.get<bool>();
  } else if (field == "source") {
    profile.source = read_text(field, value);
  } else {
    refuse("field " + field + " is not known",
           "the fields are name, replays, window, margin, absence_after, max_in_flight, "
           "cancels_by_key, source");
  }
}

}  // namespace

std::string_view name_of(Policy policy) {
  switch (policy) {
    case Policy::rerun:
      return "rerun";
    case Policy::ask:
      return "ask";
    case Policy::cancel_by_key:
      return "cancel_by_key";
    case Policy::hand_over:
      break;
  }
  return "hand_over";
}

std::string_view name_of(Replays replays) {
  switch (replays) {
    case Replays::success:
      return "success";
    case Replays::any:
      return "any";
    case Replays::nothing:
      break;
  }
  return "nothing";
}

void ProviderProfile::validate() const {
  ConfigErrors faults{"ProviderProfile"};
  if (name.empty()) faults.add("name is empty");
  if (name.size() > kProviderBytesMax || !is_utf8(name) || name.find('\0') != std::string::npos)
    faults.add("name is not UTF-8 of at most " + std::to_string(kProviderBytesMax) + " bytes");
  if (replays < Replays::nothing || replays > Replays::any) faults.add("replays is not known");
  faults.check_range("window (s)", window.count(), 0, kTimeMax.count());
  faults.check_range("margin (s)", margin.count(), 0, kTimeMax.count());
  faults.check_range("absence_after (s)", absence_after.count(), 0, kTimeMax.count());
  faults.check_range("max_in_flight (s)", max_in_flight.count(), 0, kTimeMax.count());
  if (replays == Replays::nothing && window.count() > 0)
    faults.add("window is not 0, but the provider replays nothing");
  if (window.count() > 0 && window <= margin)
    faults.add("window is not longer than margin: nothing could ever be sent again");
  faults.raise();
}

const std::vector<ProviderProfile>& provider_profiles() {
  static const std::vector<ProviderProfile> profiles = make_profiles();
  return profiles;
}

const ProviderProfile& provider_profile(std::string_view name) {
  std::string names;
  for (const ProviderProfile& each : provider_profiles()) {
    if (each.name == name) return each;
    names += (names.empty() ? "" : ", ") + each.name;
  }
  refuse(
      "there is no profile of that name",
      "there are " + names + "; for another provider make one, and begin with ProviderProfile{}");
}

ProviderProfile parse_provider_profile(std::string_view text) {
  ProviderProfile profile;
  const json object = parse_strictly(text);
  for (const auto& [field, value] : object.items()) read_field(profile, field, value);
  profile.validate();
  return profile;
}

}  // namespace outseal
