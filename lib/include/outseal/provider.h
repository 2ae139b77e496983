// Providers: whom an operation calls outside the database, and what they promise about repetitions.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

namespace outseal {

/// What to do about an effect that may have been tried, and whose outcome nobody recorded. An
/// effect has an ordered list of these; one that does not apply, or does not lead to an answer,
/// gives way to the next. A list that ends without an answer ends in hand_over.
enum class Policy {
  rerun,          ///< Send the request again under the same provider key, inside its window.
  ask,            ///< Ask the provider whether it was applied.
  cancel_by_key,  ///< Let the provider cancel whatever the key has done or may still do.
  hand_over,      ///< Leave it to an operator: the effect is `unknown`, and is never tried again.
};

/// The stable snake_case name of `policy`.
std::string_view name_of(Policy policy);

/// Which answers a provider gives again when a key is repeated inside its window.
enum class Replays {
  nothing,  ///< It ignores keys, or nobody knows: a repetition is a second request.
  success,  ///< Only a success: a request that failed is executed anew.
  any,      ///< Every answer.
};

/// The stable snake_case name of `replays`.
std::string_view name_of(Replays replays);

/// What a provider promises about idempotency keys, as data. The default promises nothing.
struct ProviderProfile {
  /// Stored with each effect. 1 to 255 bytes of UTF-8.
  std::string name;
  Replays replays = Replays::nothing;
  /// For how long after the first request a key is known. 0: never rerun. At most 10 years.
  std::chrono::seconds window{0};
  /// Taken off the window's end, for the way of a request and for clocks that differ.
  std::chrono::seconds margin = std::chrono::minutes{5};
  /// How long after the last request "not found" proves nothing. 0 is for a provider whose look-up
  /// is known to see each request that it has accepted.
  std::chrono::seconds absence_after = std::chrono::minutes{10};
  /// How long a request may be on its way after its caller has died or given up. Where keys are not
  /// replayed, nothing is decided about an effect before that.
  std::chrono::seconds max_in_flight = std::chrono::minutes{2};
  /// Whether the provider can cancel by key.
  bool cancels_by_key = false;
  /// The page that says so, and the date on which it was read.
  std::string source = {};

  /// @throws Error{invalid_config} naming every field that is out of range.
  void validate() const;
};

/// The profiles that come with outseal.
const std::vector<ProviderProfile>& provider_profiles();

/// The one of that name, for example "stripe-v1".
/// @throws Error{invalid_config} if there is none; the hint lists the names.
const ProviderProfile& provider_profile(std::string_view name);

/// Reads one from a JSON object whose members are named as the fields; times are whole seconds.
/// @throws Error{invalid_config} for an unknown, repeated or malformed field, naming it.
ProviderProfile parse_provider_profile(std::string_view json);

}  // namespace outseal
