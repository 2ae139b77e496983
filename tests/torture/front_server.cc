// A service with an HTTP front, until it is killed.
//
//   front_server sqlite3|postgresql CONNECTION PORT
//
// POST /charges charges account 1, or refuses the card if the body says so. Its replies have a
// number that no other execution draws, so that two executions cannot look alike.
#include <httplib.h>
#include <outseal/http_front.h>
#include <outseal/outseal.h>
#include <soci/postgresql/soci-postgresql.h>
#include <soci/soci.h>
#include <soci/sqlite3/soci-sqlite3.h>

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>

namespace {

struct Backend {
  std::string kind;
  std::string connection;

  std::unique_ptr<soci::session> open() const {
    return kind == "sqlite3" ? std::make_unique<soci::session>(soci::sqlite3, connection)
                             : std::make_unique<soci::session>(soci::postgresql, connection);
  }
};

outseal::Reply charge(outseal::Transaction& tx, soci::session& session, bool declined) {
  session << "UPDATE account SET balance = balance - 5 WHERE id = 1";
  outseal::append(tx, {.topic = "payments", .key = "1", .type = "paid", .payload = "{}"});
  const std::string number = outseal::new_event_id().to_string();
  if (declined) return {.verdict = outseal::Verdict::final_failure, .status = 402, .body = number};
  return {.status = 201, .body = number, .headers = {{"X-Number", number}}};
}

void answer(const Backend& backend, outseal::HttpFront& front, const httplib::Request& request,
            httplib::Response& response) {
  std::unique_ptr<soci::session> session;
  const outseal::SessionOpener open = [&]() -> outseal::Session {
    session = backend.open();
    return *session;
  };
  outseal::HttpRequest in{
      .target = request.path, .headers = {}, .body = request.body, .principal = "shop"};
  for (const auto& [name, value] : request.headers) in.headers.emplace_back(name, value);
  const auto work = [&](outseal::Session db, const outseal::Operation& operation,
                        const outseal::ExecuteOptions& options) {
    return outseal::execute(
        db, operation,
        [&](outseal::Transaction& tx) { return charge(tx, *session, request.body == "declined"); },
        options);
  };
  const outseal::HttpResponse out = front.serve(open, in, work);
  response.status = out.status;
  std::string type = "application/octet-stream";
  for (const auto& [name, value] : out.headers)
    if (name == "Content-Type")
      type = value;
    else
      response.set_header(name, value);
  response.set_content(out.body, type);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const Backend backend{argv[1], argv[2]};
  outseal::HttpFront front{{.scope = "payments",
                            .execute = {.wait = std::chrono::milliseconds{20'000}},
                            .retry = {.attempts_max = 20}}};
  httplib::Server server;
  server.new_task_queue = [] { return new httplib::ThreadPool(64); };
  server.Get("/", [](const httplib::Request&, httplib::Response& response) {
    response.set_content("ready", "text/plain");
  });
  server.Post("/charges", [&](const httplib::Request& request, httplib::Response& response) {
    try {
      answer(backend, front, request, response);
    } catch (const std::exception& error) {
      std::cerr << "front_server: " << error.what() << '\n';
      response.status = 500;
    }
  });
  return server.listen("127.0.0.1", std::atoi(argv[3])) ? 0 : 1;
}
