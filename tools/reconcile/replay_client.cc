#include "replay_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "base/text.h"
#include "outseal/error.h"

namespace outseal::tools {
namespace {

[[noreturn]] void fail(std::string_view what) {
  throw Error{ErrorCode::internal, "replay-check", "libcurl: " + std::string{what}};
}

template <typename Value>
void set(CURL* easy, CURLoption option, Value value) {
  const CURLcode code = curl_easy_setopt(easy, option, value);
  if (code != CURLE_OK) fail(curl_easy_strerror(code));
}

std::string_view trimmed(std::string_view text) {
  const auto is_space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

/// A structured-field string: the key between quotes.
std::string quoted(std::string_view key) {
  std::string text = "\"";
  for (const char c : key) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + '"';
}

class FieldList {
 public:
  ~FieldList() { curl_slist_free_all(list_); }
  FieldList() = default;
  FieldList(const FieldList&) = delete;
  FieldList& operator=(const FieldList&) = delete;

  void add(const std::string& name, const std::string& value) {
    // libcurl takes "Name:" for "do not send Name", and "Name;" for an empty value.
    curl_slist* const longer =
        curl_slist_append(list_, (name + (value.empty() ? ";" : ": " + value)).c_str());
    if (longer == nullptr) fail("no memory");
    list_ = longer;
  }
  curl_slist* get() const { return list_; }

 private:
  curl_slist* list_ = nullptr;
};

}  // namespace

std::string_view ReplayAnswer::field(std::string_view name) const {
  for (const auto& [each, value] : fields)
    if (each == name) return value;
  return {};
}

struct ReplayClient::Impl {
  CURL* easy = curl_easy_init();
  std::array<char, CURL_ERROR_SIZE> said{};
  ReplayAnswer answer;

  ~Impl() { curl_easy_cleanup(easy); }

  /// Called with one line.
  static std::size_t take_field(char* line, std::size_t size, std::size_t count, void* data) {
    auto& answer = static_cast<Impl*>(data)->answer;
    const std::string_view text{line, size * count};
    if (text.starts_with("HTTP/")) answer.fields.clear();  // After a "100 Continue".
    const std::size_t colon = text.find(':');
    if (colon != std::string_view::npos)
      answer.fields.emplace_back(lower_case(text.substr(0, colon)),
                                 std::string{trimmed(text.substr(colon + 1))});
    return size * count;
  }
  static std::size_t take_body(char* bytes, std::size_t size, std::size_t count, void* data) {
    auto& body = static_cast<Impl*>(data)->answer.body;
    if (body.size() + size * count > kReplayAnswerBytesMax) return 0;
    body.append(bytes, size * count);
    return size * count;
  }
};

ReplayClient::ReplayClient() : impl_{std::make_unique<Impl>()} {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK) fail(curl_easy_strerror(ready));
  CURL* const easy = impl_->easy;
  if (easy == nullptr) fail("no memory");
  set(easy, CURLOPT_NOSIGNAL, 1L);
  set(easy, CURLOPT_ERRORBUFFER, impl_->said.data());
  set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(easy, CURLOPT_FOLLOWLOCATION, 0L);  // A redirect is an answer, too.
  set(easy, CURLOPT_PROXY, "");           // Nothing is taken from the environment.
  set(easy, CURLOPT_USERAGENT, "outseal");
  set(easy, CURLOPT_HEADERDATA, impl_.get());
  set(easy, CURLOPT_HEADERFUNCTION, &Impl::take_field);
  set(easy, CURLOPT_WRITEDATA, impl_.get());
  set(easy, CURLOPT_WRITEFUNCTION, &Impl::take_body);
}

ReplayClient::~ReplayClient() = default;

ReplayAnswer ReplayClient::send(const std::string& url, const HttpFields& common,
                                const ReplayRequest& request, std::chrono::milliseconds left) {
  CURL* const easy = impl_->easy;
  impl_->answer = {};
  impl_->said.front() = '\0';
  FieldList fields;
  for (const auto* group : {&common, &request.fields})
    for (const auto& [name, value] : *group) fields.add(name, value);
  fields.add("Idempotency-Key", quoted(request.key));
  fields.add("Expect", "");
  set(easy, CURLOPT_URL, (url + request.path).c_str());
  set(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
  set(easy, CURLOPT_POSTFIELDS, request.body.data());
  set(easy, CURLOPT_HTTPHEADER, fields.get());
  set(easy, CURLOPT_TIMEOUT_MS, std::max<long>(static_cast<long>(left.count()), 1L));
  const CURLcode code = curl_easy_perform(easy);
  set(easy, CURLOPT_HTTPHEADER, static_cast<curl_slist*>(nullptr));
  if (code != CURLE_OK) {
    const std::string said = impl_->said.data();
    return {.trouble = said.empty() ? curl_easy_strerror(code) : said};
  }
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &impl_->answer.status);
  return std::move(impl_->answer);
}

}  // namespace outseal::tools
