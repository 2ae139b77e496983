// Which plans PostgreSQL makes for the library's queries, and what they read when they are run.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>
#include <string_view>
#include <vector>

#include "sql/connection.h"
#include "sql/text.h"

namespace outseal::test {

/// A node of a plan that reads a table.
struct Scan {
  std::string table;
  std::string type;
  std::string index;
  double rows = 0;  ///< Read by it, if the plan was run.
};

struct Plan {
  std::vector<Scan> scans;
  double sorted = 0;  ///< Rows that were sorted, if the plan was run.
  double pages = 0;   ///< Touched, each time anew, if it was run.

  /// As messages show it.
  std::string summary() const {
    std::string all = number(sorted) + " rows sorted";
    for (const Scan& scan : scans)
      all += "; " + scan.type + " of " + scan.table + " by " + scan.index + ": " +
             number(scan.rows) + " rows";
    return all;
  }
  static std::string number(double value) {
    return std::to_string(static_cast<std::int64_t>(value));
  }
};

inline void collect(const nlohmann::json& node, Plan& plan) {
  const std::string type = node.at("Node Type");
  const double loops = node.value("Actual Loops", 0.0);
  if (type == "Sort" || type == "Incremental Sort")
    plan.sorted += loops * node.at("Plans").at(0).value("Actual Rows", 0.0);
  if (node.contains("Relation Name") && type.find("Scan") != std::string::npos) {
    // A bitmap's index stands in the node below.
    const nlohmann::json& index = type == "Bitmap Heap Scan" ? node.at("Plans").at(0) : node;
    const double rows = node.value("Actual Rows", 0.0) + node.value("Rows Removed by Filter", 0.0) +
                        node.value("Rows Removed by Index Recheck", 0.0);
    plan.scans.push_back(
        {node.at("Relation Name"), type, index.value("Index Name", "nothing"), loops * rows});
  }
  if (node.contains("Plans"))
    for (const nlohmann::json& child : node.at("Plans")) collect(child, plan);
}

/// Its text with a literal for each parameter.
inline std::string with_literals(std::string sql, const std::vector<std::string>& literals) {
  for (std::size_t i = literals.size(); i > 0; --i) {  // $10 before $1.
    const std::string name = "$" + std::to_string(i);
    for (std::size_t at = 0; (at = sql.find(name, at)) != std::string::npos;)
      sql.replace(at, name.size(), literals[i - 1]);
  }
  return sql;
}

class Planner {
 public:
  explicit Planner(sql::Connection& connection) : connection_{connection} {}

  /// As the library runs it: parameters known to the planner, settings pinned.
  Plan plan(const sql::Text& query, const std::vector<std::string>& literals, bool run = false) {
    return explain(query, with_literals(text_of(query), literals), run);
  }
  /// As a service's session runs it after a while: planned without knowing the parameters.
  Plan generic_plan(const sql::Text& query, const std::vector<std::string>& literals) {
    connection_.execute("SET plan_cache_mode = force_generic_plan; PREPARE q AS " + text_of(query));
    std::string call = "EXECUTE q (";
    for (const std::string& literal : literals) call += (call.back() == '(' ? "" : ", ") + literal;
    const Plan found = explain(query, call + ")", false);
    connection_.execute("DEALLOCATE q; RESET plan_cache_mode");
    return found;
  }

 private:
  /// Its text. Of a call of one of our functions what that runs, which has the same parameters.
  std::string text_of(const sql::Text& query) {
    std::string text = query.postgres;
    static const std::regex call{R"(SELECT [a-z, ]*FROM outseal\.([a-z_]+)\(.*)"};
    std::smatch match;
    if (!std::regex_match(text, match, call)) return text;
    const std::string name = match[1].str();
    const auto body = connection_.prepare("SELECT prosrc FROM pg_proc WHERE proname = '" + name +
                                          "' AND pronamespace = 'outseal'::regnamespace");
    body->step();
    return std::string{body->text(0)};
  }
  Plan explain(const sql::Text& query, const std::string& sql, bool run) {
    connection_.execute("BEGIN");
    const std::string settings{query.setting.calls};
    if (!settings.empty()) connection_.execute("SELECT " + settings);
    nlohmann::json root;
    {
      const auto rows = connection_.prepare(
          (run ? "EXPLAIN (FORMAT JSON, ANALYZE, BUFFERS) " : "EXPLAIN (FORMAT JSON) ") + sql);
      rows->step();
      root = nlohmann::json::parse(rows->text(0)).at(0).at("Plan");
    }
    connection_.execute("ROLLBACK");
    Plan plan;
    collect(root, plan);
    plan.pages = root.value("Shared Hit Blocks", 0.0) + root.value("Shared Read Blocks", 0.0);
    return plan;
  }

  sql::Connection& connection_;
};

}  // namespace outseal::test
