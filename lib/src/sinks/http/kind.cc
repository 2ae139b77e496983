#include "sinks/kind.h"

#include <array>

#include "sinks/http/options.h"
#include "sinks/http/sink.h"

namespace outseal::sinks {
namespace {

constexpr std::array<std::string_view, 2> kSchemes{"http", "https"};
constexpr std::array kForms{SinkForm{.schemes = kSchemes,
                                     .shown = "http:, https:",
                                     .address = "http[s]://HOST/PATH",
                                     .contents = "webhook",
                                     .identity_is_address = true}};
constexpr std::array kGuarantees{
    SinkGuarantee{.text = "at least once; with a receiver that remembers, effects exactly once"}};

/// Host and path of a webhook: who the user is, and a slash at the end, make no other endpoint.
std::string endpoint_of(const Url& url) {
  std::string rest = url.redacted();
  const auto host = rest.find("//") + 2;
  const auto user = rest.substr(0, rest.find('/', host)).find('@', host);
  if (user != std::string::npos) rest.erase(host, user + 1 - host);
  while (rest.ends_with('/')) rest.pop_back();
  return rest;
}

class HttpKind final : public SinkKind {
 public:
  HttpKind()
      : SinkKind{{.name = "http",
                  .forms = kForms,
                  .guarantees = kGuarantees,
                  .parameters = HttpSinkOptions::parameters()}} {}

  std::unique_ptr<Sink> make(const Url& url, const SinkContext& context) const override {
    return std::make_unique<HttpSink>(HttpSinkOptions::from(url), context);
  }
  bool is_same(const Url& one, const Url& other) const override {
    return endpoint_of(one) == endpoint_of(other);
  }
};

}  // namespace

const SinkKind& http_kind() {
  static const HttpKind kind;
  return kind;
}

}  // namespace outseal::sinks
