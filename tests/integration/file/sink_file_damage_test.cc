// What the file sink finds when it opens: damage by a crash, which it repairs without loss, and
// everything else, which it refuses and leaves alone.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "conformance/file_fixture.h"

namespace outseal::test {
namespace {

using Opened = OpenResult::Status;
using Status = DeliveryResult::Status;

/// Opens a file of `bytes`, expects events 1 to `whole` and damage behind them, and goes on with a
/// batch that ends at event 5.
void check_repaired(const FileFixture& fixture, std::string_view bytes, std::uint64_t whole) {
  fixture.write(bytes);
  const auto sink = fixture.make();
  const auto opened = sink->open();
  REQUIRE_MESSAGE(opened.status == Opened::opened, opened.detail);
  REQUIRE(opened.tail == tail_of(whole));
  REQUIRE(fixture.read() == bytes);
  const auto result = sink->deliver(make_batch(*sink, {}, 5), whole);
  REQUIRE_MESSAGE(result.status == Status::delivered, result.detail);
  REQUIRE(fixture.read() == fixture.lines(1, 5));
}

/// Opens a file of `bytes` and expects to be refused at `offset`.
void check_refused(const FileFixture& fixture, std::string_view bytes, std::uint64_t offset) {
  fixture.write(bytes);
  const auto before = fixture.files();
  const auto sink = fixture.make();
  const auto opened = sink->open();
  CHECK(opened.status == Opened::refused);
  CHECK_FALSE(opened.tail);
  CHECK_FALSE(opened.hint.empty());
  const std::string place = fixture.path + " at byte " + std::to_string(offset) + ":";
  CHECK_MESSAGE(opened.detail.starts_with(place), opened.detail);
  CHECK(sink->deliver(make_batch(*sink, {}, 5), 0).status != Status::delivered);
  CHECK(fixture.files() == before);
}

}  // namespace

TEST_CASE("a last line that was cut at any byte is repaired without loss") {
  const FileFixture fixture;
  const std::string whole = fixture.lines(1, 2);
  const std::string last = fixture.lines(3, 3);
  for (std::size_t kept = 0; kept < last.size(); ++kept)
    check_repaired(fixture, whole + last.substr(0, kept), 2);
  for (std::size_t kept = 0; kept < last.size(); ++kept)
    check_repaired(fixture, fixture.lines(1, 1).substr(0, kept), 0);
}

TEST_CASE("NUL bytes in place of pages that were never written are damage") {
  const FileFixture fixture;
  const std::string whole = fixture.lines(1, 3);
  const std::string nuls(5'000, '\0');
  SUBCASE("to the end of the file") { check_repaired(fixture, whole + nuls, 3); }
  SUBCASE("in the whole file") { check_repaired(fixture, nuls, 0); }
  SUBCASE("behind half a line") {
    check_repaired(fixture, whole + fixture.lines(4, 4).substr(0, 70) + nuls, 3);
  }
  SUBCASE("from the middle of a line to that of the next") {
    std::string holed = fixture.lines(1, 5);
    const std::size_t hole = whole.size() + 100;
    REQUIRE(hole < 1'536);
    holed.replace(hole, 1'536 - hole, 1'536 - hole, '\0');
    check_repaired(fixture, holed, 3);
  }
  SUBCASE("before lines that are ours") {
    check_repaired(fixture, whole + nuls + fixture.lines(7, 9), 3);
  }
  SUBCASE("before a line that was cut") {
    check_repaired(fixture, whole + nuls + fixture.lines(7, 7).substr(0, 50), 3);
  }
  SUBCASE("up to a sector that was written, in the middle of a line") {
    std::string bytes = whole;
    bytes.resize(4'096, '\0');
    check_repaired(fixture, bytes + fixture.lines(30, 33).substr(99), 3);
  }
}

TEST_CASE("what is not ours is refused and left byte for byte") {
  const FileFixture fixture;
  const std::string ours = fixture.lines(1, 3);
  const std::uint64_t end = ours.size();
  SUBCASE("a text file") { check_refused(fixture, "hello\nworld\n", 0); }
  SUBCASE("a text without a line break") { check_refused(fixture, "hello", 0); }
  SUBCASE("an empty line") { check_refused(fixture, "\n", 0); }
  SUBCASE("somebody else's JSON") { check_refused(fixture, "{\"id\":1}\n", 0); }
  SUBCASE("a foreign line behind ours") { check_refused(fixture, ours + "# note\n", end); }
  SUBCASE("a foreign tail behind ours") { check_refused(fixture, ours + "# no", end); }
  SUBCASE("a line with a NUL byte that is no lost page") {
    std::string holed = fixture.lines(4, 4);
    holed[200] = '\0';
    check_refused(fixture, ours + holed, end);
  }
  SUBCASE("a foreign line behind NUL bytes") {
    check_refused(fixture, ours + std::string(9, '\0') + "# note\n", end);
  }
  SUBCASE("a foreign line behind damage") {
    const std::string damage = std::string(9, '\0') + fixture.lines(4, 4);
    check_refused(fixture, ours + damage + "# note\n", end + damage.size());
  }
  SUBCASE("half a line of ours in the middle") {
    check_refused(fixture, ours + fixture.lines(4, 4).substr(0, 90) + fixture.lines(4, 4), end);
  }
  SUBCASE("a line that lost its last bytes") {
    check_refused(fixture, ours + fixture.lines(4, 4).substr(0, 90) + "\n", end);
  }
}

TEST_CASE("positions that are not consecutive are refused") {
  const FileFixture fixture;
  const std::string ours = fixture.lines(1, 3);
  SUBCASE("a gap") { check_refused(fixture, ours + fixture.lines(5, 6), ours.size()); }
  SUBCASE("a repetition") { check_refused(fixture, ours + fixture.lines(3, 3), ours.size()); }
  SUBCASE("a step back") { check_refused(fixture, ours + fixture.lines(1, 1), ours.size()); }
}

TEST_CASE("an active file that does not follow the segment before it is refused") {
  FileFixture fixture;
  fixture.rotate_after(3);
  fixture.store(1, 9);
  const std::string active = fixture.lines(7, 9);
  REQUIRE(fixture.read() == active);
  SUBCASE("it starts too late") { check_refused(fixture, fixture.lines(8, 9), 0); }
  SUBCASE("the segment lost its end") {
    FileFixture::write_file(fixture.segment(4), fixture.lines(4, 5));
    check_refused(fixture, active, 0);
  }
  SUBCASE("the segment was emptied") {
    FileFixture::write_file(fixture.segment(4), "");
    check_refused(fixture, active, 0);
  }
}

TEST_CASE("without an active file, a newest segment that is not whole or out of place is refused") {
  FileFixture fixture;
  fixture.rotate_after(3);
  fixture.store(1, 9);
  std::filesystem::remove(fixture.path);
  REQUIRE(fixture.make()->open().tail == tail_of(6));
  SUBCASE("it ends in half a line") {
    FileFixture::write_file(fixture.segment(4), fixture.lines(4, 6).substr(0, 600));
  }
  SUBCASE("it does not start with the position in its name") {
    FileFixture::write_file(fixture.segment(4), fixture.lines(5, 6));
  }
  SUBCASE("the segment before it ends too early") {
    FileFixture::write_file(fixture.segment(1), fixture.lines(1, 2));
  }
  SUBCASE("it is not ours") { FileFixture::write_file(fixture.segment(4), "hello\n"); }
  const auto before = fixture.files();
  CHECK(fixture.make()->open().status == Opened::refused);
  CHECK(fixture.files() == before);
}

TEST_CASE("a file that lost whole lines reports the smaller tail and is not changed") {
  FileFixture fixture;
  fixture.rotate_after(3);
  fixture.store(1, 5);
  const auto sink = fixture.make();
  fixture.write(fixture.lines(4, 4));
  CHECK(sink->open().tail == tail_of(4));
  fixture.write("");
  CHECK(sink->open().tail == tail_of(3));
  std::filesystem::remove(fixture.path);
  CHECK(sink->open().tail == tail_of(3));
  FileFixture::write_file(fixture.segment(1), fixture.lines(1, 2));
  CHECK(sink->open().tail == tail_of(2));
  CHECK(fixture.files().size() == 1);
  const Batch lost = make_batch(*sink, tail_of(2), 4);
  CHECK(sink->deliver(lost, 0).status == Status::delivered);
  CHECK(fixture.read() == lost.bytes);
}

TEST_CASE("a file whose older segments were archived goes on") {
  FileFixture fixture;
  fixture.rotate_after(3);
  fixture.store(1, 5);
  std::filesystem::remove(fixture.segment(1));
  CHECK(fixture.make()->open().tail == tail_of(5));
  fixture.store(6, 9);
  CHECK(fixture.make()->open().tail == tail_of(9));
}

}  // namespace outseal::test
