// The sink suite on standard output.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "conformance/sink_suite.h"
#include "sinks/file/sink.h"
#include "sinks/stdout/sink.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

/// Standard output goes to `file` for as long as this lives.
class Redirected {
 public:
  explicit Redirected(int file) : saved_{::dup(STDOUT_FILENO)} { ::dup2(file, STDOUT_FILENO); }
  ~Redirected() {
    ::dup2(saved_, STDOUT_FILENO);
    ::close(saved_);
  }
  Redirected(const Redirected&) = delete;
  Redirected& operator=(const Redirected&) = delete;

 private:
  int saved_;
};

/// Delivers with standard output redirected, so that doctest's own output stays where it belongs.
class RedirectedSink final : public Sink {
 public:
  explicit RedirectedSink(int file) : file_{file} {}
  SinkFeatures features() const override { return sink_.features(); }
  std::optional<std::string> encode(const EventRow& row, Position position,
                                    std::string& out) override {
    return sink_.encode(row, position, out);
  }
  OpenResult open() override { return sink_.open(); }
  DeliveryResult deliver(const Batch& batch, std::size_t from) override {
    const Redirected redirected{file_};
    return sink_.deliver(batch, from);
  }
  void close() noexcept override { sink_.close(); }
  std::unique_ptr<SinkReader> read() override { return sink_.read(); }

 private:
  int file_;
  sinks::StdoutSink sink_{"/outseal/test"};
};

class StdoutUnderTest final : public SinkUnderTest {
 public:
  StdoutUnderTest()
      : file_{
            ::open(folder_.file("out").c_str(), O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600)} {}
  std::unique_ptr<Sink> make() const override {
    return std::make_unique<RedirectedSink>(file_.get());
  }
  std::string stored() const override {
    std::ifstream in{folder_.file("out"), std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
  }
  std::size_t oversize_bytes() const override { return sinks::FileSinkOptions::kEventBytesDefault; }

 private:
  TempFolder folder_;
  sinks::Descriptor file_;
};

}  // namespace

std::unique_ptr<SinkUnderTest> make_sink_under_test() {
  return std::make_unique<StdoutUnderTest>();
}

TEST_CASE("a reader that went away is a failure, not a signal") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  ::close(ends[0]);
  RedirectedSink sink{ends[1]};
  REQUIRE(sink.open().status == OpenResult::Status::opened);
  const auto result = sink.deliver(make_batch(sink, {}, 3), 0);
  CHECK(result.status == DeliveryResult::Status::failed);
  CHECK(result.done == 0);
  ::close(ends[1]);
}

}  // namespace outseal::test
