// The file sink: no server, but a lock, and a file that loses its last lines.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "support/temp_folder.h"
#include "torture/sink_stage.h"

namespace outseal::test {
namespace {

namespace fs = std::filesystem;

StoredEvent event_of(const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object()) throw std::runtime_error{"a line of the sink is no event"};
  return {Position{std::stoull(json.value("sequence", "0"))},
          EventId::parse(json.value("id", "")).value_or(EventId{}), json.value("subject", "")};
}

class FileServer final : public SinkServer {
 public:
  SinkTraits traits() const override {
    return {.name = "file", .has_lock = true, .mutant = "no_sink_condition"};
  }

  std::string url() const override {
    return "file:" + path() + "?segment_bytes=" + std::to_string(segment_bytes_) +
           "&event_bytes_max=" + std::to_string(event_bytes_max_);
  }

  std::vector<StoredEvent> stored() override {
    std::vector<StoredEvent> events;
    for (const fs::path& file : files()) {
      std::ifstream lines{file};
      for (std::string line; std::getline(lines, line);) events.push_back(event_of(line));
    }
    return events;
  }

  void lose_tail(std::size_t count) override {
    std::vector<std::string> lines;
    std::ifstream file{path()};
    for (std::string line; std::getline(file, line);) lines.push_back(std::move(line));
    if (lines.size() < count) throw std::runtime_error{"the active file is too short"};
    std::uintmax_t bytes = 0;
    for (auto line = lines.end() - static_cast<std::ptrdiff_t>(count); line != lines.end(); ++line)
      bytes += line->size() + 1;
    fs::resize_file(path(), fs::file_size(path()) - bytes);
  }

  void recreate() override {
    for (const fs::path& file : files()) fs::remove(file);
  }

  void lift_limit() override { event_bytes_max_ = 1U << 20U; }

 private:
  std::string path() const { return folder_.file("events.ndjson"); }

  /// In the order of their positions: rotated segments, whose names ascend, then the active file.
  std::vector<fs::path> files() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator{folder_.path()}) {
      const std::string name = entry.path().filename().string();
      if (name.size() == std::string{"events.ndjson."}.size() + 20) files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    if (fs::exists(path())) files.emplace_back(path());
    return files;
  }

  TempFolder folder_;
  std::size_t segment_bytes_ = 1U << 20U;
  std::size_t event_bytes_max_ = kSinkEventBytesMax;
};

}  // namespace

bool skipped_without_sink_server() { return false; }

std::unique_ptr<SinkServer> make_sink_server() { return std::make_unique<FileServer>(); }

}  // namespace outseal::test
