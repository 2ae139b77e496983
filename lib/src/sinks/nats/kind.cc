#include "sinks/kind.h"

#include <array>

#include "sinks/nats/options.h"
#include "sinks/nats/sink.h"

namespace outseal::sinks {
namespace {

constexpr std::array<std::string_view, 1> kSchemes{"nats"};
constexpr std::array kForms{SinkForm{.schemes = kSchemes,
                                     .shown = "nats:",
                                     .address = "nats://HOST[:PORT]/STREAM",
                                     .contents = "NATS JetStream"}};
constexpr std::array kGuarantees{SinkGuarantee{.text = "exactly once in a stream of its own",
                                               .second_copy = SecondCopy::refuses},
                                 SinkGuarantee{.when = "shared=true",
                                               .text = "at least once",
                                               .second_copy = SecondCopy::id_within_window}};

class NatsKind final : public SinkKind {
 public:
  NatsKind()
      : SinkKind{{.name = "nats",
                  .forms = kForms,
                  .guarantees = kGuarantees,
                  .parameters = NatsSinkOptions::parameters()}} {}

  std::unique_ptr<Sink> make(const Url& url, const SinkContext& context) const override {
    return std::make_unique<NatsSink>(NatsSinkOptions::from(url), context);
  }
  bool is_same(const Url& one, const Url& other) const override {
    return is_same_stream(one, other);
  }
  bool is_shareable(const Url& url) const override { return url.text("shared") == "true"; }
};

}  // namespace

const SinkKind& nats_kind() {
  static const NatsKind kind;
  return kind;
}

}  // namespace outseal::sinks
