// URLs, and what the sinks with options of their own make of them.
#include "base/url.h"

#include <string>

#include "fuzz/fuzz.h"
#include "outseal/error.h"
#include "sinks/http/options.h"
#include "sinks/nats/message.h"
#include "sinks/nats/options.h"

using namespace outseal;
using fuzz::require;

namespace {

template <typename Call>
void tolerate(Call call) {
  try {
    call();
  } catch (const Error& error) {
    require(
        error.code() == ErrorCode::invalid_argument || error.code() == ErrorCode::invalid_config,
        "bad URLs are the user's fault");
  }
}

/// No file of this machine is read because a URL names it.
bool names_file(const Url& url) {
  for (const auto& [name, value] : url.parameters)
    if (name.find("file") != std::string::npos || name == "creds") return true;
  return false;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  tolerate([&] {
    const Url url = Url::parse("--sink", text);
    const std::string redacted = url.redacted();
    require(redacted.size() <= text.size(), "what is redacted is not longer");
    require(redacted.find('?') == std::string::npos, "what is redacted has no parameters");
    tolerate([&] { url.refuse_parameters_except("a b outseal.c"); });
    tolerate([&] { static_cast<void>(url.number("outseal.in_flight", 1, 0, UINT64_MAX)); });
    if (names_file(url)) return;
    tolerate([&] {
      const auto options = sinks::HttpSinkOptions::from(url);
      require(options.endpoint.find("outseal.") == std::string::npos ||
                  text.find("outseal.") != std::string_view::npos,
              "the endpoint gets nothing of ours");
    });
    tolerate([&] {
      const auto options = sinks::NatsSinkOptions::from(url);
      require(!options.servers.empty() && !options.stream.empty(), "a server and a stream");
      const sinks::NatsSubject subject{options.subject};
      std::string out;
      subject.append_to(out, "a.b", "c d");
      require(out.find(' ') == std::string::npos, "a subject has no space");
    });
  });
  std::string decoded;
  if (percent_decode(text, decoded))
    require(decoded.size() <= text.size(), "what is decoded is not longer");
  return 0;
}
