// The front door: what a request says, what is known of its key, what it is answered.
#include <algorithm>
#include <array>
#include <exception>
#include <utility>

#include "base/failpoint.h"
#include "model/validation.h"
#include "operation/backoff.h"
#include "operation/front/fields.h"
#include "operation/front/limits.h"
#include "operation/front/response.h"
#include "operation/record.h"
#include "operation/status.h"
#include "outseal/error.h"
#include "outseal/fingerprint.h"
#include "outseal/http_front.h"
#include "outseal/ids.h"
#include "store/observed.h"

namespace outseal {
namespace front {
namespace {

using std::chrono::milliseconds;

/// Between two looks at an operation that another process has; see PollerOptions.
constexpr milliseconds kLookFirst{20};
constexpr milliseconds kLookLongest{500};

/// What a service need not fix: the client is told to come again.
bool is_store_trouble(ErrorCode code) {
  constexpr std::array kTrouble{ErrorCode::unreachable,    ErrorCode::conflict,
                                ErrorCode::storage,        ErrorCode::commit_in_doubt,
                                ErrorCode::schema_missing, ErrorCode::schema_mismatch,
                                ErrorCode::denied};
  return std::find(kTrouble.begin(), kTrouble.end(), code) != kTrouble.end();
}

/// A request's connection, opened when it is needed and kept from one look to the next.
class Line {
 public:
  Line(const SessionOpener& open, const RetryPolicy& policy) : open_{open}, policy_{policy} {}

  ExecuteResult run(const SessionWork& work) {
    bool may_keep = true;
    const auto reopen = [this, &may_keep] {
      if (!std::exchange(may_keep, false) || !session_) {
        session_.reset();
        session_ = opened();
      }
      return *session_;
    };
    return outseal::run(reopen, work, policy_);
  }
  OperationStatus look(const operation::StatusOf& which, const ExecuteOptions& options) {
    OperationStatus status;
    std::ignore = run([&](Session session) {
      status = operation::look(session, which, {.named_statements = options.named_statements});
      return ExecuteResult{Outcome::in_progress};
    });
    return status;
  }

 private:
  /// Whatever the opener throws, the client is told that the database is unavailable.
  Session opened() const {
    try {
      return open_();
    } catch (const Error&) {
      throw;
    } catch (const std::exception&) {  // Kept inside: its text may show an address or a password.
      std::throw_with_nested(
          Error{ErrorCode::unreachable, "serve", "no connection could be opened"});
    }
  }

  const SessionOpener& open_;
  const RetryPolicy& policy_;
  std::optional<Session> session_;
};

/// What a request is and wants.
struct Call {
  const Operation& operation;
  const HttpFront::Work& work;
  std::string key_hash;
  Clock::time_point deadline;  ///< Of its wait.
  HttpCall& seen;
};

}  // namespace
}  // namespace front

using front::Answer;
using front::answer_to;
using front::Call;
using front::Clock;
using front::Line;
using front::problem;

struct HttpFront::Impl {
  explicit Impl(HttpFrontOptions given)
      : options{std::move(given)}, rate{options}, cache{options} {}

  Answer serve(const SessionOpener& open, const HttpRequest& request, const Work& work,
               HttpCall& seen) {
    Operation operation;
    if (auto refused = read_operation(request, operation)) return std::move(*refused);
    validate_operation("serve", operation);
    const front::Preferences wants = front::read_preferences(request.headers);
    const Call call{operation, work, operation::key_hash(operation), Clock::now() + wait_of(wants),
                    seen};
    std::optional<ExecuteResult> result = cache.find(call.key_hash, operation, Clock::now());
    seen.from_cache = result.has_value();
    Line line{open, options.retry};
    OperationStatus status;
    const OperationStatus* known = nullptr;
    if (!result) {
      const auto retry_after = rate.take(operation.principal, Clock::now());
      if (retry_after) {
        result = look_only(line, operation);
        if (!result)
          return problem(HttpDecision::rate_limited, options, {.retry_after = *retry_after});
      } else {
        result = answer(line, call);
        if (!is_new_key(*result)) rate.give_back(operation.principal);
        cache.keep(call.key_hash, operation, *result, Clock::now());
      }
      if (result->outcome == Outcome::unknown || result->outcome == Outcome::expired) {
        status = line.look({call.key_hash}, options.execute);
        known = &status;
      }
    }
    if (tells_of_another_time(*result) && !may_show(operation))
      return problem(HttpDecision::replay_denied, options, {});
    if (!result->handle.empty() && result->outcome == Outcome::in_progress && !may_show(operation))
      result->handle.clear();  // It leads to what is recorded.
    Answer answer = answer_to(*result, known, wants.respond_async, options);
    note_preferences(wants, seen.waited, answer);
    return answer;
  }

  Answer serve_status(const SessionOpener& open, const HttpRequest& request,
                      std::string_view handle, HttpCall& seen) {
    const front::Preferences wants = front::read_preferences(request.headers);
    const Clock::time_point deadline = Clock::now() + wait_of(wants);
    const operation::StatusOf which = operation::status_of(handle);
    Line line{open, options.retry};
    OperationStatus status = line.look(which, options.execute);
    operation::Backoff backoff{front::kLookFirst, front::kLookLongest};
    while (status.state == OperationState::in_progress && Clock::now() < deadline) {
      seen.waited = true;
      if (!operation::pause(backoff.next(), options.retry.stop)) break;
      status = line.look(which, options.execute);
    }
    // A handle of another scope is none of ours: that one has its own rights.
    if (!status.scope.empty() && status.scope != options.scope) status = {};
    if (status.state != OperationState::absent &&
        !may_show(
            {.scope = status.scope, .principal = request.principal, .key = {}, .fingerprint = {}}))
      return problem(HttpDecision::replay_denied, options, {});
    Answer answer = answer_to(status, options);
    note_preferences(wants, seen.waited, answer);
    return answer;
  }

  /// Runs `body`, whose troubles with the store are an answer, too.
  template <typename Body>
  HttpResponse observed(HttpCall& seen, const Body& body) {
    std::exception_ptr kept;  // What the observer is told of lives as long.
    return store::observed(options.execute.observer, seen, [&] {
      Answer answer = [&] {
        try {
          return body();
        } catch (const Error& error) {
          if (!front::is_store_trouble(error.code())) throw;
          kept = std::current_exception();
          seen.error = &error;
          return problem(HttpDecision::unavailable, options,
                         {.retry_after = ExecuteResult::kRetryAfterDefault});
        }
      }();
      seen.decision = answer.decision;
      seen.status = answer.response.status;
      return std::move(answer.response);
    });
  }

  const HttpFrontOptions options;

 private:
  /// @returns what it is refused by.
  std::optional<Answer> read_operation(const HttpRequest& request, Operation& operation) const {
    front::KeyField field =
        front::read_key(request.headers, options.accept_token, options.key_bytes_max);
    switch (field.kind) {
      case front::KeyField::Kind::repeated:
        return problem(HttpDecision::key_repeated, options, {});
      case front::KeyField::Kind::malformed:
        return problem(HttpDecision::key_malformed, options, {.detail = field.why});
      case front::KeyField::Kind::none:
        if (options.key_required) return problem(HttpDecision::key_missing, options, {});
        operation.key = new_event_id().to_string();
        break;
      case front::KeyField::Kind::key:
        operation.key = std::move(field.key);
    }
    operation.scope = options.scope;
    operation.principal = request.principal;
    operation.fingerprint = request.fingerprint;
    operation.fingerprint_version = request.fingerprint_version;
    operation.older_fingerprints = request.older_fingerprints;
    if (operation.fingerprint.empty()) {
      std::string form{request.method};
      ((form += ' ') += request.target) += '\n';
      operation.fingerprint = fingerprint(form + canonical_json(request.body));
    }
    return std::nullopt;
  }

  std::chrono::seconds wait_of(const front::Preferences& wants) const {
    return std::min(wants.wait.value_or(std::chrono::seconds{0}), options.wait_max);
  }

  static bool is_new_key(const ExecuteResult& result) {
    return result.outcome == Outcome::executed || result.outcome == Outcome::released;
  }
  static bool tells_of_another_time(const ExecuteResult& result) {
    return result.outcome == Outcome::replayed || result.outcome == Outcome::expired ||
           result.outcome == Outcome::unknown;
  }
  bool may_show(const Operation& operation) const {
    return !options.may_replay || mutant("front_replays_to_all") ||
           options.may_replay(operation.principal, operation);
  }

  static void note_preferences(const front::Preferences& wants, bool waited, Answer& answer) {
    HttpFields& headers = answer.response.headers;
    if (answer.decision == HttpDecision::accepted && wants.respond_async)
      headers.emplace_back("Preference-Applied", "respond-async");
    else if (waited && wants.wait)
      headers.emplace_back("Preference-Applied", "wait=" + std::to_string(wants.wait->count()));
  }

  /// For who may not begin anything new.
  std::optional<ExecuteResult> look_only(Line& line, const Operation& operation) {
    std::optional<ExecuteResult> found;
    std::ignore = line.run([&](Session session) {
      found = find(session, operation, options.execute);
      return ExecuteResult{Outcome::in_progress};
    });
    return found;
  }

  /// Leads, or attaches to who does.
  ExecuteResult answer(Line& line, const Call& call) {
    while (Clock::now() < call.deadline) {
      if (auto lead = flights.lead(call.key_hash, call.operation)) {
        ExecuteResult result = execute(line, call);
        lead->give(result);
        return result;
      }
      call.seen.waited = true;
      const auto waited =
          flights.wait(call.key_hash, call.operation, call.deadline, options.retry.stop);
      if (waited.result) return *waited.result;
      if (!waited.in_time)
        return {.outcome = Outcome::in_progress, .retry_after = ExecuteResult::kRetryAfterDefault};
    }
    return execute(line, call);
  }

  /// Executes, or waits for another process that does.
  ExecuteResult execute(Line& line, const Call& call) {
    operation::Backoff backoff{front::kLookFirst, front::kLookLongest};
    while (true) {
      ExecuteResult result = line.run([&](Session session) { return attempt(session, call); });
      if (result.outcome != Outcome::in_progress) return result;
      // A one-transaction operation has been waited for, by its lock; effects are looked at.
      std::optional<OperationStatus> status;
      while (!status || !(status->has_ended() || status->may_begin())) {
        if (Clock::now() >= call.deadline) return result;
        call.seen.waited = true;
        if (!operation::pause(backoff.next(), options.retry.stop)) return result;
        status = line.look({call.key_hash}, options.execute);
      }
    }
  }

  ExecuteResult attempt(Session session, const Call& call) const {
    ExecuteOptions each = options.execute;
    if (session.handle().postgres != nullptr)
      each.wait =
          std::clamp(std::chrono::duration_cast<front::milliseconds>(call.deadline - Clock::now()),
                     front::milliseconds{0}, ExecuteOptions::kWaitMax);
    try {
      return call.work(session, call.operation, each);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::lease_lost) throw;
      return {.outcome = Outcome::in_progress, .retry_after = ExecuteResult::kRetryAfterDefault};
    }
  }

  front::KeyRate rate;
  front::ReplyCache cache;
  front::Flights flights;
};

HttpFront::HttpFront(HttpFrontOptions options) {
  options.validate();
  impl_ = std::make_unique<Impl>(std::move(options));
}
HttpFront::~HttpFront() = default;

HttpResponse HttpFront::serve(const SessionOpener& open, const HttpRequest& request,
                              const Work& work) {
  HttpCall seen;
  seen.scope = impl_->options.scope;
  return impl_->observed(seen, [&] { return impl_->serve(open, request, work, seen); });
}

HttpResponse HttpFront::serve_status(const SessionOpener& open, const HttpRequest& request,
                                     std::string_view handle) {
  HttpCall seen;
  seen.scope = impl_->options.scope;
  return impl_->observed(seen, [&] { return impl_->serve_status(open, request, handle, seen); });
}

void HttpFrontOptions::validate() const {
  ConfigErrors faults{"HttpFrontOptions"};
  const auto check = [&](std::string_view field, auto value, std::int64_t min, std::int64_t max) {
    faults.check_range(field, static_cast<std::int64_t>(value), min, max);
  };
  check("key_bytes_max", key_bytes_max, 1, kKeyBytesMax);
  check("wait_max (s)", wait_max.count(), 0, kWaitLimit.count());
  check("new_keys_burst", new_keys_burst, 1, 1'000'000);
  check("principals_max", principals_max, 1, 1'000'000);
  check("cache_entries_max", cache_entries_max, 1, 10'000'000);
  check("cache_ttl (s)", cache_ttl.count(), 1, execute.response_retention.count());
  if (!front::is_sound_field("Location", location_prefix))
    faults.add("location_prefix has control characters");
  check("scope (bytes)", scope.size(), 1, kScopeBytesMax);
  faults.raise();
  execute.validate();
  retry.validate();
}

}  // namespace outseal
