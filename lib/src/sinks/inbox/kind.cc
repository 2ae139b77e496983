#include "sinks/kind.h"

#include <array>
#include <filesystem>

#include "outseal/error.h"
#include "sinks/inbox/options.h"
#include "sinks/inbox/sink.h"
#include "sql/connection.h"

namespace outseal::sinks {
namespace {

constexpr std::array<std::string_view, 1> kSqlite{"sqlite"};
constexpr std::array<std::string_view, 2> kPostgres{"postgresql", "postgres"};  // libpq knows both.
constexpr std::array kForms{SinkForm{.schemes = kSqlite,
                                     .shown = "sqlite:PATH",
                                     .address = "sqlite:PATH",
                                     .contents = "SQL inbox of a service",
                                     .identity_is_address = true},
                            SinkForm{.schemes = kPostgres,
                                     .shown = "postgresql:",
                                     .address = "postgresql://USER@HOST/DATABASE",
                                     .contents = "SQL inbox of a service",
                                     .others = OtherParameters::passed_on}};
constexpr std::array kGuarantees{
    SinkGuarantee{.text = "exactly once", .second_copy = SecondCopy::transactional}};

bool is_sqlite(const Url& url) { return url.scheme == "sqlite"; }

/// SQLite would give each connection a database of its own and drop it with the connection.
std::string path_of(const Url& url) {
  if (url.rest.empty() || url.rest == ":memory:")
    throw Error{ErrorCode::invalid_argument,
                "sink",
                "\"" + url.redacted() + "\" names no file",
                {.hint = "write sqlite:PATH, for example sqlite:/var/lib/shop/inbox.db"}};
  return url.rest;
}

std::string absolute(const std::string& path) {
  return std::filesystem::absolute(path).lexically_normal().string();
}

class InboxKind final : public SinkKind {
 public:
  InboxKind()
      : SinkKind{{.name = "inbox",
                  .forms = kForms,
                  .guarantees = kGuarantees,
                  .parameters = InboxSinkOptions::parameters()}} {}

  std::unique_ptr<Sink> make(const Url& url, const SinkContext& context) const override {
    if (is_sqlite(url)) static_cast<void>(path_of(url));
    const auto options = InboxSinkOptions::from(url, find_form(url.scheme)->others);
    Url database = url;
    for (const Parameter& parameter : facts().parameters)
      database.parameters.erase(std::string{parameter.name});
    sql::check_url(database);
    return std::make_unique<InboxSink>(std::move(database), context.stream, options);
  }

  /// What leads to another database may stand in the parameters as well.
  std::string identity(const Url& url) const override {
    if (is_sqlite(url)) return "sqlite:" + absolute(path_of(url));
    Url one = url;
    one.scheme = kPostgres.front();
    std::string text = one.redacted();
    for (const char* const name : {"dbname", "host", "hostaddr", "port", "service"}) {
      const std::string value = one.text(name);
      if (value.empty()) continue;
      text += text.find('?') == std::string::npos ? '?' : '&';
      text.append(name).append("=").append(value);
    }
    return text;
  }

  bool is_database(const Url& url, const Url& database) const override {
    if (!is_sqlite(url) || !is_sqlite(database)) return false;
    std::error_code fault;  // Of a file that does not exist, which is for others to tell.
    return absolute(database.rest) == absolute(path_of(url)) ||
           std::filesystem::equivalent(database.rest, url.rest, fault);
  }
};

}  // namespace

const SinkKind& inbox_kind() {
  static const InboxKind kind;
  return kind;
}

}  // namespace outseal::sinks
