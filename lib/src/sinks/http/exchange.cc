#include "sinks/http/exchange.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>

#include "base/text.h"
#include "base/webhook_signature.h"
#include "outseal/error.h"
#include "sinks/http/endpoint.h"
#include "sinks/http/fields.h"

namespace outseal::sinks {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Longest sleep between two looks for stalled requests.
constexpr milliseconds kLookPause{200};

[[noreturn]] void fail(const char* what) {
  throw Error{ErrorCode::internal, "http sink", std::string{"libcurl: "} + what};
}

void set_up_curl() {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  if (ready != CURLE_OK) fail(curl_easy_strerror(ready));
}

template <typename Value>
void set(CURL* easy, CURLoption option, Value value) {
  const CURLcode code = curl_easy_setopt(easy, option, value);
  if (code != CURLE_OK) fail(curl_easy_strerror(code));
}

bool same_name(std::string_view a, std::string_view b) { return lower_case(a) == lower_case(b); }

/// What went wrong before there was a whole answer. `said` is libcurl's own text.
HttpAnswer no_answer(CURLcode code, const std::string& said) {
  const std::string text = said.empty() ? curl_easy_strerror(code) : said;
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return {.trouble = "the name does not resolve: " + text,
              .hint = "check the host in the URL, and the name server"};
    case CURLE_COULDNT_CONNECT:
      return {.trouble = "cannot connect: " + text,
              .hint = "check that the receiver runs and that nothing blocks the way to it"};
    case CURLE_OPERATION_TIMEDOUT:
      return {.trouble = "no answer in time: " + text,
              .hint = "let the receiver answer first and work later, or raise outseal.timeout_ms"};
    case CURLE_PEER_FAILED_VERIFICATION:
      return {.trouble = "its certificate is not trusted: " + text,
              .hint =
                  "name its authority in outseal.ca_file, or use the host name that the"
                  " certificate is for"};
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
      return {.trouble = "a file for TLS cannot be used: " + text,
              .hint =
                  "the files of outseal.ca_file, outseal.cert_file and outseal.key_file are"
                  " PEM, the key not encrypted"};
    case CURLE_SSL_CONNECT_ERROR:
      return {.trouble = "no TLS connection: " + text,
              .hint = "check that the port is one for https, with TLS 1.2 or newer"};
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
      return {.trouble = "the connection broke before the whole answer was there: " + text,
              .hint = "see the receiver's own log, or that of a gateway before it"};
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:
      return {.trouble = "its answer is not HTTP/1.1: " + text,
              .hint = "check that host and port are those of a webhook receiver"};
    default:
      return {.trouble = text};
  }
}

}  // namespace

/// One request and its easy handle, which is used again for later ones.
struct HttpExchange::Transfer {
  CURL* easy = curl_easy_init();
  std::array<char, CURL_ERROR_SIZE> said{};
  curl_slist* fields = nullptr;
  curl_slist* last_field = nullptr;  ///< Of `fields`.
  std::size_t ticket = 0;
  std::string url;
  std::string_view body;
  std::size_t header_bytes = 0;  ///< Of the answer.
  long status = 0;               ///< Of the answer; 0: none yet, or its status line is not HTTP.
  bool header_is_whole = false;  ///< Its empty line has come; libcurl would do without.
  std::size_t body_bytes = 0;    ///< Of the answer.
  int redirects = 0;
  bool is_reusing = false;  ///< A connection that has brought an answer before.
  steady_clock::time_point deadline;
  steady_clock::time_point moved_at;  ///< When the last byte went in either direction.
  std::uint64_t moved_bytes = 0;

  explicit Transfer(const HttpSinkOptions& options) {
    if (easy == nullptr) fail("no memory");
    set(easy, CURLOPT_PRIVATE, this);
    set(easy, CURLOPT_NOSIGNAL, 1L);
    set(easy, CURLOPT_ERRORBUFFER, said.data());
    set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
    set(easy, CURLOPT_FOLLOWLOCATION, 0L);
    set(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout.count()));
    set(easy, CURLOPT_USERAGENT, "outseal");
    set(easy, CURLOPT_PROXY, options.proxy.c_str());  // "" is: none, whatever the environment says.
    set(easy, CURLOPT_NOPROXY, "");
    set(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    set(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    set(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    if (!options.ca_file.empty()) {
      set(easy, CURLOPT_CAINFO, options.ca_file.c_str());
      set(easy, CURLOPT_CAPATH, static_cast<char*>(nullptr));  // None but these.
    }
    if (!options.cert_file.empty()) {
      set(easy, CURLOPT_SSLCERT, options.cert_file.c_str());
      set(easy, CURLOPT_SSLKEY, options.key_file.c_str());
      set(easy, CURLOPT_KEYPASSWD, "");  // Else an encrypted key would ask on the terminal.
    }
    set(easy, CURLOPT_HEADERDATA, this);
    set(easy, CURLOPT_HEADERFUNCTION, &Transfer::take_header);
    set(easy, CURLOPT_WRITEDATA, this);
    set(easy, CURLOPT_WRITEFUNCTION, &Transfer::take_body);
  }
  ~Transfer() {
    curl_slist_free_all(fields);
    curl_easy_cleanup(easy);
  }
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  /// Called with one line.
  static std::size_t take_header(char* line, std::size_t size, std::size_t count, void* data) {
    auto& transfer = *static_cast<Transfer*>(data);
    transfer.header_bytes += size * count;
    const std::string_view text{line, size * count};
    if (text.starts_with("HTTP/")) {
      transfer.header_is_whole = false;
      transfer.status = parse_status_line(text);
    }
    if (text == "\r\n" || text == "\n") transfer.header_is_whole = true;
    return transfer.header_bytes > kAnswerBytesMax ? 0 : size * count;
  }
  static std::size_t take_body(char*, std::size_t size, std::size_t count, void* data) {
    auto& bytes = static_cast<Transfer*>(data)->body_bytes;
    bytes += size * count;
    return bytes > kAnswerBytesMax ? 0 : size * count;
  }

  void add_field(std::string_view name, std::string_view value) {
    // libcurl takes "Name:" for "do not send Name", and "Name;" for an empty value.
    std::string line{name};
    line += value.empty() ? ";" : ": ";
    line += value;
    add_line(line.c_str());
  }
  void add_line(const char* line) {
    // Given the last one, libcurl need not walk the list to its end.
    curl_slist* const longer = curl_slist_append(last_field, line);
    if (longer == nullptr) fail("no memory");
    if (fields == nullptr) fields = longer;
    last_field = last_field == nullptr ? longer : last_field->next;
  }

  template <typename Value>
  Value info(CURLINFO what) const {
    Value value{};
    curl_easy_getinfo(easy, what, &value);
    return value;
  }

  /// The value of a field of the answer; nothing if it is not there exactly once.
  std::optional<std::string> answer_field(const char* name) const {
    curl_header* field = nullptr;
    if (curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &field) != CURLHE_OK ||
        field->amount != 1)
      return std::nullopt;
    return field->value;
  }

  /// Whether the receiver has said that it is done: then it does not matter how the body ends.
  bool says_success() const {
    return header_is_whole && is_http() && status >= 200 && status < 300;
  }
  bool is_http() const { return status != 0 && status == info<long>(CURLINFO_RESPONSE_CODE); }

  /// The answer, or why there is none.
  HttpAnswer answer(CURLcode code) const {
    if (says_success()) return {.status = status};
    const bool cut = code == CURLE_WRITE_ERROR && body_bytes > kAnswerBytesMax;
    if (code == CURLE_WRITE_ERROR && !cut)
      return {.trouble = "its answer has more than " + std::to_string(kAnswerBytesMax) +
                         " bytes of header fields"};
    if (code != CURLE_OK && !cut) return no_answer(code, said.data());
    if (!header_is_whole) return no_answer(CURLE_PARTIAL_FILE, said.data());
    if (!is_http()) return no_answer(CURLE_WEIRD_SERVER_REPLY, "its first line is no status line");
    HttpAnswer answer{.status = status};
    answer.retry_after = std::chrono::seconds{
        std::clamp<curl_off_t>(info<curl_off_t>(CURLINFO_RETRY_AFTER), 0, kRetryAfterMax.count())};
    if (const auto text = answer_field("outseal-position")) answer.position = parse_position(*text);
    return answer;
  }
};

struct HttpExchange::Shared {
  // Declared before the transfers: they leave it before it goes.
  std::unique_ptr<CURLM, decltype(&curl_multi_cleanup)> multi{curl_multi_init(),
                                                              &curl_multi_cleanup};
  std::vector<std::unique_ptr<Transfer>> running;
  std::vector<std::unique_ptr<Transfer>> idle;

  ~Shared() {
    for (const auto& transfer : running) curl_multi_remove_handle(multi.get(), transfer->easy);
  }
};

HttpExchange::HttpExchange(const HttpSinkOptions& options) : options_{options} {
  set_up_curl();
  shared_ = std::make_unique<Shared>();
  if (!shared_->multi) fail("no memory");
  curl_multi_setopt(shared_->multi.get(), CURLMOPT_MAXCONNECTS,
                    static_cast<long>(options.in_flight));
}

HttpExchange::~HttpExchange() = default;

std::size_t HttpExchange::under_way() const { return shared_->running.size(); }

bool HttpExchange::has_room() const {
  const auto& running = shared_->running;
  const auto is_new = [](const auto& transfer) { return !transfer->is_reusing; };
  return running.size() < options_.in_flight &&
         std::count_if(running.begin(), running.end(), is_new) < kNewConnectionsMax;
}

void HttpExchange::start(std::size_t ticket, const HttpMessage& message) {
  auto& [multi, running, idle] = *shared_;
  if (idle.empty()) idle.push_back(std::make_unique<Transfer>(options_));
  Transfer& transfer = *idle.back();
  curl_slist_free_all(std::exchange(transfer.fields, nullptr));
  transfer.last_field = nullptr;
  std::string_view id;
  WebhookPlace place;
  for (const auto& [name, value] : message.fields) {
    if (name == "webhook-id") id = value;
    if (name == "outseal-stream") place.stream = value;
    if (name == "outseal-position") place.position = value;
    if (name == "outseal-previous-id") place.previous_id = value;
    const auto ours = [&, &name = name](const HttpHeader& header) {
      return same_name(header.first, name);
    };
    // What the operator sets stands for all events.
    if (std::none_of(options_.headers.begin(), options_.headers.end(), ours))
      transfer.add_field(name, value);
  }
  for (const auto& [name, value] : options_.headers) transfer.add_field(name, value);
  const std::int64_t now_s = wall_clock_ms() / 1'000;
  transfer.add_field("webhook-timestamp", std::to_string(now_s));
  if (!options_.secrets.empty()) {
    transfer.add_field("webhook-signature",
                       webhook_signature(options_.secrets, id, now_s, message.body));
    transfer.add_field("outseal-signature", place_signature(options_.secrets, id, now_s, place));
  }
  transfer.add_line("Expect:");  // No round trip before a large body.
  transfer.ticket = ticket;
  transfer.url = options_.endpoint;
  transfer.body = message.body;
  transfer.redirects = 0;
  transfer.deadline = steady_clock::now() + options_.timeout;
  send(transfer);
  running.push_back(std::move(idle.back()));
  idle.pop_back();
}

void HttpExchange::send(Transfer& transfer) {
  const auto now = steady_clock::now();
  const auto left = std::chrono::ceil<milliseconds>(transfer.deadline - now);
  transfer.said[0] = '\0';
  transfer.header_bytes = transfer.body_bytes = 0;
  transfer.header_is_whole = transfer.is_reusing = false;
  transfer.status = 0;
  transfer.moved_bytes = 0;
  transfer.moved_at = now;
  set(transfer.easy, CURLOPT_URL, transfer.url.c_str());
  set(transfer.easy, CURLOPT_HTTPHEADER, transfer.fields);
  set(transfer.easy, CURLOPT_TIMEOUT_MS,
      static_cast<long>(std::max(left, milliseconds{1}).count()));
  set(transfer.easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(transfer.body.size()));
  set(transfer.easy, CURLOPT_POSTFIELDS, transfer.body.data());
  set(transfer.easy, CURLOPT_POST, 1L);
  const CURLMcode code = curl_multi_add_handle(shared_->multi.get(), transfer.easy);
  if (code != CURLM_OK) fail(curl_multi_strerror(code));
}

HttpAnswers HttpExchange::wait() {
  HttpAnswers answers;
  CURLM* multi = shared_->multi.get();
  const bool had_room = has_room();
  while (answers.empty() && !shared_->running.empty()) {
    int running = 0;
    CURLMcode code = curl_multi_perform(multi, &running);
    if (code != CURLM_OK) fail(curl_multi_strerror(code));
    collect_ended(answers);
    look_after_running(answers);
    if (!answers.empty() || has_room() != had_room) break;
    code = curl_multi_poll(multi, nullptr, 0, static_cast<int>(kLookPause.count()), nullptr);
    if (code != CURLM_OK) fail(curl_multi_strerror(code));
  }
  return answers;
}

void HttpExchange::collect_ended(HttpAnswers& answers) {
  int queued = 0;
  while (const CURLMsg* message = curl_multi_info_read(shared_->multi.get(), &queued)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;  // The message goes when its handle does.
    Transfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    HttpAnswer answer = transfer->answer(code);
    if (!follow(*transfer, answer)) end(*transfer, std::move(answer), answers);
  }
}

/// Sends a redirected request again if that is safe; else says in `answer` why not.
bool HttpExchange::follow(Transfer& transfer, HttpAnswer& answer) {
  if (answer.status != 307 && answer.status != 308) return false;
  const char* location = transfer.info<char*>(CURLINFO_REDIRECT_URL);
  const auto target = HttpOrigin::of(location == nullptr ? "" : location);
  if (!target) {
    answer.trouble = "a redirect to nowhere";
  } else if (target != HttpOrigin::of(options_.endpoint)) {
    answer.trouble = "a redirect to " + target->to_string() + ", which is not followed";
  } else if (transfer.redirects == kRedirectsMax) {
    answer.trouble = "more than " + std::to_string(kRedirectsMax) + " redirects";
  } else {
    ++transfer.redirects;
    transfer.url = location;
    curl_multi_remove_handle(shared_->multi.get(), transfer.easy);
    send(transfer);
    return true;
  }
  return false;
}

/// Notes which ones got a connection that was there before, and ends those that stall.
void HttpExchange::look_after_running(HttpAnswers& answers) {
  const auto now = steady_clock::now();
  for (std::size_t place = shared_->running.size(); place-- > 0;) {
    Transfer& transfer = *shared_->running[place];
    const auto moved =
        static_cast<std::uint64_t>(transfer.info<curl_off_t>(CURLINFO_SIZE_UPLOAD_T) +
                                   transfer.info<curl_off_t>(CURLINFO_SIZE_DOWNLOAD_T)) +
        transfer.header_bytes;
    // Until the connection stands, its own timeout counts.
    const bool connected = transfer.info<curl_off_t>(CURLINFO_PRETRANSFER_TIME_T) > 0;
    transfer.is_reusing = connected && transfer.info<long>(CURLINFO_NUM_CONNECTS) == 0;
    if (!connected || moved != transfer.moved_bytes) {
      transfer.moved_bytes = moved;
      transfer.moved_at = now;
    } else if (now - transfer.moved_at > options_.stall_timeout && transfer.says_success()) {
      end(transfer, transfer.answer(CURLE_OPERATION_TIMEDOUT), answers);
    } else if (now - transfer.moved_at > options_.stall_timeout) {
      end(transfer,
          {.trouble = "not a byte for " + std::to_string(options_.stall_timeout.count()) + " ms",
           .hint = "let the receiver answer first and work later, or raise"
                   " outseal.stall_timeout_ms"},
          answers);
    }
  }
}

void HttpExchange::end(Transfer& transfer, HttpAnswer answer, HttpAnswers& answers) {
  auto& [multi, running, idle] = *shared_;
  curl_multi_remove_handle(multi.get(), transfer.easy);
  answers.emplace_back(transfer.ticket, std::move(answer));
  const auto place = std::find_if(running.begin(), running.end(),
                                  [&](const auto& other) { return other.get() == &transfer; });
  idle.push_back(std::move(*place));
  running.erase(place);
}

}  // namespace outseal::sinks
