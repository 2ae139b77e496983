#include "sql/postgres/statement.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>

#include "base/failpoint.h"
#include "base/text.h"

namespace outseal::sql::postgres {
namespace {

// Object ids of built-in types. Source: PostgreSQL's pg_type.dat; they never change.
constexpr Oid kBool = 16;
constexpr Oid kBytea = 17;
constexpr Oid kInt8 = 20;
constexpr Oid kInt2 = 21;
constexpr Oid kInt4 = 23;
constexpr Oid kText = 25;
constexpr Oid kTimestamptz = 1184;
constexpr Oid kUuid = 2950;
constexpr Oid kJsonb = 3802;
constexpr Oid kXid8 = 5069;

/// Stands for the length of an element that is NULL: -1.
constexpr std::uint32_t kNullLength = 0xffffffffU;

/// Milliseconds from 1970 to 2000, where PostgreSQL's times begin.
constexpr std::int64_t kEpoch_ms = 946'684'800'000;

struct CodeRule {
  std::string_view state;  ///< An SQLSTATE or its class.
  ErrorCode code;
  std::string_view hint;
};

// The first rule that is a prefix of the state counts.
constexpr std::array kRules{
    CodeRule{"40001", ErrorCode::conflict, "roll back and run the whole transaction again"},
    CodeRule{"40P01", ErrorCode::conflict, "roll back and run the whole transaction again"},
    CodeRule{"55P03", ErrorCode::conflict, "another transaction holds the lock: try again"},
    CodeRule{"57014", ErrorCode::conflict,
             "cancelled, for example by statement_timeout: roll back and run the whole transaction"
             " again"},
    CodeRule{"26000", ErrorCode::conflict,
             "behind a transaction pooler set named_statements = false"},
    CodeRule{"42P05", ErrorCode::invalid_config,
             "behind a transaction pooler set named_statements = false; else run it again: it takes"
             " other names"},
    CodeRule{"25P02", ErrorCode::storage, "an earlier error ended the transaction: roll it back"},
    CodeRule{
        "25006", ErrorCode::refused,
        "connect to the primary, or end its read-only mode (default_transaction_read_only); see"
        " what is reached with: outseal-relay status --db URL"},
    // The server ended a session that was idle, or took long, in a transaction.
    CodeRule{"25P03", ErrorCode::unreachable, "connect again and run the whole transaction again"},
    CodeRule{"25P04", ErrorCode::unreachable, "connect again and run the whole transaction again"},
    CodeRule{"3D000", ErrorCode::unreachable, "check the database's name in the URL"},
    CodeRule{"3F000", ErrorCode::schema_missing, "run: outseal-migrate up --db URL"},
    CodeRule{"42P01", ErrorCode::schema_missing, "run: outseal-migrate up --db URL"},
    CodeRule{"42703", ErrorCode::schema_mismatch, "run: outseal-migrate status --db URL"},
    CodeRule{"42883", ErrorCode::schema_mismatch, "run: outseal-migrate status --db URL"},
    CodeRule{"42501", ErrorCode::denied,
             "grant the user one of outseal's roles, and the roles their privileges: SELECT"
             " outseal.grant_roles(); to migrate, own the schema and the database"},
    CodeRule{"28", ErrorCode::denied, "check user and password; ~/.pgpass and PGPASSWORD work"},
    CodeRule{"53300", ErrorCode::unreachable, "all connections are taken: raise max_connections"},
    CodeRule{"53", ErrorCode::storage, "the server ran out of disk or memory"},
    CodeRule{"57P", ErrorCode::unreachable, "the server is starting or stopping: try again"},
    CodeRule{"58", ErrorCode::storage, "see the server's log"},
    CodeRule{"XX", ErrorCode::storage, "see the server's log"},
    CodeRule{"08", ErrorCode::unreachable, "check host, port and network"},
    CodeRule{"22", ErrorCode::invalid_argument, ""},
    CodeRule{"23", ErrorCode::constraint, ""},
};

template <typename T>
T from_network(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char byte : bytes.substr(0, sizeof(T)))
    value = (value << 8U) | static_cast<unsigned char>(byte);
  return static_cast<T>(value);
}

void append_network(std::string& out, std::uint32_t value) {
  for (const unsigned shift : {24U, 16U, 8U, 0U}) out += static_cast<char>(value >> shift & 0xffU);
}

/// As timestamptz_send() writes it: microseconds since 2000.
std::string network_time(std::int64_t ms) {
  const auto time = static_cast<std::uint64_t>((ms - kEpoch_ms) * 1'000);
  std::string bytes;
  append_network(bytes, static_cast<std::uint32_t>(time >> 32U));
  append_network(bytes, static_cast<std::uint32_t>(time));
  return bytes;
}

std::string uuid_text(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(36);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    const auto byte = static_cast<unsigned char>(bytes[i]);
    text += kDigits[byte >> 4U];
    text += kDigits[byte & 0xfU];
  }
  return text;
}

const CodeRule* rule_of(std::string_view state) {
  const auto* rule = std::find_if(kRules.begin(), kRules.end(), [&](const CodeRule& one) {
    return state.starts_with(one.state);
  });
  return rule == kRules.end() ? nullptr : rule;
}

std::string field(const PGresult* result, int name) {
  const char* text = PQresultErrorField(result, name);
  return text != nullptr ? text : "";
}

std::string first_line(std::string_view text) {
  return std::string{text.substr(0, text.find('\n'))};
}

}  // namespace

bool is_conflict(std::string_view state) {
  const CodeRule* rule = rule_of(state);
  return rule != nullptr && rule->code == ErrorCode::conflict;
}

bool is_part(const PGresult* result) {
  constexpr int kChunk = 12;  // PGRES_TUPLES_CHUNK, since libpq 17.
  const ExecStatusType status = PQresultStatus(result);
  return status == PGRES_SINGLE_TUPLE || static_cast<int>(status) == kChunk;
}

bool is_fine(const PGresult* result) {
  const ExecStatusType status = PQresultStatus(result);
  return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || is_part(result);
}

Error error_of(PGconn* connection, const PGresult* result, std::string_view operation) {
  const char* state = result != nullptr ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : nullptr;
  const char* primary =
      result != nullptr ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : nullptr;
  if (state == nullptr || primary == nullptr) {
    // A server that ends its sessions with a warning, as it does when another one has crashed, is
    // gone for libpq 15 only when it reads on: before, it says "no result" for ever.
    if (!mutant("no_look_for_end")) PQconsumeInput(connection);
    std::string message = first_line(PQerrorMessage(connection));
    if (message.empty()) message = "the connection to the database is lost";
    return Error{ErrorCode::unreachable,
                 operation,
                 message,
                 {.hint = "check host, port and network, and that the server runs"}};
  }
  // Its message names the table. The function, because messages may be translated.
  const char* function = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);
  if (function != nullptr && std::string_view{function} == "check_enable_rls")
    return Error{ErrorCode::denied,
                 operation,
                 primary,
                 {.hint = "see its policies in psql: \\d outseal.*; drop them, or let the user see "
                          "all rows: ALTER ROLE ... BYPASSRLS",
                  .detail_code = state}};
  // Only of a rule: what a service's own function says of a feature has another source.
  if (function != nullptr && std::string_view{function} == "RewriteQuery")
    return Error{ErrorCode::invalid_config,
                 operation,
                 primary,
                 {.hint = "drop the rule: outseal's tables take none", .detail_code = state}};
  const CodeRule* rule = rule_of(state);
  const bool advised = rule != nullptr && !rule->hint.empty();
  const std::string schema = field(result, PG_DIAG_SCHEMA_NAME);
  const std::string table = field(result, PG_DIAG_TABLE_NAME);
  std::string message = primary;
  // Which event it is: of no other table's row may a value be shown.
  if (std::string_view{state} == "23505" && schema == "outseal" && table == "outbox")
    if (const std::string detail = field(result, PG_DIAG_MESSAGE_DETAIL); !detail.empty())
      message += "; " + detail;
  return Error{rule != nullptr ? rule->code : ErrorCode::internal,
               operation,
               message,
               {.hint = advised ? std::string{rule->hint} : field(result, PG_DIAG_MESSAGE_HINT),
                .detail_code = state,
                .table = schema.empty() ? table : schema + '.' + table,
                .constraint = field(result, PG_DIAG_CONSTRAINT_NAME)}};
}

// --- Parameters ----------------------------------------------------------------------------------

Parameters::Value& Parameters::at(int index) {
  const auto place = static_cast<std::size_t>(index);
  if (values_.size() <= place) values_.resize(place + 1);
  values_[place] = {.null = false, .binary = false, .text = {}, .bytes = {}};
  return values_[place];
}

void Parameters::set(int index, std::int64_t value) { at(index).text = std::to_string(value); }

void Parameters::set_text(int index, std::string_view text) {
  if (text.find('\0') != std::string_view::npos)
    throw Error{ErrorCode::invalid_argument, "bind", "a text holds a NUL character"};
  at(index).text = text;
}

void Parameters::set_bytes(int index, std::string_view bytes) {
  Value& value = at(index);
  value.binary = true;
  value.bytes = bytes.data() != nullptr ? bytes : std::string_view{""};
}

// Source: PostgreSQL's array_send(): dimensions, has nulls, element type, then each dimension's
// length and lower bound, then each element's length and bytes.
void Parameters::set_array(int index, std::uint32_t element_type,
                           std::span<const std::string_view> elements) {
  Value& value = at(index);
  value.binary = true;
  const bool any_null = std::any_of(elements.begin(), elements.end(),
                                    [](std::string_view element) { return !element.data(); });
  for (const std::uint32_t head :
       {1U, any_null ? 1U : 0U, element_type, static_cast<std::uint32_t>(elements.size()), 1U})
    append_network(value.text, head);
  for (const std::string_view element : elements) {
    append_network(value.text,
                   element.data() ? static_cast<std::uint32_t>(element.size()) : kNullLength);
    value.text += element;
  }
  value.bytes = value.text;
}

void Parameters::set_null(int index) { at(index).null = true; }

const char* const* Parameters::values() {
  pointers_.clear();
  lengths_.clear();
  formats_.clear();
  for (const Value& value : values_) {
    pointers_.push_back(value.null     ? nullptr
                        : value.binary ? value.bytes.data()
                                       : value.text.c_str());
    lengths_.push_back(static_cast<int>(value.bytes.size()));
    formats_.push_back(value.binary ? 1 : 0);
  }
  return pointers_.data();
}

// --- Statement -----------------------------------------------------------------------------------

void PgStatement::bind_texts(int index, std::span<const std::string_view> texts) {
  parameters_.set_array(index, kText, texts);
}

void PgStatement::bind_blobs(int index, std::span<const std::string_view> blobs) {
  parameters_.set_array(index, kBytea, blobs);
}

void PgStatement::bind_ids(int index, std::span<const EventId> ids) {
  std::vector<std::string_view> elements;
  elements.reserve(ids.size());
  for (const EventId& id : ids)
    elements.emplace_back(reinterpret_cast<const char*>(id.bytes().data()), id.bytes().size());
  parameters_.set_array(index, kUuid, elements);
}

void PgStatement::bind_times(int index, std::span<const std::int64_t> times) {
  std::vector<std::string> bytes;
  bytes.reserve(times.size());
  for (const std::int64_t ms : times) bytes.push_back(network_time(ms));
  parameters_.set_array(index, kTimestamptz,
                        std::vector<std::string_view>(bytes.begin(), bytes.end()));
}

void PgStatement::send() {
  runner_.send(*this);
  is_sent_ = true;
}

bool PgStatement::step() {
  if (result_ == nullptr)
    std::exchange(is_sent_, false) ? runner_.collect(*this) : runner_.run(*this);
  uuids_.clear();
  return ++row_ < PQntuples(result_.get());
}

void PgStatement::go_to(std::int64_t row) {
  row_ = static_cast<int>(row);
  uuids_.clear();
}

void PgStatement::take(Result result) {
  result_ = std::move(result);
  row_ = -1;
}

void PgStatement::reset() noexcept {
  result_.reset();
  row_ = -1;
  uuids_.clear();
  parameters_.clear();
}

std::string_view PgStatement::raw(int column) const {
  const char* value = PQgetvalue(result_.get(), row_, column);
  if (value == nullptr) return {};
  return {value, static_cast<std::size_t>(PQgetlength(result_.get(), row_, column))};
}

bool PgStatement::is_null(int column) const {
  return PQgetisnull(result_.get(), row_, column) != 0;
}

std::int64_t PgStatement::integer(int column) const {
  const std::string_view bytes = raw(column);
  if (bytes.empty()) return 0;  // NULL, as with SQLite.
  switch (PQftype(result_.get(), column)) {
    case kBool:
      return bytes[0] != 0 ? 1 : 0;
    case kInt2:
      return from_network<std::int16_t>(bytes);
    case kInt4:
      return from_network<std::int32_t>(bytes);
    case kInt8:
    case kXid8:
      return from_network<std::int64_t>(bytes);
    case kTimestamptz: {
      const auto us = from_network<std::int64_t>(bytes);
      return us / 1'000 - (us % 1'000 < 0 ? 1 : 0) + kEpoch_ms;
    }
    default:
      throw Error{ErrorCode::internal, "step",
                  "column " + std::to_string(column) + " is no number: " + sql()};
  }
}

std::string_view PgStatement::text(int column) const {
  const std::string_view bytes = raw(column);
  switch (PQftype(result_.get(), column)) {
    case kJsonb:
      return bytes.empty() ? bytes : bytes.substr(1);  // The first byte is a version number.
    case kUuid: {
      if (bytes.empty()) return bytes;
      const auto place = static_cast<std::size_t>(column);
      const auto columns = static_cast<std::size_t>(PQnfields(result_.get()));
      if (uuids_.size() < columns) uuids_.resize(columns);
      if (uuids_[place].empty()) uuids_[place] = uuid_text(bytes);
      return uuids_[place];
    }
    default:
      return bytes;
  }
}

std::string_view PgStatement::blob(int column) const { return raw(column); }

EventId PgStatement::event_id(int column) const {
  std::array<std::uint8_t, 16> id{};
  const std::string_view bytes = raw(column);
  if (PQftype(result_.get(), column) != kUuid || bytes.size() != id.size())
    return Statement::event_id(column);
  std::memcpy(id.data(), bytes.data(), id.size());
  return EventId{id};
}

}  // namespace outseal::sql::postgres
