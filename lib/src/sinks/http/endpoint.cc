#include "sinks/http/endpoint.h"

#include <curl/curl.h>

#include <memory>

#include "base/text.h"

namespace outseal::sinks {
namespace {

std::string part_of(CURLU* url, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, flags) != CURLUE_OK) return {};
  const std::unique_ptr<char, decltype(&curl_free)> owned{text, &curl_free};
  return owned.get();
}

}  // namespace

std::optional<HttpOrigin> HttpOrigin::of(const std::string& text) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> url{curl_url(), &curl_url_cleanup};
  if (url == nullptr || curl_url_set(url.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK)
    return std::nullopt;
  HttpOrigin origin;
  origin.scheme = lower_case(part_of(url.get(), CURLUPART_SCHEME));
  origin.host = lower_case(part_of(url.get(), CURLUPART_HOST));
  origin.port = part_of(url.get(), CURLUPART_PORT, CURLU_DEFAULT_PORT);
  origin.has_user = !part_of(url.get(), CURLUPART_USER).empty() ||
                    !part_of(url.get(), CURLUPART_PASSWORD).empty();
  if (origin.host.empty()) return std::nullopt;
  return origin;
}

}  // namespace outseal::sinks
