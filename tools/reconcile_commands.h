// The commands of outseal-reconcile, one file for the run and one for the findings.
#pragma once

#include "options.h"

namespace outseal::tools {

int reconcile_run(const Settings& settings);
int findings_list(const Settings& settings);
int findings_show(const Settings& settings);
int findings_resolve(const Settings& settings);

}  // namespace outseal::tools
