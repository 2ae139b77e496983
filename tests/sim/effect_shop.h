// What an operation of a schedule does, and with whom.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/effect_model.h"
#include "sim/random.h"

namespace outseal::sim {

/// One or two effects with their policies, each with a provider of its own.
struct Shop {
  std::vector<std::unique_ptr<Provider>> providers;
  std::vector<Effect> effects;

  explicit Shop(Random& random);
};

/// For a trace.
std::string describe(const Effect& effect);

}  // namespace outseal::sim
