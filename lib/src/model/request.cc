#include "model/request.h"

#include "base/failpoint.h"

namespace outseal {

bool is_request_of(const Operation& operation, std::string_view fingerprint, int version) {
  if (operation.fingerprint_version == version || mutant("no_fingerprint_version"))
    return operation.fingerprint == fingerprint;
  for (const VersionedFingerprint& older : operation.older_fingerprints)
    if (older.version == version) return older.fingerprint == fingerprint;
  return true;
}

}  // namespace outseal
