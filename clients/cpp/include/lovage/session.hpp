// One worker, called by gRPC: predictions, streams, tensors, pairs.
#pragma once

#include <lovage/errors.hpp>
#include <lovage/tensor.hpp>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace lovage {

// PEM texts; empty ones are left out.
struct Tls {
  std::string ca;           // who signs the server's certificate; empty: the system's authorities
  std::string certificate;  // the client's own, for mutual TLS
  std::string key;

  // Reads the files whose names are not empty. Throws Error `unreadable_file`.
  static Tls from_files(const std::string& ca, const std::string& certificate = "", const std::string& key = "");
};

// What POST /v1/sessions answers.
struct SessionInfo {
  std::string address;  // host:port
  std::string tls;      // none, server, mutual
  std::string certificate_sha256;  // of the worker's certificate, hex; empty: not given
  std::string token;
  std::string expires_at;
  std::string worker;
  std::string model;
  std::string version;
};

// A prediction that has ended. A failed one is no Error: `status` says so.
struct Prediction {
  std::string id;
  std::string model;
  std::string version;
  std::string status;  // succeeded, failed, canceled
  nlohmann::json output;
  std::string error;
  std::string error_code;
  nlohmann::json metrics;
};

// One of a prediction's events: start, output, log, progress, restart (what came before is void), done.
struct Event {
  std::uint64_t seq = 0;  // 1, 2, 3 …
  std::string kind;
  std::string id;  // the prediction's
  nlohmann::json data;
  std::optional<Prediction> end;  // with `done`
};

// The answer of ModelInfer.
struct Inference {
  std::string prediction;  // its id
  std::string model;
  std::string version;
  std::vector<Tensor> outputs;

  // Throws Error `not_found`.
  const Tensor& output(const std::string& name) const;
};

// Events of one prediction, in order. Leaving it before its end cancels the prediction.
class Stream {
 public:
  ~Stream();
  Stream(Stream&&) noexcept;
  Stream& operator=(Stream&&) noexcept;

  // The next event; nothing after `done`. Throws Error; `data_loss` when a number is missing.
  std::optional<Event> next();

 private:
  friend class Session;
  struct State;
  explicit Stream(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// May be used by many threads at once. Calls throw Error.
class Session {
 public:
  // `seconds`: the longest that one call may take (streams end with the token).
  explicit Session(SessionInfo info, const Tls& tls = {}, double seconds = 60.0);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  const SessionInfo& info() const noexcept;

  // Runs the model; returns when the prediction has ended. `timeout`: seconds of running, 0: the version's own.
  Prediction predict(const nlohmann::json& input, double timeout = 0.0) const;
  Stream stream(const nlohmann::json& input, double timeout = 0.0) const;
  // Stops an own prediction that runs on this worker; false: there is none.
  bool cancel(const std::string& prediction) const;
  // Scores of pairs (query, text), by a cross-encoder.
  std::vector<double> infer(const std::vector<std::pair<std::string, std::string>>& pairs) const;
  // ModelInfer of the Open Inference Protocol.
  Inference infer(const std::vector<Tensor>& inputs) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lovage
