// The file sink and its storage: rotation, permissions, full and failing disks, files that change
// under it, and reading while it writes.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cerrno>
#include <vector>

#include "conformance/file_fixture.h"
#include "outseal/error.h"
#include "sinks/registry.h"

namespace outseal::test {
namespace {

using Opened = OpenResult::Status;
using Status = DeliveryResult::Status;

struct ReadBack {
  std::string bytes;
  std::vector<std::string> foreign;  ///< Where the records with position 0 are.
  std::uint64_t count = 0;
};

ReadBack read_back(const FileFixture& fixture) {
  ReadBack result;
  const auto reader = fixture.make()->read();
  for (SinkRecord record; reader->next(record);) {
    result.bytes += record.encoded;
    if (record.position == Position{}) {
      result.foreign.push_back(record.where);
    } else {
      ++result.count;
    }
  }
  return result;
}

int fail_to_sync(int) {
  errno = EIO;
  return -1;
}

}  // namespace

TEST_CASE("a batch that would make the active file too large starts a new one") {
  FileFixture fixture;
  const std::size_t line = fixture.lines(1, 1).size();
  fixture.options.segment_bytes = 4 * line;
  SUBCASE("a file is filled up to the last byte") {
    fixture.store(1, 8, 4);
    CHECK(fixture.read() == fixture.lines(5, 8));
    CHECK(FileFixture::read_file(fixture.segment(1)) == fixture.lines(1, 4));
  }
  SUBCASE("a batch is never split") {
    fixture.store(1, 6, 3);
    CHECK(fixture.read() == fixture.lines(4, 6));
    CHECK(FileFixture::read_file(fixture.segment(1)) == fixture.lines(1, 3));
  }
  SUBCASE("a batch that is larger than a segment gets one of its own") {
    fixture.store(1, 7, 7);
    fixture.store(8, 8);
    CHECK(fixture.read() == fixture.lines(8, 8));
    CHECK(FileFixture::read_file(fixture.segment(1)) == fixture.lines(1, 7));
  }
  SUBCASE("what a crash tore is cut off before the file is rotated") {
    fixture.write(fixture.lines(1, 4) + fixture.lines(5, 5).substr(0, 99));
    fixture.store(5, 5);
    CHECK(fixture.read() == fixture.lines(5, 5));
    CHECK(FileFixture::read_file(fixture.segment(1)) == fixture.lines(1, 4));
  }
  SUBCASE("a reader and the next sink see all of many segments") {
    fixture.rotate_after(4);
    fixture.store(1, 40, 2);
    CHECK(fixture.files().size() == 10);
    CHECK(fixture.make()->open().tail == tail_of(40));
    const auto all = read_back(fixture);
    CHECK(all.bytes == fixture.lines(1, 40));
    CHECK(all.count == 40);
    CHECK(all.foreign.empty());
  }
}

TEST_CASE("a file that was changed by somebody else is a conflict") {
  const FileFixture fixture;
  fixture.store(1, 3);
  const auto sink = fixture.make();
  REQUIRE(sink->open().status == Opened::opened);
  const Batch next = make_batch(*sink, tail_of(3), 2);
  SUBCASE("cut") { fixture.write(fixture.lines(1, 2)); }
  SUBCASE("written") { fixture.write(fixture.lines(1, 4)); }
  SUBCASE("removed") { std::filesystem::remove(fixture.path); }
  SUBCASE("replaced") {
    FileFixture::write_file(fixture.folder.file("new"), fixture.lines(1, 3));
    std::filesystem::rename(fixture.folder.file("new"), fixture.path);
  }
  const auto before = fixture.files();
  CHECK(sink->deliver(next, 0).status == Status::conflict);
  CHECK(fixture.files() == before);
}

TEST_CASE("a file that appears before the first batch is a conflict") {
  const FileFixture fixture;
  const auto sink = fixture.make();
  REQUIRE(sink->open().tail == Tail{});
  CHECK(fixture.files().empty());
  fixture.write("hello\n");
  CHECK(sink->deliver(make_batch(*sink, {}, 2), 0).status == Status::conflict);
  CHECK(fixture.read() == "hello\n");
}

TEST_CASE("places that cannot be written are unusable, with the path and a hint") {
  FileFixture fixture;
  std::string path = fixture.path;
  SUBCASE("a folder that does not exist") { path = fixture.folder.file("none/events.ndjson"); }
  SUBCASE("a folder") { std::filesystem::create_directory(path); }
  SUBCASE("a symbolic link") { std::filesystem::create_symlink(fixture.folder.file("x"), path); }
  SUBCASE("a device") { path = "/dev/full"; }
  SUBCASE("a file in place of the folder") {
    fixture.write("");
    path += "/events.ndjson";
  }
  sinks::FileSink sink{path, "/outseal/test"};
  const auto opened = sink.open();
  CHECK(opened.status == Opened::unusable);
  CHECK(opened.detail.find(sinks::folder_of(path)) != std::string::npos);
  CHECK_FALSE(opened.hint.empty());
  CHECK_THROWS_AS(sinks::FileSink("folder/", "/outseal/test"), Error);
}

TEST_CASE("a failed sync is final: nothing is written or opened again") {
  FileFixture fixture;
  fixture.options.sync = fail_to_sync;
  SUBCASE("in deliver") {
    const auto sink = fixture.make();
    REQUIRE(sink->open().status == Opened::opened);
    const Batch batch = make_batch(*sink, {}, 2);
    CHECK(sink->deliver(batch, 0).status == Status::failed);
    const auto before = fixture.files();
    CHECK(sink->deliver(batch, 0).status == Status::failed);
    CHECK(sink->open().status == Opened::unusable);
    CHECK(sink->deliver(batch, 0).status == Status::failed);
    CHECK(fixture.files() == before);
  }
  SUBCASE("in open, which answers for the lines that it reports") {
    fixture.write(fixture.lines(1, 2));
    const auto sink = fixture.make();
    CHECK(sink->open().status == Opened::unusable);
    CHECK(sink->deliver(make_batch(*sink, tail_of(2), 1), 0).status == Status::failed);
  }
}

TEST_CASE("a write that ends half way is tried again later and leaves no half line") {
  const FileFixture fixture;
  fixture.store(1, 3);
  const auto sink = fixture.make();
  REQUIRE(sink->open().tail == tail_of(3));
  const Batch batch = make_batch(*sink, tail_of(3), 5);
  const auto handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &limit) == 0);
  const rlimit small{.rlim_cur = fixture.read().size() + batch.entries[2].end + 100,
                     .rlim_max = limit.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  const auto result = sink->deliver(batch, 0);
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  ::signal(SIGXFSZ, handler);
  CHECK(result.status == Status::retry_later);
  CHECK(result.done == 0);
  CHECK(sink->deliver(batch, 0).status == Status::retry_later);
  const auto opened = sink->open();
  REQUIRE(opened.tail == tail_of(6));
  CHECK(sink->deliver(batch, 3).status == Status::delivered);
  CHECK(fixture.read() == fixture.lines(1, 8));
}

TEST_CASE("a reader gives foreign and torn lines position 0 and says where they are") {
  const FileFixture fixture;
  const std::string ours = fixture.lines(1, 2);
  const std::string torn = fixture.lines(3, 3).substr(0, 60);
  fixture.write(ours + "hello\n" + torn);
  const auto all = read_back(fixture);
  CHECK(all.count == 2);
  CHECK(all.bytes == fixture.read());
  const std::string place = "events.ndjson:";
  CHECK(all.foreign == std::vector{place + std::to_string(ours.size()),
                                   place + std::to_string(ours.size() + 6) + " (torn)"});
}

TEST_CASE("a reader tolerates appends and rotation while it reads") {
  FileFixture fixture;
  fixture.rotate_after(3);
  fixture.store(1, 8);
  const auto reader = fixture.make()->read();
  SinkRecord record;
  std::uint64_t count = 0;
  std::uint64_t stored = 8;
  while (reader->next(record)) {
    REQUIRE(record.position == Position{++count});
    if (count % 3 != 0 || stored > 60) continue;
    fixture.store(stored + 1, stored + 2);
    stored += 2;
  }
  CHECK(count >= 8);
  CHECK(count <= stored);
  CHECK(read_back(fixture).count == stored);
}

TEST_CASE("the registry knows its schemes and parameters and refuses all others") {
  const sinks::SinkContext context{.event_source = "/outseal/test"};
  const TempFolder folder;
  const auto make = [&](const std::string& url) {
    return sinks::make_sink(Url::parse("--sink", url), context);
  };
  const std::string file = "file:" + folder.file("e");
  CHECK(make(file)->features().second_copy == SecondCopy::refuses);
  CHECK(make(file + "?segment_bytes=4096&event_bytes_max=256")->features().readable);
  CHECK(make("file:///tmp/x")->features().exclusive);
  CHECK_FALSE(make("stdout:")->features().has_tail());
  for (const std::string& url :
       {std::string{"ftp:x"}, std::string{"file:"}, std::string{"file://name"},
        std::string{"file:x/"}, std::string{"stdout:x"}, std::string{"stdout:?segment_bytes=4096"},
        file + "?segment_bytes=4095", file + "?event_bytes_max=255", file + "?compress=yes"}) {
    CAPTURE(url);
    CHECK_THROWS_AS(make(url), Error);
  }
}

}  // namespace outseal::test
