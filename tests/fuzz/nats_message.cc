// Messages that a NATS stream holds, from whoever, and patterns of subjects.
#include <string>
#include <vector>

#include "fuzz/fuzz.h"
#include "outseal/error.h"
#include "sinks/nats/message.h"

using namespace outseal;
using namespace outseal::sinks;
using fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Fields fields{fuzz::text_of(data, size)};
  const std::string_view one = fields.next();
  const std::string_view other = fields.next();
  require(subjects_overlap(one, other) == subjects_overlap(other, one), "overlap is mutual");
  require(subject_covers(one, one), "a subject covers itself");
  try {
    const NatsSubject subject{one};
    std::string out;
    subject.append_to(out, other, other);
    require(subject_covers(subject.space(), out), "subjects stay in their space");
    require(out.find_first_of(" \t\r\n*>") == std::string::npos, "a subject is a plain one");
  } catch (const Error& error) {
    require(error.code() == ErrorCode::invalid_argument, "a bad pattern is the user's fault");
  }
  std::vector<NatsHeader> headers;
  while (!fields.is_done()) {
    const std::string_view name = fields.next();
    headers.emplace_back(name, fields.next());
  }
  const auto identity = identify(headers, "/shop#main");
  require(!identity || identity->position.value() > 0, "positions start at 1");
  std::string canonical;
  append_canonical(canonical, one, headers, other);
  std::string again;
  append_canonical(again, one, headers, other);
  require(canonical == again, "the order is the same whatever it was before");
  return 0;
}
