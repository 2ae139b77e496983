// Profiles of providers: those that come with outseal, and reading others.
#include "outseal/provider.h"

#include <doctest/doctest.h>

#include <set>

#include "outseal/error.h"

using namespace outseal;
using namespace std::chrono_literals;

namespace {

/// The message of what is refused; empty if nothing is.
std::string refusal(const std::string& json) {
  try {
    parse_provider_profile(json);
    return {};
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::invalid_config);
    return error.message();
  }
}

}  // namespace

TEST_CASE("each profile is valid, has a name of its own, and says where it is from and when") {
  std::set<std::string> names;
  for (const ProviderProfile& each : provider_profiles()) {
    CAPTURE(each.name);
    each.validate();
    CHECK(names.insert(each.name).second);
    CHECK(each.source.starts_with("https://"));
    CHECK(each.source.find("read 20") != std::string::npos);
    CHECK(&provider_profile(each.name) == &each);
  }
  CHECK(provider_profile("stripe-v1").window == 24h);
  CHECK(provider_profile("stripe-v1").replays == Replays::any);
  CHECK(provider_profile("square").window == 0s);
  CHECK(provider_profile("square").cancels_by_key);
  CHECK(provider_profile("qonto").window == 30min);
}

TEST_CASE("a provider that is not known promises nothing") {
  CHECK(ProviderProfile{}.window == 0s);
  CHECK(ProviderProfile{}.replays == Replays::nothing);
  try {
    provider_profile("stripe");
    FAIL("there is none");
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::invalid_config);
    CHECK(error.hint().find("stripe-v1") != std::string::npos);
  }
}

TEST_CASE("a profile is read from JSON, and whatever is not as it should be is named") {
  const ProviderProfile read = parse_provider_profile(
      R"({"name": "bank", "replays": "success", "window": 3600, "margin": 60,
          "absence_after": 30, "max_in_flight": 20, "cancels_by_key": true,
          "source": "contract"})");
  CHECK(read.name == "bank");
  CHECK(read.replays == Replays::success);
  CHECK(read.window == 1h);
  CHECK(read.margin == 1min);
  CHECK(read.absence_after == 30s);
  CHECK(read.max_in_flight == 20s);
  CHECK(read.cancels_by_key);
  CHECK(read.source == "contract");

  CHECK(refusal(R"({"name": "x", "windw": 1})").find("windw") != std::string::npos);
  CHECK(refusal(R"({"name": "x", "margin": 1, "margin": 2})").find("twice") != std::string::npos);
  CHECK(refusal(R"({"name": "x", "window": 1.5})").find("window") != std::string::npos);
  CHECK(refusal(R"({"name": "x", "window": "1"})").find("window") != std::string::npos);
  CHECK(refusal(R"({"name": "x", "window": 18446744073709551615})").find("window") !=
        std::string::npos);
  CHECK(refusal(R"({"name": "x", "replays": "success", "window": -1})").find("window") !=
        std::string::npos);
  CHECK(refusal(R"({"name": "x", "replays": "all"})").find("replays") != std::string::npos);
  CHECK(refusal(R"({"name": "x", "window": 1})").find("replays nothing") != std::string::npos);
  CHECK(refusal(R"({"name": 1})").find("name") != std::string::npos);
  CHECK(refusal(R"({"name": "x", "cancels_by_key": 1})").find("cancels_by_key") !=
        std::string::npos);
  CHECK(refusal(R"({"window": 0})").find("name is empty") != std::string::npos);
  CHECK_FALSE(refusal("[]").empty());
  CHECK_FALSE(refusal("{").empty());
  CHECK_FALSE(refusal("").empty());
}
