// The signatures by which a receiver knows that a request is ours and fresh.
//
//   webhook-signature   over the event; any Standard Webhooks library checks it:
//                       "ID.TIMESTAMP.BODY"
//   outseal-signature   over its place, on which a receiver that goes by position relies:
//                       "outseal.place.ID.TIMESTAMP.POSITION.PREVIOUS_ID.STREAM"
//
// Both hold for the same id and timestamp, so a place cannot be combined with another event.
// Neither can be taken for the other: "place" is no timestamp, and our ids are UUIDs.
//
// Source: Standard Webhooks 1.0.0, "Signature scheme"; the second one is ours.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace outseal {

/// The raw key of `whsec_<base64 of 24 to 64 bytes>`; empty if the text is none.
std::string parse_webhook_secret(std::string_view text);

/// The value of `webhook-signature`: for each secret "v1," and the base64 of HMAC-SHA256 over
/// "id.timestamp.body", separated by spaces. `id` has no dot.
/// @throws Error{internal} if OpenSSL fails.
std::string webhook_signature(const std::vector<std::string>& secrets, std::string_view id,
                              std::int64_t timestamp_s, std::string_view body);

/// Where an event stands: the header fields outseal-... as they are sent.
struct WebhookPlace {
  std::string_view stream;
  std::string_view position;
  std::string_view previous_id;  ///< Empty for the first event of a stream.
};

/// The value of `outseal-signature`, in the form of webhook_signature().
/// @throws Error{internal} if OpenSSL fails.
std::string place_signature(const std::vector<std::string>& secrets, std::string_view id,
                            std::int64_t timestamp_s, const WebhookPlace& place);

}  // namespace outseal
