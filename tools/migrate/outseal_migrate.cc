// outseal-migrate: makes, shows and takes back the schema.
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "cli/console.h"
#include "cli/database.h"
#include "cli/options.h"
#include "outseal/error.h"
#include "sql/schema.h"
#include "store/migrations.h"

namespace outseal::tools {

namespace {

/// "0001_outbox", as the file is named.
std::string title_of(const store::MigrationStatus& migration) {
  std::string number = std::to_string(migration.version);
  number.insert(0, number.size() < 4 ? 4 - number.size() : 0, '0');
  return number + "_" + migration.name;
}

/// The version of --to, or the newest one.
std::uint32_t target_of(const Settings& settings) {
  const std::uint32_t newest = store::newest_version(database_url(settings).scheme);
  if (!settings.has(Option::to)) return newest;
  const std::uint64_t target = settings.number(Option::to);
  if (target > newest)
    throw Error{ErrorCode::invalid_argument,
                "--to",
                "version " + std::to_string(target) + " is unknown",
                {.hint = "this binary knows versions up to " + std::to_string(newest)}};
  return static_cast<std::uint32_t>(target);
}

/// The versions that are applied, ascending.
std::vector<std::uint32_t> applied_versions(sql::Connection& connection) {
  std::vector<std::uint32_t> versions;
  for (const store::MigrationStatus& migration : store::migration_status(connection))
    if (migration.applied_at_ms) versions.push_back(migration.version);
  return versions;
}

/// One line for each step while it happens, one at the end.
class Progress {
 public:
  Progress(std::string_view verb, bool json) : verb_{verb}, json_{json} {}

  void operator()(const store::MigrationStatus& migration) {
    if (!json_) print_line(verb_ + " " + title_of(migration));
    titles_.push_back(title_of(migration));
  }
  void finish(sql::Connection& connection) const {
    const std::vector<std::uint32_t> versions = applied_versions(connection);
    const std::uint32_t version = versions.empty() ? 0 : versions.back();
    if (json_)
      print_line(JsonObject{}
                     .add_raw(verb_ == "took back" ? "taken_back" : verb_, json_array(titles_))
                     .add("version", version)
                     .text());
    else if (titles_.empty())
      print_line("nothing to do, version " + std::to_string(version));
    else
      print_line("version " + std::to_string(version));
  }

 private:
  std::string verb_;
  bool json_;
  std::vector<std::string> titles_;
};

void note_missing_roles(sql::Connection& connection, bool json) {
  for (const std::string& role : store::missing_roles(connection))
    print_note(json, "the role " + role + " does not exist and was granted nothing",
               "let a user who may create roles run: " + sql::script_of_role(role));
}

int up(const Settings& settings) {
  const std::uint32_t target = target_of(settings);
  const bool json = settings.toggle(Option::json);
  const auto connection = sql::open(database_url(settings), sql::OpenMode::create);
  Progress progress{"applied", json};
  store::migrate_up(*connection, target, std::ref(progress));
  progress.finish(*connection);
  if (target == store::newest_version(connection->dialect())) note_missing_roles(*connection, json);
  const std::string mode = store::journal_mode(*connection);
  if (!mode.empty() && mode != "wal")
    print_note(json, "the database has journal_mode=" + mode,
               "journal_mode=WAL is faster and lets readers and writers work at once");
  return kExitFine;
}

int down(const Settings& settings) {
  std::optional<std::uint32_t> target;
  if (settings.has(Option::to)) target = target_of(settings);
  const auto connection = sql::open(database_url(settings));
  Progress progress{"took back", settings.toggle(Option::json)};
  store::migrate_down(*connection, target, settings.toggle(Option::force), std::ref(progress));
  progress.finish(*connection);
  return kExitFine;
}

int status(const Settings& settings) {
  const auto connection = sql::open(database_url(settings));
  const auto migrations = store::migration_status(*connection);
  if (settings.toggle(Option::json)) {
    for (const store::MigrationStatus& migration : migrations) {
      JsonObject object;
      object.add("version", migration.version).add("name", migration.name);
      object.add("applied", migration.applied_at_ms.has_value());
      if (migration.applied_at_ms)
        object.add("applied_at", to_rfc3339(*migration.applied_at_ms))
            .add("applied_by", migration.applied_by);
      print_line(object.text());
    }
    return kExitFine;
  }
  std::vector<std::vector<std::string>> rows;
  std::size_t pending = 0;
  for (const store::MigrationStatus& migration : migrations) {
    if (!migration.applied_at_ms) ++pending;
    rows.push_back({title_of(migration),
                    migration.applied_at_ms ? to_rfc3339(*migration.applied_at_ms) : "pending",
                    printable(migration.applied_by)});
  }
  print_table({"MIGRATION", "APPLIED AT", "BY"}, rows);
  if (pending > 0) print_line(std::to_string(pending) + " pending: run outseal-migrate up");
  return kExitFine;
}

int adopt(const Settings& settings) {
  const std::uint32_t target = target_of(settings);
  const auto connection = sql::open(database_url(settings));
  Progress progress{"adopted", settings.toggle(Option::json)};
  for (const store::MigrationStatus& done : store::migrate_adopt(*connection, target))
    progress(done);
  progress.finish(*connection);
  return kExitFine;
}

int print(const Settings& settings) {
  const Url url = database_url(settings);
  const store::ScriptOptions options{
      .from = static_cast<std::uint32_t>(settings.number(Option::from)),
      .to = target_of(settings),
      .down = settings.toggle(Option::down),
      .transaction = !settings.toggle(Option::no_transaction)};
  if (options.from > options.to)
    throw Error{ErrorCode::invalid_argument,
                "--from",
                "version " + std::to_string(options.from) + " is above the last one, " +
                    std::to_string(options.to),
                {.hint = "give a lower one, or a higher one with --to"}};
  print_text(store::migration_script(url.scheme, options));
  return kExitFine;
}

const Program kProgram{
    .name = "outseal-migrate",
    .summary = "makes, shows and takes back outseal's schema in a database.",
    .commands = {
        {.path = "up",
         .summary = "Applies what is missing. A missing SQLite file is made. Safe to repeat, and "
                    "safe to run twice at once.",
         .required = {Option::db},
         .optional = {Option::to, Option::config, Option::json},
         .run = up},
        {.path = "down",
         .summary = "Takes back the newest migration, or all above --to. Refuses to drop events "
                    "that are unpublished or parked, and idempotency records that still hold.",
         .required = {Option::db},
         .optional = {Option::to, Option::force, Option::config, Option::json},
         .run = down},
        {.path = "status",
         .summary = "Shows which migrations are applied.",
         .required = {Option::db},
         .optional = {Option::config, Option::json},
         .run = status},
        {.path = "adopt",
         .summary = "Notes a schema that another tool has made, after it has compared all of it "
                    "with what up would make. Changes nothing else.",
         .required = {Option::db},
         .optional = {Option::to, Option::config, Option::json},
         .run = adopt},
        {.path = "print",
         .summary = "Prints the files, for other tools; the same bytes each time. Opens nothing.",
         .required = {Option::db},
         .optional = {Option::from, Option::to, Option::down, Option::no_transaction,
                      Option::config},
         .run = print},
    }};

}  // namespace

}  // namespace outseal::tools

int main(int argc, char** argv) {
  return outseal::tools::run_program(outseal::tools::kProgram, argc, argv);
}
