// The sink suite on a webhook receiver. Which answer means what: sink_http_answers_test.cc; who is
// sent when: sink_http_order_test.cc; certificates: sink_http_tls_test.cc.
#include <array>

#include "conformance/http_receiver.h"
#include "conformance/sink_suite.h"
#include "sinks/common/cloudevents.h"

namespace outseal::test {
namespace {

class HttpUnderTest final : public SinkUnderTest {
 public:
  std::unique_ptr<Sink> make() const override {
    return make_http(receiver_.url("?outseal.in_flight=1&outseal.event_bytes_max=4096"));
  }
  /// The requests, with their header fields in the order in which the sink writes them.
  std::string stored() const override {
    static constexpr std::array kFields{"webhook-id",       "idempotency-key", "outseal-stream",
                                        "outseal-position", "ce-specversion",  "ce-id",
                                        "ce-source",        "ce-type",         "ce-subject",
                                        "ce-time",          "ce-topic",        "content-type"};
    std::string bytes;
    for (const Asked& asked : receiver_.asked()) {
      std::string subject;  // The test's HTTP server has decoded it.
      sinks::append_attribute(subject, asked.header("ce-subject"));
      bytes += subject + "\r\n";
      for (const std::string name : kFields)
        bytes += name + ": " + (name == "ce-subject" ? subject : asked.header(name)) + "\r\n";
      bytes += "\r\n" + asked.body;
    }
    return bytes;
  }
  std::size_t oversize_bytes() const override { return 4'097; }

 private:
  HttpReceiver receiver_;
};

}  // namespace

std::unique_ptr<SinkUnderTest> make_sink_under_test() { return std::make_unique<HttpUnderTest>(); }

}  // namespace outseal::test
