#include <lovage/platform.hpp>

#include "https.hpp"
#include "json_text.hpp"

#include <fstream>
#include <iterator>

namespace lovage {
namespace {

using nlohmann::json;

constexpr long kCreated = 201;

std::string read_file(const std::string& path) {
  if (path.empty()) return "";
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error("unreadable_file", path + " cannot be read");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

json body_of(const SessionOptions& options) {
  json body = {{"model", options.model}, {"records", options.records}};
  if (!options.affinity.empty()) body["affinity"] = options.affinity;
  if (!options.exclude.empty()) body["exclude"] = options.exclude;
  if (!options.device.empty()) body["requirements"]["device"] = options.device;
  if (!options.task.empty()) body["requirements"]["task"] = options.task;
  if (options.memory_bytes > 0) body["requirements"]["memory_bytes"] = options.memory_bytes;
  return body;
}

std::string text_of(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

[[noreturn]] void refuse(const HttpAnswer& answer) {
  const json problem = json::parse(answer.body, nullptr, false);
  const bool is_problem = problem.is_object();
  const std::string code = is_problem ? text_of(problem, "code") : "";
  const std::string detail = is_problem ? text_of(problem, "detail") : "";
  throw Error(code.empty() ? "http_" + std::to_string(answer.status) : code,
              detail.empty() ? "the server answered " + std::to_string(answer.status) : detail,
              answer.retry_after >= 0 ? std::optional<double>(answer.retry_after) : std::nullopt);
}

}  // namespace

Tls Tls::from_files(const std::string& ca, const std::string& certificate, const std::string& key) {
  return Tls{read_file(ca), read_file(certificate), read_file(key)};
}

Platform::Platform(std::string url, std::string token, Tls tls, double seconds)
    : url_(std::move(url)), token_(std::move(token)), tls_(std::move(tls)), seconds_(seconds) {
  while (!url_.empty() && url_.back() == '/') url_.pop_back();
}

SessionInfo Platform::request_session(const SessionOptions& options) const {
  const HttpAnswer answer = post_json(url_ + "/v1/sessions", token_, encode(body_of(options)), tls_, seconds_);
  if (answer.status != kCreated) refuse(answer);
  const json session = json::parse(answer.body, nullptr, false);
  if (!session.is_object() || text_of(session, "address").empty()) {
    throw Error("unreachable", url_ + " answers, but not as Lovage does. Is it the API's address?");
  }
  return SessionInfo{text_of(session, "address"), text_of(session, "tls"), text_of(session, "certificate_sha256"),
                     text_of(session, "token"),   text_of(session, "expires_at"), text_of(session, "worker"),
                     text_of(session, "model"),   text_of(session, "version")};
}

Session Platform::open_session(const SessionOptions& options, const Tls& tls) const {
  return Session(request_session(options), tls);
}

}  // namespace lovage
