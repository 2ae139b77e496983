#include "model/subscription.h"

#include <algorithm>
#include <cctype>

#include "model/validation.h"

namespace outseal {

void SubscriptionSpec::validate() const {
  ConfigErrors faults{"subscription"};
  const auto is_name_character = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
  };
  if (name.empty() || name.size() > 100 ||
      !std::all_of(name.begin(), name.end(), is_name_character))
    faults.add("name '" + name + "' is not 1 to 100 of A-Z a-z 0-9 . _ -");
  if (topics.empty()) faults.add("there is no topic pattern");
  for (const std::string& topic : topics)
    if (topic.empty() || topic.size() > kTopicBytesMax)
      faults.add("topic pattern '" + topic + "' is not 1 to 255 bytes");
  if (sink.empty()) faults.add("there is no sink");
  faults.raise();
}

}  // namespace outseal
