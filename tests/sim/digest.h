// A 128-bit digest of the canonical form of a state. States with equal digests count as equal:
// among a hundred million of them the chance of a collision is below 10^-22.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>

#include "model/batch.h"
#include "store/subscription.h"

namespace outseal::sim {

class Digest {
 public:
  struct Value {
    std::uint64_t high = 0;
    std::uint64_t low = 0;
    friend bool operator==(const Value&, const Value&) = default;
  };
  struct Hash {
    std::size_t operator()(const Value& value) const { return value.low; }
  };

  template <typename... T>
  void add(const T&... values) {
    (add_one(values), ...);
  }
  /// Adds a member of a set: the order in which members are added does not matter.
  void add_to_set(const Digest& part) {
    set_.high += part.value().high;
    set_.low += part.value().low;
  }
  Value value() const {
    return {mixed(value_.high ^ mixed(set_.high)), mixed(value_.low ^ mixed(set_.low))};
  }

 private:
  template <typename T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) void add_one(T number) {
    const auto word = static_cast<std::uint64_t>(number);
    value_.high = mixed(value_.high ^ word) + 0x9e3779b97f4a7c15ULL;
    value_.low = mixed((value_.low + word) * 0xff51afd7ed558ccdULL);
  }
  void add_one(Position position) { add(position.value()); }
  void add_one(Seq seq) { add(seq.value()); }
  void add_one(const EventId& id) { add(id.bytes()[14] << 8U | id.bytes()[15]); }
  void add_one(const Tail& tail) { add(tail.position, tail.event_id); }
  void add_one(const Cursor& cursor) { add(cursor.after_seq); }
  void add_one(const Ack& ack) { add(ack.tail, ack.first); }
  template <typename T>
  void add_one(const std::optional<T>& value) {
    add(value.has_value());
    if (value) add(*value);
  }
  void add_one(const std::shared_ptr<const Batch>& pointer) {
    if (!pointer) return add(-1);
    const Batch& batch = *pointer;
    add(batch.kind, batch.first, batch.prior, batch.from, batch.to, batch.size());
    for (const BatchEntry& entry : batch.entries) add(entry.id);
    for (const ParkedEntry& entry : batch.parked) add(entry.seq, entry.behind);
  }

  /// Source: Mulvey, "Hash prospector": multiplications and shifts that are invertible.
  static std::uint64_t mixed(std::uint64_t word) {
    word = (word ^ word >> 32U) * 0xd6e8feb86659fd93ULL;
    word = (word ^ word >> 32U) * 0xd6e8feb86659fd93ULL;
    return word ^ word >> 32U;
  }

  Value value_{0x243f6a8885a308d3ULL, 0x13198a2e03707344ULL};
  Value set_;
};

}  // namespace outseal::sim
