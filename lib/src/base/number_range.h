// A number that somebody may set.
#pragma once

namespace outseal {

/// What it is if nobody says, and what it may be. Stands in the options struct beside the field;
/// the programs' option table, --help and the documents take it from there.
template <typename Number>
struct NumberRange {
  Number fallback;
  Number min;
  Number max;
};

}  // namespace outseal
