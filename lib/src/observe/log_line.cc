#include "observe/log_line.h"

#include <utility>

#include "base/text.h"

namespace outseal::observe {
namespace {

LogLine line(std::string_view level, std::string_view event, std::string detail) {
  return {level, event, {{"detail", std::move(detail)}}};
}
LogLine info(std::string_view event, std::string detail) {
  return line("info", event, std::move(detail));
}
LogLine warn(std::string_view event, std::string detail) {
  return line("warn", event, std::move(detail));
}

/// Does not compile as long as it does not say for each observation what the log has about it.
struct ToLine {
  using Line = std::optional<LogLine>;

  Line operator()(const Started& started) const {
    return LogLine{"info", "started", {{"sink", started.sink}}};
  }
  Line operator()(const Subscribed& made) const {
    return info("subscribed", made.first_seq
                                  ? "first_seq=" + std::to_string(made.first_seq->value())
                                  : "start=now");
  }
  Line operator()(const LeaseRefused&) const { return {}; }
  Line operator()(const StoodBy& standby) const {
    return info("standby", "another relay leads: " + standby.holder);
  }
  Line operator()(const Paused&) const {
    return warn("paused",
                "an operator paused the subscription; outseal-relay resume lets it go on");
  }
  Line operator()(const Led& led) const {
    return info("leading", "epoch=" + std::to_string(led.epoch.value()) +
                               " position=" + std::to_string(led.acked.value()));
  }
  Line operator()(const Fenced&) const {
    return warn("fenced", "another relay took over, or an operator acted on the subscription");
  }
  Line operator()(const DatabaseFailed& failed) const {
    return warn("database_failed", with_hint(failed.detail, failed.hint));
  }
  Line operator()(const Halted& halted) const {
    LogLine line{"error", "halted", {{"error", std::string{name_of(halted.code)}}}};
    if (halted.detail.empty()) return line;
    line.fields.push_back({"detail", halted.detail});
    line.fields.push_back({"hint", halted.hint});
    return line;
  }
  Line operator()(const Abandoned& abandoned) const {
    return warn("abandoned", abandoned.what == Abandoned::What::sink
                                 ? "the sink did not answer in time; the next start recovers"
                                 : "did not end in time; the next start recovers");
  }
  Line operator()(const Finished& finished) const {
    return LogLine{"info",
                   "finished",
                   {{"published", std::to_string(finished.published)},
                    {"drained", finished.drained ? "true" : "false"}}};
  }

  Line operator()(const SinkOpened&) const { return {}; }
  Line operator()(const SinkWarned& warning) const {
    return warn("sink_warning", with_hint(warning.detail, warning.hint));
  }
  Line operator()(const SinkWaiting& waiting) const {
    return warn("sink_waiting", with_hint(waiting.detail, waiting.hint));
  }
  Line operator()(const Rebuilding& rebuilding) const {
    return warn("rebuilding", rebuilding.detail);
  }

  Line operator()(const Bound&) const { return {}; }
  Line operator()(const Delivered&) const { return {}; }
  Line operator()(const Acknowledged& acked) const {
    return LogLine{"debug", "acknowledged", {{"published", std::to_string(acked.published)}}};
  }
  Line operator()(const Settled&) const { return {}; }
  Line operator()(const Parked& parked) const {
    const std::string which = parked.bound_id ? "id=" + parked.bound_id->to_string()
                                              : "seq=" + std::to_string(parked.seq.value());
    return warn("parked", which + " reason=" + parked.reason);
  }
  Line operator()(const Publishing& publishing) const {
    return LogLine{"info", "publishing", {{"published", std::to_string(publishing.published)}}};
  }

  Line operator()(const Retained& retained) const {
    return info("retained", "rows_removed=" + std::to_string(retained.rows));
  }
  Line operator()(const RetentionPaused&) const {
    return warn("retention_paused", "the write-ahead log waits for a checkpoint by a service");
  }
  Line operator()(const RetentionFailed& failed) const {
    return warn("retention_failed", with_hint(failed.detail, failed.hint));
  }
  Line operator()(const RetentionKeeps& keeps) const {
    return warn("retention_keeps", keeps.detail);
  }
};

}  // namespace

std::optional<LogLine> log_line(const Observation& what) { return std::visit(ToLine{}, what); }

}  // namespace outseal::observe
