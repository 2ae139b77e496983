#include "sinks/stdout/sink.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "outseal/error.h"

namespace outseal::sinks {
namespace {

/// False with errno set if not all of `bytes` could be written.
bool write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (put >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(put));
    } else if (errno == EAGAIN) {  // Whoever started us made it non-blocking.
      pollfd writable{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
      ::poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

}  // namespace

StdoutSink::StdoutSink(std::string_view event_source) : encoder_{event_source, kLineBytesDefault} {}

std::optional<std::string> StdoutSink::encode(const EventRow& row, Position position,
                                              std::string& out) {
  return encoder_.encode(row, position, out);
}

OpenResult StdoutSink::open() { return {}; }

DeliveryResult StdoutSink::deliver(const Batch& batch, std::size_t from) {
  const std::size_t begin = from == 0 ? 0 : batch.entries[from - 1].end;
  if (write_all(std::string_view{batch.bytes}.substr(begin)))
    return {.done = batch.size(), .mark = "stdout"};
  return {.status = DeliveryResult::Status::failed,
          .done = from,
          .detail = "cannot write standard output: " + std::generic_category().message(errno),
          .hint = "start the relay again with a reader; the last batch is then sent again"};
}

std::unique_ptr<SinkReader> StdoutSink::read() {
  throw Error{ErrorCode::invalid_config,
              "read",
              "standard output cannot be read back",
              {.hint = "use a sink that can be read, for example file:PATH"}};
}

}  // namespace outseal::sinks
