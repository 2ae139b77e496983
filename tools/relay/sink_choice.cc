#include "sink_choice.h"

#include "cli/database.h"
#include "outseal/error.h"
#include "sinks/registry.h"

namespace outseal::tools {

namespace {

/// What `make` gives; its error as one of `origin`.
template <typename Make>
auto blamed_on(const std::string& origin, Make make) {
  try {
    return make();
  } catch (const Error& error) {
    throw Error{error.code(),
                origin,
                error.message(),
                {.hint = error.hint(), .detail_code = error.detail_code()}};
  }
}

}  // namespace

SinkChoice::SinkChoice(const Settings& settings)
    : subscription_{settings.text(Option::subscription)},
      origin_{settings.origin(Option::sink) + " of subscription " + subscription_} {
  const Url database = database_url(settings);
  blamed_on(origin_, [&] {
    url_ = Url::parse("sink", settings.text(Option::sink));
    sinks::refuse_source_as_sink(database, url_);
    identity_ = sinks::sink_identity(url_);
  });
}

std::unique_ptr<Sink> SinkChoice::make(std::string_view event_source) const {
  return blamed_on(origin_, [&] {
    return sinks::make_sink(url_, sinks::context_of(event_source, subscription_));
  });
}

}  // namespace outseal::tools
