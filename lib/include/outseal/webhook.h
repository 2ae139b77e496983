// Webhooks: what a receiver has to verify of a request that the relay's sink `http:` has sent.
//
//   verify_webhook()    is it ours, whole, and fresh? And which event is it?
//   consume_message()   then lets it take effect once (consume.h).
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "outseal/ids.h"
#include "outseal/inbox.h"

namespace outseal {

/// The secrets that sender and receiver share. While one replaces another, both are accepted.
///
/// Threads: Immutable.
class WebhookSecrets {
 public:
  static constexpr std::size_t kCountMax = 8;

  /// Reads 1 to 8 secrets `whsec_<base64 of 24 to 64 bytes>`, one a line, as the relay's
  /// `outseal.secrets_file`; empty lines and those that begin with '#' are skipped.
  /// @throws Error{invalid_config} naming the line, without its content.
  /// Source: Standard Webhooks 1.0.0, "Signature scheme".
  static WebhookSecrets parse(std::string_view text);

  /// Overwrites them in memory.
  ~WebhookSecrets();
  WebhookSecrets(const WebhookSecrets&) = delete;
  WebhookSecrets& operator=(const WebhookSecrets&) = delete;
  WebhookSecrets(WebhookSecrets&&) noexcept = default;
  WebhookSecrets& operator=(WebhookSecrets&&) = delete;

  /// The implementation; opaque to users.
  const std::vector<std::string>& keys() const noexcept { return keys_; }

 private:
  WebhookSecrets() = default;
  std::vector<std::string> keys_;
};

/// The value of a request's header field; empty if it has none. It is asked for names in lower
/// case, and has to find them in any.
using WebhookFields = std::function<std::string(std::string_view name)>;

/// An event as a request carries it. Signed are `id`, `stream`, `position`, `previous_id`,
/// `sent_at` and the body; the attributes below are not, see verify_webhook().
struct WebhookEvent {
  EventId id = {};
  std::string stream = {};
  Position position = {};
  EventId previous_id = {};  ///< Nil for the first event of a stream.
  std::chrono::sys_seconds sent_at = {};

  /// Whether the body is the event with all of its attributes as one JSON document
  /// (`outseal.mode=structured`). The fields below are then empty, except `content_type`. If not,
  /// the body is the event's payload.
  bool structured = false;
  std::string content_type = {};
  std::string source = {};
  std::string topic = {};
  std::string key = {};
  std::string type = {};

  /// Its place, for receive_in_order() and consume_message().
  StreamEvent place() const { return {position, id, previous_id}; }
};

/// What verify_webhook() found.
struct WebhookCheck {
  std::optional<WebhookEvent> event;  ///< None unless all is well.
  /// What to answer without an event: 401 if it is not signed or too old, which the sender tries
  /// again; 400 if it is signed and still no webhook of a relay, which it does not.
  int status = 200;
  std::string reason = {};  ///< For a log; empty if all is well. Contains nothing of the request.
};

/// Limits of verify_webhook().
struct WebhookOptions {
  static constexpr std::chrono::seconds kToleranceDefault{300};
  static constexpr std::chrono::seconds kToleranceMax{86'400};

  /// How far the request's time may be from `now`, in both directions; range 1 s to 1 day. A
  /// captured request can be repeated for that long, without effect on a receiver that remembers
  /// events. Source of the default: the libraries of Standard Webhooks.
  std::chrono::seconds tolerance = kToleranceDefault;

  /// @throws Error{invalid_config} if it is out of range.
  void validate() const;
};

/// Verifies both signatures of a request, `webhook-signature` and `outseal-signature`, and that it
/// is fresh by the clock `now`, and reads which event it is.
///
/// ```
/// const auto field = [&](std::string_view name) {
///   return request.get_header_value(std::string{name});
/// };
/// const auto checked = outseal::verify_webhook(field, request.body, secrets,
///                                              std::chrono::system_clock::now());
/// if (!checked.event) return checked.status;
/// ```
///
/// The body has to be verified as it arrived, before anything is decoded. Signatures are compared
/// in a time that does not depend on where they differ.
///
/// With the sink's default mode the event's attributes (topic, key, type and so on) are header
/// fields, which nobody signs. If the network is not trusted and a receiver acts on them, use TLS
/// or `outseal.mode=structured`.
///
/// @throws Error{invalid_config} for options out of range.
/// @throws Error{internal} if OpenSSL fails.
/// Threads: Thread-safe.
/// Source: Standard Webhooks 1.0.0; CloudEvents 1.0.2, HTTP Protocol Binding.
WebhookCheck verify_webhook(const WebhookFields& fields, std::string_view body,
                            const WebhookSecrets& secrets,
                            std::chrono::system_clock::time_point now,
                            const WebhookOptions& options = {});

}  // namespace outseal
