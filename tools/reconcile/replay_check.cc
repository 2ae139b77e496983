// outseal-reconcile replay-check: sends each request many times at once, as clients that retry do,
// and compares the answers.
//
// For each request: --concurrency clients begin together and send it --times times in all, under
// one key. An answer that asks to come again (202; 409, 425, 429 and 503 with Retry-After) and a
// broken connection are followed by another try, as a client would. What is left are final answers:
// they must be the same, and all of them but one must say that they are replays.
#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <latch>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/text.h"
#include "cli/console.h"
#include "cli/progress_line.h"
#include "outseal/error.h"
#include "reconcile_commands.h"
#include "replay_client.h"
#include "replay_requests.h"

namespace outseal::tools {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

/// Between two tries where the answer does not say when to come again.
constexpr milliseconds kPause{100};

/// Header fields of an answer that a replay need not repeat: they are of the connection, of the
/// moment, or of those in between.
constexpr std::array kPassing{
    "age",           "cf-ray",      "connection",          "content-length",
    "date",          "keep-alive",  "idempotent-replayed", "server",
    "server-timing", "set-cookie",  "traceparent",         "transfer-encoding",
    "via",           "x-request-id"};

struct Service {
  std::string url;
  HttpFields fields;
  std::size_t times = 0;
  std::size_t clients = 0;
  milliseconds timeout{};
};

/// What became of one request.
struct Verdict {
  std::size_t answers = 0;   ///< Final ones.
  std::size_t executed = 0;  ///< Of these, without "Idempotent-Replayed: true".
  std::size_t silent = 0;    ///< Tries that led to no final answer.
  long status = 0;           ///< Of the first one.
  std::string difference;    ///< Empty: they are the same.
  std::string trouble;       ///< The last one that a silent try met.

  bool is_fine() const { return difference.empty() && silent == 0 && executed <= 1; }
  std::string text() const {
    if (!difference.empty()) return "answers differ: " + difference;
    if (executed > 1)
      return std::to_string(executed) + " answers do not say Idempotent-Replayed: true";
    if (silent > 0)
      return std::to_string(silent) + " without a final answer" +
             (trouble.empty() ? "" : ": " + trouble);
    return executed == 1 ? "fine" : "fine; all answers were replays";
  }
};

bool is_passing(std::string_view name) {
  return std::find(kPassing.begin(), kPassing.end(), name) != kPassing.end();
}

/// When to come again, if the answer says so.
std::optional<milliseconds> asks_again(const ReplayAnswer& answer) {
  if (answer.status == 0) return kPause;
  const std::string_view after = answer.field("retry-after");
  const bool may_say =
      answer.status == 409 || answer.status == 425 || answer.status == 429 || answer.status == 503;
  if (answer.status != 202 && (!may_say || after.empty())) return std::nullopt;
  int seconds = 0;
  const auto read = std::from_chars(after.data(), after.data() + after.size(), seconds);
  if (read.ec != std::errc{} || seconds < 0) return kPause;  // A date, or nothing.
  return std::max<milliseconds>(std::chrono::seconds{seconds}, kPause);
}

std::string differing_bodies(const std::string& a, const std::string& b) {
  const auto at = static_cast<std::size_t>(
      std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  return "bodies of " + std::to_string(a.size()) + " and " + std::to_string(b.size()) +
         " bytes, from byte " + std::to_string(at) + " on";
}

/// Where `b` is not what `a` is; empty if it is. Never shows what they hold.
std::string difference_of(const ReplayAnswer& a, const ReplayAnswer& b) {
  if (a.status != b.status)
    return "status " + std::to_string(a.status) + " and " + std::to_string(b.status);
  for (const auto* fields : {&a.fields, &b.fields})
    for (const auto& [name, value] : *fields)
      if (!is_passing(name) && a.field(name) != b.field(name)) return "header field '" + name + "'";
  if (a.body != b.body) return differing_bodies(a.body, b.body);
  return {};
}

/// One request, sent by all clients. Threads: Thread-safe.
class Storm {
 public:
  Storm(const Service& service, const ReplayRequest& request)
      : service_{service},
        request_{request},
        begin_{static_cast<std::ptrdiff_t>(service.clients)} {}

  Verdict run(std::vector<ReplayClient>& clients) {
    std::vector<std::jthread> threads;
    threads.reserve(clients.size());
    for (ReplayClient& client : clients)
      threads.emplace_back([this, &client] {
        begin_.arrive_and_wait();
        while (next_.fetch_add(1) < service_.times) take(ask(client));
      });
    threads.clear();
    return verdict_;
  }

 private:
  /// A final answer, or one with the trouble that it was left with.
  ReplayAnswer ask(ReplayClient& client) const {
    const auto end = steady_clock::now() + service_.timeout;
    for (;;) {
      const auto left = std::chrono::duration_cast<milliseconds>(end - steady_clock::now());
      ReplayAnswer answer = client.send(service_.url, service_.fields, request_, left);
      const auto pause = asks_again(answer);
      if (!pause) return answer;
      if (steady_clock::now() + *pause >= end) {
        if (answer.status != 0) return {.trouble = "still status " + std::to_string(answer.status)};
        return answer;
      }
      std::this_thread::sleep_for(*pause);
    }
  }

  void take(ReplayAnswer answer) {
    const std::lock_guard lock{mutex_};
    if (answer.status == 0) {
      ++verdict_.silent;
      verdict_.trouble = answer.trouble;
      return;
    }
    ++verdict_.answers;
    if (answer.field("idempotent-replayed") != "true") ++verdict_.executed;
    if (!first_) {
      verdict_.status = answer.status;
      first_ = std::move(answer);
    } else if (verdict_.difference.empty()) {
      verdict_.difference = difference_of(*first_, answer);
    }
  }

  const Service& service_;
  const ReplayRequest& request_;
  std::latch begin_;
  std::atomic<std::size_t> next_{0};
  std::mutex mutex_;
  std::optional<ReplayAnswer> first_;  ///< Guarded by mutex_.
  Verdict verdict_;                    ///< Guarded by mutex_.
};

Service service_of(const Settings& settings) {
  Service service;
  service.url = settings.text(Option::service_url);
  if (!service.url.starts_with("http://") && !service.url.starts_with("https://"))
    throw Error{ErrorCode::invalid_config,
                settings.origin(Option::service_url),
                "'" + printable(service.url) + "' is no http:// or https:// URL",
                {.hint = "give where the service listens, for example http://127.0.0.1:8080"}};
  if (service.url.ends_with('/')) service.url.pop_back();
  for (const std::string& text : settings.list(Option::header))
    service.fields.push_back(parse_http_field("--header", text));
  service.times = settings.number(Option::times);
  service.clients = std::min<std::size_t>(settings.number(Option::concurrency), service.times);
  service.timeout = settings.milliseconds(Option::timeout_ms);
  return service;
}

void print_verdict(const ReplayRequest& request, const Verdict& verdict, bool json) {
  if (!json) {
    if (!verdict.is_fine())
      print_line("line " + std::to_string(request.line) + "  " + request.method + " " +
                 printable(request.path) + "  status " + std::to_string(verdict.status) + "  " +
                 printable(verdict.text()));
    return;
  }
  JsonObject object;
  object.add("record", "request").add("line", request.line).add("method", request.method);
  object.add("path", request.path).add("fine", verdict.is_fine()).add("status", verdict.status);
  object.add("answers", verdict.answers).add("executed", verdict.executed);
  object.add("unanswered", verdict.silent).add("verdict", verdict.text());
  print_line(object.text());
}

}  // namespace

int replay_check(const Settings& settings) {
  const Service service = service_of(settings);
  const auto requests = read_replay_requests(settings.text(Option::requests));
  const bool json = settings.toggle(Option::json);
  std::vector<ReplayClient> clients(service.clients);
  std::size_t fine = 0;
  std::size_t answers = 0;
  std::size_t executed = 0;
  ProgressLine progress{!json};
  for (const ReplayRequest& request : requests) {
    const Verdict verdict = Storm{service, request}.run(clients);
    if (answers + verdict.answers == 0)
      throw Error{ErrorCode::sink_unreachable,
                  "replay-check",
                  "no answer from " + printable(service.url) + ": " + printable(verdict.trouble),
                  {.hint = "check that the service runs and that --url is its address"}};
    answers += verdict.answers;
    executed += verdict.executed;
    if (verdict.is_fine()) ++fine;
    print_verdict(request, verdict, json);
    progress("requests", static_cast<std::uint64_t>(&request - requests.data()) + 1,
             requests.size());
  }
  if (json) {
    JsonObject object;
    object.add("record", "replay_check").add("requests", requests.size()).add("fine", fine);
    object.add("answers", answers).add("executed", executed);
    print_line(object.text());
  } else {
    print_line(std::string{fine == requests.size() ? "fine" : "NOT fine"} + ": " +
               std::to_string(fine) + " of " + std::to_string(requests.size()) +
               " requests had one effect and one answer; " + std::to_string(answers) +
               " answers, " + std::to_string(executed) + " executions");
  }
  return fine == requests.size() ? kExitFine : kExitFindings;
}

}  // namespace outseal::tools
