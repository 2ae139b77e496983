// The file sink on a file of any content: it finds the tail, repairs what a crash can have torn and
// goes on, or refuses and touches nothing. The reader gives every byte out.
#include <stdlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "fuzz/fuzz.h"
#include "sinks/file/sink.h"

using namespace outseal;
using namespace outseal::sinks;
using fuzz::require;

namespace {

const std::string& path() {
  static const std::string folder = [] {
    std::string pattern = (std::filesystem::temp_directory_path() / "outseal-XXXXXX").string();
    require(::mkdtemp(pattern.data()) != nullptr, "a folder is made");
    return pattern;
  }();
  static const std::string file = folder + "/events.ndjson";
  static const bool registered = std::atexit([] {
                                   std::error_code ignored;
                                   std::filesystem::remove_all(folder, ignored);
                                 }) == 0;
  require(registered, "the folder goes at the end");
  return file;
}

std::string content() {
  std::ifstream file{path(), std::ios::binary};
  return {std::istreambuf_iterator<char>{file}, {}};
}

void check_reader(Sink& sink, std::string_view bytes) {
  std::string read;
  const auto reader = sink.read();
  for (SinkRecord record; reader->next(record);) read += record.encoded;
  require(read == bytes, "the reader gives every byte out");
}

Batch next_event(Sink& sink, const Tail& tail) {
  EventRow row;
  row.id = *EventId::parse("0190a5d0-1111-7222-8333-444455556666");
  row.topic = row.type = "t";
  row.headers = row.payload = "{}";
  row.content_type = "application/json";
  Batch batch;
  batch.prior = tail;
  batch.first = advance(tail.position);
  require(!sink.encode(row, batch.first, batch.bytes), "the event can be written");
  batch.entries.push_back({Seq{1}, row.id, batch.bytes.size()});
  return batch;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes = fuzz::text_of(data, size);
  std::ofstream{path(), std::ios::binary | std::ios::trunc} << bytes;
  FileSink sink{path(), "/shop", {.sync = [](int) { return 0; }}};
  check_reader(sink, bytes);
  const OpenResult opened = sink.open();
  require(content() == bytes, "opening changes nothing");
  if (opened.status != OpenResult::Status::opened) {
    require(opened.status == OpenResult::Status::refused && !opened.hint.empty(), "or refuses");
    return 0;
  }
  if (opened.tail->position.value() == UINT64_MAX) return 0;
  const Batch batch = next_event(sink, *opened.tail);
  require(sink.deliver(batch, 0).status == DeliveryResult::Status::delivered, "it goes on");
  const std::string repaired = content();
  require(repaired.ends_with(batch.bytes), "the event is the last one");
  const std::size_t kept = repaired.size() - batch.bytes.size();
  require(bytes.substr(0, kept) == std::string_view{repaired}.substr(0, kept),
          "what is whole is kept");
  require(sink.open().tail == batch.tail_after(1), "the event is the tail");
  return 0;
}
