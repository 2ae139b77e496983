#include "support/history.h"

#include <cstdint>
#include <unordered_map>

namespace outseal::test {
namespace {

constexpr std::size_t kNowhere = SIZE_MAX;

class Checker {
 public:
  Checker(std::span<const CommittedEvent> committed, std::span<const StoredEvent> stored,
          std::size_t violations_max)
      : committed_{committed}, stored_{stored}, violations_max_{violations_max} {}

  std::vector<std::string> run(Extent extent) {
    index_committed();
    for (std::size_t at = 0; at < stored_.size(); ++at) check_stored(at);
    check_missing(extent);
    if (count_ > violations_.size()) {
      violations_.push_back("and " + std::to_string(count_ - violations_.size()) + " more");
    }
    return std::move(violations_);
  }

 private:
  void index_committed() {
    by_id_.reserve(committed_.size());
    for (std::size_t index = 0; index < committed_.size(); ++index) {
      if (!by_id_.emplace(committed_[index].id, index).second) {
        add("committed twice: " + name(committed_[index].id));
      }
    }
    stored_at_.assign(committed_.size(), kNowhere);
  }

  void check_stored(std::size_t at) {
    const StoredEvent& event = stored_[at];
    if (event.position != Position{at + 1}) {
      add("position " + number(event.position) + " stands where " + std::to_string(at + 1) +
          " should: " + name(event.id));
    }
    const auto found = by_id_.find(event.id);
    if (found == by_id_.end()) {
      add("never committed, but stored at position " + number(event.position) + ": " +
          name(event.id));
      return;
    }
    const std::size_t index = found->second;
    const CommittedEvent& origin = committed_[index];
    if (stored_at_[index] != kNowhere) {
      add("stored twice, at positions " + number(stored_[stored_at_[index]].position) + " and " +
          number(event.position) + ": " + name(event.id));
      return;
    }
    stored_at_[index] = at;
    if (origin.fate == Fate::set_aside) {
      add("set aside, but stored at position " + number(event.position) + ": " + name(event.id));
    }
    if (origin.key != event.key) {
      add("key changed at position " + number(event.position) + ": " + name(event.id));
    }
    if (!origin.key.empty()) check_order(index, at);
  }

  void check_order(std::size_t index, std::size_t at) {
    const auto [last, first_of_key] = last_of_key_.try_emplace(committed_[index].key, index);
    if (first_of_key) return;
    if (index < last->second) {
      add("out of order: position " + number(stored_[at].position) + " holds commit " +
          std::to_string(index) + ", after commit " + std::to_string(last->second) +
          " of the same key: " + name(committed_[index].id));
    } else {
      last->second = index;
    }
  }

  void check_missing(Extent extent) {
    for (std::size_t index = 0; index < committed_.size(); ++index) {
      const CommittedEvent& event = committed_[index];
      if (event.fate == Fate::set_aside || stored_at_[index] != kNowhere) continue;
      if (extent == Extent::prefix) {
        const auto last = last_of_key_.find(event.key);
        if (last == last_of_key_.end() || index > last->second) continue;
      }
      add("missing: commit " + std::to_string(index) + ", " + name(event.id));
    }
  }

  void add(std::string violation) {
    if (++count_ <= violations_max_) violations_.push_back(std::move(violation));
  }

  static std::string name(const EventId& id) { return "event " + id.to_string(); }
  static std::string number(Position position) { return std::to_string(position.value()); }

  std::span<const CommittedEvent> committed_;
  std::span<const StoredEvent> stored_;
  std::size_t violations_max_;
  std::unordered_map<EventId, std::size_t> by_id_;
  std::vector<std::size_t> stored_at_;  ///< By commit index: where in `stored_`.
  std::unordered_map<std::string, std::size_t> last_of_key_;  ///< Highest commit index stored.
  std::vector<std::string> violations_;
  std::size_t count_ = 0;
};

}  // namespace

std::vector<std::string> check_history(std::span<const CommittedEvent> committed,
                                       std::span<const StoredEvent> stored, Extent extent,
                                       std::size_t violations_max) {
  return Checker{committed, stored, violations_max}.run(extent);
}

std::string joined(const std::vector<std::string>& violations) {
  std::string text;
  for (const std::string& violation : violations) text += violation + '\n';
  return text;
}

}  // namespace outseal::test
