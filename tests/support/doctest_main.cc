// main() of every doctest program.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <csignal>

// As in our programs: sinks leave the process's signals alone.
static const auto pipe_signal = std::signal(SIGPIPE, SIG_IGN);

// SOCI 4.0.3 forgets libpq's connection object when a connection cannot be made.
extern "C" const char* __lsan_default_suppressions();
extern "C" const char* __lsan_default_suppressions() { return "leak:libsoci_postgresql\n"; }

// ThreadSanitizer does not see what orders the threads of a library that was built without it.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() { return "race:libcpp-httplib.so\n"; }
