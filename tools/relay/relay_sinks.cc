// outseal-relay sinks: the kinds of sinks, as they describe themselves; also for --help.
#include <algorithm>
#include <string>
#include <vector>

#include "cli/console.h"
#include "relay_commands.h"
#include "sinks/registry.h"

namespace outseal::tools {

namespace {

using sinks::Parameter;
using sinks::SinkFacts;
using sinks::SinkForm;
using sinks::SinkGuarantee;

/// Where --help begins to say what a form of URL stands for, and how wide its lines are.
constexpr std::size_t kSummaryIndent = 47;
constexpr std::size_t kSummaryColumns = 88;

std::string_view described(SecondCopy second_copy) {
  switch (second_copy) {
    case SecondCopy::none:
      return "kept out by the receiver alone, by the event's id or position";
    case SecondCopy::id_within_window:
      return "dropped by its id, as long as the server remembers that";
    case SecondCopy::refuses:
      return "refused: an event is stored only behind the one before it";
    case SecondCopy::ignores:
      return "not stored: the sink knows which events it has";
    case SecondCopy::transactional:
      return "refused, in the transaction that stores the events";
  }
  return {};
}

std::string text_of(const SinkGuarantee& guarantee) {
  return (guarantee.when.empty() ? "" : std::string{guarantee.when} + ": ") +
         std::string{guarantee.text};
}

/// "[?NAME=VALUE&...]", with the names if all are numbers.
std::string parameters_of(const SinkForm& form, const SinkFacts& facts) {
  if (form.others == sinks::OtherParameters::passed_on) return "[?...]";
  if (facts.parameters.empty()) return {};
  const bool are_numbers =
      std::all_of(facts.parameters.begin(), facts.parameters.end(),
                  [](const Parameter& row) { return row.kind == Parameter::Kind::number; });
  if (!are_numbers) {
    const bool has_prefix = facts.parameters.front().name.starts_with(kParameterPrefix);
    return "[?" + std::string{has_prefix ? kParameterPrefix : ""} + "NAME=VALUE&...]";
  }
  std::string text;
  for (const Parameter& row : facts.parameters)
    text += (text.empty() ? "[?" : "&") + std::string{row.name} + "=N";
  return text + "]";
}

void print_human(const SinkFacts& facts) {
  print_line(facts.name);
  for (const SinkForm& form : facts.forms)
    print_line("  address      " + std::string{form.address} + "  " + std::string{form.contents});
  for (const SinkGuarantee& guarantee : facts.guarantees) {
    print_line("  guarantee    " + text_of(guarantee));
    print_line("  second copy  " + std::string{described(guarantee.second_copy)});
  }
  for (const Parameter& row : facts.parameters) {
    std::string values;
    if (!row.default_text().empty()) values = "default " + row.default_text();
    if (!row.range_text().empty()) values += (values.empty() ? "" : ", ") + row.range_text();
    print_text("  " + std::string{row.name} + "\n" + wrapped(row.help, 6));
    if (!values.empty()) print_line("      [" + values + "]");
  }
}

std::string json_of(const Parameter& row) {
  JsonObject object;
  object.add("name", row.name).add("kind", row.kind_name());
  if (row.kind == Parameter::Kind::number)
    object.add("default", row.fallback).add("min", row.min).add("max", row.max);
  else if (row.otherwise.empty())
    object.add_null("default");
  else
    object.add("default", row.otherwise);
  if (row.kind == Parameter::Kind::choice) object.add_raw("values", json_array(row.word_list()));
  return object.add("help", row.help).text();
}

std::string json_of(const SinkGuarantee& guarantee) {
  JsonObject object;
  if (guarantee.when.empty())
    object.add_null("when");
  else
    object.add("when", guarantee.when);
  return object.add("guarantee", guarantee.text)
      .add("second_copy", sinks::name_of(guarantee.second_copy))
      .text();
}

template <typename Rows>
std::string array_of(const Rows& rows) {
  std::string text;
  for (const auto& row : rows) text += (text.empty() ? "" : ",") + json_of(row);
  return "[" + text + "]";
}

void print_json(const SinkFacts& facts) {
  std::vector<std::string> schemes;
  std::vector<std::string> addresses;
  for (const SinkForm& form : facts.forms) {
    schemes.insert(schemes.end(), form.schemes.begin(), form.schemes.end());
    addresses.emplace_back(form.address);
  }
  print_line(JsonObject{}
                 .add("sink", facts.name)
                 .add_raw("schemes", json_array(schemes))
                 .add_raw("addresses", json_array(addresses))
                 .add_raw("guarantees", array_of(facts.guarantees))
                 .add_raw("parameters", array_of(facts.parameters))
                 .text());
}

}  // namespace

std::string sink_help() {
  std::string text;
  for (const sinks::SinkKind* const kind : sinks::all_kinds()) {
    const SinkFacts& facts = kind->facts();
    for (const SinkForm& form : facts.forms) {
      std::string summary = std::string{form.contents} + ", ";
      for (const SinkGuarantee& guarantee : facts.guarantees)
        summary += (&guarantee == facts.guarantees.data() ? "" : "; ") + text_of(guarantee);
      std::string lines = wrapped(summary, kSummaryIndent, kSummaryColumns);
      const std::string address = std::string{form.address} + parameters_of(form, facts);
      text += lines.replace(0, address.size(), address);
    }
  }
  return text;
}

int relay_sinks(const Settings& settings) {
  const bool json = settings.toggle(Option::json);
  for (const sinks::SinkKind* const kind : sinks::all_kinds())
    json ? print_json(kind->facts()) : print_human(kind->facts());
  return kExitFine;
}

}  // namespace outseal::tools
