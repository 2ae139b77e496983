// The sink suite on a file, small segments included. What only a file can get wrong:
// sink_file_damage_test.cc and sink_file_storage_test.cc.
#include <filesystem>
#include <fstream>
#include <iterator>

#include "conformance/sink_suite.h"
#include "sinks/file/sink.h"
#include "support/temp_folder.h"

namespace outseal::test {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kEventBytesMax = 4'096;

std::string read_all(const std::string& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

class FileUnderTest final : public SinkUnderTest {
 public:
  std::unique_ptr<Sink> make() const override {
    return std::make_unique<sinks::FileSink>(
        path_, "/outseal/test",
        sinks::FileSinkOptions{.segment_bytes = 6'000, .event_bytes_max = kEventBytesMax});
  }
  std::string stored() const override {
    std::string bytes;
    for (const auto& segment : sinks::rotated_segments(path_)) bytes += read_all(segment.path);
    return bytes + read_all(path_);
  }
  std::size_t oversize_bytes() const override { return kEventBytesMax; }
  bool tear() const override {
    fs::resize_file(path_, fs::file_size(path_) - 20);
    return true;
  }

 private:
  TempFolder folder_;
  const std::string path_ = folder_.file("events.ndjson");
};

}  // namespace

std::unique_ptr<SinkUnderTest> make_sink_under_test() { return std::make_unique<FileUnderTest>(); }

}  // namespace outseal::test
