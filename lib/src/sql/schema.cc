#include "sql/schema.h"

#include "sql/typed.h"

/// -> "privilege P on OBJECT for ROLE", whether it may be passed on: what others than the owner may
/// do in the schema, of whose tables `relation` is a list.
#define OUTSEAL_PRIVILEGES                                                            \
  "SELECT 'privilege ' || g.privilege_type || ' on ' || o.object || ' for '"          \
  "  || coalesce(r.rolname, 'public'), g.is_grantable::text FROM ("                   \
  "   SELECT 'the schema' AS object, nspowner AS owner,"                              \
  "    coalesce(nspacl, acldefault('n', nspowner)) AS acl FROM pg_namespace"          \
  "    WHERE nspname = 'outseal'"                                                     \
  "   UNION ALL SELECT relname, relowner, coalesce(relacl, acldefault(CASE relkind"   \
  "    WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner)) FROM relation"            \
  "    WHERE relkind IN ('r', 'p', 'S', 'v', 'm', 'f')"                               \
  "   UNION ALL SELECT c.relname || '.' || a.attname, c.relowner, a.attacl"           \
  "    FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid"                     \
  "    WHERE a.attacl IS NOT NULL AND NOT a.attisdropped"                             \
  "   UNION ALL SELECT p.proname || '(' || pg_get_function_identity_arguments(p.oid)" \
  "    || ')', p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))"           \
  "    FROM pg_proc p WHERE p.pronamespace = to_regnamespace('outseal')"              \
  "  ) o CROSS JOIN LATERAL aclexplode(o.acl) g LEFT JOIN pg_roles r"                 \
  "  ON r.oid = g.grantee WHERE g.grantee <> o.owner"

namespace outseal::sql {

// Columns: object, its definition.
const Text kDescribeSchema{
    .name = "describe_schema",
    .sqlite =
        "SELECT type || ' ' || name, sql FROM sqlite_schema"
        " WHERE tbl_name GLOB 'outseal_*' AND sql IS NOT NULL",
    .postgres =
        "WITH relation AS (SELECT * FROM pg_class WHERE relnamespace ="
        "  to_regnamespace('outseal'))"
        " SELECT 'relation ' || relname, concat_ws(' ', relkind::text, relpersistence::text,"
        "  relrowsecurity, relforcerowsecurity) FROM relation"
        " UNION ALL SELECT 'sequence ' || relname, concat_ws(' ', s.seqtypid::regtype,"
        "  s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)"
        "  FROM relation JOIN pg_sequence s ON s.seqrelid = oid"
        " UNION ALL SELECT 'column ' || c.relname || '.' || a.attname, concat_ws(' ',"
        "  format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,"
        "  a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid))"
        "  FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0"
        "  AND NOT a.attisdropped LEFT JOIN pg_attrdef d ON d.adrelid = c.oid"
        "  AND d.adnum = a.attnum WHERE c.relkind IN ('r', 'p')"
        // Also a key of another schema's table that points here. A trigger of a constraint can
        // be disabled.
        " UNION ALL SELECT 'constraint ' || n.conname, concat_ws(' ',"
        "  pg_get_constraintdef(n.oid), (SELECT string_agg(t.tgenabled::text, '' ORDER BY"
        "   t.tgtype, t.tgenabled) FROM pg_trigger t WHERE t.tgconstraint = n.oid))"
        "  FROM pg_constraint n WHERE n.contype <> 'n' AND (n.connamespace ="
        "   to_regnamespace('outseal') OR n.confrelid IN (SELECT oid FROM relation))"
        " UNION ALL SELECT 'index ' || c.relname, concat_ws(' ', pg_get_indexdef(c.oid),"
        "  i.indisvalid, i.indisready, i.indislive)"
        "  FROM relation c JOIN pg_index i ON i.indexrelid = c.oid"
        " UNION ALL SELECT 'function ' || p.proname || '('"
        "  || pg_get_function_identity_arguments(p.oid) || ')', pg_get_functiondef(p.oid)"
        "  FROM pg_proc p WHERE p.pronamespace = to_regnamespace('outseal')"
        "  AND p.prokind IN ('f', 'p')"
        " UNION ALL SELECT 'trigger ' || t.tgname || ' on ' || c.relname,"
        "  concat_ws(' ', t.tgenabled, pg_get_triggerdef(t.oid))"
        "  FROM relation c JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal"
        " UNION ALL SELECT 'rule ' || w.rulename || ' on ' || c.relname,"
        "  concat_ws(' ', w.ev_enabled, pg_get_ruledef(w.oid))"
        "  FROM relation c JOIN pg_rewrite w ON w.ev_class = c.oid"
        " UNION ALL SELECT 'policy ' || p.polname || ' on ' || c.relname, concat_ws(' ',"
        "  p.polcmd, p.polpermissive, p.polroles::regrole[], pg_get_expr(p.polqual, c.oid),"
        "  pg_get_expr(p.polwithcheck, c.oid))"
        "  FROM relation c JOIN pg_policy p ON p.polrelid = c.oid"
        " UNION ALL SELECT 'inheritance of ' || h.inhrelid::regclass || ' from '"
        "  || h.inhparent::regclass, '' FROM pg_inherits h JOIN relation c"
        "  ON c.oid IN (h.inhrelid, h.inhparent) WHERE c.relkind IN ('r', 'p')"
        " UNION ALL " OUTSEAL_PRIVILEGES
        " UNION ALL SELECT i.type || ' ' || i.identity, '' FROM pg_depend d"
        "  CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, 0) i"
        "  WHERE d.refclassid = 'pg_namespace'::regclass"
        "  AND d.refobjid = to_regnamespace('outseal') AND d.classid NOT IN ("
        "   'pg_class'::regclass, 'pg_constraint'::regclass, 'pg_statistic_ext'::regclass)"
        "  AND NOT EXISTS (SELECT 1 FROM pg_proc p WHERE d.classid = 'pg_proc'::regclass"
        "   AND p.oid = d.objid AND p.prokind IN ('f', 'p'))"};

std::vector<SchemaObject> describe_schema(Connection& connection) {
  return list_rows(connection, kDescribeSchema, [](Columns& columns) {
    SchemaObject object;
    columns >> object.name >> object.definition;
    return object;
  });
}

const Text kSetSchemaAside{.name = "set_schema_aside",
                           .postgres = "ALTER SCHEMA outseal RENAME TO outseal_aside"};

void set_schema_aside(Connection& connection) { run(connection, kSetSchemaAside); }

// 1 for anybody
const Text kFindForeignObject{
    .name = "find_foreign_object",
    .postgres =
        "SELECT o.object, pg_get_userbyid(o.owner), current_user::text FROM ("
        "SELECT 1 AS place, 'the schema outseal' AS object, nspowner AS owner"
        " FROM pg_namespace WHERE nspname = 'outseal'"
        " UNION ALL SELECT 2, 'outseal.' || relname, relowner FROM pg_class"
        "  WHERE relnamespace = to_regnamespace('outseal')"
        " UNION ALL SELECT 2, 'outseal.' || typname, typowner FROM pg_type"
        "  WHERE typnamespace = to_regnamespace('outseal')"
        " UNION ALL SELECT 2, 'the function outseal.' || proname, proowner FROM pg_proc"
        "  WHERE pronamespace = to_regnamespace('outseal')"
        " UNION ALL SELECT 3, 'the function of trigger ' || t.tgname || ' on outseal.'"
        "  || c.relname, p.proowner FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
        "  JOIN pg_proc p ON p.oid = t.tgfoid WHERE NOT t.tgisinternal AND p.proowner <> 10"
        "  AND c.relnamespace = to_regnamespace('outseal')"
        ") o WHERE o.owner <> current_user::regrole AND ($1 <> 0 OR ("
        "has_database_privilege(current_database(), 'CREATE') AND NOT EXISTS (SELECT 1 FROM"
        " pg_namespace WHERE nspname = 'outseal' AND pg_has_role(nspowner, 'USAGE'))))"
        " ORDER BY o.place, o.object LIMIT 1"};

std::optional<ForeignObject> find_foreign_object(Connection& connection, bool anybody) {
  const auto read = [](Columns& columns) {
    ForeignObject found;
    columns >> found.object >> found.owner >> found.user;
    return found;
  };
  return find_row(connection, kFindForeignObject, read, anybody);
}

const Text kFindHidingPolicies{
    .name = "find_hiding_policies",
    .postgres =
        "SELECT current_user::text, c.relname::text, coalesce((SELECT string_agg("
        "p.polname::text, ', ' ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = c.oid),"
        " 'none: all rows are hidden') FROM pg_class c WHERE c.relnamespace ="
        " to_regnamespace('outseal') AND c.relrowsecurity AND row_security_active(c.oid)"
        " AND has_table_privilege(c.oid, 'SELECT') ORDER BY c.relname LIMIT 1"};

std::optional<HidingPolicies> find_hiding_policies(Connection& connection) {
  return find_row(connection, kFindHidingPolicies, [](Columns& columns) {
    HidingPolicies found;
    columns >> found.user >> found.table >> found.policies;
    return found;
  });
}

const Text kListMissingRoles{
    .name = "list_missing_roles",
    .postgres =
        "SELECT role FROM unnest(ARRAY['outseal_producer', 'outseal_relay', 'outseal_reconciler',"
        " 'outseal_sink']) AS role WHERE to_regrole(role) IS NULL"};

std::vector<std::string> list_missing_roles(Connection& connection) {
  return list_rows(connection, kListMissingRoles, column<std::string>);
}

std::string script_of_role(std::string_view role) {
  return "CREATE ROLE " + std::string{role} + "; SELECT outseal.grant_roles();";
}

const Text kTextEncoding{.name = "text_encoding", .sqlite = "PRAGMA encoding"};

std::string text_encoding(Connection& connection) {
  return get_value<std::string>(connection, kTextEncoding);
}

const Text kIsDatabaseEmpty{.name = "is_database_empty",
                            .sqlite = "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)"};

bool is_database_empty(Connection& connection) {
  return get_value<bool>(connection, kIsDatabaseEmpty);
}

const Text kReadJournalMode{.name = "read_journal_mode", .sqlite = "PRAGMA journal_mode"};

std::string read_journal_mode(Connection& connection) {
  return get_value<std::string>(connection, kReadJournalMode);
}

const Text kSetWriteAheadLog{.name = "set_write_ahead_log", .sqlite = "PRAGMA journal_mode = WAL"};

void set_write_ahead_log(Connection& connection) { run(connection, kSetWriteAheadLog); }

}  // namespace outseal::sql
