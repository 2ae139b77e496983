// What carries out the commands of an attempt's core.
#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "operation/effect_core.h"
#include "operation/effect_store.h"
#include "outseal/effects.h"
#include "outseal/observer.h"

namespace outseal {

struct Attempt::Impl {
  /// `for_operation` is null for one that is resumed.
  Impl(Session session, std::string key_hash, const Operation* for_operation,
       const AttemptOptions& with);

  /// Carries `command` out, and those that follow, up to the one that ends the call.
  /// @throws Error{lease_lost} if another attempt has the operation.
  attempt::Command run(attempt::Command command);
  /// The last command as it answers for the operation.
  ExecuteResult answer(attempt::Command command);
  EffectOutcome effect(const Effect& effect);
  ExecuteResult finish(const FinishHandler& handler);
  /// Gives the lease back without saying so if it cannot.
  void leave_quietly() noexcept;

  /// By a clock that also counts the time in which the machine sleeps.
  static attempt::Milliseconds now();

  std::optional<attempt::Input> carry_out(const attempt::Load& load);
  std::optional<attempt::Input> carry_out(const attempt::TakeOver& take_over);
  std::optional<attempt::Input> carry_out(const attempt::Commit& commit);
  std::optional<attempt::Input> carry_out(const attempt::Call& call);
  std::optional<attempt::Input> carry_out(const attempt::Ask& ask);
  std::optional<attempt::Input> carry_out(const attempt::Cancel& cancel);
  std::optional<attempt::Input> carry_out(const attempt::Finish& finish);
  /// Of a command that ends a call.
  template <typename End>
  std::optional<attempt::Input> carry_out(const End& /*end*/) {
    return std::nullopt;
  }

  template <typename Result>
  Result call_back(const std::function<Result(EffectCall&)>& callback, ProviderCall::Step step,
                   int attempt);
  /// What the observer is told of a call of the attempt.
  AttemptCall seen_as(AttemptCall::Step step) const;
  void renew();
  void keep_compensation(const Effect& effect, const EffectOutcome& outcome);

  std::optional<Operation> operation;
  AttemptOptions options;
  operation::OperationId id;
  std::unique_ptr<operation::EffectStore> store;
  attempt::EffectCore core;
  std::vector<EffectOutcome> outcomes;
  std::string secret;  ///< The other half of the record's handle, if it has one.
  const Effect* effect_at_hand = nullptr;
  const FinishHandler* handler = nullptr;
  bool callback_threw = false;
  std::atomic<attempt::Milliseconds> deadline = {};  ///< Of the call that runs.
  std::mutex renewing;  ///< Guards the core and the store while a call runs.
};

}  // namespace outseal
