#include "sim/effect_shop.h"

#include <array>

namespace outseal::sim {
namespace {

using namespace std::chrono_literals;

ProviderPlan random_plan(Random& random) {
  ProviderPlan plan;
  ProviderProfile& profile = plan.profile;
  profile = {
      .name = "model", .window = 1h, .margin = 5min, .absence_after = 10min, .max_in_flight = 2min};
  profile.replays = static_cast<Replays>(random.below(3));
  if (profile.replays == Replays::nothing) profile.window = 0s;
  profile.cancels_by_key = profile.replays != Replays::nothing && random.percent(50);
  plan.lost_percent = random.percent(70) ? 30 : 0;
  plan.refused_percent = random.percent(50) ? 20 : 0;
  plan.way_max = 110s;
  plan.lag_max = 5min;
  return plan;
}

}  // namespace

Shop::Shop(Random& random) {
  constexpr std::array kLists{std::array{Policy::rerun, Policy::ask, Policy::cancel_by_key},
                              std::array{Policy::ask, Policy::rerun, Policy::hand_over},
                              std::array{Policy::cancel_by_key, Policy::ask, Policy::hand_over},
                              std::array{Policy::ask, Policy::cancel_by_key, Policy::rerun},
                              std::array{Policy::rerun, Policy::hand_over, Policy::hand_over},
                              std::array{Policy::hand_over, Policy::hand_over, Policy::hand_over}};
  const std::uint64_t count = random.between(1, 2);
  for (std::uint64_t i = 0; i < count; ++i) {
    providers.push_back(std::make_unique<Provider>(random_plan(random)));
    const auto& list = kLists.at(random.below(kLists.size()));
    Effect effect;
    effect.name = "effect" + std::to_string(i);
    effect.request = "r" + std::to_string(i);
    effect.provider = providers.back()->plan().profile;
    effect.policies = {list.begin(), list.end()};
    effect.rerun_needs = random.percent(50) ? Replays::any : Replays::success;
    effects.push_back(std::move(effect));
  }
}

std::string describe(const Effect& effect) {
  const ProviderProfile& provider = effect.provider;
  std::string text = effect.name + ": provider replays " + std::string{name_of(provider.replays)} +
                     (provider.cancels_by_key ? ", cancels by key" : "") + "; rerun needs " +
                     std::string{name_of(effect.rerun_needs)} + "; policies";
  for (const Policy policy : effect.policies) text += " " + std::string{name_of(policy)};
  return text;
}

}  // namespace outseal::sim
