#include "sinks/nats/connection.h"

#include <cstdlib>
#include <fstream>

namespace outseal::sinks {
namespace {

using OptionsPtr = std::unique_ptr<natsOptions, NatsDestroy<natsOptions_Destroy>>;

/// What is said about a server, without what may stand before '@'.
std::string list_of(const std::vector<std::string>& servers) {
  std::string list;
  for (const std::string& server : servers) list += (list.empty() ? "" : ", ") + server;
  return list;
}

/// The first of several settings that fails, and what it was about.
class Settings {
 public:
  explicit Settings(natsOptions* options) : options_{options} {}
  natsOptions* options() const { return options_; }
  void note(natsStatus status, const char* what) {
    if (fault_.empty() && status != NATS_OK) fault_ = what + (": " + describe(status));
  }
  const std::string& fault() const { return fault_; }

 private:
  natsOptions* options_;
  std::string fault_;
};

void set_transport(Settings& settings, const NatsSinkOptions& options) {
  natsOptions* const to = settings.options();
  std::vector<const char*> servers;
  for (const std::string& server : options.servers) servers.push_back(server.c_str());
  settings.note(natsOptions_SetServers(to, servers.data(), static_cast<int>(servers.size())),
                "the list of servers");
  const std::int64_t timeout = options.timeout.count();
  settings.note(natsOptions_SetName(to, "outseal-relay"), "the client's name");
  settings.note(natsOptions_SetTimeout(to, timeout), "timeout_ms");
  settings.note(natsOptions_SetWriteDeadline(to, timeout), "timeout_ms");
  // What the library keeps and sends again after a break would be sent behind our back.
  settings.note(natsOptions_SetAllowReconnect(to, false), "reconnect");
  settings.note(natsOptions_SetFailRequestsOnDisconnect(to, true), "disconnect");
}

void set_tls(Settings& settings, const NatsSinkOptions& options) {
  natsOptions* const to = settings.options();
  if (options.tls) settings.note(natsOptions_SetSecure(to, true), "tls");
  if (!options.ca_file.empty())
    settings.note(natsOptions_LoadCATrustedCertificates(to, options.ca_file.c_str()), "ca_file");
  if (!options.cert_file.empty())
    settings.note(
        natsOptions_LoadCertificatesChain(to, options.cert_file.c_str(), options.key_file.c_str()),
        "cert_file and key_file");
}

void set_user(Settings& settings, const NatsSinkOptions& options) {
  natsOptions* const to = settings.options();
  if (!options.creds.empty()) {
    settings.note(std::ifstream{options.creds} ? NATS_OK : NATS_NOT_FOUND, "creds");
    settings.note(natsOptions_SetUserCredentialsFromFiles(to, options.creds.c_str(), nullptr),
                  "creds");
  }
  if (options.user.empty()) return;
  std::string password = options.password;
  if (!options.password_file.empty()) {
    std::ifstream file{options.password_file};
    settings.note(std::getline(file, password) ? NATS_OK : NATS_NOT_FOUND, "password_file");
    if (password.ends_with('\r')) password.pop_back();
  }
  settings.note(natsOptions_SetUserInfo(to, options.user.c_str(), password.c_str()), "user");
}

/// True if the TLS error is about whom one trusts, and so will be there next time. Any other may be
/// of a server that has just ended, or that we kept waiting.
/// Source: OpenSSL's names of alerts, and _collectSSLErr() in conn.c of the client library, which
/// writes "depth=" of a certificate that we do not trust.
bool is_about_trust(std::string_view error) {
  for (const std::string_view sign : {":depth=", "certificate", "unknown ca"})
    if (error.find(sign) != std::string_view::npos) return true;
  return false;
}

OpenResult refusal_of(natsStatus status, const NatsSinkOptions& options) {
  using Status = OpenResult::Status;
  OpenResult result{
      .status = Status::retry_later,
      .detail = "cannot connect to " + list_of(options.servers) + ": " + describe(status)};
  switch (status) {
    case NATS_CONNECTION_AUTH_FAILED:
    case NATS_NOT_PERMITTED:
      result.status = Status::unusable;
      result.hint = "check the user and password_file, creds, or cert_file and key_file";
      break;
    case NATS_SSL_ERROR:
      if (!is_about_trust(describe(status))) {
        result.hint = "see the server's log; it must still run, and speak TLS";
        break;
      }
      result.status = Status::unusable;
      result.hint =
          "ca_file=FILE names whom to trust; the certificate must be for the host in the URL";
      break;
    case NATS_SECURE_CONNECTION_WANTED:
      result.status = Status::unusable;
      result.hint = "the server has no TLS: leave tls=true out, or set TLS up there";
      break;
    default:
      result.hint = "check that the server runs and can be reached from here";
  }
  return result;
}

}  // namespace

std::string describe(natsStatus status) {
  std::string text = natsStatus_GetText(status);
  // Only here does the library say more than the name of the status, and nothing secret.
  if (status != NATS_SSL_ERROR) return text;
  natsStatus last = NATS_OK;
  if (const char* const more = nats_GetLastError(&last); more != nullptr && last == status)
    text += std::string{" ("} + more + ")";
  return text;
}

OpenResult NatsConnection::connect(const NatsSinkOptions& options) {
  natsOptions* made = nullptr;
  const natsStatus created = natsOptions_Create(&made);
  const OptionsPtr owned{made};
  Settings settings{made};
  settings.note(created, "the client library");
  if (created == NATS_OK) {
    set_transport(settings, options);
    set_tls(settings, options);
    set_user(settings, options);
  }
  if (!settings.fault().empty())
    return {.status = OpenResult::Status::unusable,
            .detail = "cannot use " + settings.fault(),
            .hint = "check the parameters of the sink's URL and the files that they name"};

  natsConnection* connection = nullptr;
  if (const natsStatus status = natsConnection_Connect(&connection, made); status != NATS_OK)
    return refusal_of(status, options);
  connection_.reset(connection);
  jsOptions stream_options;
  jsOptions_Init(&stream_options);
  stream_options.Wait = options.timeout.count();
  jsCtx* streams = nullptr;
  if (const natsStatus status = natsConnection_JetStream(&streams, connection, &stream_options);
      status != NATS_OK)
    return refusal_of(status, options);
  streams_.reset(streams);
  return {};
}

std::size_t NatsConnection::message_bytes_max() const {
  return static_cast<std::size_t>(natsConnection_GetMaxPayload(connection_.get()));
}

bool NatsConnection::is_denied() const {
  const char* text = nullptr;
  return natsConnection_GetLastError(connection_.get(), &text) == NATS_NOT_PERMITTED;
}

std::vector<NatsHeader> headers_of(natsMsg* message) {
  std::vector<NatsHeader> headers;
  const char** names = nullptr;
  int count = 0;
  if (natsMsgHeader_Keys(message, &names, &count) != NATS_OK) return headers;
  for (int i = 0; i < count; ++i) {
    const char** values = nullptr;
    int value_count = 0;
    if (natsMsgHeader_Values(message, names[i], &values, &value_count) != NATS_OK) continue;
    for (int j = 0; j < value_count; ++j) headers.emplace_back(names[i], values[j]);
    std::free(values);  // The array is ours, what it points to is the message's.
  }
  std::free(names);
  return headers;
}

std::string_view payload_of(natsMsg* message) {
  return {natsMsg_GetData(message), static_cast<std::size_t>(natsMsg_GetDataLength(message))};
}

}  // namespace outseal::sinks
