// Who else may have made the schema, and what becomes of it, on PostgreSQL.
#include <fstream>

#include "integration/postgres/postgres_migration_fixture.h"
#include "support/mutant.h"

namespace outseal::test {

TEST_CASE("the printed script makes the same schema by psql, known to be applied") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase applied;
  applied.up();
  const EmptyDatabase scripted;
  const Drill drill;
  const std::string script = drill.file("schema.sql");
  std::ofstream{script} << store::migration_script("postgresql", {.to = newest()});
  scripted.server.restore_from(script, scripted.database);
  CHECK(difference(schema(scripted), schema(applied)) == "");
  CHECK_NOTHROW(store::require_schema(*scripted.connection));
  CHECK(scripted.up() == 0);
}

TEST_CASE("the owner of the schema needs to be nobody else") {
  if (skipped_without_postgres()) return;
  PostgresServer server;  // Without the roles, which a case before may have made.
  server.create_database("shop");
  server.execute("CREATE ROLE owner LOGIN PASSWORD '" + server.password() + "'");
  SUBCASE("of a schema that is there") {
    server.execute("CREATE SCHEMA outseal AUTHORIZATION owner", "shop");
  }
  SUBCASE("of the database") { server.execute("ALTER DATABASE shop OWNER TO owner"); }
  bool may_create_roles = false;
  SUBCASE("of the database, and one who may create roles") {
    server.execute("ALTER DATABASE shop OWNER TO owner; ALTER ROLE owner CREATEROLE");
    may_create_roles = true;
  }
  const auto connection = sql::open(Url::parse("--db", server.url("shop", "owner")));
  CHECK(store::migrate_up(*connection, newest(), {}) == newest());
  CHECK_NOTHROW(store::require_schema(*connection));
  const std::string granted =
      "SELECT has_function_privilege('outseal_producer', "
      "'outseal.append(text, text, text, text, jsonb, uuid, text)', "
      "'EXECUTE')";
  if (!may_create_roles) {
    CHECK(server.execute("SELECT to_regrole('outseal_producer') IS NULL") == "t");
    server.execute(
        "CREATE ROLE outseal_producer; CREATE ROLE outseal_relay; CREATE ROLE outseal_reconciler;"
        "CREATE ROLE outseal_sink");
    connection->execute("SELECT outseal.grant_roles()");
  }
  CHECK(server.execute(granted, "shop") == "t");
  CHECK(store::migrate_down(*connection, 0, false, {}) == newest());
  CHECK(store::migrate_up(*connection, newest(), {}) == newest());
}

TEST_CASE("what somebody else has put into the schema does not run when it is migrated") {
  if (skipped_without_postgres()) return;
  PostgresServer server;
  server.create_database("shop");
  server.execute("CREATE ROLE guest LOGIN PASSWORD '" + server.password() +
                 "'; GRANT CREATE ON DATABASE shop TO guest");
  const auto as = [&](const std::string& user) {
    return sql::open(Url::parse("--db", server.url("shop", user)));
  };
  const std::string become =
      "CREATE FUNCTION outseal.become() RETURNS integer LANGUAGE plpgsql AS"
      " 'BEGIN EXECUTE ''ALTER ROLE guest SUPERUSER''; RETURN 1; END';";
  std::string named = "the schema outseal belongs to guest, and admin migrates";
  SUBCASE("a schema") { as("guest")->execute("CREATE SCHEMA outseal"); }
  SUBCASE("a view in place of the table of migrations") {
    as("guest")->execute("CREATE SCHEMA outseal;" + become +
                         "CREATE VIEW outseal.schema_migration AS SELECT outseal.become() AS"
                         " version, ''::text AS name, ''::text AS checksum, now() AS applied_at,"
                         " ''::text AS applied_by");
  }
  SUBCASE("a trigger on the table of migrations") {
    CHECK(store::migrate_up(*as("admin"), 2, {}) == 2);
    server.execute(
        "GRANT USAGE, CREATE ON SCHEMA outseal TO guest; GRANT TRIGGER ON outseal.schema_migration"
        " TO guest",
        "shop");
    as("guest")->execute(
        "CREATE SCHEMA mine; CREATE FUNCTION mine.become() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN EXECUTE ''ALTER ROLE guest SUPERUSER''; RETURN NEW; END';"
        "CREATE TRIGGER become BEFORE INSERT ON outseal.schema_migration FOR EACH ROW EXECUTE"
        " FUNCTION mine.become()");
    named = "the function of trigger become on outseal.schema_migration belongs to guest";
  }
  SUBCASE("a function among ours") {
    CHECK(store::migrate_up(*as("admin"), 2, {}) == 2);
    server.execute("GRANT USAGE, CREATE ON SCHEMA outseal TO guest", "shop");
    as("guest")->execute(become);
    named = "the function outseal.become belongs to guest";
  }
  const auto admin = as("admin");
  for (const auto& call :
       std::vector<std::function<void()>>{[&] { store::migrate_up(*admin, newest(), {}); },
                                          [&] { store::migrate_down(*admin, 0, true, {}); },
                                          [&] { store::migrate_adopt(*admin, newest()); }})
    check_error(call, ErrorCode::refused, named);
  error_of([&] { store::migration_status(*admin); });
  error_of([&] { store::require_schema(*admin); });
  CHECK(server.execute("SELECT rolsuper FROM pg_roles WHERE rolname = 'guest'") == "f");
}

#ifdef OUTSEAL_FAULTS
TEST_CASE("without a look at the owners a guest's code runs when the schema is migrated") {
  if (skipped_without_postgres()) return;
  CHECK_FALSE(passes_with_mutant("no_owner_check", "what somebody else has put into the schema*"));
}
#endif

TEST_CASE("a schema that a guest has made is refused before anything in it is read") {
  if (skipped_without_postgres()) return;
  PostgresServer server;
  server.create_database("shop");
  for (const std::string name : {"owner", "guest"})
    server.execute("CREATE ROLE " + name + " LOGIN PASSWORD '" + server.password() + "'");
  server.execute("ALTER DATABASE shop OWNER TO owner; GRANT CREATE ON DATABASE shop TO guest");
  const auto as = [&](const std::string& user) {
    return sql::open(Url::parse("--db", server.url("shop", user)));
  };
  const std::string noted =
      "CREATE TABLE outseal.schema_migration AS SELECT 1 AS version, 'outbox'::text AS name,"
      " 'x'::text AS checksum, now() AS applied_at, 'x'::text AS applied_by;";
  const std::string granted =
      "GRANT USAGE ON SCHEMA outseal TO public; GRANT SELECT ON outseal.schema_migration TO "
      "public;";
  // What a sequence counts outlives a rollback.
  std::string made =
      "CREATE SCHEMA outseal; CREATE SEQUENCE outseal.caught; GRANT ALL ON SEQUENCE"
      " outseal.caught TO public;";
  SUBCASE("an empty one") {}
  SUBCASE("one that nobody else may read") { made += noted; }
  SUBCASE("one whose migrations are made up") { made += noted + granted; }
  SUBCASE("one that runs code when it is read") {
    made += noted + granted +
            "ALTER TABLE outseal.schema_migration ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON"
            " outseal.schema_migration USING (nextval('outseal.caught') > 0)";
  }
  as("guest")->execute(made);
  const auto owner = as("owner");
  for (const auto& call :
       std::vector<std::function<void()>>{[&] { store::migrate_up(*owner, newest(), {}); },
                                          [&] { store::migrate_down(*owner, 0, true, {}); },
                                          [&] { store::migrate_down(*owner, {}, false, {}); },
                                          [&] { store::migrate_adopt(*owner, newest()); },
                                          [&] { store::migration_status(*owner); }}) {
    check_error(call, ErrorCode::refused,
                "the schema outseal belongs to guest, and owner migrates");
    CHECK(error_of(call)->hint().find("its owner or a superuser drops it") != std::string::npos);
  }
  CHECK(error_of([&] { store::require_schema(*owner); }).has_value());
  CHECK(server.execute("SELECT is_called FROM outseal.caught", "shop") == "f");
}

TEST_CASE("who was granted it reads which migrations are applied") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase f;
  f.up();
  f.server.execute("CREATE ROLE onlooker LOGIN PASSWORD '" + f.server.password() +
                   "' IN ROLE outseal_relay");
  const auto onlooker = sql::open(Url::parse("--db", f.server.url(f.database, "onlooker")));
  CHECK(store::migration_status(*onlooker).back().applied_at_ms.has_value());
  f.server.execute("DROP ROLE onlooker");
}

TEST_CASE("the files alone do it, and what they did is taken back and forth by any program") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase f;
  const Drill drill;
  const auto psql = [&](const store::ScriptOptions& options) {
    const std::string script = drill.file("script.sql");
    std::ofstream{script} << store::migration_script("postgresql", options);
    f.server.restore_from(script, f.database);
  };
  psql({.to = newest(), .transaction = false});
  CHECK_NOTHROW(store::require_schema(*f.connection));
  CHECK(f.up() == 0);
  CHECK(f.down(3) == newest() - 3);
  psql({.from = 4, .to = newest()});
  CHECK(f.up() == 0);
  psql({.to = newest(), .down = true});
  CHECK(f.up() == newest());
  CHECK(store::migration_script("postgresql", {.to = newest()}) ==
        store::migration_script("postgresql", {.to = newest()}));
}

TEST_CASE("a schema that is not noted is adopted when all of it is as it should be") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase f;
  f.up();
  const auto before = schema(f);
  f.append();
  std::uint32_t target = newest();
  SUBCASE("nothing is noted") {
    f.ask("DELETE FROM outseal.schema_migration");
    check_error([&] { f.up(); }, ErrorCode::schema_mismatch, "has noted no migration");
  }
  SUBCASE("one is missing") { f.ask("DELETE FROM outseal.schema_migration WHERE version = 2"); }
  SUBCASE("another text of a file is noted") {
    f.ask("UPDATE outseal.schema_migration SET checksum = '{checksum}' WHERE version = 3");
  }
  SUBCASE("a later one was taken back by hand") {
    std::string script = store::migration_script(
        "postgresql", {.from = newest(), .to = newest(), .down = true, .transaction = false});
    f.ask(script.substr(0, script.find("DELETE FROM")));
    target = newest() - 1;
    check_error([&] { store::migrate_adopt(*f.connection, newest()); }, ErrorCode::schema_mismatch,
                "is missing: function grant_roles()");
  }
  CHECK_NOTHROW(store::migrate_adopt(*f.connection, target));
  CHECK(f.version() == std::to_string(target));
  CHECK(f.up() == newest() - target);
  CHECK_NOTHROW(store::require_schema(*f.connection));
  CHECK(difference(schema(f), before) == "");
  CHECK(f.ask("SELECT count(*) FROM outseal.outbox") == "1");
}

TEST_CASE("a schema that is not what it should be is not adopted, and what differs is named") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase f;
  f.up();
  std::string change;
  std::string named;
  SUBCASE("a table") {
    change = "CREATE TABLE outseal.mine ()";
    named = "is too much: relation mine";
  }
  SUBCASE("a column") {
    change = "ALTER TABLE outseal.parked ALTER COLUMN reason TYPE varchar";
    named = "differs: column parked.reason";
  }
  SUBCASE("a default") {
    change = "ALTER TABLE outseal.outbox ALTER COLUMN key SET DEFAULT 'k'";
    named = "differs: column outbox.key";
  }
  SUBCASE("a constraint") {
    change = "ALTER TABLE outseal.outbox DROP CONSTRAINT outbox_event_id_unique";
    named = "is missing: constraint outbox_event_id_unique";
  }
  SUBCASE("an index") {
    change = "DROP INDEX outseal.outbox_tx_seq";
    named = "is missing: index outbox_tx_seq";
  }
  SUBCASE("a function") {
    change =
        "CREATE OR REPLACE FUNCTION outseal.refuse_audit_change() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'";
    named = "differs: function refuse_audit_change()";
  }
  SUBCASE("a trigger") {
    change = "ALTER TABLE outseal.outbox DISABLE TRIGGER outbox_check";
    named = "differs: trigger outbox_check on outbox";
  }
  f.ask(change + "; DELETE FROM outseal.schema_migration");
  const auto before = schema(f);
  check_error([&] { store::migrate_adopt(*f.connection, newest()); }, ErrorCode::schema_mismatch,
              named);
  CHECK(difference(schema(f), before) == "");
  CHECK(f.ask("SELECT count(*) FROM outseal.schema_migration") == "0");
}

namespace {

/// A change of the schema that no column, constraint, function or trigger shows.
struct Change {
  std::string make;
  std::string undo;
  std::string named;
};

const std::vector<Change> kChanges{
    {"CREATE RULE lose AS ON INSERT TO outseal.outbox DO INSTEAD NOTHING",
     "DROP RULE lose ON outseal.outbox", "is too much: rule lose on outbox"},
    {"ALTER SEQUENCE outseal.outbox_seq_seq INCREMENT -1 MINVALUE -9",
     "ALTER SEQUENCE outseal.outbox_seq_seq INCREMENT 1 MINVALUE 1",
     "differs: sequence outbox_seq_seq"},
    {"ALTER SEQUENCE outseal.outbox_seq_seq CACHE 50",
     "ALTER SEQUENCE outseal.outbox_seq_seq CACHE 1", "differs: sequence outbox_seq_seq"},
    {"ALTER SEQUENCE outseal.audit_id_seq CYCLE MAXVALUE 100",
     "ALTER SEQUENCE outseal.audit_id_seq NO CYCLE NO MAXVALUE", "differs: sequence audit_id_seq"},
    {"ALTER TABLE outseal.outbox SET UNLOGGED", "ALTER TABLE outseal.outbox SET LOGGED",
     "differs: relation outbox"},
    {"GRANT ALL ON outseal.outbox TO public", "REVOKE ALL ON outseal.outbox FROM public",
     "is too much: privilege INSERT on outbox for public"},
    {"GRANT UPDATE (tx) ON outseal.outbox TO outseal_producer",
     "REVOKE UPDATE (tx) ON outseal.outbox FROM outseal_producer",
     "is too much: privilege UPDATE on outbox.tx for outseal_producer"},
    {"GRANT SELECT ON outseal.journal TO outseal_relay WITH GRANT OPTION",
     "REVOKE GRANT OPTION FOR SELECT ON outseal.journal FROM outseal_relay",
     "differs: privilege SELECT on journal for outseal_relay"},
    {"REVOKE INSERT ON outseal.audit FROM outseal_relay",
     "GRANT INSERT ON outseal.audit TO outseal_relay",
     "is missing: privilege INSERT on audit for outseal_relay"},
    {"GRANT CREATE ON SCHEMA outseal TO outseal_producer",
     "REVOKE CREATE ON SCHEMA outseal FROM outseal_producer",
     "is too much: privilege CREATE on the schema for outseal_producer"},
    {"GRANT EXECUTE ON FUNCTION outseal.grant_roles() TO public",
     "REVOKE EXECUTE ON FUNCTION outseal.grant_roles() FROM public",
     "is too much: privilege EXECUTE on grant_roles() for public"},
    {"ALTER TABLE outseal.outbox ENABLE ROW LEVEL SECURITY",
     "ALTER TABLE outseal.outbox DISABLE ROW LEVEL SECURITY", "differs: relation outbox"},
    {"ALTER TABLE outseal.outbox FORCE ROW LEVEL SECURITY",
     "ALTER TABLE outseal.outbox NO FORCE ROW LEVEL SECURITY", "differs: relation outbox"},
    {"CREATE POLICY hide ON outseal.outbox USING (false)", "DROP POLICY hide ON outseal.outbox",
     "is too much: policy hide on outbox"},
    {"UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'outseal.outbox_tx_seq'::regclass",
     "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'outseal.outbox_tx_seq'::regclass",
     "differs: index outbox_tx_seq"},
    {"UPDATE pg_index SET indisready = false WHERE indexrelid = 'outseal.outbox_tx_seq'::regclass",
     "UPDATE pg_index SET indisready = true WHERE indexrelid = 'outseal.outbox_tx_seq'::regclass",
     "differs: index outbox_tx_seq"},
    {"ALTER TABLE outseal.parked DISABLE TRIGGER ALL",
     "ALTER TABLE outseal.parked ENABLE TRIGGER ALL", "differs: constraint parked_subscription"},
    {"CREATE TABLE public.holds (id uuid REFERENCES outseal.outbox (event_id))",
     "DROP TABLE public.holds", "is too much: constraint holds_id_fkey"},
    {"CREATE TABLE public.child () INHERITS (outseal.outbox)", "DROP TABLE public.child",
     "is too much: inheritance of public.child from outseal.outbox"},
    {"CREATE TYPE outseal.mood AS ENUM ('good')", "DROP TYPE outseal.mood",
     "is too much: type outseal.mood"},
    {"DELETE FROM outseal.turn", "INSERT INTO outseal.turn DEFAULT VALUES",
     "outseal.turn has lost its row"},
};

}  // namespace

TEST_CASE("whatever changes what becomes of a row is compared before a schema is adopted") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase f;
  f.up();
  f.ask("DELETE FROM outseal.schema_migration");
  for (const Change& change : kChanges) {
    INFO(change.make);
    f.ask(change.make);
    check_error([&] { store::migrate_adopt(*f.connection, newest()); }, ErrorCode::schema_mismatch,
                change.named);
    f.ask(change.undo);
  }
  // Who is a member of a role, and how its tables are stored, is up to operators.
  f.ask("CREATE ROLE clerk_of_many; GRANT outseal_producer TO clerk_of_many");
  f.ask("ALTER TABLE outseal.outbox SET (fillfactor = 90), REPLICA IDENTITY FULL");
  CHECK_NOTHROW(store::migrate_adopt(*f.connection, newest()));
  f.ask("DROP ROLE clerk_of_many");
}

TEST_CASE("constraints that come back from a dump are the same") {
  if (skipped_without_postgres()) return;
  const EmptyDatabase f;
  f.up();
  f.ask(
      "DO $$ DECLARE c record; BEGIN FOR c IN SELECT conname, conrelid::regclass AS t,"
      " pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE contype = 'c'"
      " AND connamespace = 'outseal'::regnamespace AND conrelid <> 0 LOOP"
      " EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname);"
      " EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I %s', c.t, c.conname, c.text);"
      " END LOOP; END $$; DELETE FROM outseal.schema_migration");
  CHECK_NOTHROW(store::migrate_adopt(*f.connection, newest()));
}

}  // namespace outseal::test
