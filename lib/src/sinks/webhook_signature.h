// The signature by which a receiver knows that a request is ours and fresh.
//
// Source: Standard Webhooks 1.0.0, "Signature scheme".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace outseal::sinks {

/// The raw key of `whsec_<base64 of 24 to 64 bytes>`; empty if the text is none.
std::string parse_webhook_secret(std::string_view text);

/// The value of `webhook-signature`: for each secret "v1," and the base64 of HMAC-SHA256 over
/// "id.timestamp.body", separated by spaces. `id` has no dot.
/// @throws Error{internal} if OpenSSL fails.
std::string webhook_signature(const std::vector<std::string>& secrets, std::string_view id,
                              std::int64_t timestamp_s, std::string_view body);

}  // namespace outseal::sinks
