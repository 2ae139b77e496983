#include "sinks/kind.h"

#include <array>

#include "outseal/error.h"
#include "sinks/stdout/sink.h"

namespace outseal::sinks {
namespace {

constexpr std::array<std::string_view, 1> kSchemes{"stdout"};
constexpr std::array kForms{SinkForm{.schemes = kSchemes,
                                     .shown = "stdout:",
                                     .address = "stdout:",
                                     .contents = "newline-delimited JSON",
                                     .identity_is_address = true}};
constexpr std::array kGuarantees{SinkGuarantee{.text = "at least once"}};

class StdoutKind final : public SinkKind {
 public:
  StdoutKind()
      : SinkKind{
            {.name = "stdout", .forms = kForms, .guarantees = kGuarantees, .takes_stdout = true}} {}

  std::unique_ptr<Sink> make(const Url& url, const SinkContext& context) const override {
    static_cast<void>(Parameters{url, facts().parameters});
    if (!url.rest.empty())
      throw Error{ErrorCode::invalid_argument,
                  "sink",
                  "nothing may follow \"stdout:\"",
                  {.hint = "for a file write file:PATH"}};
    return std::make_unique<StdoutSink>(context.event_source);
  }
  bool is_shareable(const Url& /*url*/) const override { return false; }
};

}  // namespace

const SinkKind& stdout_kind() {
  static const StdoutKind kind;
  return kind;
}

}  // namespace outseal::sinks
