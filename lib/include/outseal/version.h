// The version of outseal. It is written down here alone: CMake and the programs take it from here.
#pragma once

#define OUTSEAL_VERSION_MAJOR 0
#define OUTSEAL_VERSION_MINOR 1
#define OUTSEAL_VERSION_PATCH 0

/// The three as text: "0.1.0". What they promise: lib/README.md, "Compatibility".
#define OUTSEAL_VERSION \
  OUTSEAL_DETAIL_VERSION(OUTSEAL_VERSION_MAJOR, OUTSEAL_VERSION_MINOR, OUTSEAL_VERSION_PATCH)

// In two steps, so that the names become their numbers first.
#define OUTSEAL_DETAIL_VERSION(major, minor, patch) OUTSEAL_DETAIL_TEXT(major, minor, patch)
#define OUTSEAL_DETAIL_TEXT(major, minor, patch) #major "." #minor "." #patch
