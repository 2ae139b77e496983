#include "torture/adversary_program.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "sim/random.h"

namespace outseal::test::adversary {
namespace {

using sim::Random;

constexpr std::array<std::string_view, kActCount> kNames{"begin",
                                                         "join",
                                                         "append",
                                                         "append_bad",
                                                         "commit",
                                                         "roll_back",
                                                         "destroy",
                                                         "execute",
                                                         "row",
                                                         "append_by_trigger",
                                                         "append_by_sql",
                                                         "update",
                                                         "savepoint",
                                                         "rollback_to",
                                                         "release",
                                                         "helper",
                                                         "raw_begin",
                                                         "raw_commit",
                                                         "raw_rollback",
                                                         "commit_and_chain",
                                                         "rollback_and_chain",
                                                         "commit_begin",
                                                         "rollback_begin",
                                                         "prepare",
                                                         "violation",
                                                         "deferred_violation",
                                                         "mend_deferred",
                                                         "or_rollback",
                                                         "interrupt",
                                                         "full",
                                                         "reconnect",
                                                         "close",
                                                         "terminate",
                                                         "latin1",
                                                         "utf8",
                                                         "set_role",
                                                         "reset_role",
                                                         "deallocate",
                                                         "write_other_file",
                                                         "beside_event",
                                                         "beside_update",
                                                         "beside_lock",
                                                         "beside_unlock"};

/// How often an act is chosen, and from which temper on: a service that does everything wrong in
/// each program would hardly ever get to a commit.
struct Choice {
  Act act;
  std::uint32_t weight;
  int temper;
};

constexpr Choice kBoth[] = {{Act::begin, 3, 2},
                            {Act::join, 3, 0},
                            {Act::append, 26, 0},
                            {Act::append_bad, 1, 0},
                            {Act::commit, 4, 2},
                            {Act::roll_back, 2, 2},
                            {Act::destroy, 3, 2},
                            {Act::row, 8, 0},
                            {Act::append_by_trigger, 4, 0},
                            {Act::update, 4, 0},
                            {Act::savepoint, 10, 0},
                            {Act::rollback_to, 7, 0},
                            {Act::release, 4, 0},
                            {Act::helper, 2, 2},
                            {Act::raw_begin, 3, 2},
                            {Act::raw_commit, 3, 2},
                            {Act::raw_rollback, 3, 2},
                            {Act::violation, 3, 1},
                            {Act::deferred_violation, 1, 1},
                            {Act::mend_deferred, 1, 1},
                            {Act::reconnect, 2, 3},
                            {Act::close, 1, 3},
                            {Act::beside_event, 4, 0},
                            {Act::beside_update, 2, 1},
                            {Act::execute, 1, 2}};
constexpr Choice kPostgres[] = {
    {Act::append_by_sql, 3, 0}, {Act::commit_and_chain, 2, 2}, {Act::rollback_and_chain, 2, 2},
    {Act::commit_begin, 2, 2},  {Act::rollback_begin, 2, 2},   {Act::prepare, 1, 2},
    {Act::terminate, 2, 3},     {Act::latin1, 1, 3},           {Act::utf8, 1, 3},
    {Act::set_role, 1, 1},      {Act::reset_role, 1, 1},       {Act::deallocate, 1, 0}};
constexpr Choice kSqlite[] = {{Act::or_rollback, 2, 1}, {Act::interrupt, 2, 1},
                              {Act::full, 1, 1},        {Act::write_other_file, 2, 1},
                              {Act::beside_lock, 1, 2}, {Act::beside_unlock, 1, 2}};

constexpr const char* kFailpoints[] = {"service.before_append",  "service.after_append",
                                       "service.before_commit",  "service.after_commit",
                                       "service.before_handler", "service.after_handler",
                                       "service.after_record"};

class Maker {
 public:
  Maker(std::uint64_t seed, bool postgres) : random_{seed}, postgres_{postgres} {}

  Program make() {
    Program program;
    program.bits = bits();
    temper_ = static_cast<int>(random_.below(4));
    const std::uint64_t parts = random_.between(1, 2);
    for (std::uint64_t i = 0; i < parts; ++i) {
      if (random_.percent(40)) {
        program.moves.push_back(execution(0));
        continue;
      }
      program.moves.push_back({Act::begin, bits(), bits()});
      savepoint_.reset();
      add(program.moves, random_.between(0, 12), 0);
      if (random_.percent(85)) program.moves.push_back({Act::commit, bits(), bits()});
    }
    if (random_.percent(30)) choose_kill(program);
    return program;
  }

 private:
  std::uint32_t bits() { return static_cast<std::uint32_t>(random_.next() >> 32U); }

  Move execution(int depth) {
    Move move{Act::execute, bits(), bits()};
    savepoint_.reset();
    add(move.body, random_.between(0, 8), depth + 1);
    return move;
  }

  Act choose() {
    const auto weigh = [&](std::span<const Choice> choices, auto&& each) {
      for (const Choice& choice : choices)
        if (choice.temper <= temper_) each(choice);
    };
    const std::span<const Choice> own = postgres_ ? std::span<const Choice>{kPostgres} : kSqlite;
    std::uint64_t sum = 0;
    for (const auto& choices : {std::span<const Choice>{kBoth}, own})
      weigh(choices, [&](const Choice& choice) { sum += choice.weight; });
    std::uint64_t left = random_.below(sum);
    Act chosen = Act::row;
    bool found = false;
    for (const auto& choices : {std::span<const Choice>{kBoth}, own})
      weigh(choices, [&](const Choice& choice) {
        if (!found && left < choice.weight) {
          chosen = choice.act;
          found = true;
        }
        if (!found) left -= choice.weight;
      });
    return chosen;
  }

  void add(std::vector<Move>& moves, std::uint64_t count, int depth) {
    for (std::uint64_t i = 0; i < count; ++i) {
      Act act = choose();
      if (act == Act::execute) {
        if (depth < 2) moves.push_back(execution(depth));
        continue;
      }
      const bool uses_savepoint = act == Act::rollback_to || act == Act::release;
      if (uses_savepoint && !savepoint_ && random_.percent(85)) act = Act::savepoint;
      moves.push_back({act, bits(), bits()});
      if (uses_savepoint && savepoint_ && random_.percent(85)) moves.back().a = *savepoint_;
      if (act == Act::savepoint) savepoint_ = moves.back().a;
      // What an error leaves behind can be undone; and what a return has undone may be taken.
      if (act == Act::violation && random_.percent(60))
        moves.push_back({Act::rollback_to, bits(), bits()});
      if (act == Act::rollback_to && random_.percent(20))
        moves.push_back({Act::beside_event, bits(), bits()});
    }
  }

  static std::uint64_t count_of(const std::vector<Move>& moves) {
    std::uint64_t count = moves.size();
    for (const Move& move : moves) count += count_of(move.body);
    return count;
  }

  void choose_kill(Program& program) {
    program.kill = static_cast<Kill>(random_.between(1, 3));
    program.kill_at = static_cast<std::uint32_t>(random_.between(1, count_of(program.moves)));
    if (program.kill != Kill::at_failpoint) return;
    program.failpoint = kFailpoints[random_.below(std::size(kFailpoints))];
    program.kill_at = static_cast<std::uint32_t>(random_.between(1, 3));
  }

  Random random_;
  bool postgres_;
  int temper_ = 0;
  std::optional<std::uint32_t>
      savepoint_;  ///< The last one that was set, so that most returns fit.
};

}  // namespace

std::string_view name_of(Act act) { return kNames.at(static_cast<std::size_t>(act)); }

Program make_program(std::uint64_t seed, bool postgres) { return Maker{seed, postgres}.make(); }

}  // namespace outseal::test::adversary
