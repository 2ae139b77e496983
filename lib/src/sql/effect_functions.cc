#include "sql/effect_functions.h"

#include <algorithm>
#include <array>
#include <string>
#include <tuple>
#include <vector>

#include "sql/record_row.h"
#include "sql/typed.h"

namespace outseal::sql {
namespace {

constexpr std::array<std::string_view, 3> kOvertaken{"operation_fence", "effect_is_intended",
                                                     "effect_may_be_sent"};

/// An array's element, which is NULL if it is empty.
std::string_view or_null(std::string_view text) { return text.empty() ? std::string_view{} : text; }

/// The settlements as the columns of an unnest().
class Settlements {
 public:
  explicit Settlements(std::span<const Settle> all) {
    for (const Settle& each : all) {
      names_.push_back(each.name);
      states_.push_back(name_of(each.state));
      sent_.push_back(name_of(each.sent));
      references_.push_back(or_null(each.reference));
      responses_.push_back(or_null(each.response));
      compensations_.push_back(or_null(each.compensation));
      deciders_.push_back(or_null(each.decided_by));
      evidence_.push_back(or_null(each.evidence));
    }
  }

  auto values() const {
    using Texts = std::span<const std::string_view>;
    return std::tuple{Texts{names_},      Texts{states_},         Texts{sent_},
                      Texts{references_}, BytesArray{responses_}, Texts{compensations_},
                      Texts{deciders_},   Texts{evidence_}};
  }

 private:
  using Column = std::vector<std::string_view>;
  Column names_;
  Column states_;
  Column sent_;
  Column references_;
  Column responses_;
  Column compensations_;
  Column deciders_;
  Column evidence_;
};

/// The nine parameters of an effect that is sent; views into `send`.
auto values_of(const Send& send) {
  std::optional<std::int64_t> rerun_for;
  if (send.rerun_for) rerun_for = send.rerun_for->count();
  std::optional<std::int64_t> minor;
  if (send.amount) minor = send.amount->minor;
  return std::tuple{NullIfEmpty{send.name},
                    Bytes{send.request_hash},
                    NullIfEmpty{send.provider},
                    NullIfEmpty{send.provider_key},
                    NullIfEmpty{send.policies},
                    rerun_for,
                    minor,
                    NullIfEmpty{send.amount ? std::string_view{send.amount->currency} : ""},
                    NullIfEmpty{send.attributes}};
}

template <typename... Tuples>
Statement& bind_all_of(Connection& connection, const Text& text, const Tuples&... tuples) {
  const auto bind = [&](const auto&... values) -> Statement& {
    return bind_statement(connection, text, values...);
  };
  return std::apply(bind, std::tuple_cat(tuples...));
}

void run_bound(Statement& statement) {
  const StatementScope use{statement};
  statement.step();
}

}  // namespace

bool is_overtaken(const Error& error) {
  return std::find(kOvertaken.begin(), kOvertaken.end(), error.constraint()) != kOvertaken.end();
}

// What is selected is evaluated from left to right, and sees what was changed before it.

#define OUTSEAL_MS(parameter) parameter "::bigint::float8 * interval '1 ms'"

#define OUTSEAL_SEND(hash, fence, name, request, provider, key, policies, rerun, minor, currency, \
                     attributes)                                                                  \
  "outseal.send_effect(" hash ", " fence ", " name ", " request ", " provider ", " key            \
  ", " policies ", " OUTSEAL_MS(rerun) ", " minor "::bigint, " currency ", " attributes "::jsonb)"

#define OUTSEAL_SETTLE(hash, fence, names, states, sent, references, responses, compensations,   \
                       deciders, evidence)                                                       \
  "(SELECT count(outseal.settle_effect(" hash ", " fence                                         \
  ", s.name, s.state,"                                                                           \
  " s.sent, s.reference, s.response, s.compensation, s.decided_by, "                             \
  "s.evidence))"                                                                                 \
  " FROM unnest(" names "::text[], " states "::text[], " sent "::text[], " references            \
  "::text[], " responses "::bytea[], " compensations "::text[], " deciders "::text[], " evidence \
  "::text[]) AS s (name, state, sent, reference, response, compensation, decided_by,"            \
  " evidence))"

// key hash, scope, fingerprint, its version, handle, owner, lease, the effect's nine
const Text kBeginWithEffect{
    .name = "begin_with_effect",
    .postgres = "SELECT " OUTSEAL_SEND(
        "$1", "outseal.claim_operation($1, $2, $3, $4::integer, $5, $6, " OUTSEAL_MS("$7") ")",
        "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15", "$16")};

void begin_operation(Connection& connection, const OperationBeginning& beginning,
                     const Send& first) {
  run_bound(
      bind_all_of(connection, kBeginWithEffect,
                  std::tuple{Bytes{beginning.key_hash}, beginning.scope,
                             Bytes{beginning.fingerprint}, beginning.fingerprint_version,
                             Bytes{beginning.handle}, beginning.owner, beginning.lease.count()},
                  values_of(first)));
}

// key hash, fence, owner, lease, idle -> the new fence, or NULL
const Text kTakeOverByFence{
    .name = "take_over_by_fence",
    .postgres = "SELECT outseal.take_over_operation($1, $2, $3, " OUTSEAL_MS("$4") ", " OUTSEAL_MS(
        "$5") ")"};

std::optional<std::int64_t> take_over_operation(Connection& connection, const OperationLease& lease,
                                                std::chrono::milliseconds idle) {
  return get_value<std::optional<std::int64_t>>(connection, kTakeOverByFence, Bytes{lease.key_hash},
                                                lease.fence, lease.owner, lease.lease.count(),
                                                idle.count());
}

// key hash, fence, owner, lease, the effect that goes on, 1 to hand over; the settlements' eight;
// the effect's nine
const Text kAdvanceOperation{
    .name = "advance_operation",
    .postgres =
        "SELECT CASE WHEN $6::bigint = 0 THEN outseal.hold_operation($1, $2, $3, " OUTSEAL_MS(
            "$4") ", $5) END, " OUTSEAL_SETTLE("$1", "$2", "$7", "$8", "$9", "$10", "$11", "$12",
                                               "$13", "$14") ", CASE WHEN $15::text IS NOT NULL"
        " THEN " OUTSEAL_SEND("$1", "$2", "$15", "$16", "$17", "$18", "$19", "$20", "$21", "$22",
                              "$23") " END, CASE WHEN $6::bigint = 1"
        " THEN outseal.hand_over_operation($1, $2)::text END"};

void advance_operation(Connection& connection, const OperationLease& lease,
                       const Advance& advance) {
  const Settlements settled{advance.settled};
  const Send send = advance.send.value_or(Send{});
  run_bound(bind_all_of(
      connection, kAdvanceOperation,
      std::tuple{Bytes{lease.key_hash}, lease.fence, NullIfEmpty{lease.owner}, lease.lease.count(),
                 NullIfEmpty{advance.sending}, advance.hand_over ? 1 : 0},
      settled.values(), values_of(send)));
}

// key hash, fence, state, status, body, content type, headers, the response's retention, the key's;
// the settlements' eight
const Text
    kFinishByFence{
        .name = "finish_by_fence",
        .postgres =
            "SELECT " OUTSEAL_SETTLE(
                "$1", "$2", "$10", "$11", "$12", "$13", "$14", "$15", "$16",
                "$17") ", outseal.finish_operation($1, $2, $3, $4::integer, $5, $6, "
                       "$7, " OUTSEAL_MS("$8") ", " OUTSEAL_MS("$9") ")::text"};

// The same with the one settlement that nearly all have.
const Text kFinishWithOne{
    .name = "finish_with_one",
    .postgres =
        "SELECT outseal.settle_effect($1, $2, $10, $11, $12, $13, $14, $15, $16, $17),"
        " outseal.finish_operation($1, $2, $3, $4::integer, $5, $6, $7, " OUTSEAL_MS(
            "$8") ", " OUTSEAL_MS("$9") ")::text"};

Statement& finish_operation(Connection& connection, const NewRecord& record, std::int64_t fence,
                            std::span<const Settle> settled) {
  const std::tuple ended{Bytes{record.key_hash},      fence,
                         text_of(record.state),       record.status,
                         Bytes{record.body},          record.content_type,
                         NullIfEmpty{record.headers}, record.response_retention.count(),
                         record.key_retention.count()};
  if (settled.size() != 1)
    return bind_all_of(connection, kFinishByFence, ended, Settlements{settled}.values());
  const Settle& one = settled.front();
  return bind_all_of(
      connection, kFinishWithOne, ended,
      std::tuple{one.name, name_of(one.state), name_of(one.sent), NullIfEmpty{one.reference},
                 one.response.empty() ? std::nullopt : std::optional{Bytes{one.response}},
                 NullIfEmpty{one.compensation}, NullIfEmpty{one.decided_by},
                 NullIfEmpty{one.evidence}});
}

}  // namespace outseal::sql
