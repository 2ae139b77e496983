// Failpoints and mutants: how the tests crash and cripple the real code at named places.
//
// Both exist only in builds with -DOUTSEAL_FAULTS=ON; elsewhere they compile to nothing.
//
//   OUTSEAL_FAILPOINT=NAME[:N]     the process kills itself with SIGKILL at the N-th hit, or
//                                  the first
//   OUTSEAL_FAILPOINT_SIGNAL=STOP  with SIGSTOP instead: SIGCONT makes a zombie of it
//   OUTSEAL_FAILPOINT_TRACE=FILE   appends one line NAME per hit, so that a test can visit all
//   OUTSEAL_MUTANT=NAME            switches one guard off, to see that a test misses it
#pragma once

namespace outseal {

#ifdef OUTSEAL_FAULTS
/// Dies here if the environment says so. Thread-safe.
void failpoint(const char* name);
/// True if the environment switches the guard `name` off. Thread-safe.
bool mutant(const char* name);
#else
inline void failpoint(const char*) {}
constexpr bool mutant(const char*) { return false; }
#endif

}  // namespace outseal
