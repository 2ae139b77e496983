// The commands of outseal-reconcile: the run, the findings, the effects that wait for
// a person, and the check of a service.
#pragma once

#include "cli/console.h"
#include "cli/options.h"
#include "reconcile/check.h"

namespace outseal::tools {

int reconcile_run(const Settings& settings);
int findings_list(const Settings& settings);
int findings_show(const Settings& settings);
int findings_resolve(const Settings& settings);
int effects_list(const Settings& settings);
int effects_decide(const Settings& settings);
int replay_check(const Settings& settings);

/// The fields of a finding's subject, and its text.
void add_subject(JsonObject& object, const Subject& subject);

}  // namespace outseal::tools
