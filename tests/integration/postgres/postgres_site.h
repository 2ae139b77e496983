// A database with a user of each role, as an administrator sets it up.
#pragma once

#include <doctest/doctest.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>

#include <memory>
#include <string>

#include "integration/failover/postgres_drill.h"
#include "outseal/outseal.h"
#include "support/postgres_server.h"

namespace outseal::test {

/// A database with the schema, and a user of each role.
struct Site {
  Drill drill;
  PostgresServer& server = shared_server();
  std::string database = server.fresh_database();

  Site() {
    REQUIRE(
        run_program({"outseal-migrate", "up", "--db", server.url(database)}, drill.log()).code ==
        0);
    for (const std::string role : {"producer", "relay", "reconciler", "sink"})
      make_user("the_" + role, "IN ROLE outseal_" + role);
    make_user("nobody", "");
  }
  ~Site() { server.drop_database(database); }
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  std::string url(const std::string& user) const { return server.url(database, user); }
  std::unique_ptr<soci::session> session(const std::string& user) const {
    return std::make_unique<soci::session>(soci::postgresql, server.conninfo(database, user));
  }
  std::string ask(const std::string& sql) const { return server.execute(sql, database); }

 private:
  /// Roles belong to the cluster, which the cases share.
  void make_user(const std::string& name, const std::string& more) const {
    if (server.execute("SELECT count(*) FROM pg_roles WHERE rolname = '" + name + "'") == "1")
      return;
    server.execute("CREATE ROLE " + name + " LOGIN PASSWORD '" + server.password() + "' " + more);
  }
};

inline Event paid(const std::string& key) {
  return {.topic = "payments", .key = key, .type = "paid", .payload = "{}"};
}

}  // namespace outseal::test
