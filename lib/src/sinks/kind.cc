#include "sinks/kind.h"

#include <algorithm>
#include <array>

namespace outseal::sinks {

SinkContext context_of(std::string_view event_source, std::string_view subscription) {
  std::string source{event_source};
  return {.event_source = source, .stream = source + '#' + std::string{subscription}};
}

std::string_view name_of(SecondCopy second_copy) {
  constexpr std::array<std::string_view, 5> kNames{"none", "id_within_window", "refuses", "ignores",
                                                   "transactional"};
  return kNames[static_cast<std::size_t>(second_copy)];
}

const SinkForm* SinkKind::find_form(std::string_view scheme) const {
  const auto found = std::find_if(facts_.forms.begin(), facts_.forms.end(), [&](const auto& form) {
    return std::find(form.schemes.begin(), form.schemes.end(), scheme) != form.schemes.end();
  });
  return found == facts_.forms.end() ? nullptr : &*found;
}

}  // namespace outseal::sinks
