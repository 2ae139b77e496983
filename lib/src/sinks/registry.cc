#include "sinks/registry.h"

#include <filesystem>

#include "outseal/error.h"
#include "sinks/file/sink.h"
#ifdef OUTSEAL_SINK_HTTP
#include "sinks/http/sink.h"
#endif
#include "sinks/inbox/sink.h"
#ifdef OUTSEAL_SINK_NATS
#include "sinks/nats/sink.h"
#endif
#include "sinks/stdout/sink.h"

namespace outseal::sinks {
namespace {

/// file:PATH and file:///PATH; "file://name" looks like a relative path but means a host.
std::string file_path(const Url& url) {
  if (url.rest.starts_with("///")) return url.rest.substr(2);
  if (url.rest.empty() || url.rest.starts_with("//"))
    throw Error{
        ErrorCode::invalid_argument,
        "sink",
        "\"" + url.redacted() + "\" names no file",
        {.hint = "write file:PATH, for example file:events.ndjson or file:/var/lib/e.ndjson"}};
  return url.rest;
}

/// SQLite would give each connection a database of its own and drop it with the connection.
std::string sqlite_path(const Url& url) {
  if (url.rest.empty() || url.rest == ":memory:")
    throw Error{ErrorCode::invalid_argument,
                "sink",
                "\"" + url.redacted() + "\" names no file",
                {.hint = "write sqlite:PATH, for example sqlite:/var/lib/shop/inbox.db"}};
  return url.rest;
}

/// Host and path of a webhook: who the user is, and a slash at the end, make no other endpoint.
std::string endpoint_of(const Url& url) {
  std::string rest = url.redacted();
  const auto host = rest.find("//") + 2;
  const auto user = rest.substr(0, rest.find('/', host)).find('@', host);
  if (user != std::string::npos) rest.erase(host, user + 1 - host);
  while (rest.ends_with('/')) rest.pop_back();
  return rest;
}

std::string absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

std::unique_ptr<Sink> make_file_sink(const Url& url, const SinkContext& context) {
  using Options = FileSinkOptions;
  url.refuse_parameters_except("segment_bytes event_bytes_max");
  const Options options{
      .segment_bytes = url.number("segment_bytes", Options::kSegmentBytesDefault,
                                  Options::kSegmentBytesMin, Options::kSegmentBytesMax),
      .event_bytes_max = url.number("event_bytes_max", Options::kEventBytesDefault,
                                    Options::kEventBytesMin, kLineBytesMax)};
  return std::make_unique<FileSink>(file_path(url), context.event_source, options);
}

std::unique_ptr<Sink> make_stdout_sink(const Url& url, const SinkContext& context) {
  url.refuse_parameters_except("");
  if (!url.rest.empty())
    throw Error{ErrorCode::invalid_argument,
                "sink",
                "nothing may follow \"stdout:\"",
                {.hint = "for a file write file:PATH"}};
  return std::make_unique<StdoutSink>(context.event_source);
}

}  // namespace

std::unique_ptr<Sink> make_sink(const Url& url, const SinkContext& context) {
  if (url.scheme == "file") return make_file_sink(url, context);
  if (url.scheme == "stdout") return make_stdout_sink(url, context);
  if (url.scheme == "sqlite") sqlite_path(url);
  if (url.scheme == "sqlite" || url.scheme == "postgresql" || url.scheme == "postgres")
    return make_inbox_sink(url, context);
#ifdef OUTSEAL_SINK_HTTP
  if (url.scheme == "http" || url.scheme == "https") return make_http_sink(url, context);
#endif
#ifdef OUTSEAL_SINK_NATS
  if (url.scheme == "nats") return make_nats_sink(url, context);
#endif
  throw Error{ErrorCode::invalid_argument,
              "sink",
              "unknown scheme \"" + url.scheme + "\"",
              {.hint = "known sinks: file:PATH, stdout:, sqlite:PATH, postgresql:"
#ifdef OUTSEAL_SINK_HTTP
                       ", http:, https:"
#endif
#ifdef OUTSEAL_SINK_NATS
                       ", nats:"
#endif
              }};
}

SinkContext context_of(std::string_view event_source, std::string_view subscription) {
  std::string source{event_source};
  return {.event_source = source, .stream = source + '#' + std::string{subscription}};
}

std::string sink_identity(const Url& url) {
  if (url.scheme == "file") return "file:" + absolute(file_path(url));
  if (url.scheme == "sqlite") return "sqlite:" + absolute(sqlite_path(url));
  Url one = url;
  if (one.scheme == "postgres") one.scheme = "postgresql";  // libpq knows both.
  std::string text = one.redacted();
  if (one.scheme == "postgresql")  // What leads to another database may stand here as well.
    for (const char* const name : {"dbname", "host", "hostaddr", "port", "service"})
      if (!one.text(name).empty())
        text += (text.find('?') == std::string::npos ? "?" : "&") + std::string{name} + "=" +
                one.text(name);
  return text;
}

void refuse_source_as_sink(const Url& database, const Url& sink) {
  if (database.scheme != "sqlite" || sink.scheme != "sqlite") return;
  std::error_code fault;  // Of a file that does not exist, which is for others to tell.
  if (absolute(database.rest) == absolute(sqlite_path(sink)) ||
      std::filesystem::equivalent(database.rest, sink.rest, fault))
    throw Error{ErrorCode::invalid_argument,
                "sink",
                "the sink is the database that the events come from",
                {.hint = "give the receiver a database file of its own"}};
}

bool is_same_sink(const Url& one, const Url& other) {
#ifdef OUTSEAL_SINK_NATS
  if (one.scheme == "nats" && other.scheme == "nats") return is_same_stream(one, other);
#endif
  const bool are_endpoints = one.scheme.starts_with("http") && one.scheme == other.scheme;
  return are_endpoints ? endpoint_of(one) == endpoint_of(other)
                       : sink_identity(one) == sink_identity(other);
}

bool takes_several_subscriptions(const Url& url) {
  if (url.scheme == "nats") return url.text("shared") == "true";
  return url.scheme != "file" && url.scheme != "stdout";
}

std::string sink_help() {
  return "file:PATH[?segment_bytes=N&event_bytes_max=N]  newline-delimited JSON, exactly once\n"
         "stdout:                                        newline-delimited JSON, at least once\n"
         "sqlite:PATH[?event_bytes_max=N]                SQL inbox of a service, exactly once\n"
         "postgresql://USER@HOST/DATABASE[?...]          SQL inbox of a service, exactly once\n"
#ifdef OUTSEAL_SINK_HTTP
         "http[s]://HOST/PATH[?outseal.NAME=VALUE&...]   webhook, at least once; with a receiver\n"
         "                                               that remembers, effects exactly once\n"
#endif
#ifdef OUTSEAL_SINK_NATS
         "nats://HOST[:PORT]/STREAM[?NAME=VALUE&...]     NATS JetStream, exactly once in a stream\n"
         "                                               of its own; shared=true: at least once\n"
#endif
      ;
}

}  // namespace outseal::sinks
