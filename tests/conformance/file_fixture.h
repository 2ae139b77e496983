// What the tests of the file sink share: a folder with one sink file, and bytes in and out of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "conformance/sink_suite.h"
#include "sinks/file/sink.h"
#include "support/temp_folder.h"

namespace outseal::test {

struct FileFixture {
  TempFolder folder;
  const std::string path = folder.file("events.ndjson");
  sinks::FileSinkOptions options = {};

  std::unique_ptr<Sink> make() const {
    return std::make_unique<sinks::FileSink>(path, "/outseal/test", options);
  }

  /// Stores events `first` to `last`, each batch of `step` in one deliver.
  void store(std::uint64_t first, std::uint64_t last, std::uint64_t step = 1) const {
    const auto sink = make();
    if (sink->open().tail != tail_of(first - 1)) throw std::runtime_error{"store: wrong tail"};
    for (std::uint64_t at = first; at <= last; at += step) {
      const auto result = sink->deliver(make_batch(*sink, tail_of(at - 1), step), 0);
      if (result.status != DeliveryResult::Status::delivered)
        throw std::runtime_error{"store: " + result.detail};
    }
  }

  std::string lines(std::uint64_t first, std::uint64_t last) const {
    return make_batch(*make(), tail_of(first - 1), last - first + 1).bytes;
  }

  /// Makes segments of `count` events, as long as positions have one or two digits.
  void rotate_after(std::uint64_t count) { options.segment_bytes = lines(1, count).size() + 40; }

  std::string segment(std::uint64_t first) const {
    return sinks::segment_path(path, Position{first});
  }

  /// Name and content of all that is stored; the lock file is not.
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator{folder.path()}) {
      const auto name = entry.path().filename().string();
      if (!name.ends_with(".lock")) found[name] = read_file(entry.path().string());
    }
    return found;
  }

  static std::string read_file(const std::string& from) {
    std::ifstream in{from, std::ios::binary};
    return {std::istreambuf_iterator<char>{in}, {}};
  }
  static void write_file(const std::string& to, std::string_view bytes) {
    std::ofstream{to, std::ios::binary | std::ios::trunc} << bytes;
  }
  void write(std::string_view bytes) const { write_file(path, bytes); }
  std::string read() const { return read_file(path); }
};

}  // namespace outseal::test
