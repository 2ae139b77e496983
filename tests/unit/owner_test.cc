#include "base/owner.h"

#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

using namespace outseal;

TEST_CASE("a process that runs is not gone, one that ended is, another machine's is not known") {
  int pipes[2];
  REQUIRE(::pipe(pipes) == 0);
  const pid_t child = ::fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const std::string owner = this_owner();
    ::_exit(::write(pipes[1], owner.data(), owner.size()) < 0 ? 1 : 0);
  }
  char text[512];
  const ssize_t got = ::read(pipes[0], text, sizeof text);
  REQUIRE(got > 0);
  const std::string owner{text, static_cast<std::size_t>(got)};
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT) == 0);
  CHECK(is_certainly_gone(owner));  // Ended, not yet waited for.
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  CHECK(is_certainly_gone(owner));
  ::close(pipes[0]);
  ::close(pipes[1]);

  CHECK_FALSE(is_certainly_gone(this_owner()));
  CHECK(is_certainly_gone(this_owner() + "1"));  // The pid was given to another process since.
  CHECK_FALSE(is_certainly_gone("host=elsewhere pidns=1 pid=999999 start=1"));
  CHECK_FALSE(is_certainly_gone("me"));
}
