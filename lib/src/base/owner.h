// Who holds a lease: a process, named so that others on the same machine can see that it is gone.
#pragma once

#include <string>
#include <string_view>

namespace outseal {

/// This process: "host=NAME pidns=INODE pid=N start=TICKS".
std::string this_owner();

/// True if `owner` names a process of this machine and PID namespace that certainly no longer runs.
/// False if it runs, is elsewhere, or cannot be judged.
bool is_certainly_gone(std::string_view owner);

}  // namespace outseal
