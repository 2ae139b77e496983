#include "sinks/kind.h"

#include <array>
#include <filesystem>

#include "outseal/error.h"
#include "sinks/file/options.h"
#include "sinks/file/segments.h"
#include "sinks/file/sink.h"

namespace outseal::sinks {
namespace {

constexpr std::array<std::string_view, 1> kSchemes{"file"};
constexpr std::array kForms{SinkForm{.schemes = kSchemes,
                                     .shown = "file:PATH",
                                     .address = "file:PATH",
                                     .contents = "newline-delimited JSON",
                                     .identity_is_address = true}};
constexpr std::array kGuarantees{
    SinkGuarantee{.text = "exactly once", .second_copy = SecondCopy::refuses}};

/// file:PATH and file:///PATH; "file://name" looks like a relative path but means a host.
std::string path_of(const Url& url) {
  if (url.rest.starts_with("///")) return url.rest.substr(2);
  if (url.rest.empty() || url.rest.starts_with("//"))
    throw Error{
        ErrorCode::invalid_argument,
        "sink",
        "\"" + url.redacted() + "\" names no file",
        {.hint = "write file:PATH, for example file:events.ndjson or file:/var/lib/e.ndjson"}};
  return url.rest;
}

std::string absolute_path_of(const Url& url) {
  return std::filesystem::absolute(path_of(url)).lexically_normal().string();
}

class FileKind final : public SinkKind {
 public:
  FileKind()
      : SinkKind{{.name = "file",
                  .forms = kForms,
                  .guarantees = kGuarantees,
                  .parameters = FileSinkOptions::parameters()}} {}

  std::unique_ptr<Sink> make(const Url& url, const SinkContext& context) const override {
    if (url.rest.ends_with(kLockSuffix))
      throw Error{ErrorCode::invalid_argument,
                  "sink",
                  "\"" + url.redacted() + "\" is the lock file of another sink",
                  {.hint = "give a path that does not end in " + std::string{kLockSuffix}}};
    const auto options = FileSinkOptions::from(url);
    return std::make_unique<FileSink>(path_of(url), context.event_source, options);
  }
  std::string identity(const Url& url) const override { return "file:" + absolute_path_of(url); }
  bool is_shareable(const Url& /*url*/) const override { return false; }
  std::string find_missing(const Url& url) const override {
    const std::string path = absolute_path_of(url);
    const bool is_there = std::filesystem::exists(path) || !rotated_segments(path).empty();
    return is_there ? "" : path;
  }
};

}  // namespace

const SinkKind& file_kind() {
  static const FileKind kind;
  return kind;
}

}  // namespace outseal::sinks
