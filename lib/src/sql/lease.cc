#include "sql/lease.h"

#include "sql/typed.h"

namespace outseal::sql {

// name, owner, lease until, now, source system, source timeline
const Text kAcquireLease{
    .name = "acquire_lease",
    .sqlite =
        "UPDATE outseal_subscription SET epoch = epoch + 1, version = version + 1,"
        " lease_owner = ?2, lease_until = ?3, updated_at = ?4, source_system = ?5,"
        " source_timeline = ?6 WHERE name = ?1",
    .postgres =
        "UPDATE outseal.subscription SET epoch = epoch + 1, version = version + 1,"
        " lease_owner = $2, lease_until = to_timestamp($3::float8 / 1000),"
        " updated_at = to_timestamp($4::float8 / 1000), source_system = $5,"
        " source_timeline = $6 WHERE name = $1"};

void acquire_lease(Connection& connection, std::string_view subscription, const Lease& lease,
                   const SourceIdentity& source) {
  run(connection, kAcquireLease, subscription, lease.owner, lease.until_ms, lease.now_ms,
      NullIfEmpty{source.system}, source.known_timeline());
}

// name, epoch, lease until, now
const Text kRenewLease{
    .name = "renew_lease",
    .sqlite =
        "UPDATE outseal_subscription SET lease_until = ?3, updated_at = ?4"
        " WHERE name = ?1 AND epoch = ?2",
    .postgres =
        "UPDATE outseal.subscription SET lease_until = to_timestamp($3::float8 / 1000),"
        " updated_at = to_timestamp($4::float8 / 1000) WHERE name = $1 AND epoch = $2"};

bool renew_lease(Connection& connection, std::string_view subscription, Epoch epoch,
                 std::int64_t until_ms, std::int64_t now_ms) {
  return run(connection, kRenewLease, subscription, epoch, until_ms, now_ms) == 1;
}

// name, epoch, now
const Text kReleaseLease{
    .name = "release_lease",
    .sqlite =
        "UPDATE outseal_subscription SET lease_owner = NULL, lease_until = 0, updated_at = ?3"
        " WHERE name = ?1 AND epoch = ?2",
    .postgres =
        "UPDATE outseal.subscription SET lease_owner = NULL, lease_until = 'epoch',"
        " updated_at = to_timestamp($3::float8 / 1000) WHERE name = $1 AND epoch = $2"};

void release_lease(Connection& connection, std::string_view subscription, Epoch epoch,
                   std::int64_t now_ms) {
  run(connection, kReleaseLease, subscription, epoch, now_ms);
}

}  // namespace outseal::sql
