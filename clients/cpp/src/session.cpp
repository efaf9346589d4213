#include <lovage/session.hpp>

#include "https.hpp"
#include "inference.grpc.pb.h"
#include "json_text.hpp"
#include "predictions.grpc.pb.h"
#include "status.hpp"

#include <chrono>

namespace lovage {
namespace {

using nlohmann::json;
namespace v1 = ::lovage::v1;

constexpr double kHandshakeSeconds = 10.0;

json parse(const std::string& text) { return text.empty() ? json(nullptr) : json::parse(text, nullptr, false); }

Prediction prediction_of(const v1::PredictResponse& message) {
  return Prediction{message.id(),     message.model(), message.version(),    message.status(),
                    parse(message.output_json()), message.error(), message.error_code(),
                    parse(message.metrics_json())};
}

grpc::ChannelArguments channel_arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  return arguments;
}

// The platform names the worker's certificate; that one alone is then trusted. Without a name: the authority's word.
std::string trusted_roots(const SessionInfo& info, const Tls& tls) {
  if (info.certificate_sha256.empty()) return tls.ca;
  std::string shown = shown_certificate(info.address, tls, kHandshakeSeconds);
  if (certificate_sha256(shown) != info.certificate_sha256) {
    throw Error("wrong_certificate", info.address + " shows another certificate than the platform named. "
                                     "Ask for another session; if it stays so, somebody is in between.");
  }
  return shown;
}

std::shared_ptr<grpc::ChannelCredentials> credentials_of(const SessionInfo& info, const Tls& tls) {
  if (info.tls == "none" || info.tls.empty()) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = trusted_roots(info, tls);
  options.pem_cert_chain = tls.certificate;
  options.pem_private_key = tls.key;
  return grpc::SslCredentials(options);
}

void authorize(grpc::ClientContext& context, const std::string& token) {
  if (!token.empty()) context.AddMetadata("authorization", "Bearer " + token);
}

v1::PredictRequest request_of(const SessionInfo& info, const json& input, double timeout) {
  v1::PredictRequest request;
  request.set_model(info.model);
  request.set_version(info.version);
  request.set_input_json(encode(input));
  request.set_timeout_seconds(timeout);
  return request;
}

Event event_of(const v1::PredictEvent& message) {
  Event event{message.seq(), message.kind(), message.id(), parse(message.data_json()), std::nullopt};
  if (message.has_end()) event.end = prediction_of(message.end());
  return event;
}

inference::ModelInferRequest infer_request(const SessionInfo& info, const std::vector<Tensor>& inputs) {
  inference::ModelInferRequest request;
  request.set_model_name(info.model);
  request.set_model_version(info.version);
  for (const Tensor& tensor : inputs) {
    auto* input = request.add_inputs();
    input->set_name(tensor.name);
    input->set_datatype(tensor.datatype);
    for (const std::int64_t size : tensor.shape) input->add_shape(size);
    request.add_raw_input_contents(tensor.bytes);
  }
  return request;
}

Inference inference_of(inference::ModelInferResponse& message) {
  Inference answer{"", message.model_name(), message.model_version(), {}};
  const auto found = message.parameters().find("prediction");
  if (found != message.parameters().end()) answer.prediction = found->second.string_param();
  if (message.outputs_size() != message.raw_output_contents_size()) {
    throw Error("data_loss", "the answer has " + std::to_string(message.outputs_size()) + " outputs and " +
                                 std::to_string(message.raw_output_contents_size()) + " contents");
  }
  for (int i = 0; i < message.outputs_size(); ++i) {
    const auto& output = message.outputs(i);
    answer.outputs.push_back(Tensor{output.name(), output.datatype(),
                                       {output.shape().begin(), output.shape().end()},
                                       std::move(*message.mutable_raw_output_contents(i))});
  }
  return answer;
}

}  // namespace

const Tensor& Inference::output(const std::string& name) const {
  for (const Tensor& tensor : outputs) {
    if (tensor.name == name) return tensor;
  }
  throw Error("not_found", "the model has no output " + name);
}

struct Stream::State {
  grpc::ClientContext context;
  std::unique_ptr<grpc::ClientReader<v1::PredictEvent>> reader;
  std::uint64_t seq = 0;
  bool is_over = false;
};

Stream::Stream(std::unique_ptr<State> state) : state_(std::move(state)) {}
Stream::Stream(Stream&&) noexcept = default;
Stream& Stream::operator=(Stream&&) noexcept = default;

Stream::~Stream() {
  if (!state_ || state_->is_over) return;
  state_->context.TryCancel();
  state_->reader->Finish();
}

std::optional<Event> Stream::next() {
  if (state_->is_over) return std::nullopt;
  v1::PredictEvent message;
  if (!state_->reader->Read(&message)) {
    state_->is_over = true;
    require_ok(state_->reader->Finish(), state_->context);
    throw Error("data_loss", "the stream ended without `done`");
  }
  if (message.seq() != ++state_->seq) throw Error("data_loss", "an event of the stream is missing");
  Event event = event_of(message);
  if (event.kind == "done") {
    state_->is_over = true;
    while (state_->reader->Read(&message)) {
    }
    state_->reader->Finish();
  }
  return event;
}

struct Session::State {
  SessionInfo info;
  double seconds;
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<v1::Predictions::Stub> predictions;
  std::unique_ptr<inference::GRPCInferenceService::Stub> tensors;

  // Calls a unary method. Throws Error.
  template <typename Stub, typename Request, typename Answer>
  Answer call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Answer*),
              const Request& request) const {
    grpc::ClientContext context;
    authorize(context, info.token);
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::milliseconds(static_cast<std::int64_t>(seconds * kMilliseconds)));
    Answer answer;
    require_ok((stub.*method)(&context, request, &answer), context);
    return answer;
  }
};

Session::Session(SessionInfo info, const Tls& tls, double seconds) : state_(std::make_unique<State>()) {
  state_->seconds = seconds;
  state_->channel = grpc::CreateCustomChannel(info.address, credentials_of(info, tls), channel_arguments());
  state_->predictions = v1::Predictions::NewStub(state_->channel);
  state_->tensors = inference::GRPCInferenceService::NewStub(state_->channel);
  state_->info = std::move(info);
}

Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

const SessionInfo& Session::info() const noexcept { return state_->info; }

Prediction Session::predict(const json& input, double timeout) const {
  return prediction_of(state_->call(*state_->predictions, &v1::Predictions::Stub::Predict,
                                    request_of(state_->info, input, timeout)));
}

Stream Session::stream(const json& input, double timeout) const {
  auto state = std::make_unique<Stream::State>();
  authorize(state->context, state_->info.token);
  state->reader = state_->predictions->PredictStream(&state->context, request_of(state_->info, input, timeout));
  return Stream(std::move(state));
}

bool Session::cancel(const std::string& prediction) const {
  v1::CancelRequest request;
  request.set_id(prediction);
  return state_->call(*state_->predictions, &v1::Predictions::Stub::Cancel, request).found();
}

std::vector<double> Session::infer(const std::vector<std::pair<std::string, std::string>>& pairs) const {
  v1::InferPairsRequest request;
  request.set_model(state_->info.model);
  request.set_version(state_->info.version);
  for (const auto& [query, text] : pairs) {
    auto* pair = request.add_pairs();
    pair->set_query(query);
    pair->set_text(text);
  }
  const auto answer = state_->call(*state_->predictions, &v1::Predictions::Stub::Infer, request);
  return {answer.scores().begin(), answer.scores().end()};
}

Inference Session::infer(const std::vector<Tensor>& inputs) const {
  auto answer = state_->call(*state_->tensors, &inference::GRPCInferenceService::Stub::ModelInfer,
                             infer_request(state_->info, inputs));
  return inference_of(answer);
}

}  // namespace lovage
