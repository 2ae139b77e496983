#include "sim/effect_coverage.h"

#include <array>

namespace outseal::sim {
namespace {

struct Count {
  const char* name;
  std::uint64_t EffectCoverage::*field;
};
constexpr std::array kCounts{
    Count{"crashes", &EffectCoverage::crashes},
    Count{"takeovers", &EffectCoverage::takeovers},
    Count{"lost", &EffectCoverage::lost},
    Count{"late_requests", &EffectCoverage::late_requests},
    Count{"reruns", &EffectCoverage::reruns},
    Count{"asked", &EffectCoverage::asked},
    Count{"cancelled", &EffectCoverage::cancelled},
    Count{"handed_over", &EffectCoverage::handed_over},
    Count{"decided", &EffectCoverage::decided},
    Count{"compensated", &EffectCoverage::compensated},
    Count{"succeeded", &EffectCoverage::succeeded},
    Count{"failed", &EffectCoverage::failed},
    Count{"replayed", &EffectCoverage::replayed},
    Count{"expired", &EffectCoverage::expired},
};

}  // namespace

EffectCoverage& EffectCoverage::operator+=(const EffectCoverage& other) {
  for (const Count& each : kCounts) this->*each.field += other.*each.field;
  return *this;
}

std::vector<std::string> EffectCoverage::missing() const {
  std::vector<std::string> names;
  for (const Count& each : kCounts)
    if (this->*each.field == 0) names.emplace_back(each.name);
  return names;
}

}  // namespace outseal::sim
