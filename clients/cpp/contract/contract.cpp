// Runs the calls of the contract (scripts/contract): a JSON object a line in, a JSON object a line out.
#include <lovage/client.hpp>

#include <iostream>
#include <string>

namespace {

using nlohmann::json;

std::string text_of(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

lovage::Tls tls_of(const json& files) {
  return lovage::Tls::from_files(text_of(files, "ca"), text_of(files, "certificate"), text_of(files, "key"));
}

lovage::SessionInfo info_of(const json& session) {
  return {text_of(session, "address"), text_of(session, "tls"),        text_of(session, "certificate_sha256"),
          text_of(session, "token"),   text_of(session, "expires_at"), text_of(session, "worker"),
          text_of(session, "model"),   text_of(session, "version")};
}

lovage::SessionInfo ask(const json& wish) {
  const lovage::Platform platform(text_of(wish, "url"), text_of(wish, "key"), tls_of(wish.value("tls", json::object())));
  lovage::SessionOptions options;
  options.model = text_of(wish, "model");
  options.affinity = text_of(wish, "affinity");
  options.device = text_of(wish, "device");
  options.task = text_of(wish, "task");
  options.records = wish.value("records", std::string("sync"));
  options.exclude = wish.value("exclude", std::vector<std::string>());
  return platform.request_session(options);
}

json shown(const lovage::Prediction& prediction) {
  return {{"status", prediction.status},         {"output", prediction.output}, {"error", prediction.error},
          {"error_code", prediction.error_code}, {"model", prediction.model},   {"version", prediction.version}};
}

json stream(const lovage::Session& session, const json& arguments) {
  json kinds = json::array(), numbers = json::array(), pieces = json::array(), end;
  const auto cancel_after = arguments.value("cancel_after", 0U);
  const auto leave_after = arguments.value("leave_after", 0U);
  auto events = session.stream(arguments["input"], arguments.value("timeout", 0.0));
  std::string id;
  while (const auto event = events.next()) {
    id = event->id;
    kinds.push_back(event->kind);
    numbers.push_back(event->seq);
    if (event->kind == "output") pieces.push_back(event->data);
    if (event->end) end = shown(*event->end);
    if (cancel_after > 0 && event->kind == "output" && pieces.size() == cancel_after) session.cancel(id);
    if (leave_after > 0 && pieces.size() == leave_after) break;
  }
  return {{"id", id}, {"kinds", kinds}, {"numbers", numbers}, {"pieces", pieces}, {"end", end}};
}

std::vector<lovage::Tensor> tensors_of(const json& inputs) {
  std::vector<lovage::Tensor> tensors;
  for (const json& input : inputs) {
    const std::string name = input["name"];
    if (input["datatype"] == "BYTES") {
      tensors.push_back(lovage::Tensor::of_texts(name, input["values"].get<std::vector<std::string>>()));
    } else {
      tensors.push_back(lovage::Tensor::of_floats(name, input["shape"].get<std::vector<std::int64_t>>(),
                                                  input["values"].get<std::vector<float>>()));
    }
  }
  return tensors;
}

json infer(const lovage::Session& session, const json& arguments) {
  json outputs = json::object();
  const lovage::Inference answer = session.infer(tensors_of(arguments["inputs"]));
  for (const lovage::Tensor& tensor : answer.outputs) {
    const json values = tensor.datatype == "BYTES" ? json(tensor.texts()) : json(tensor.doubles());
    outputs[tensor.name] = {{"datatype", tensor.datatype}, {"shape", tensor.shape}, {"values", values}};
  }
  return {{"outputs", outputs}, {"has_prediction", !answer.prediction.empty()}};
}

json call(const lovage::Session& session, const std::string& name, const json& arguments) {
  if (name == "predict") return shown(session.predict(arguments["input"], arguments.value("timeout", 0.0)));
  if (name == "stream") return stream(session, arguments);
  if (name == "infer") return infer(session, arguments);
  if (name == "cancel") return {{"found", session.cancel(text_of(arguments, "id"))}};
  if (name == "pairs") {
    return {{"scores", session.infer(arguments["pairs"].get<std::vector<std::pair<std::string, std::string>>>())}};
  }
  throw lovage::Error("unimplemented", "no such call: " + name);
}

json answer(const json& order) {
  try {
    const lovage::SessionInfo info = order.contains("session") ? info_of(order["session"]) : ask(order["ask"]);
    if (text_of(order, "call") == "ask") {
      return {{"answer", {{"tls", info.tls}, {"model", info.model}, {"certificate_sha256", info.certificate_sha256}}}};
    }
    const lovage::Session session(info, tls_of(order.value("tls", json::object())), order.value("seconds", 60.0));
    return {{"answer", call(session, text_of(order, "call"), order.value("arguments", json::object()))}};
  } catch (const lovage::Error& error) {
    json problem = {{"code", error.code()}, {"sentence", error.what()}, {"retry_after", nullptr}};
    if (error.retry_after()) problem["retry_after"] = *error.retry_after();
    return {{"error", problem}};
  }
}

}  // namespace

int main() {
  std::string line;
  while (std::getline(std::cin, line)) std::cout << answer(json::parse(line)).dump() << std::endl;
  return 0;
}
