// Snapshots of PostgreSQL as text.
#include "store/snapshot.h"

#include "fuzz/fuzz.h"
#include "outseal/error.h"

using namespace outseal;
using store::Snapshot;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Fields fields{fuzz::text_of(data, size)};
  const std::string_view from = fields.next();
  const std::string_view to = fields.next();
  try {
    const Snapshot earlier = Snapshot::parse(from);
    const Snapshot later = Snapshot::parse(to);
    fuzz::require(!earlier.has_ended(earlier.xmax), "xmax has not ended");
    const std::string ended = store::ended_since(earlier, later);
    fuzz::require(ended.starts_with('{') && ended.ends_with('}'), "an array");
    fuzz::require(!store::is_ahead({.snap_from = std::string{from}}, std::string{from}),
                  "a snapshot is not ahead of itself");
  } catch (const Error& error) {
    fuzz::require(error.code() == ErrorCode::internal, "an odd snapshot is no user's fault");
  }
  return 0;
}
